"""The run that `train --force` replaces: it stays aside, within the directory, until the new one can be continued.

At every instant it is clear which of the two counts, also after a kill or a power failure:

- `checkpoints` is moved aside first and put back last. So while the old run lies aside, a checkpoint in the directory
  itself is the new run's: the new one counts, and the old one is removed.
- `recipe.yaml` is moved aside last and put back first. So where it lies aside, all of the old run does, and what has a
  run's name in the directory itself is of a start that failed; where it does not, all that is there is of the old run.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from gancli import files
from gancli.errors import UserError

FOLDER = ".replaced"


class Replaced:
    """Where the old run lies.

    Args:
        path: the run directory.
        names: all that a run may hold, `checkpoints` first and `recipe.yaml` last.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.path, self.folder, self._names = path, path / FOLDER, names

    def __bool__(self) -> bool:
        """Whether there is an old run."""
        return files.is_folder(self.folder)

    def size(self) -> int:
        """Bytes that a run here takes."""
        found = [file for name in self._names for file in (self.path / name, *(self.path / name).glob("*"))]
        return sum(file.lstat().st_size for file in found if files.is_file(file))

    def set_aside(self) -> None:
        """Move what is in the directory aside."""
        found = [name for name in self._names if _is_there(self.path / name)]
        if "recipe.yaml" not in found:
            return
        self.folder.mkdir()
        files.sync(self.path)
        for name in found:
            if name == "recipe.yaml":
                files.sync(self.folder, self.path)
            (self.path / name).rename(self.folder / name)
            if name == "checkpoints":
                files.sync(self.folder, self.path)
        files.sync(self.folder, self.path)

    def settle(self) -> None:
        """Remove the old run where the new one has a checkpoint, else put it back.

        Raises:
            UserError: something else stands where it should lie.
        """
        if not _is_there(self.folder):
            return
        if not self:
            raise UserError(f"{self.folder}: is not a folder: remove it")
        if any((self.path / "checkpoints" / name).exists() for name in ("last.ckpt", "previous.ckpt")):
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        if (self.folder / "recipe.yaml").exists():
            for name in self._names:
                _remove(self.path / name)
            files.sync(self.path)
        for name in reversed(self._names):
            if _is_there(self.folder / name):
                (self.folder / name).rename(self.path / name)
                files.sync(self.path, self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _remove(path: Path) -> None:
    if files.is_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
