"""From a recipe's data section to arrays of pixels: which images there are, what belongs together, and the labels."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gancli import files
from gancli.data import attributes, shapes, splits, store
from gancli.data.pixels import Form
from gancli.data.settings import Data, Distribution, Domains, Images, Labelled, Pairs, Unpaired
from gancli.data.sources import Source, find
from gancli.data.store import Pixels, Rows, Skipped
from gancli.errors import UserError

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
        contents: digest of the decoded pixels by key, as the cache knows it; of a domain, those of the whole split.
    """

    images: dict[str, Pixels]
    labels: NDArray[Any] | None = None
    classes: tuple[str, ...] = ()
    names: dict[str, list[str]] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    matched: bool = True
    contents: dict[str, str] = field(default_factory=dict)

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


@dataclass(frozen=True)
class Inventory:
    """What a source offers, before any image is decoded.

    Args:
        groups: by split, the rows that are gathered together: one group, or one for each domain.
        labels: a label for each row of each split, or None; indices of classes, or 0 and 1 for each attribute.
        classes: names of the classes or attributes.
        problems: by split, the images that fit nowhere: unmatched, or without attributes.
        ignored: names that stand outside every split.
    """

    groups: dict[str, list[Rows]]
    labels: dict[str, NDArray[Any]] | None = None
    classes: tuple[str, ...] = ()
    problems: dict[str, list[Skipped]] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)


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
    settings = _images(settings)
    return decode(settings, take_inventory(settings), split, progress)


def load_domain(settings: Data, domain: str, split: str, progress: store.Progress | None = None) -> Dataset:
    """The images of one domain alone, by the key image, at `image_size`: a or b of two, or one that `members` knows.

    Raises:
        UserError: as for `load`, or there is no such domain.
    """
    settings = settings.model_copy(update={"enlarge": None})
    if isinstance(settings, Pairs):
        settings = settings.model_copy(update={"direction": "a-to-b"})  # so that a is a
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
    return {name: max(map(len, groups)) for name, groups in take_inventory(_images(settings)).groups.items()}


def _images(settings: Data | Distribution) -> Data:
    if isinstance(settings, Distribution):
        raise UserError(f"data.source: {settings.source} gives points, not images: `gancli evaluate` judges them")
    return settings


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
            f"{store.first_names(skipped)}: mend or remove them, or set data.on_bad_image=skip"
        )
    if not all(len(array) for array in images.values()):
        raise UserError(
            f"data.source: {settings.source}: no image of the {split} split can be used: give another source"
        )
    if isinstance(settings, Domains) and split == "train" and labels is not None:
        _need_every_domain(settings, labels, inventory.classes)
    if isinstance(settings, Pairs) and settings.direction == "b-to-a":
        images = {"a": images["b"], "b": images["a"]}
        names = {"a": names["b"], "b": names["a"]}
        contents = {"a": contents["b"], "b": contents["a"]}
    return Dataset(images, labels, inventory.classes, names, skipped, not isinstance(settings, Unpaired), contents)


def form_of(settings: Data, size: tuple[int, int]) -> Form:
    """What the settings bring every image to, at this height and width."""
    return Form(*size, settings.channels, settings.crop, settings.resize, settings.background)


def take_inventory(settings: Data) -> Inventory:
    """What the source offers to this kind of data, found by names alone.

    Raises:
        UserError: there is no such source, or nothing of this kind in it.
    """
    match settings:
        case Pairs():
            return _pairs(settings)
        case Unpaired():
            return _unpaired(settings)
        case Labelled() if settings.attributes:
            return _with_attributes(settings, settings.attributes)
        case Domains() | Images():
            return _with_classes(settings)
        case _:
            raise TypeError(f"no kind of data: {type(settings).__name__}")


class _Side(NamedTuple):
    """A source with its names taken apart."""

    source: Source
    names: Sequence[splits.Name]


def _side(settings: Data, source: str, task: shapes.Task) -> _Side:
    found = find(source, settings.training_size, task)
    return _Side(found, [splits.read(name) for name in splits.below_root(found.names)])


def _ignored(side: _Side, parts: dict[str, list[int]]) -> list[str]:
    used = {place for places in parts.values() for place in places}
    return [name for place, name in enumerate(side.source.names) if place not in used]


def _rows(keys: tuple[str, ...], source: Source, places: Sequence[int]) -> Rows:
    return Rows(keys, (source,), np.array(places, dtype=np.int64).reshape(-1, 1))


# Images, Domains and Labelled: classes by folder, or attributes by file.


def _with_classes(settings: Data) -> Inventory:
    wanted = isinstance(settings, Domains)
    side = _side(settings, settings.source, "labelled" if wanted else "images")
    parts = splits.divide(side.names, settings.holdout)
    _need_train(settings, parts)
    used = [side.names[place] for places in parts.values() for place in places]
    classes = tuple(sorted({name.folder for name in used}, key=splits.natural))
    labelled = len(classes) > 1 and "" not in classes
    if wanted and not labelled:
        found = f"one class only ({classes[0]})" if classes[0] and len(classes) == 1 else "images outside class folders"
        raise UserError(
            f"data.source: {settings.source} holds {found}: give a folder for each domain, or name data.attributes"
        )
    if wanted and (empty := _empty_folder(settings.source)) is not None:
        raise UserError(f"data.source: {empty} is empty: put images of the domain there, or remove it")
    groups = {split: [_rows(("image",), side.source, places)] for split, places in parts.items()}
    ignored = _ignored(side, parts)
    if not labelled:
        return Inventory(groups, ignored=ignored)
    number = {name: index for index, name in enumerate(classes)}
    labels = {
        split: np.array([number[side.names[place].folder] for place in places], dtype=np.int64)
        for split, places in parts.items()
    }
    return Inventory(groups, labels, classes, ignored=ignored)


