"""From a batch of pixels to what the networks see: numbers in [-1, 1], augmented for training, on its device."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from gancli.recipe.data import Data, Distribution

AREA, ASPECT = (0.8, 1.0), (0.9, 1.1)
"""Of the part that a zoomed image shows."""


def prepare(batch: Mapping[str, Tensor], settings: Data | Distribution, training: bool) -> dict[str, Tensor]:
    """The batch with its uint8 images N×C×H×W as float32 in [-1, 1]; everything else, as points, passes unchanged.

    For training, images larger than `image_size` are cropped at random, a share `zoom` of them is zoomed into and,
    with `flip`, half are mirrored: both of a pair alike, all others each by itself. The choices are drawn from the
    global generator of the images' device, which the training step seeds by position. Otherwise the crop is the centre.

    Args:
        batch: on any device.
        settings: the recipe's data section.
        training: whether to augment.
    """
    prepared = dict(batch)
    if settings.points:
        return prepared
    settings = settings.images
    changes: _Changes | None = None
    for key, images in batch.items():
        if images.dtype != torch.uint8 or images.ndim != 4:
            continue
        if changes is None or not settings.paired:
            changes = _Changes(images, settings, training)
        # 127.5 is exact and 255 maps to 1 exactly, so the pixels can be had back without loss.
        prepared[key] = changes(images).float().sub_(127.5).div_(127.5)
    return prepared


class _Changes:
    """What is done to each image of a batch, decided once so that it can be done to several."""

    def __init__(self, images: Tensor, settings: Data, training: bool) -> None:
        count, device = len(images), images.device
        self._size = height, width = settings.size
        spare = images.shape[-2] - height, images.shape[-1] - width
        self._crop = spare != (0, 0)
        self._mirrored: Tensor | None = None
        if self._crop and training:
            self._top, self._left = (torch.randint(0, room + 1, (count,), device=device) for room in spare)
        elif self._crop:
            self._top, self._left = (torch.full((count,), room // 2, device=device) for room in spare)
        self._parts: Tensor | None = None
        if settings.zoom and training:
            self._parts = _parts(count, settings.zoom, device)
        if settings.flip and training:
            self._mirrored = torch.rand(count, device=device) < 0.5

    def __call__(self, images: Tensor) -> Tensor:
        if self._crop:
            height, width = self._size
            device = images.device
            rows = self._top[:, None] + torch.arange(height, device=device)
            columns = self._left[:, None] + torch.arange(width, device=device)
            first = torch.arange(len(images), device=device)[:, None, None]
            images = images.permute(0, 2, 3, 1)[first, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
        if self._parts is not None:
            # Only what is zoomed is interpolated: everything else keeps its values to the bit.
            images = images.float()
            shown = grid_sample(
                images, affine_grid(self._parts, list(images.shape), False), "bilinear", "border", False
            )
            zoomed = (self._parts != torch.eye(2, 3, device=images.device)).any((1, 2))
            images = torch.where(zoomed[:, None, None, None], shown, images)
        if self._mirrored is not None:
            # Choosing whole images from both versions copies memory in long runs: three times as fast as `where`.
            both = torch.cat([images, images.flip(-1)]).permute(0, 2, 3, 1)
            which = torch.arange(len(images), device=images.device) + self._mirrored * len(images)
            images = both.index_select(0, which).permute(0, 3, 1, 2)
        return images


def _parts(count: int, share: float, device: torch.device) -> Tensor:
    """What each image shows of itself, as the matrix that takes places in the result to places in it, N×2×3.

    All of it (the identity), or with the chance `share` a part whose area, aspect and place are uniformly random; the
    aspect by its logarithm.
    """
    chosen, area, aspect, top, left = torch.rand(5, count, device=device)
    area = AREA[0] + area * (AREA[1] - AREA[0])
    aspect = torch.exp(math.log(ASPECT[0]) + aspect * math.log(ASPECT[1] / ASPECT[0]))
    height, width = (area / aspect).sqrt().clamp(max=1), (area * aspect).sqrt().clamp(max=1)
    nothing = torch.zeros(count, device=device)
    # The sides run from -1 to 1, so a part of width w may be moved by up to 1 - w either way.
    rows = [width, nothing, (1 - width) * (2 * left - 1), nothing, height, (1 - height) * (2 * top - 1)]
    parts = torch.stack(rows, dim=1).reshape(count, 2, 3)
    return torch.where((chosen < share)[:, None, None], parts, torch.eye(2, 3, device=device))
