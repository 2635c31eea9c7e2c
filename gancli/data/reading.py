"""Opening files that a stranger may have made: regular ones alone, and never more of them than is reasonable."""

import errno
import io
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from gancli import memory
from gancli.errors import UserError

NAME_BYTES = 200
"""Memory that the name of an image, its stamp and its place in lists take."""


OF_THE_FILE = (
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.ENXIO,
    errno.ENODEV,
    errno.EINVAL,
)
"""Errors that say something of one file, where others say that the disk fails."""


class NoRegularFile(OSError):
    """A pipe, socket, device or folder stands where a file is expected: to open it could hang."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EINVAL, "is no regular file", str(path))


def regular(path: Path) -> io.FileIO:
    """Open a regular file for reading, or what a link leads to.

    Raises:
        NoRegularFile: it is something else.
        OSError: it cannot be opened.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise NoRegularFile(path)
    # What was a file a moment ago may be a pipe now: that must not hang either.
    file = io.FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), closefd=True)
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise NoRegularFile(path)


def content(path: Path, most: int) -> bytes:
    """The content of a regular file.

    Raises:
        UserError: it is larger than `most` bytes.
        OSError: it cannot be read.
    """
    with regular(path) as file:
        if (size := os.fstat(file.fileno()).st_size) > most:
            raise UserError(f"data.source: {path} has {size:,} bytes, more than the {most:,} that are read of its kind")
        return file.read(most + 1)


class Limited(io.RawIOBase):
    """A stream of which no more than `most` bytes may be read: a small archive may unpack without end.

    Raises:
        UserError: when more is read.
    """

    def __init__(self, stream: IO[bytes], most: int, where: str) -> None:
        self._stream, self._left, self._where = stream, most, where

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes."""
        piece = self._stream.read(size if 0 <= size <= self._left else self._left + 1)
        self._left -= len(piece)
        if self._left < 0:
            raise UserError(f"data.source: {self._where} unpacks to more than any archive of its kind: fetch it again")
        return piece


class Rows:
    """An array in a file, of which single rows are read: a mapped file that is cut short kills the process.

    Args:
        path: the file.
        offset: bytes before the array.
        shape: of the array.
        dtype: of its values.
        layout: what is done to the rows that are read.
    """

    def __init__(
        self,
        path: Path,
        offset: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        layout: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
    ) -> None:
        self.shape, self.dtype = shape, dtype
        self._path, self._offset, self._layout = path, offset, layout
        self._row = int(np.prod(shape[1:])) * dtype.itemsize
        self._file = regular(path)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[Any]:
        if not isinstance(index, slice):
            return cast(NDArray[Any], self[index : index + 1][0])
        start, stop, _ = index.indices(len(self))
        rows = np.empty((max(0, stop - start), *self.shape[1:]), self.dtype)
        left = rows.reshape(-1).view(np.uint8).data
        place = self._offset + start * self._row
        while left:
            if not (count := os.preadv(self._file.fileno(), [left], place)):
                raise UserError(f"{self._path}: was cut short while it was read: start again", status=1)
            left, place = left[count:], place + count
        return self._layout(rows) if self._layout else rows


def need_names(where: str, images: int) -> None:
    """Check that the names of so many images fit into memory.

    Raises:
        UserError: they do not.
    """
    memory.check(images * NAME_BYTES, f"data.source: {where}: a list of {images:,} images", "give fewer images")


def need_disk(folder: Path, size: int, what: str, advice: str) -> None:
    """Check that the disk has room.

    Raises:
        UserError: it has not, with both figures.
    """
    free = shutil.disk_usage(folder).free
    if size > free:
        raise UserError(f"{what} takes {memory.size(size)} in {folder}, and {memory.size(free)} are free: {advice}")
