"""The built-in shapes: coloured circles, squares and triangles, drawn by rule, so that a model can be judged by truth.

Every image is a function of (seed, index) alone. Each task of the families has its truth here: what an outline should
become is the filled shape it was made from, `recolour` says what a shape of one domain becomes in the other, and
`colour_of` and `mask_of` read an image back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Task = Literal["images", "pairs", "unpaired", "labelled"]

COUNT = 2000
"""Training images where the recipe says no number; a tenth as many are the test split."""
MOST = 1_000_000
"""Training images that a recipe may ask for: listing them took 21 seconds and 0.7 GB on a busy core."""
SHAPES = ("circle", "square", "triangle")
COLOURS: dict[str, tuple[int, int, int]] = {
    "blue": (44, 90, 210),
    "green": (46, 170, 80),
    "red": (214, 48, 49),
    "yellow": (240, 190, 30),
}
"""In the order of their names, which is the order of the classes of the labelled task."""
DOMAINS = ("red", "blue")
"""The colours of domain A and domain B in the unpaired task."""
BACKGROUND = (245, 245, 245)
STROKE = 0.03
"""Half the width of an outline, as a share of the image's shorter side."""


@dataclass(frozen=True)
class Shape:
    """One coloured shape: its centre and radius as shares of the image's shorter side, from the centre of the image."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float
    filled: bool = True


def shape(seed: int, index: int) -> Shape:
    """The attributes of image `index`: shape and colour uniform and independent, wholly inside the image."""
    numbers = np.random.PCG64(np.random.SeedSequence([seed, index])).random_raw(5)
    unit = [float(number) / 2.0**64 for number in numbers]
    radius = 0.16 + 0.14 * unit[2]
    reach = 0.47 - radius
    return Shape(
        SHAPES[int(unit[0] * len(SHAPES))],
        list(COLOURS)[int(unit[1] * len(COLOURS))],
        (2 * unit[3] - 1) * reach,
        (2 * unit[4] - 1) * reach,
        radius,
    )


def recolour(shape: Shape, colour: str) -> Shape:
    """The same shape at the same place in another colour: the truth of the unpaired and the labelled task."""
    return replace(shape, colour=colour)


def outline(shape: Shape) -> Shape:
    """The same shape as a line in its colour: the input of the paired task, whose truth is the filled shape."""
    return replace(shape, filled=False)


def draw(shape: Shape, height: int, width: int) -> NDArray[np.uint8]:
    """The shape, anti-aliased, as uint8 height × width × 3."""
    side = min(height, width)
    x = (np.arange(width) + 0.5 - width / 2) / side - shape.x
    y = ((np.arange(height) + 0.5 - height / 2) / side - shape.y)[:, None]

    # The signed distance to the border, in shares of the side: negative inside.
    if shape.shape == "circle":
        distance = np.hypot(x, y) - shape.radius
    elif shape.shape == "square":
        distance = np.maximum(np.abs(x), np.abs(y)) - shape.radius * 0.85
    else:
        slope = np.sqrt(3) / 2
        distance = np.maximum(slope * np.abs(x) - y / 2, y) - shape.radius / 2
    if not shape.filled:
        distance = np.abs(distance + STROKE) - STROKE

    # A pixel is covered by as much of it as lies inside the border, which is straight at its scale.
    cover = np.clip(0.5 - distance * side, 0, 1)[..., None]
    pixels = cover * np.array(COLOURS[shape.colour]) + (1 - cover) * np.array(BACKGROUND)
    return np.rint(pixels).astype(np.uint8)  # type: ignore[no-any-return]


def mask_of(images: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a shape is: uint8 N×H×W×3 to bool N×H×W. The background is gray, so whatever has a colour is shape."""
    return _chroma(images) > 70


def colour_of(images: NDArray[Any]) -> NDArray[np.int64]:
    """The index in `COLOURS` that each image's shape is nearest to: uint8 N×H×W×3 to int64 N.

    The mean colour, weighted by how colourful each pixel is, is compared by its direction from gray, so that a shape
    that came out too pale or too dark is still known.
    """
    weight = np.maximum(_chroma(images) - 25, 0)[..., None].astype(np.float64)
    mean = (weight * images).sum(axis=(1, 2)) / np.maximum(weight.sum(axis=(1, 2)), 1)
    known = np.array(list(COLOURS.values()), dtype=np.float64)
    nearest: NDArray[np.int64] = np.argmax(_direction(mean) @ _direction(known).T, axis=1)
    return nearest


def _chroma(images: NDArray[Any]) -> NDArray[np.int16]:
    values = images.astype(np.int16)
    chroma: NDArray[np.int16] = values.max(axis=-1) - values.min(axis=-1)
    return chroma


def _direction(colours: NDArray[np.float64]) -> NDArray[np.float64]:
    from_gray = colours - colours.mean(axis=-1, keepdims=True)
    length: NDArray[np.float64] = np.linalg.norm(from_gray, axis=-1, keepdims=True)
    direction: NDArray[np.float64] = from_gray / np.maximum(length, 1e-9)
    return direction


class Shapes:
    """The shapes as a source: each task finds its splits, domains, halves or classes in the names.

    Args:
        task: images (every colour), pairs (outline left, filled right), unpaired (trainA red, trainB blue), labelled
            (a class for each colour).
        size: height and width in pixels to draw at.
        count: training images (of each domain, when unpaired).
    """

    def __init__(self, task: Task, size: tuple[int, int], count: int = COUNT) -> None:
        self.where = f"shapes:{count}"
        self._task = task
        self._size = size
        tests = max(1, count // 10)
        self._shapes: list[Shape] = []
        names: list[str] = []
        for split, first, number in (("train", 0, count), ("test", 2**32, tests)):
            for domain in DOMAINS if task == "unpaired" else ("",):
                for index in range(number):
                    # The domains share no content, so that nothing can be learnt by matching them.
                    drawn = shape(DOMAINS.index(domain) if domain else 0, first + index)
                    drawn = recolour(drawn, domain) if domain else drawn
                    folder = f"/{'AB'[DOMAINS.index(domain)]}" if domain else f"/{drawn.colour}" * (task == "labelled")
                    self._shapes.append(drawn)
                    names.append(f"{split}{folder}/{index:06}")
        self.names: Sequence[str] = names

    def shape(self, index: int) -> Shape:
        """The attributes of the image at a place in `names`."""
        return self._shapes[index]

    def stamp(self, index: int) -> str:
        """What changes when the image does."""
        return f"shapes 1 {self._task} {self._size}"

    def open(self, index: int) -> Image.Image:
        """One image, decoded."""
        drawn = self._shapes[index]
        if self._task != "pairs":
            return Image.fromarray(draw(drawn, *self._size))
        return Image.fromarray(np.hstack([draw(outline(drawn), *self._size), draw(drawn, *self._size)]))
