"""A file that a command writes in the end is checked in the beginning."""

import os
from collections.abc import Iterable
from pathlib import Path

from gancli.errors import UserError


def check(option: str, file: Path | None, suffix: str, force: bool, inputs: Iterable[str | Path | None] = ()) -> None:
    """Refuse a place where the result could not be written, before any work is done.

    Args:
        option: that names the file.
        file: what will be written; None for nothing.
        suffix: that its name must have.
        force: whether a file that exists may be replaced.
        inputs: words of the command line that may name a file which is read; such a file is never replaced.

    Raises:
        UserError: another extension, a file that exists, an input, or a folder that is missing or cannot be written.
    """
    if file is None:
        return
    if file.suffix != suffix:
        raise UserError(f"{option} {file}: expected a name that ends in {suffix}")
    try:
        if file.is_dir():
            raise UserError(f"{option} {file}: is a folder: give the name of a file")
        if any(_same(file, word) for word in inputs if word is not None):
            raise UserError(f"{option} {file}: this file is read by the same command: give another name")
        if file.exists() and not force:
            raise UserError(f"{file}: exists already: --force replaces it, another name leaves it")
        # The name that the file has while it is written.
        probe = file.with_name(f".{file.name}.{os.urandom(4).hex()}.part")
        probe.open("xb").close()
        probe.unlink()
    except OSError as error:
        raise UserError(f"{option} {file}: {error.strerror or error}: give a place that can be written") from error


def _same(file: Path, word: str | Path) -> bool:
    try:
        return file.samefile(Path(word).expanduser())
    except OSError:  # either does not exist, or is no path
        return False
