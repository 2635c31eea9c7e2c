"""What a name says: which split an image belongs to, in which folder it stands, what it is called there."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from gancli.errors import UserError

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
_WITH_DOMAIN = re.compile(rf"({'|'.join(sorted(SPLITS, key=len, reverse=True))})_?([AB])", re.IGNORECASE)


class Name(NamedTuple):
    """A relative name taken apart."""

    split: str | None
    """train, validation, test, or None where the name says nothing."""
    folder: str
    """The first folder below the split's: a class, or domain A or B; empty if there is none."""
    stem: str
    """The rest, without extension."""


def read(name: str) -> Name:
    """`train/Kiwi/1.jpg`, `trainA/1.jpg`, `train/A/1.jpg`, `A/train/1.jpg`, `Kiwi/1.jpg`, `1.jpg`."""
    path = PurePosixPath(name)
    folders = list(path.parts[:-1])
    split = None
    if folders and (match := _WITH_DOMAIN.fullmatch(folders[0])):
        split, folders[:1] = SPLITS[match[1].lower()], [match[2].upper()]
    elif folders and folders[0].lower() in SPLITS:
        split = SPLITS[folders.pop(0).lower()]
    elif len(folders) > 1 and folders[0] in ("A", "B") and folders[1].lower() in SPLITS:
        split = SPLITS[folders.pop(1).lower()]
    folder = folders.pop(0) if folders else ""
    return Name(split, folder, "/".join([*folders, path.stem]))


def below_root(names: Sequence[str]) -> Sequence[str]:
    """The names without the one folder that all stand in, where that folder holds the splits: zips often have one."""
    heads = {name.partition("/")[0] for name in names}
    if len(heads) != 1 or read(names[0]).split:
        return names
    inner = [name.partition("/")[2] for name in names]
    return inner if all(inner) and any(read(name).split for name in inner) else names


def divide(names: Sequence[Name], holdout: float) -> dict[str, list[int]]:
    """Which images belong to which split, as places in `names`.

    Where there is no test split, the validation split takes its place, else a share of the training images, chosen by a
    hash of each name, so that adding images moves none of the others (unless that would leave none to train on). Where
    any split is named, images outside all of them belong to none.
    """
    named = {name.split for name in names} - {None}
    parts: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for index, name in enumerate(names):
        split = name.split if named else "train"
        if split == "train" and not named & {"validation", "test"} and _share(name) < holdout:
            split = "test"
        if split is not None:
            parts[split].append(index)
    if not parts["train"] and not named & {"validation", "test"}:
        if holdout > 0.5:
            raise UserError(f"data.holdout: {holdout:g} leaves none of {len(names):,} images to train on: lower it")
        parts = {"train": parts["test"]}  # so few that the hash took them all
    if "validation" in named and "test" not in named:
        parts["test"] = parts["validation"]
    return {split: places for split, places in parts.items() if places}


def natural(text: str) -> list[tuple[bool, int, str]]:
    """A sort key by which 10 comes after 9."""
    pieces = re.split(r"(\d+)", text)
    return [(not piece.isdecimal(), int(piece) if piece.isdecimal() else 0, piece) for piece in pieces if piece]


def _share(name: Name) -> float:
    """A number in [0, 1) that depends on the name alone; the same name in another Unicode form is the same."""
    text = unicodedata.normalize("NFC", f"{name.folder}/{name.stem}").encode(errors="surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") / 2**64