def _empty_folder(source: str) -> str | None:
    """A folder below the source that holds nothing at all."""
    return next((place for place, folders, inside in os.walk(files.expand(source)) if not folders + inside), None)


def _with_attributes(settings: Labelled, wanted: tuple[str, ...]) -> Inventory:
    side = _side(settings, settings.source, "images")
    table = attributes.read(settings.source, settings.attribute_file, wanted)
    groups: dict[str, list[Rows]] = {}
    labels: dict[str, NDArray[Any]] = {}
    problems: dict[str, list[Skipped]] = {}
    parts = splits.divide(side.names, settings.holdout)
    _need_train(settings, parts)
    for split, places in parts.items():
        values = [(place, table.find(side.source.names[place])) for place in places]
        known = [(place, value) for place, value in values if value is not None]
        groups[split] = [_rows(("image",), side.source, [place for place, _ in known])]
        labels[split] = np.array([value for _, value in known], dtype=np.uint8).reshape(-1, len(wanted))
        problems[split] = [
            Skipped(side.source.names[place], f"not in {table.where}") for place, value in values if value is None
        ]
    return Inventory(groups, labels, wanted, problems, _ignored(side, parts))


# Pairs and Unpaired.


def _pairs(settings: Pairs) -> Inventory:
    if settings.layout == "side-by-side":
        side = _side(settings, settings.source, "pairs")
        parts = splits.divide(side.names, settings.holdout)
        _need_train(settings, parts)
        halves = {split: [_rows(("a", "b"), side.source, places)] for split, places in parts.items()}
        return Inventory(halves, ignored=_ignored(side, parts))

    sides = _two_sides(settings, settings.source_b)
    by_split = [_by_split(side, folder, settings.holdout) for side, folder in sides]
    sources = tuple(side.source for side, _ in sides)
    groups: dict[str, list[Rows]] = {}
    problems: dict[str, list[Skipped]] = {}
    for split in dict.fromkeys([*by_split[0], *by_split[1]]):
        problems[split], tables = [], []
        for (side, folder), parts in zip(sides, by_split, strict=True):
            table: dict[str, int] = {}
            for place in parts.get(split, []):
                name = side.names[place]
                stem = name.stem if folder or not name.folder else f"{name.folder}/{name.stem}"
                if stem in table:
                    twin = side.source.names[table[stem]]
                    problems[split].append(Skipped(side.source.names[place], f"has the name of {twin}"))
                else:
                    table[stem] = place
            tables.append(table)
        for here, there, source in zip(tables, reversed(tables), sources, strict=True):
            alone = [source.names[place] for stem, place in here.items() if stem not in there]
            problems[split] += [Skipped(name, "has no partner of its name on the other side") for name in alone]
        both = [(place, tables[1][stem]) for stem, place in tables[0].items() if stem in tables[1]]
        if both:
            groups[split] = [Rows(("a", "b"), sources, np.array(both, dtype=np.int64))]
    if not groups:
        first = next((found[0].name for found in problems.values() if found), "")
        raise UserError(
            f"data.source: no name on one side is found on the other ({first}): give A and B the same names"
        )
    _need_train(settings, groups)
    return Inventory(groups, problems=problems)


def _unpaired(settings: Unpaired) -> Inventory:
    sides = _two_sides(settings, settings.source_b)
    by_split = [_by_split(side, folder, settings.holdout) for side, folder in sides]
    groups = {
        split: [
            _rows((key,), side.source, parts[split])
            for key, (side, _), parts in zip("ab", sides, by_split, strict=True)
        ]
        for split in by_split[0]
        if split in by_split[1]
    }
    _need_train(settings, groups)
    return Inventory(groups)


def _two_sides(settings: Pairs | Unpaired, source_b: str | None) -> list[tuple[_Side, str]]:
    """Each side with the folder it is confined to: A and B of one source, or all of two."""
    task: shapes.Task = "unpaired" if isinstance(settings, Unpaired) else "images"
    if source_b is not None:
        return [(_side(settings, settings.source, task), ""), (_side(settings, source_b, task), "")]
    side = _side(settings, settings.source, task)
    domains = settings.domains if isinstance(settings, Unpaired) else ("A", "B")
    if missing := [domain for domain in domains if not any(name.folder == domain for name in side.names)]:
        raise UserError(
            f"data.source: {settings.source} holds no domain {missing[0]}: "
            f"name its folders trainA, trainB, testA, testB, name them in data.domains, or B by data.source_b"
        )
    return [(side, domain) for domain in domains]


def _by_split(side: _Side, folder: str, holdout: float) -> dict[str, list[int]]:
    places = [place for place, name in enumerate(side.names) if not folder or name.folder == folder]
    # A and B of one name must fall on the same side of the holdout, so the domain's letter has no part in the hash.
    names = [side.names[place]._replace(folder="") if folder else side.names[place] for place in places]
    return {split: [places[n] for n in found] for split, found in splits.divide(names, holdout).items()}


def _need_train(settings: Data, parts: dict[str, Any]) -> None:
    if not parts.get("train"):
        raise UserError(f"data.source: {settings.source} has no images to train on: put them in a folder train")


def _need_every_domain(settings: Data, labels: NDArray[Any], names: Sequence[str]) -> None:
    """See that no domain is without training images, and no attribute without images that have it."""
    shown = labels.sum(0) if labels.ndim == 2 else np.bincount(labels, minlength=len(names))
    if len(empty := np.flatnonzero(shown == 0)):
        raise UserError(
            f"data.source: {settings.source}: no training image is of {names[empty[0]]}: give some, or leave it out"
        )


def _no_split(split: str) -> str:
    return "make that folder, or set data.holdout" if split == "test" else f"make a folder {split}"
