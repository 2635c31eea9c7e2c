"""Where gancli keeps files between commands, and how a file is written so that it is either whole or not there."""

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any


def cache(name: str) -> Path:
    """The folder of that name in the cache, made if need be."""
    folder = cache_root() / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def expand(path: str | Path) -> Path:
    """The path with `~` replaced by the home folder; as it is where nobody has that name."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def cache_root() -> Path:
    """The folder for what can be made again: $GANCLI_CACHE, else $XDG_CACHE_HOME/gancli, else ~/.cache/gancli."""
    base = os.environ.get("GANCLI_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gancli"
    return Path(base)


@contextmanager
def writing(path: Path, size: int | None = None, *, durable: bool = True) -> Iterator[IO[Any]]:
    """A binary file that takes its name only when it is complete and on the disk.

    It is written beside `path`, flushed, and renamed; after an error nothing is left and an older `path` is untouched.

    Args:
        path: the name that it takes.
        size: bytes that it will have, where they are known: a full disk is met before anything else is done.
        durable: whether to wait until a power failure cannot take it; thousands of small files need not wait each.

    Raises:
        OSError: with `path` and the bytes needed.
    """
    # A name may have 255 bytes, and the longest ones leave no room for what is added here.
    beside = path.with_name(f".{path.name[:50]}.{secrets.token_hex(4)}.part")
    try:
        with _naming(path, size), beside.open("w+b") as file:
            if size:
                _reserve(file, size)
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        if durable:
            rename(beside, path)
        else:
            beside.replace(path)
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def write(path: Path, content: bytes | str) -> None:
    """Write a whole file as `writing` does."""
    data = content.encode() if isinstance(content, str) else content
    with writing(path, len(data)) as file:
        file.write(data)


def append(path: Path, text: str) -> None:
    """Add whole lines to a file; after an error it is as it was.

    Raises:
        OSError: with `path` and the bytes needed.
    """
    data = text.encode()
    with _naming(path, len(data)), path.open("ab", buffering=0) as file:
        before = file.tell()
        if file.write(data) < len(data):  # a disk may take a part of it before it is full
            file.truncate(before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def rename(path: Path, name: Path) -> None:
    """Give a file another name in its folder, so that it has it after a power failure too."""
    path.replace(name)
    descriptor = os.open(name.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # a name belongs to the folder, not to the file
    finally:
        os.close(descriptor)


def tidy(folder: Path) -> None:
    """Remove what `writing` left in a folder when its process was killed."""
    for part in folder.glob(".*.????????.part"):
        part.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _naming(path: Path, size: int | None) -> Iterator[None]:
    """Let an error of the disk say which file it met, and how many bytes that needs."""
    try:
        yield
    except OSError as error:
        if error.errno is None or (error.filename is not None and Path(error.filename).parent != path.parent):
            raise  # of something else that was done on the way
        needed = f" ({size:,} bytes needed)" if size is not None else ""
        raise OSError(error.errno, f"{error.strerror}{needed}", str(path)) from error


def _reserve(file: IO[bytes], size: int) -> None:
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):  # not every disk can
            raise
