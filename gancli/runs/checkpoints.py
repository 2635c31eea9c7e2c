"""Checkpoints of a training: the newest, and the one before it.

This is the order in which a training writes, so that it can be resumed after a kill or a power failure at any moment:

1. What a step leaves: its row in metrics.csv, its line in evaluations.jsonl, its picture, and best.safetensors where
   the evaluation was the best so far. Whole files are written beside their name, flushed and renamed.
2. At a save first model.safetensors.
3. metrics.csv, evaluations.jsonl and the folder are flushed: from here on the rows are on the disk.
4. The checkpoint, complete on the disk as next.ckpt. Then last.ckpt becomes previous.ckpt, next.ckpt becomes last.ckpt,
   and the folder is flushed.

So all that a checkpoint relies on is on the disk before it is. What was written after it is cut off at a resume, and
written again. The best weights alone may be newer than the checkpoint: they stay until as good ones replace them.
"""

import json
import math
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gancli import files
from gancli.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

WATCHED = "watched."
"""Before the names of tensors whose order is that of columns."""


class Checkpoint(NamedTuple):
    """Where a training stood after `step` steps and `seconds` of work; `facts` are what else it says of itself."""

    step: int
    seconds: float
    tensors: "dict[str, Tensor]"
    facts: dict[str, str]


class Checkpoints:
    """The folder of a run's checkpoints.

    Args:
        folder: its path.
        prove: raises an error where the folder is no longer the training's own.
    """

    def __init__(self, folder: Path, prove: Callable[[], None] = lambda: None) -> None:
        self._prove = prove
        self.folder = folder
        self.last = folder / "last.ckpt"
        self.previous = folder / "previous.ckpt"
        self.next = folder / "next.ckpt"

    def save(self, checkpoint: Checkpoint) -> None:
        """Make this the newest checkpoint and keep the one before it.

        At every instant at least one is whole: the new one is complete on the disk before the others change names.
        """
        from gancli import weights

        metadata = {"step": str(checkpoint.step), "seconds": repr(checkpoint.seconds), "gancli": version("gancli")}
        watched = [name for name in checkpoint.tensors if name.startswith(WATCHED)]
        weights.write(self.next, checkpoint.tensors, checkpoint.facts | metadata | {"watched": json.dumps(watched)})
        self._prove()
        if self.last.exists():
            self.last.replace(self.previous)
        files.rename(self.next, self.last)

    def facts(self) -> dict[str, str]:
        """What the newest checkpoint whose header can be read says of itself; nothing where there is none."""
        from gancli import weights

        for path in (self.last, self.previous):
            if files.is_file(path):
                try:
                    return weights.describe(path)[0]
                except UserError:
                    continue
        return {}

    def load(self, most: int, *, fresh: bool = False, repair: bool = True) -> tuple[Checkpoint | None, str | None]:
        """The newest checkpoint that is whole, and a warning where it is not the newest; none before the first.

        Args:
            most: bytes that its tensors may have.
            fresh: whether there may be none, as nothing was trained.
            repair: whether the one that is whole takes the place of a damaged newer one.

        Raises:
            UserError: none is whole.
        """
        from gancli import weights

        problems = []
        for path in (self.last, self.previous):
            if path.is_symlink() or not (files.is_file(path) or not path.exists()):
                problems.append(f"{path}: is not a regular file")
                continue
            try:
                tensors, metadata = weights.read(path, most)
                checkpoint = Checkpoint(int(metadata["step"]), float(metadata["seconds"]), tensors, metadata)
                if checkpoint.step < 0 or not 0 <= checkpoint.seconds < math.inf:
                    raise ValueError
            except UserError as error:
                problems.append(str(error).rpartition(":")[0])
            except (KeyError, ValueError):
                problems.append(f"{path}: is no checkpoint")
            else:
                if problems and repair:
                    files.rename(path, self.last)  # so that the damaged one does not take this one's place
                ordered = checkpoint._replace(tensors=dict(_in_order(tensors, metadata.get("watched", "[]"))))
                return ordered, f"{problems[0]}: using {path.name}" if problems else None
        if fresh and not any(file.exists() for file in (self.last, self.previous)):
            return None, None
        raise UserError(f"{'; '.join(problems)}: start again with --force")


def _in_order(tensors: "dict[str, Tensor]", watched: str) -> "Iterator[tuple[str, Tensor]]":
    """The tensors, those watched in the order in which they were."""
    try:
        order = [name for name in json.loads(watched) if isinstance(name, str) and name.startswith(WATCHED)]
    except (ValueError, TypeError, RecursionError):
        order = []
    rest = [name for name in tensors if name not in order]
    yield from ((name, tensors[name]) for name in (*rest, *order) if name in tensors)
