"""From a recipe's data section to arrays of pixels: which images there are, what belongs together, and the labels."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gancli.data import store
from gancli.data.inventory import Inventory, take_inventory
from gancli.data.pixels import BadImage, Form
from gancli.data.sources import passed_over
from gancli.data.store import Pixels, Skipped
from gancli.errors import UserError
from gancli.recipe.data import Data, Distribution

LOOKED_AT = 8
"""Images of pairs that are looked at for their shape."""
LISTED = 20
"""Images that are named where some are left out; run.json names all."""
NO_HALVES = (
    "no image is wider than high, as two side by side are: set data.layout=folders if A and B are files of their own"
)
NO = "no "
"""Before the name of an attribute: the domain of the images without it."""


@dataclass(frozen=True)
class Dataset:
    """One split of a set, ready to be gathered from.

    Args:
        images: uint8 N×H×W×C by key: image; or a and b, where a is the input of a pair and b what it should become.
        labels: int64 N (index of the class), uint8 N×K (attributes, 0 or 1), or None.
        classes: names of the classes or attributes, in the labels' order; empty without labels.
        names: relative names, in the images' order and with their keys.
        skipped: what was left out, and why.
        matched: row i of every array belongs together; false where a and b are two domains that need not match.
        notes: what a user should know before training on it, a line each.
        contents: digest of the decoded pixels by key, as the cache knows it; of a domain, those of the whole split.
    """

    images: dict[str, Pixels]
    labels: NDArray[Any] | None = None
    classes: tuple[str, ...] = ()
    names: dict[str, list[str]] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    matched: bool = True
    contents: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """SHA-256 of what a training learns from: names, labels, classes, sizes and decoded pixels, in their order.

        It changes when an image is edited, replaced, added, removed, renamed or relabelled. It does not depend on where
        the source lies, the working directory, or the times of files. Nothing is read to compute it: the pixels were
        digested when they were decoded.
        """
        shapes = {key: [int(side) for side in array.shape] for key, array in self.images.items()}
        labels = None if self.labels is None else [self.labels.dtype.str, list(self.labels.shape)]
        facts = [self.names, self.classes, shapes, labels, self.contents, self.matched]
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        if self.labels is not None:
            digest.update(np.ascontiguousarray(self.labels).tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return max(len(array) for array in self.images.values())

    def need(self, batch_size: int) -> None:
        """See that a batch shows no image twice.

        Raises:
            UserError: there are fewer images, or fewer of a domain, than in a batch.
        """
        fewest = min(len(array) for array in self.images.values())
        if fewest < batch_size:
            raise UserError(
                f"train.batch_size: {batch_size} is more than the {fewest} training images: set it to {fewest} or less"
            )


def load(settings: Data | Distribution, split: str = "train", progress: store.Progress | None = None) -> Dataset:
    """One split, decoded.

    Images of the train split are at `enlarge`, where that is set; all others at `image_size`.

    Args:
        settings: the recipe's data section.
        split: train, validation or test.
        progress: called with (images done, images in all) while a set is decoded for the first time.

    Raises:
        UserError: there is no such source or split, it holds nothing of this kind, or an image cannot be used.
    """
    settings = settings.images
    return decode(settings, take_inventory(settings), split, progress)


def load_domain(settings: Data, domain: str, split: str, progress: store.Progress | None = None) -> Dataset:
    """The images of one domain alone, by the key image, at `image_size`: a or b of two, or one that `members` knows.

    Raises:
        UserError: as for `load`, or there is no such domain.
    """
    settings = settings.model_copy(update={"enlarge": None})
    settings = settings.forwards()
    found = load(settings, split, progress)
    if found.labels is None:
        names = {"image": found.names[domain]}
        contents = {"image": found.contents[domain]}
        return Dataset({"image": found.images[domain]}, names=names, skipped=found.skipped, contents=contents)
    if domain.removeprefix(NO) not in found.classes:
        raise UserError(f"{settings.source}: has no domain {domain}: there are {', '.join(found.classes)}")
    rows = members(found.labels, found.classes, domain)
    names = {"image": [found.names["image"][row] for row in rows]}
    pixels: dict[str, Pixels] = {"image": found.images["image"][rows]}
    return Dataset(pixels, found.labels[rows], found.classes, names, found.skipped, contents=found.contents)


def members(labels: NDArray[Any], names: Sequence[str], domain: str) -> NDArray[np.int64]:
    """The places of the images of a class, with an attribute, or without one: `no Smiling`."""
    number = names.index(domain.removeprefix(NO))
    if labels.ndim == 1:
        return np.flatnonzero(labels == number)
    return np.flatnonzero(labels[:, number] == (not domain.startswith(NO)))


def splits_of(settings: Data | Distribution) -> dict[str, int]:
    """How many images (of the larger domain) each split has, before any is decoded."""
    return {name: max(map(len, groups)) for name, groups in take_inventory(settings.images).groups.items()}


def decode(settings: Data, inventory: Inventory, split: str, progress: store.Progress | None = None) -> Dataset:
    """One split of an inventory, decoded, as `load` does."""
    if split not in inventory.groups:
        there = ", ".join(inventory.groups)
        raise UserError(f"data.source: {settings.source} has no {split} split (there are: {there}): {_no_split(split)}")
    form = form_of(settings, settings.training_size if split == "train" else settings.size)
    skipped = list(inventory.problems.get(split, []))
    images: dict[str, Pixels] = {}
    names: dict[str, list[str]] = {}
    contents: dict[str, str] = {}
    labels = None if inventory.labels is None else inventory.labels[split]
    for rows in inventory.groups[split]:
        found = store.decoded(rows, form, settings.cache_limit * 2**30, progress)
        kept = found.kept
        skipped += found.skipped
        images.update(found.pixels)
        contents.update(found.contents)
        for place, key in enumerate(rows.keys):
            names[key] = [rows.names(int(row))[place] for row in kept]
        labels = None if labels is None else labels[kept]

    if skipped and settings.on_bad_image == "stop":
        count = f"{len(skipped):,} images" if len(skipped) > 1 else "an image"
        raise UserError(
            f"data.source: {settings.source}: {count} of the {split} split cannot be used: "
            f"{store.first_names(skipped)}: fix or remove them, or leave them out with --set data.on_bad_image=skip"
        )
    if not all(len(array) for array in images.values()):
        raise UserError(
            f"data.source: {settings.source}: no image of the {split} split can be used: give another source"
        )
    if settings.labelled and split == "train" and labels is not None:
        _need_every_domain(settings, labels, inventory.classes)
    if settings.turned_round:
        images = {"a": images["b"], "b": images["a"]}
        names = {"a": names["b"], "b": names["a"]}
        contents = {"a": contents["b"], "b": contents["a"]}
    notes = _notes(settings, inventory, split, skipped)
    return Dataset(images, labels, inventory.classes, names, skipped, settings.matched, contents, notes)


def _notes(settings: Data, inventory: Inventory, split: str, skipped: Sequence[Skipped]) -> list[str]:
    notes = []
    if inventory.ignored:
        notes.append(f"{settings.source}: {passed_over(inventory.ignored)}")
    if skipped:
        count = f"{len(skipped):,} images" if len(skipped) > 1 else "1 image"
        verb = "are" if len(skipped) > 1 else "is"
        named = store.first_names(skipped, LISTED)
        notes.append(f"{settings.source}: {count} of the {split} split {verb} left out: {named}")
    if settings.halves == 2 and (note := no_two_halves(inventory, split)):
        notes.append(note)
    return notes


def no_two_halves(inventory: Inventory, split: str) -> str | None:
    """A note where the first images of a split do not look like two side by side."""
    (rows,) = inventory.groups[split]
    for row in range(min(LOOKED_AT, len(rows))):
        with suppress(BadImage, OSError):
            image = rows.sources[0].open(int(rows.indices[row, 0]))
            if image.width >= 1.5 * image.height:
                return None
    return NO_HALVES


def form_of(settings: Data, size: tuple[int, int]) -> Form:
    """What the settings bring every image to, at this height and width."""
    return Form(*size, settings.channels, settings.crop, settings.resize, settings.background)


def _need_every_domain(settings: Data, labels: NDArray[Any], names: Sequence[str]) -> None:
    """See that no domain is without training images, and no attribute without images that have it."""
    shown = labels.sum(0) if labels.ndim == 2 else np.bincount(labels, minlength=len(names))
    if len(empty := np.flatnonzero(shown == 0)):
        raise UserError(
            f"data.source: {settings.source}: no training image is of {names[empty[0]]}: give some, or leave it out"
        )


def _no_split(split: str) -> str:
    return "make that folder, or set data.holdout" if split == "test" else f"make a folder {split}"
