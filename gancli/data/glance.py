"""A glance at a source: what kind of data it is and what a few of its images look like, before a recipe is written."""

import re
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from gancli.data import splits, store
from gancli.data.check import Kind
from gancli.data.inventory import Inventory, take_inventory
from gancli.data.pixels import BadImage, halves
from gancli.data.sources import find
from gancli.data.store import Rows, Skipped
from gancli.errors import UserError
from gancli.recipe.data import Data, Images, Labelled, Pairs, Unpaired

LOOKED = 64
"""Images that are opened."""
BUILT_IN = re.compile(r"digits|shapes(:\d+)?")
SHAPES = re.compile(r"shapes(:\d+)?")
"""The built-in shapes can be drawn as any kind of data."""
CYCLEGAN = re.compile(r"train_?[AB]/", re.IGNORECASE)
"""The names by which CycleGAN's data sets keep their domains, whose files have no partners."""
GRAY = 10
"""Levels of 256 by which the colours of a gray image may differ, as JPEG lets them."""
SEAM = 2
"""Times that the step between the halves of an image exceeds its other steps where two images stand side by side."""
FLATTER = 0.25
"""How much larger the share of flat pixels is in drawings than in photographs."""


@dataclass(frozen=True)
class Glance:
    """What was seen.

    Args:
        settings: the data section that fits the source: its class is the kind, its values are those that matter.
        inventory: what the source offers to this kind of data.
        size: height and width of an image in pixels, the middle ones of those looked at.
        alike: whether all of those have one size.
        gray: whether they have no colour.
        drawn: of a pair, whether the first (a) or the second (b) looks drawn beside the other; empty for neither.
        looked: how many were looked at.
        unreadable: those that cannot be used, and why.
    """

    settings: Data
    inventory: Inventory
    size: tuple[int, int]
    alike: bool
    gray: bool
    drawn: str
    looked: int
    unreadable: list[Skipped]

    def count(self, split: str) -> int:
        """Images of a split, or pairs; of two domains the sum."""
        return sum(map(len, self.inventory.groups.get(split, ())))


def as_kind(source: str, kind: Kind) -> Data:
    """The data section by which a source can be used as this kind.

    Raises:
        UserError: it cannot, and why.
    """
    match kind:
        case "images":
            settings: Data = Images(source=source)
        case "labelled":
            settings = Labelled(source=source)
        case "unpaired":
            settings = _two_domains(source)
        case "pairs":
            settings = _pairs(source)
    take_inventory(settings)
    return settings


def kind_of(source: str) -> Kind:
    """The kind of data that a source looks like: pairs, two domains without pairs, or images.

    Raises:
        UserError: there is no such source.
    """
    names = splits.below_root(find(source, (64, 64), "images").names)
    if BUILT_IN.fullmatch(source):
        return "images"
    if not any(CYCLEGAN.match(name) for name in names):
        try:
            _pairs(source)
        except UserError:
            pass
        else:
            return "pairs"
    return "unpaired" if {splits.read(name).folder for name in names} == {"A", "B"} else "images"


