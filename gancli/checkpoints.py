"""Checkpoints of a training: the newest, and the one before it."""

import math
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gancli import files
from gancli.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


class Checkpoint(NamedTuple):
    """Where a training stood after `step` steps and `seconds` of work."""

    step: int
    seconds: float
    tensors: "dict[str, Tensor]"


class Checkpoints:
    """The folder of a run's checkpoints."""

    def __init__(self, folder: Path) -> None:
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
        weights.write(self.next, checkpoint.tensors, metadata)
        if self.last.exists():
            self.last.replace(self.previous)
        files.rename(self.next, self.last)

    def load(self, most: int, *, fresh: bool) -> tuple[Checkpoint | None, str | None]:
        """The newest checkpoint that is whole, and a warning where it is not the newest; none before the first.

        Args:
            most: bytes that its tensors may have.
            fresh: whether there may be none, as nothing was trained.

        Raises:
            UserError: none is whole.
        """
        from gancli import weights

        problems = []
        for path in (self.last, self.previous):
            try:
                tensors, metadata = weights.read(path, most)
                checkpoint = Checkpoint(int(metadata["step"]), float(metadata["seconds"]), tensors)
                if checkpoint.step < 0 or not 0 <= checkpoint.seconds < math.inf:
                    raise ValueError
            except UserError as error:
                problems.append(str(error).rpartition(":")[0])
            except (KeyError, ValueError):
                problems.append(f"{path}: is no checkpoint")
            else:
                if problems:
                    path.replace(self.last)  # lest the damaged one take this one's place
                return checkpoint, f"{problems[0]}: using {path.name}" if problems else None
        if fresh and not any(file.exists() for file in (self.last, self.previous)):
            return None, None
        raise UserError(f"{'; '.join(problems)}: start again with --force")
