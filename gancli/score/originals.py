"""The images of a folder, an archive or a set as they are: whatever their sizes, with the labels of their folders."""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
from torch import Tensor

from gancli.data import sources, splits
from gancli.data.pixels import BadImage, whole
from gancli.data.store import Rows, in_order, workers
from gancli.errors import UserError
from gancli.make.images import Pixels
from gancli.metrics.features import ProtocolEntries
from gancli.score.subject import BATCH, Subject, Told, tensor

MOST_NAMED = 5


def of_source(source: str, split: str | None, *, upright: bool = True) -> Subject:
    """The images of a source as they are, whatever their sizes.

    Args:
        source: a folder, an archive, a fetched or built-in set.
        split: of its images; None takes train, or everything where the source names no splits.
        upright: whether photographs are turned as their EXIF orientation says.

    Raises:
        UserError: it holds no images, or no such split.
    """
    try:
        found = sources.find(source, (64, 64), "images")
    except UserError as error:
        raise UserError(str(error).removeprefix("data.source: "), error.status) from error
    turned: ProtocolEntries = {}
    if isinstance(found, sources.Folder | sources.Zip):
        found.upright = upright
        turned["exif_orientation"] = "applied" if upright else "ignored"
    names = [splits.read(name) for name in splits.below_root(found.names)]
    parts = splits.divide(names, 0)
    if not any(name.split for name in names):
        parts = {split or "all": parts["train"]}
        if split:
            raise UserError(f"--split {split}: {source} names no splits: leave --split out, all its images are taken")
    wanted = split or next(iter(parts))
    if wanted not in parts:
        raise UserError(f"--split {wanted}: {source} has no such split: there are {', '.join(parts)}")
    places = parts[wanted]

    def read(place: int) -> Pixels:
        try:
            return whole(found.open(place))
        except BadImage as error:
            raise UserError(f"{source}: {found.names[place]}: {error}: fix or remove it") from error
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{source}: {found.names[place]}: {reason}: check the disk", 1) from error

    def fault(place: int) -> str | None:
        try:
            read(place)
        except UserError as error:
            if error.status != 2:
                raise
            return str(error)
        return None

    def prepare(told: Told | None) -> None:
        """Decode all images once: what that takes is little beside measuring them."""
        faults = []
        for done, said in enumerate(in_order(fault, places, 4 * workers()), 1):
            faults += [said] if said else []
            if told is not None:
                told("reading the images", done, len(places))
        if len(faults) > 1:
            some = "; ".join(said.removeprefix(f"{source}: ").rpartition(":")[0] for said in faults[:MOST_NAMED])
            raise UserError(
                f"{source}: {len(faults):,} of {len(places):,} images cannot be measured: {some}"
                f"{'; …' if len(faults) > MOST_NAMED else ''}: fix or remove them"
            )
        if faults:
            raise UserError(faults[0])

    folders = tuple(sorted({names[place].folder for place in places}, key=splits.natural))
    labelled = len(folders) > 1 and "" not in folders
    labels = np.array([folders.index(names[place].folder) for place in places]) if labelled else None
    return Subject(
        lambda: stacked(in_order(read, places, 4 * workers())),
        len(places),
        {"data": source, "split": wanted, **turned},
        lambda: labels,
        folders if labelled else (),
        Rows(("image",), (found,), np.array(places).reshape(-1, 1)).key(None) + ("" if upright else " as stored"),
        prepare=prepare,
    )


def stacked(stream: Iterable[Pixels]) -> Iterator[Tensor]:
    """Images of any sizes, H×W×C, as batches N×C×H×W of neighbours of one size."""
    for _, alike in itertools.groupby(stream, lambda image: image.shape):
        while some := list(itertools.islice(alike, BATCH)):
            yield tensor(np.stack(some))