def look(settings: Data) -> Glance:
    """Open a few images of the training split.

    Raises:
        UserError: none of them can be used.
    """
    inventory = take_inventory(settings)
    seen: list[_Seen] = []
    bad: list[Skipped] = []
    for rows in inventory.groups["train"]:
        share = max(1, LOOKED // len(inventory.groups["train"]))
        places = np.unique(np.linspace(0, len(rows) - 1, min(share, len(rows))).astype(int)).tolist()
        for place, found in zip(places, store.in_order(_looker(rows), places, 2 * store.workers()), strict=True):
            if isinstance(found, str):
                bad.append(Skipped(" + ".join(dict.fromkeys(rows.names(place))), found))
            else:
                seen.append(found)
    if not seen:
        raise UserError(f"data.source: {settings.source}: no image can be used: {store.first_names(bad)}: repair them")
    sizes = [size for one in seen for size in one.sizes]
    size = int(median(height for height, _ in sizes)), int(median(width for _, width in sizes))
    first, second = (float(np.mean([one.flatness[place] for one in seen])) for place in (0, -1))
    drawn = "a" if first > second + FLATTER else "b" if second > first + FLATTER else ""
    gray = all(one.gray for one in seen)
    return Glance(settings, inventory, size, len(set(sizes)) == 1, gray, drawn, len(seen) + len(bad), bad)


@dataclass(frozen=True)
class _Seen:
    """What one row showed: of each image its height and width and its flatness; whether all are gray."""

    sizes: list[tuple[int, int]]
    flatness: list[float]
    gray: bool


def _looker(rows: Rows) -> Any:
    def look(place: int) -> _Seen | str:
        try:
            images = _open(rows, place)
        except BadImage as error:
            return str(error)
        small = [np.asarray(image.convert("RGB").resize((64, 64)), np.int16) for image in images]
        gray = all((pixels.max(-1) - pixels.min(-1)).max() <= GRAY for pixels in small)
        sizes = [(image.height, image.width) for image in images]
        return _Seen(sizes, [_flatness(image) for image in images], gray)

    return look


def _open(rows: Rows, place: int) -> list[Image.Image]:
    found = [source.open(int(index)) for source, index in zip(rows.sources, rows.indices[place], strict=True)]
    return found if len(found) == len(rows.keys) else list(halves(found[0]))


def _flatness(image: Image.Image) -> float:
    """The share of pixels that are like the one beside them: most in drawings and label maps, few in photographs."""
    levels = np.asarray(image.convert("L"), np.int16)
    return float((np.abs(np.diff(levels, axis=1)) <= 1).mean()) if image.width > 1 else 0.0


def _two_domains(source: str) -> Unpaired:
    """Domains A and B, or the first two classes."""
    settings = Unpaired(source=source)
    try:
        take_inventory(settings)
    except UserError:
        classes = take_inventory(Images(source=source)).classes
        if len(classes) < 2:
            raise
        return Unpaired(source=source, domains=classes[:2])
    return settings


def _pairs(source: str) -> Pairs:
    """Folders A and B of equal names, or images that hold two side by side."""
    beside, folders = Pairs(source=source), Pairs(source=source, layout="folders")
    if SHAPES.fullmatch(source):
        return beside
    try:
        found = take_inventory(folders)
        alone = sum(map(len, found.problems.values()))
        if alone <= sum(len(rows) for groups in found.groups.values() for rows in groups):
            return folders
    except UserError:
        pass
    if not _side_by_side(source):
        raise UserError(
            f"data.source: {source} holds no pairs: it has neither folders A and B with files of the same names, nor "
            "images that hold two side by side"
        )
    return beside


def _side_by_side(source: str) -> bool:
    """Whether images are twice as wide as high, and change from one half to the other as from one image to the next."""
    [rows] = take_inventory(Images(source=source)).groups["train"]
    places = np.unique(np.linspace(0, len(rows) - 1, min(16, len(rows))).astype(int)).tolist()
    steps = []
    for place in places:
        try:
            image = rows.sources[0].open(int(rows.indices[place][0]))
        except BadImage:
            continue
        if abs(image.width - 2 * image.height) > 0.02 * image.width:
            return False
        columns = np.asarray(image.convert("L").resize((128, 64)), np.float64)
        change = np.abs(np.diff(columns, axis=1)).mean(0)
        steps.append(change[63] / (np.median(change) + 1))
    return bool(steps) and median(steps) >= SEAM


def absolute(source: str) -> str:
    """A path from the root where a source is one, so that a recipe means the same images from everywhere."""
    path = Path(source).expanduser()
    return str(path.absolute()) if path.exists() and not BUILT_IN.fullmatch(source) else source


def classes_of(source: str) -> tuple[str, ...]:
    """The names of the class folders of a source; empty where it has none."""
    return take_inventory(Images(source=source)).classes
