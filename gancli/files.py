"""Where gancli keeps files between commands, and how a file is written so that it is either whole or not there."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from gancli.errors import UserError


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
    beside = path.with_name(f".{path.name[:50]}.{os.urandom(4).hex()}.part")
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


def append(path: Path, text: str, check: Callable[[], None] = lambda: None) -> None:
    """Add whole lines to a file; after an error it is as it was.

    Args:
        path: of the file.
        text: the lines.
        check: called when the file is open: what it raises ends this before anything is written.

    Raises:
        OSError: with `path` and the bytes needed.
        UserError: the file is a link, or has a second name elsewhere.
    """
    data = text.encode()
    with _naming(path, len(data)), os.fdopen(open_own(path, os.O_RDWR | os.O_APPEND | os.O_CREAT), "r+b", 0) as file:
        check()
        state = os.fstat(file.fileno())
        if state.st_nlink > 1:
            raise UserError(f"{path}: has a second name elsewhere, whose content would change too: put a copy here")
        if state.st_size and os.pread(file.fileno(), 1, state.st_size - 1) != b"\n":
            data = b"\n" + data  # the line before was cut short
        if (file.write(data) or 0) < len(data):  # a disk may take a part of it before it is full
            file.truncate(state.st_size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def is_file(path: Path) -> bool:
    """Whether a regular file of this name is here itself, not a link to one."""
    return _is(path, stat.S_ISREG)


def is_folder(path: Path) -> bool:
    """Whether a folder of this name is here itself, not a link to one."""
    return _is(path, stat.S_ISDIR)


def open_own(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a regular file. Links are not followed, and no pipe is waited for.

    Raises:
        OSError: it cannot be opened.
        UserError: it is a link, or anything else.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UserError(f"{path}: is a link, and links are not followed here: remove it") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"{path}: is not a regular file: remove it")
    return descriptor


def read(path: Path) -> bytes:
    """The content of a file that `open_own` opens."""
    with os.fdopen(open_own(path), "rb") as file:
        return file.read()


def sync(*paths: Path) -> None:
    """See that what was written to files, and the names in folders, are still there after a power failure."""
    for path in paths:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            continue
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder, those above it included, that is still there after a power failure."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync(path.parent)


def rename(path: Path, name: Path) -> None:
    """Give a file another name in its folder, so that it has it after a power failure too."""
    path.replace(name)
    sync(name.parent)  # a name belongs to the folder, not to the file


def tidy(folder: Path) -> None:
    """Remove what `writing` left in a folder when its process was killed."""
    for part in folder.glob(".*.????????.part"):
        part.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    import hashlib  # OpenSSL takes milliseconds to load, which a command that only answers can do without

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is(path: Path, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


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
