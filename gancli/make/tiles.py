"""Images beyond a size are translated in overlapping tiles that fade into each other."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from gancli.make import images
from gancli.make.images import Pixels

Turn = Callable[[Tensor], Tensor]
"""What is done to images: N×C×H×W in [-1, 1] to the same."""


def tiled(padded: Pixels, turn: Turn, tile: tuple[int, int]) -> Pixels:
    """N×H×W×C, turned: whole where a tile is as large, else in tiles that fade into each other where they overlap."""
    _, height, width, channels = padded.shape
    if tile == (height, width):
        return images.pixels(turn(tensor(padded)))
    fade = torch.from_numpy(np.outer(*map(_fade, tile))).float()
    made = []
    for image in padded:
        total, weight = torch.zeros(channels, height, width), torch.zeros(height, width)
        for top, left in itertools.product(_starts(height, tile[0]), _starts(width, tile[1])):
            here = slice(top, top + tile[0]), slice(left, left + tile[1])
            total[:, *here] += turn(tensor(image[None, *here]))[0] * fade
            weight[here] += fade
        made.append(images.pixels((total / weight)[None]))
    return np.concatenate(made)


def cost(turn: Turn, side: int, channels: int) -> float:
    """The least bytes for each pixel that a turn needs: what its widest layer reads and writes.

    Found by turning a small image, of `side` pixels.
    """
    widest = 0

    def watch(_: nn.Module, inputs: Any, outputs: Any) -> None:
        nonlocal widest
        found = [outputs, *inputs] if isinstance(inputs, tuple) else [outputs, inputs]
        widest = max(widest, sum(tensor.nbytes for tensor in found if isinstance(tensor, Tensor)))

    hook = register_module_forward_hook(watch)
    try:
        turn(torch.zeros(1, channels, side, side))
    finally:
        hook.remove()
    return widest / side**2


def _starts(whole: int, tile: int) -> list[int]:
    """Where tiles begin along a side: evenly, overlapping by a quarter or more."""
    count = 1 + -(-(whole - tile) // (tile - tile // 4)) if whole > tile else 1
    return [round(n * (whole - tile) / max(1, count - 1)) for n in range(count)]


def _fade(side: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Weights along a tile's side that fall towards its ends, over the quarter that always overlaps."""
    distance = np.minimum(np.arange(side) + 1, side - np.arange(side))
    return np.minimum(distance / max(1, side // 4), 1)


def tensor(pixels: Pixels) -> Tensor:
    """uint8 N×H×W×C to float32 N×C×H×W in [-1, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().sub_(127.5).div_(127.5)
