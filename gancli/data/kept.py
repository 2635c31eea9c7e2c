"""Decoded pixels on the disk, with a checksum for each image that is compared whenever the image is read."""

import hashlib
import json
import os
import weakref
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from gancli import files
from gancli.errors import UserError

IN_MEMORY = 64 * 2**20
"""Bytes up to which an array is read into memory, and compared, when it is opened."""


class Damaged(Exception):
    """Pixels that are not what was written."""


class Writer:
    """Writes the images of one key; knows their checksums, and the digest of all of them.

    Args:
        folder: where the files go; None keeps the checksums alone, for a set that is too large for the disk.
        key: what the images are called.
    """

    def __init__(self, folder: Path | None, key: str) -> None:
        self._file: IO[bytes] | None = (folder / f"{key}.pixels").open("wb") if folder else None
        self._place = folder / f"{key}.sums" if folder else None
        self._digest, self._sums = hashlib.sha256(), bytearray()

    def add(self, image: NDArray[np.uint8]) -> None:
        """Write one image."""
        content = image.tobytes()
        self._digest.update(content)
        self._sums += zlib.crc32(content).to_bytes(4, "little")
        if self._file is not None:
            self._file.write(content)

    def finish(self) -> dict[str, Any]:
        """Bring everything to the disk; returns what `entry.json` says of this array."""
        if self._file is not None and self._place is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            files.write(self._place, bytes(self._sums))
        sums = hashlib.sha256(self._sums).hexdigest()
        return {"images": len(self._sums) // 4, "pixels": self._digest.hexdigest(), "sums": sums}

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class Kept:
    """An array N×H×W×C in a file. Each image is read and compared with its checksum when it is asked for.

    It is read rather than mapped: a mapped file that is cut short kills the process, and its pages count as memory.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, path: Path, shape: tuple[int, ...], sums: NDArray[np.uint32]) -> None:
        self.shape, self._path, self._sums = shape, path, sums
        self._row = int(np.prod(shape[1:]))
        self.nbytes = len(sums) * self._row
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, indices: Any) -> NDArray[np.uint8]:
        if isinstance(indices, int | np.integer):
            first: NDArray[np.uint8] = self.take(np.array([indices]))[0]
            return first
        return self.take(np.arange(len(self))[indices])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        array = self.take(np.arange(len(self)))
        return array if dtype is None else array.astype(dtype)

    def take(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The images at these places.

        Raises:
            UserError: the file was cut short or changed.
        """
        try:
            return self.read(places)
        except Damaged as error:
            # The next start then decodes the images again.
            self._path.with_name("entry.json").unlink(missing_ok=True)
            message = f"{self._path}: {error}: start again or resume; the images are then decoded again"
            raise UserError(message, status=1) from error

    def read(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The images at these places.

        Raises:
            Damaged: the file was cut short or changed.
        """
        pixels = np.empty((len(places), *self.shape[1:]), np.uint8)
        rows = pixels.reshape(len(places), self._row)
        for row, place in zip(rows, places.tolist(), strict=True):
            place %= len(self)
            if os.preadv(self._file, [row.data], place * self._row) != self._row:
                raise Damaged("was cut short")
            if zlib.crc32(row.data) != self._sums[place]:
                raise Damaged("was changed: its checksum is wrong")
        return pixels


def read_entry(folder: Path) -> dict[str, Any] | None:
    """What `write_entry` wrote, or None where there is no such file or it was changed."""
    try:
        entry = json.loads((folder / "entry.json").read_text())
        checksum = entry.pop("checksum")
        return dict(entry) if checksum == _checksum(entry) else None
    except (OSError, ValueError, LookupError, AttributeError, TypeError, RecursionError):
        return None


def write_entry(folder: Path, entry: dict[str, Any]) -> None:
    """Write what is known of a decoded set, with a checksum of its own."""
    files.write(folder / "entry.json", json.dumps(entry | {"checksum": _checksum(entry)}))


def open_array(folder: Path, key: str, facts: dict[str, Any], shape: tuple[int, ...]) -> NDArray[np.uint8] | Kept:
    """The images of one key: in memory where they are small, else in their file.

    Args:
        folder: of the entry.
        key: what the images are called.
        facts: what `Writer.finish` returned.
        shape: of one image.

    Raises:
        Damaged: the files are not what was written.
        OSError: they cannot be read.
    """
    sums = (folder / f"{key}.sums").read_bytes()
    path = folder / f"{key}.pixels"
    count = facts["images"]
    if len(sums) != 4 * count or hashlib.sha256(sums).hexdigest() != facts["sums"]:
        raise Damaged("its checksums were changed")
    if path.stat().st_size != count * int(np.prod(shape)):
        raise Damaged("has another size")
    if count * int(np.prod(shape)) > IN_MEMORY:
        return Kept(path, (count, *shape), np.frombuffer(sums, "<u4"))
    pixels = np.fromfile(path, np.uint8).reshape(count, *shape)
    if hashlib.sha256(pixels.reshape(-1).data).hexdigest() != facts["pixels"]:
        raise Damaged("was changed: its digest is wrong")
    pixels.flags.writeable = False
    return pixels


def _checksum(entry: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()
