"""Tensors to pictures: PNG files, grids, animations."""

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from gancli.data.store import in_order

K = TypeVar("K")
Pixels = npt.NDArray[np.uint8]

AHEAD = 256
"""Images that may wait to be encoded."""
CELL = 64
"""Least side in pixels of a picture in a grid: smaller ones are enlarged by a whole factor."""


def pixels(images: Tensor) -> Pixels:
    """N×C×H×W in [-1, 1] to uint8 N×H×W×C, rounded to the nearest level and clipped."""
    levels = images.detach().float().add(1).mul(127.5).round().clamp(0, 255)
    return levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def picture(image: Pixels) -> Image.Image:
    """H×W×C to a picture: 1 channel gray, 3 RGB, 4 RGBA."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def png(image: Pixels) -> bytes:
    """One H×W×C image as the content of a PNG file."""
    content = io.BytesIO()
    picture(image).save(content, format="PNG", compress_level=1)
    return content.getvalue()


def encode_all(images: Iterable[tuple[K, Pixels]]) -> Iterator[tuple[K, bytes]]:
    """PNG files of H×W×C images, in order, encoded on other threads while the next images are being made."""
    return in_order(lambda keyed: (keyed[0], png(keyed[1])), images, AHEAD)


def grid(images: Pixels, columns: int | None = None, gap: int = 2) -> Pixels:
    """N×H×W×C images as one picture, row by row, in as square a shape as may be unless `columns` says otherwise."""
    count, height, width, channels = images.shape
    columns = columns or int(np.ceil(np.sqrt(count)))
    factor = max(1, -(-CELL // max(height, width)))
    if factor > 1:
        images = images.repeat(factor, axis=1).repeat(factor, axis=2)
        height, width = height * factor, width * factor
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), 255, np.uint8)
    for n, image in enumerate(images):
        top, left = gap + n // columns * (height + gap), gap + n % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet


def save_animation(frames: Sequence[Image.Image], target: Path | IO[bytes], milliseconds: int = 100) -> None:
    """Frames of one size as an endlessly repeated GIF."""
    first, *rest = [frame.convert("L" if frame.mode == "L" else "RGB") for frame in frames]
    first.save(target, format="GIF", save_all=True, append_images=rest, duration=milliseconds, loop=0)
