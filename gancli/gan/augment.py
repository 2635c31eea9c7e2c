"""DiffAugment: the same kind of random change to all that the discriminator sees, through which gradients flow.

Zhao et al., Differentiable Augmentation for Data-Efficient GAN Training, 2020, https://arxiv.org/abs/2006.10738.
All choices are drawn from the global generator of the images' device.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Change = Literal["colour", "translation", "cutout"]


def augment(images: Tensor, changes: Sequence[Change]) -> Tensor:
    """N×C×H×W images with the changes made in their order, anew for each image."""
    for change in changes:
        images = _CHANGES[change](images)
    return images


def colour(images: Tensor) -> Tensor:
    """Brightness moved by up to ±.5, saturation scaled by 0 to 2, contrast by .5 to 1.5."""
    images = images + (_uniform(images) - 0.5)
    gray = images.mean(1, keepdim=True)
    images = gray + (images - gray) * (_uniform(images) * 2)
    level = images.mean((1, 2, 3), keepdim=True)
    return level + (images - level) * (_uniform(images) + 0.5)


def translation(images: Tensor) -> Tensor:
    """Moved by up to an eighth of each side either way, with zeros where nothing was."""
    count, _, height, width = images.shape
    rows, inside_rows = _moved(count, height, images.device)
    columns, inside_columns = _moved(count, width, images.device)
    first = torch.arange(count, device=images.device)[:, None, None]
    moved = images.permute(0, 2, 3, 1)[first, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return moved * (inside_rows[:, None, :, None] & inside_columns[:, None, None, :])


def cutout(images: Tensor) -> Tensor:
    """A rectangle of half of each side set to zero, wherever its centre falls in the image."""
    count, _, height, width = images.shape
    rows = _covered(count, height, images.device)
    columns = _covered(count, width, images.device)
    return images * ~(rows[:, None, :, None] & columns[:, None, None, :])


_CHANGES = {"colour": colour, "translation": translation, "cutout": cutout}


def _uniform(images: Tensor) -> Tensor:
    """A number in [0, 1) for each image, N×1×1×1."""
    return torch.rand(len(images), 1, 1, 1, device=images.device, dtype=images.dtype)


def _moved(count: int, side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where each place of a moved side comes from, N×side, and whether that lies in the image."""
    reach = (side + 4) // 8
    offset = torch.randint(-reach, reach + 1, (count, 1), device=device)
    places = torch.arange(side, device=device) + offset
    return places.clamp(0, side - 1), (places >= 0) & (places < side)


def _covered(count: int, side: int, device: torch.device) -> Tensor:
    """Whether each place of a side lies in the half that is cut out, N×side."""
    half = (side + 1) // 2
    centre = torch.randint(0, side + 1 - half % 2, (count, 1), device=device)
    distance = torch.arange(side, device=device) - (centre - half // 2)
    return (distance >= 0) & (distance < half)
