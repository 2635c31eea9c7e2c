"""Zip files and arrays that are written as they come: however much is in them, little of it is in memory."""

import struct
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from typing import IO, Any

import numpy as np


def store(file: IO[bytes], entries: Iterable[tuple[str, bytes]]) -> None:
    """Write named contents as a zip, uncompressed, with a fixed date: equal contents make equal files."""
    with tempfile.TemporaryFile() as kept, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        # The directory at the archive's end is all that a ZipFile remembers of what is in it.
        archive.filelist = _Directory(kept)
        archive.NameToInfo = _Forgetful()
        for name, content in entries:
            archive.writestr(_entry(name), content)


def array(
    archive: zipfile.ZipFile, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], rows: Iterable[bytes]
) -> None:
    """Write an array row by row into an archive, as `np.savez` does whole."""
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        for row in rows:
            member.write(row)


def _entry(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))


class _Forgetful(dict[str, zipfile.ZipInfo]):
    """Where a ZipFile would look for names that come twice; here none does."""

    def __setitem__(self, name: str, info: zipfile.ZipInfo) -> None:
        pass


class _Directory(list[zipfile.ZipInfo]):
    """What a ZipFile remembers of its entries, in a file instead of in memory."""

    _form = struct.Struct("<HLLQQ")

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file, self._count = file, 0

    def append(self, info: zipfile.ZipInfo) -> None:
        name = info.filename.encode()
        fields = len(name), info.CRC, info.external_attr, info.file_size, info.header_offset
        self._file.write(self._form.pack(*fields) + name)
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[zipfile.ZipInfo]:
        self._file.seek(0)
        for _ in range(self._count):
            length, crc, attributes, size, offset = self._form.unpack(self._file.read(self._form.size))
            info = _entry(self._file.read(length).decode())
            info.CRC, info.external_attr, info.header_offset = crc, attributes, offset
            info.file_size = info.compress_size = size
            yield info
