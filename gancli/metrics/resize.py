"""The four ways in which images come to Inception's 299×299 input, each as its reference implementation does it."""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

SIDE = 299

Resize = Literal["tf1", "pytorch", "clean", "torchmetrics"]
RESIZES: tuple[Resize, ...] = get_args(Resize)


def tf1(images: Tensor, side: int = SIDE) -> Tensor:
    """TensorFlow 1's bilinear, the literature's and torch-fidelity's: no half-pixel centres, no antialiasing.

    Output pixel i reads the input at i · in/out, in float32, and interpolates first along x, then along y, as the
    kernel does. The network's input is (x − 128) / 128.

    Args:
        images: uint8 N×C×H×W.
        side: of the square that comes out, in pixels.

    Returns:
        float32 N×C×side×side in [-1, 1).
    """
    pixels = images.float()
    for axis in (-1, -2):
        inside = pixels.shape[axis]
        position = torch.arange(side, dtype=torch.float32, device=images.device) * (
            torch.tensor(inside, dtype=torch.float32) / side
        ).to(images.device)
        lower = position.floor().long().clamp(max=inside - 1)
        fraction = position - lower
        before = pixels.index_select(axis, lower)
        after = pixels.index_select(axis, (lower + 1).clamp(max=inside - 1))
        pixels = before + (after - before) * (fraction if axis == -1 else fraction[:, None])
    return pixels.sub_(128).div_(128)


def pytorch(images: Tensor, side: int = SIDE) -> Tensor:
    """pytorch-fid's way: values to [0, 1], bilinear with half-pixel centres and no antialiasing, then 2x − 1.

    Args and returns are those of `tf1`; the range is [-1, 1].
    """
    scaled = images.float() / 255
    return functional.interpolate(scaled, (side, side), mode="bilinear", align_corners=False).mul_(2).sub_(1)


def clean(images: Tensor, side: int = SIDE) -> Tensor:
    """clean-fid's way: Pillow's antialiasing bicubic on each channel as float, clipped to 0..255 but never rounded.

    The network's input is (x − 128) / 128. Args and returns are those of `tf1`.
    """
    count, channels, height, width = images.shape
    planes = images.reshape(count * channels, height, width).cpu().numpy().astype(np.float32)
    resized = np.empty((len(planes), side, side), np.float32)
    for index, plane in enumerate(planes):
        resized[index] = np.asarray(Image.fromarray(plane).resize((side, side), Image.Resampling.BICUBIC))
    pixels = torch.from_numpy(resized).clamp_(0, 255).sub_(128).div_(128)
    return pixels.reshape(count, channels, side, side).to(images.device)


def torchmetrics(images: Tensor, side: int = SIDE) -> Tensor:
    """torchmetrics' own way: bilinear with half-pixel centres on 0..255 as float, antialiased where it shrinks.

    The network's input is (x − 128) / 128. Args and returns are those of `tf1`.
    """
    scaled = functional.interpolate(images.float(), (side, side), mode="bilinear", align_corners=False, antialias=True)
    return scaled.sub_(128).div_(128)


WAYS: dict[Resize, Callable[[Tensor], Tensor]] = {
    "tf1": tf1,
    "pytorch": pytorch,
    "clean": clean,
    "torchmetrics": torchmetrics,
}
