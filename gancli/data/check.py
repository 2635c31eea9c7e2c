"""What is in a source and what is wrong with it, in words and as a picture, before anything is trained on it."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gancli.data import dataset, splits, store
from gancli.data.inventory import take_inventory
from gancli.data.pixels import BadImage, Form, fit, halves
from gancli.data.sources import by_extension, find, passed_over
from gancli.data.store import Rows, Skipped, first_names
from gancli.errors import UserError, printable
from gancli.recipe.data import Data, Images, Labelled, Pairs, Unpaired

Kind = Literal["images", "pairs", "unpaired", "labelled"]
KINDS: dict[Kind, type[Data]] = {"images": Images, "pairs": Pairs, "unpaired": Unpaired, "labelled": Labelled}
UNBALANCED = 3
"""Times that the largest class may outnumber the smallest before it is worth a word."""
ENLARGED = 1.25
"""Times that an image may be enlarged before it is worth a word."""
LISTED = 5


@dataclass(frozen=True)
class Split:
    """One split of a source.

    Args:
        images: how many can be used; of the pairs, or of each domain.
        classes: how many of each class, or with each attribute.
        skipped: what cannot be used, and why.
    """

    images: dict[str, int]
    classes: dict[str, int]
    skipped: list[Skipped]


@dataclass(frozen=True)
class Report:
    """What `gancli data check` found.

    Args:
        source: as it was given.
        kind: images, pairs, unpaired or labelled.
        splits: what each split holds.
        sizes: how many images of each size, as height×width, the commonest first.
        modes: how many images of each Pillow mode.
        duplicates: names of images with the same pixels.
        ignored: names of files that are not read as images, and of images that stand outside every split.
        skips: whether images that cannot be used are left out, by on_bad_image=skip.
        notes: what is worth knowing, a line each, with what to do about it.
    """

    source: str
    kind: str
    splits: dict[str, Split]
    sizes: dict[str, int]
    modes: dict[str, int]
    duplicates: list[list[str]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skips: bool = False

    @property
    def sound(self) -> bool:
        """Whether every image can be used."""
        return not any(split.skipped for split in self.splits.values())

    @property
    def usable(self) -> bool:
        """Whether one can train on it: every image can be used, or those that cannot are left out."""
        return self.sound or (self.skips and all(all(split.images.values()) for split in self.splits.values()))

    def as_json(self) -> dict[str, Any]:
        """Plain values, for `--json`."""
        values = asdict(self)
        for name, split in self.splits.items():
            values["splits"][name]["skipped"] = [skipped._asdict() for skipped in split.skipped]
        del values["skips"]
        extensions = by_extension(self.ignored)
        return values | {"sound": self.sound, "usable": self.usable, "ignored_by_extension": extensions}

    def text(self) -> str:
        """For a person to read: a few lines."""
        lines = [f"{self.source}: {self.kind}"]
        for name, split in self.splits.items():
            counts = " + ".join(f"{count:,}" for count in split.images.values())
            classes = ", ".join(f"{label} ({count:,})" for label, count in split.classes.items())
            lines.append(f"  {name:<12}{counts}{'  ' + classes if classes else ''}")
        lines.append(f"  {'sizes':<12}{_commonest(self.sizes)} (height×width)")
        lines.append(f"  {'modes':<12}{_commonest(self.modes)}")
        lines.append(f"  {'duplicates':<12}{_groups(self.duplicates)}")
        bad = [skipped for split in self.splits.values() for skipped in split.skipped]
        lines.append(f"  {'unusable':<12}{f'{len(bad):,}: {first_names(bad)}' if bad else 'none'}")
        if self.ignored:
            more = ", …" if len(self.ignored) > LISTED else ""
            names = ", ".join(self.ignored[:LISTED]) + more
            lines.append(f"  {'ignored':<12}{passed_over(self.ignored)} ({names})")
        return "\n".join(printable(line) for line in lines + [f"  note: {note}" for note in self.notes])


class _Seen(NamedTuple):
    """What was learnt from one row."""

    digests: tuple[bytes, ...]
    sizes: tuple[tuple[int, int], ...]
    modes: tuple[str, ...]
    reason: str | None


def guess(source: str, keys: Iterable[str] = ()) -> Kind:
    """The kind that a source is taken for by default: unpaired where it holds domains A and B, else images.

    Args:
        source: as data.source says it.
        keys: fields of the data section that are set; where only some kinds have them, it is the first of those.

    Raises:
        UserError: there is no such source.
    """
    names = find(source, (64, 64), "images").names
    folders = {name.folder for name in map(splits.read, splits.below_root(names)) if name.split}
    likely: Kind = "unpaired" if folders == {"A", "B"} else "images"
    able = [kind for kind, section in KINDS.items() if {*keys} <= {*section.model_fields}]
    return likely if likely in able or not able else able[0]


def check(settings: Data, progress: store.Progress | None = None) -> Report:
    """Open every image of every split and say what there is.

    Args:
        settings: the data section.
        progress: called with (images done, images in all).

    Raises:
        UserError: there is no such source, or it holds nothing of this kind.
    """
    inventory = take_inventory(settings)
    total = sum(len(rows) for groups in inventory.groups.values() for rows in groups)
    done = 0
    found: dict[str, Split] = {}
    sizes: Counter[tuple[int, int]] = Counter()
    modes: Counter[str] = Counter()
    same: dict[bytes, list[tuple[str, str]]] = {}
    form = dataset.form_of(settings, settings.size)

    for split, groups in inventory.groups.items():
        skipped = list(inventory.problems.get(split, []))
        images: dict[str, int] = {}
        kept = np.empty(0, np.int64)
        for rows in groups:
            good = []
            for row, seen in enumerate(store.in_order(_looker(rows, form), range(len(rows)), 4 * store.workers())):
                names = rows.names(row)
                if seen.reason is None:
                    good.append(row)
                else:
                    skipped.append(Skipped(" + ".join(dict.fromkeys(names)), seen.reason))
                sizes.update(seen.sizes)
                modes.update(seen.modes)
                for digest, name in zip(seen.digests, names, strict=False):
                    if (split, name) not in same.setdefault(digest, []):
                        same[digest].append((split, name))
                done += 1
                if progress:
                    progress(done, total)
            kept = np.array(good, dtype=np.int64)
            images |= {"pairs" if len(rows.keys) > 1 else rows.keys[0]: len(good)}
        labels = None if inventory.labels is None else inventory.labels[split][kept]
        found[split] = Split(images, _by_class(labels, inventory.classes), skipped)

    duplicates = [group for group in same.values() if len(group) > 1]
    ordered = {f"{height}×{width}": count for (width, height), count in sizes.most_common()}
    return Report(
        settings.source,
        type(settings).__name__.lower(),
        found,
        ordered,
        dict(modes.most_common()),
        [[name for _, name in group] for group in duplicates],
        inventory.ignored,
        list(_notes(settings, found, sizes, duplicates)),
        settings.on_bad_image == "skip",
    )


def _looker(rows: Rows, form: Form) -> Callable[[int], _Seen]:
    def look(row: int) -> _Seen:
        digests, sizes, modes = [], [], []
        try:
            for source, index in zip(rows.sources, rows.indices[row], strict=True):
                image = source.open(int(index))
                digests.append(hashlib.blake2b(f"{image.size}{image.mode}".encode() + image.tobytes()).digest()[:16])
                sizes.append(image.size)
                modes.append(image.mode)
                for part in halves(image) if len(rows.sources) < len(rows.keys) else (image,):
                    fit(part, form)
        except BadImage as error:
            return _Seen((), tuple(sizes), tuple(modes), str(error))
        except OSError as error:
            name = f"{rows.sources[0].where}/{rows.names(row)[0]}"
            raise UserError(f"{name}: {error.strerror or error}: check the disk, then try again", status=1) from error
        return _Seen(tuple(digests), tuple(sizes), tuple(modes), None)

    return look


def _by_class(labels: NDArray[Any] | None, classes: Sequence[str]) -> dict[str, int]:
    if labels is None:
        return {}
    counts = np.bincount(labels, minlength=len(classes)) if labels.ndim == 1 else labels.sum(axis=0, dtype=np.int64)
    return {name: int(count) for name, count in zip(classes, counts, strict=True)}


def _notes(
    settings: Data,
    found: dict[str, Split],
    sizes: Counter[tuple[int, int]],
    duplicates: list[list[tuple[str, str]]],
) -> Sequence[str]:
    notes = []
    shared = [group for group in duplicates if len({split for split, _ in group}) > 1]
    # The validation split may stand for the test split: those two share by intention.
    shared = [group for group in shared if "train" in {split for split, _ in group}]
    if shared:
        notes.append(
            f"{_images(len(shared), 'is', 'are')} in train and outside it ({shared[0][0][1]} = {shared[0][1][1]}): "
            f"scores will flatter; remove them from one"
        )
    train = found["train"]
    if "test" not in found:
        notes.append("there is no test split: set data.holdout, or make a folder test")
    if train.classes and not settings.has_attributes:
        least, most = (pick(train.classes, key=train.classes.__getitem__) for pick in (min, max))
        if train.classes[most] > UNBALANCED * train.classes[least]:
            notes.append(
                f"unbalanced: {train.classes[most]:,} of {most} and {train.classes[least]:,} of {least}: "
                f"add images of {least}, or train on balanced batches"
            )
    height, width = settings.size
    halved = settings.halves
    if halved == 2 and all(w < 1.5 * h for w, h in sizes):
        notes.append(dataset.NO_HALVES)
    small = sum(count for (w, h), count in sizes.items() if w * ENLARGED < width * halved or h * ENLARGED < height)
    if small:
        notes.append(
            f"{_images(small, 'is', 'are')} much smaller than image_size ({height}×{width}) and will be enlarged: "
            f"a smaller data.image_size trains faster and loses nothing"
        )
    return notes


def _images(count: int, one: str, several: str) -> str:
    return f"{count:,} image {one}" if count == 1 else f"{count:,} images {several}"


def _commonest(counts: dict[str, int]) -> str:
    text = ", ".join(f"{name} ({count:,})" for name, count in list(counts.items())[:LISTED])
    return text + (f", … {len(counts)} in all" if len(counts) > LISTED else "")


def _groups(groups: list[list[str]]) -> str:
    if not groups:
        return "none"
    text = "; ".join(" = ".join(group[:LISTED]) + ("…" if len(group) > LISTED else "") for group in groups[:LISTED])
    return f"{len(groups):,}: {text}" + ("; …" if len(groups) > LISTED else "")
