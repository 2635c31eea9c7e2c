"""What a source offers to each kind of data, found by names alone: splits, classes, attributes, pairs."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gancli import files
from gancli.data import attributes, shapes, splits
from gancli.data.sources import Source, find, ignored
from gancli.data.store import Rows, Skipped
from gancli.errors import UserError
from gancli.recipe.data import Data, Domains, Images, Labelled, Pairs, Unpaired


@dataclass(frozen=True)
class Inventory:
    """What a source offers, before any image is decoded.

    Args:
        groups: by split, the rows that are gathered together: one group, or one for each domain.
        labels: a label for each row of each split, or None; indices of classes, or 0 and 1 for each attribute.
        classes: names of the classes or attributes.
        problems: by split, the images that fit nowhere: unmatched, or without attributes.
        ignored: files that are not read as images, and images that stand outside every split.
    """

    groups: dict[str, list[Rows]]
    labels: dict[str, NDArray[Any]] | None = None
    classes: tuple[str, ...] = ()
    problems: dict[str, list[Skipped]] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)


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


def _ignored(side: _Side, used: Iterable[Iterable[int]]) -> list[str]:
    """The images that no split holds, and the files that are no images."""
    places = {place for part in used for place in part}
    return [name for place, name in enumerate(side.source.names) if place not in places] + ignored(side.source)


def _ignored_of_both(sides: list[tuple[_Side, str]], by_split: Sequence[dict[str, list[int]]]) -> list[str]:
    if sides[0][0] is sides[1][0]:
        return _ignored(sides[0][0], [*by_split[0].values(), *by_split[1].values()])
    return [name for (side, _), parts in zip(sides, by_split, strict=True) for name in _ignored(side, parts.values())]


def _rows(keys: tuple[str, ...], source: Source, places: Sequence[int]) -> Rows:
    return Rows(keys, (source,), np.array(places, dtype=np.int64).reshape(-1, 1))


# Images, Domains and Labelled: classes by folder, or attributes by file.


def _with_classes(settings: Data) -> Inventory:
    wanted = settings.labelled
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
    unused = _ignored(side, parts.values())
    if not labelled:
        return Inventory(groups, ignored=unused)
    number = {name: index for index, name in enumerate(classes)}
    labels = {
        split: np.array([number[side.names[place].folder] for place in places], dtype=np.int64)
        for split, places in parts.items()
    }
    return Inventory(groups, labels, classes, ignored=unused)


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
    unused = [name for name in _ignored(side, parts.values()) if PurePosixPath(name).name != table.where]
    return Inventory(groups, labels, wanted, problems, unused)


# Pairs and Unpaired.


def _pairs(settings: Pairs) -> Inventory:
    if settings.layout == "side-by-side":
        side = _side(settings, settings.source, "pairs")
        _need_no_folders(settings, side)
        parts = splits.divide(side.names, settings.holdout)
        _need_train(settings, parts)
        halves = {split: [_rows(("a", "b"), side.source, places)] for split, places in parts.items()}
        return Inventory(halves, ignored=_ignored(side, parts.values()))

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
    return Inventory(groups, problems=problems, ignored=_ignored_of_both(sides, by_split))


def _need_no_folders(settings: Pairs, side: _Side) -> None:
    """See that the files of pairs that should be side by side are not those of A and of B, each by itself.

    Raises:
        UserError: they are in a folder A and a folder B, or in two folders whose files have the same names.
    """
    stems: dict[str, set[str]] = {}
    for name in side.names:
        stems.setdefault(name.folder, set()).add(name.stem)
    if {"A", "B"} <= {*stems}:
        raise UserError(
            f"data.source: {settings.source} holds a folder A and a folder B, but data.layout=side-by-side cuts every "
            "image in half: --set data.layout=folders takes pairs from A and B"
        )
    if len(stems) == 2 and "" not in stems:
        (one, first), (other, second) = sorted(stems.items())
        if 2 * len(first & second) > max(len(first), len(second)):
            sides = f"--set data.source={settings.source}/{one} --set data.source_b={settings.source}/{other}"
            advice = f"--set data.layout=folders {sides} takes pairs from both"
            if any(name.split for name in side.names):
                advice = "rename the two folders to A and B, then --set data.layout=folders"
            raise UserError(
                f"data.source: {settings.source} holds files of the same names in {one} and in {other}, but "
                f"data.layout=side-by-side cuts every image in half: {advice}"
            )


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
    return Inventory(groups, ignored=_ignored_of_both(sides, by_split))


def _two_sides(settings: Pairs | Unpaired, source_b: str | None) -> list[tuple[_Side, str]]:
    """Each side with the folder it is confined to: A and B of one source, or all of two."""
    task: shapes.Task = "images" if settings.paired else "unpaired"
    if source_b is not None:
        return [(_side(settings, settings.source, task), ""), (_side(settings, source_b, task), "")]
    side = _side(settings, settings.source, task)
    if missing := [domain for domain in settings.domains if not any(name.folder == domain for name in side.names)]:
        raise UserError(
            f"data.source: {settings.source} holds no domain {missing[0]}: "
            f"name its folders trainA, trainB, testA, testB, name them in data.domains, or B by data.source_b"
        )
    return [(side, domain) for domain in settings.domains]


def _by_split(side: _Side, folder: str, holdout: float) -> dict[str, list[int]]:
    places = [place for place, name in enumerate(side.names) if not folder or name.folder == folder]
    # A and B of one name must fall on the same side of the holdout, so the domain's letter has no part in the hash.
    names = [side.names[place]._replace(folder="") if folder else side.names[place] for place in places]
    return {split: [places[n] for n in found] for split, found in splits.divide(names, holdout).items()}


def _need_train(settings: Data, parts: dict[str, Any]) -> None:
    if not parts.get("train"):
        raise UserError(f"data.source: {settings.source} has no images to train on: put them in a folder train")
