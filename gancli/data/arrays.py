"""Sets that come as arrays: idx files (MNIST), .npz and .npy."""

import gzip
import hashlib
import io
import os
import re
import struct
import tarfile
import tempfile
import threading
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gancli import files
from gancli.data import reading
from gancli.data.pixels import DEEP
from gancli.errors import UserError

MAX_RATIO = 1100
"""Deflate cannot expand further than 1,032 times, so a header that promises more lies."""
MAX_SIDE = 16_384
MAX_LABEL = 200
DIGESTED = 64 * 2**20
"""Bytes of a file that are digested."""

HEADER_FAULTS = (ValueError, EOFError, SyntaxError, RecursionError, MemoryError, TypeError, tokenize.TokenError)
"""What numpy raises for a header that is none: it reads headers as Python's literals."""

Rows = NDArray[Any] | reading.Rows
Reader = Callable[[], Rows]


class Block:
    """One array of images N×H×W(×C), read when its first pixel is asked for.

    Args:
        names: one for each image.
        stamp: what changes when the images do.
        read: returns the array: uint8, uint16, bool, or floats in [0, 1].
    """

    def __init__(self, names: Sequence[str], stamp: str, read: Reader) -> None:
        self.names = names
        self.stamp = stamp
        self._read = read
        self._array: Rows | None = None
        self._lock = threading.Lock()

    def image(self, index: int) -> Image.Image:
        """One image, scaled to 8 bits."""
        with self._lock:
            if self._array is None:
                self._array = self._read()
        pixels = self._array[index]
        deep = pixels.dtype == np.uint16
        if pixels.dtype == bool or pixels.dtype.kind == "f":
            pixels = np.rint(pixels * np.float32(255)).astype(np.uint8)
        elif deep:
            pixels = ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
        image = Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels)
        if deep:
            image.info[DEEP] = True
        return image


class Arrays:
    """A source made of blocks, one after the other."""

    def __init__(self, where: str, blocks: Sequence[Block]) -> None:
        self.where = where
        self.names: Sequence[str] = [name for block in blocks for name in block.names]
        self._blocks = blocks
        self._starts = np.cumsum([0, *(len(block.names) for block in blocks)])
        if not self.names:
            raise UserError(f"data.source: {where} holds no images")

    def _place(self, index: int) -> tuple[Block, int]:
        block = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._blocks[block], index - int(self._starts[block])

    def stamp(self, index: int) -> str:
        """What changes when the image does."""
        return self._place(index)[0].stamp

    def open(self, index: int) -> Image.Image:
        """One image."""
        block, inside = self._place(index)
        return block.image(inside)


def stamp_of(path: Path) -> str:
    """What changes when a file does: its place, size and times, and its content.

    Of a file of up to 64 MiB the whole content is digested, of a larger one 64 pieces that lie evenly over it: a file
    may be replaced by another of the same size, and its time be set back.
    """
    digest = hashlib.sha256()
    with reading.regular(path) as file:
        found = os.fstat(file.fileno())
        starts = range(0, found.st_size, DIGESTED // 64)
        if found.st_size > DIGESTED:
            starts = range(0, found.st_size - DIGESTED // 64 + 1, (found.st_size - DIGESTED // 64) // 63)
        for start in starts:
            file.seek(start)
            digest.update(file.read(DIGESTED // 64))
    times = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
    return f"{path.resolve()} {times} {digest.hexdigest()}"


def _names(where: Path, split: str, labels: Sequence[Any] | NDArray[Any] | None, count: int) -> list[str]:
    """`train/5/00006`: the split and the label stand where a folder's would."""
    reading.need_names(str(where), count)
    head = f"{split}/" if split else ""
    digits = max(5, len(str(count)))
    if labels is None:
        return [f"{head}{index:0{digits}}" for index in range(count)]
    return [f"{head}{str(label).replace('/', '-')}/{index:0{digits}}" for index, label in enumerate(labels)]


def _mapped(stream: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...], where: Path) -> NDArray[Any]:
    """The rest of a compressed stream as an array that lies in a nameless file rather than in memory.

    Raises:
        EOFError: the stream is shorter or longer than the array.
    """
    wanted = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if not wanted:
        return np.zeros(shape, dtype)
    cache = files.cache("data")
    reading.need_disk(cache, wanted, f"data.source: {where}: unpacked", "make room, or set GANCLI_CACHE")
    with tempfile.TemporaryFile(dir=cache) as file:
        left = wanted
        while left:
            piece = stream.read(min(left, 2**20))
            if not piece:
                raise EOFError
            file.write(piece)
            left -= len(piece)
        # Reading on to the end is what makes gzip and zip compare their checksums.
        if stream.read(1):
            raise EOFError
        file.flush()
        return np.memmap(file, dtype, "r", shape=shape)


# idx: MNIST, Fashion-MNIST, EMNIST.


def _need_possible(where: str, shape: tuple[int, ...], item: int, stored: int) -> None:
    """Check what a header promises against the bytes that there are.

    Raises:
        UserError: it lies.
    """
    sizes = " × ".join(map(str, shape))
    if min(shape, default=1) < 0 or min(shape[1:], default=1) < 1 or max(shape[1:], default=0) > MAX_SIDE:
        raise UserError(
            f"data.source: {where} promises images of {sizes}: save it again, with sides of 1 to {MAX_SIDE:,}"
        )
    if int(np.prod(shape, dtype=object)) * item > MAX_RATIO * stored:
        raise UserError(f"data.source: {where} promises {sizes} values, more than it can hold: save it again")


def idx_members(folder: Path, among: Container[str] | None = None) -> dict[str, Path]:
    """The idx image files of a folder, by split; where names are given, among these."""
    members: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), reverse=True):  # so that an unpacked file stands for its .gz
        match = re.fullmatch(r"(?:.*-)?(train|t10k|test)-images[-.]idx3-ubyte(\.gz)?", path.name)
        if match and (among is None or path.name in among):
            members["train" if match[1] == "train" else "test"] = path
    return dict(sorted(members.items(), reverse=True))


def idx(folder: Path, members: Mapping[str, Path]) -> Arrays:
    """The source in some idx files, labelled where the file of labels lies beside.

    Raises:
        UserError: a file is damaged, or its labels do not match.
    """
    blocks = []
    for split, path in members.items():
        stamp = stamp_of(path)
        count = _idx_header(path, 3)[0]
        labels = None
        beside = path.with_name(re.sub(r"images([-.])idx3", r"labels\1idx1", path.name))
        for candidate in (beside, beside.with_suffix("") if beside.suffix == ".gz" else Path(f"{beside}.gz")):
            if candidate != path and candidate.is_file():
                labels = _idx_array(candidate, 1)
                break
        if labels is not None and len(labels) != count:
            raise UserError(
                f"data.source: {path.name} has {count:,} images and {len(labels):,} labels: fetch them again"
            )
        blocks.append(Block(_names(path, split, labels, count), stamp, lambda path=path: _idx_array(path, 3)))  # type: ignore[misc]
    where = str(folder) if len(members) > 1 or "" not in members else str(members[""])
    return Arrays(where, blocks)


@contextmanager
def unpacked(path: Path) -> Iterator[IO[bytes]]:
    """The content of a file that may be gzipped, with one message for all that may be wrong with it."""
    try:
        with reading.regular(path) as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            with gzip.open(raw) if zipped else io.BufferedReader(raw) as file:
                yield cast(IO[bytes], file)
    except (EOFError, zlib.error, struct.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise UserError(f"data.source: {path} is damaged or cut short: fetch it again") from error


def _shape(path: Path, file: IO[bytes], dimensions: int) -> tuple[int, ...]:
    zero, kind, found = struct.unpack(">HBB", file.read(4))
    if (zero, kind, found) != (0, 8, dimensions):
        raise UserError(f"data.source: {path} is no idx file of {dimensions}-dimensional bytes: give the images' file")
    shape: tuple[int, ...] = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
    _need_possible(str(path), shape, 1, path.stat().st_size)
    return shape


def _idx_header(path: Path, dimensions: int) -> tuple[int, ...]:
    with unpacked(path) as file:
        return _shape(path, file, dimensions)


def _idx_array(path: Path, dimensions: int) -> NDArray[np.uint8]:
    with unpacked(path) as file:
        shape = _shape(path, file, dimensions)
        return _mapped(file, np.dtype(np.uint8), shape, path)


# NumPy files.


def npy(path: Path) -> Arrays:
    """The source in one .npy array of images.

    Raises:
        UserError: it is no array of images, or a pickled one.
    """
    stamp = stamp_of(path)
    try:
        with reading.regular(path) as raw, io.BufferedReader(raw) as file:
            shape, dtype = _npy_header(file)
            offset, size = file.tell(), os.fstat(file.fileno()).st_size
    except HEADER_FAULTS as error:
        raise UserError(f"data.source: {path} is no plain array: save it with numpy.save, as uint8") from error
    layout = _layout(path, "the array", shape, dtype)
    _need_possible(str(path), shape, dtype.itemsize, size)
    if int(np.prod(shape, dtype=object)) * dtype.itemsize > size - offset:
        raise UserError(f"data.source: {path} is cut short: save it again")
    array = reading.Rows(path, offset, shape, dtype)
    _check_range(path, array)
    names = _names(path, "", None, len(array))
    return Arrays(str(path), [Block(names, stamp, lambda: reading.Rows(path, offset, shape, dtype, layout))])


def npz(path: Path) -> Arrays:
    """The source in an .npz: `images` with or without `labels`, or `x_train`, `y_train`, `x_test`, `y_test`.

    Raises:
        UserError: it is damaged, holds no array of images, or a pickled one.
    """
    stamp = stamp_of(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
            headers = {}
            for name, entry in entries.items():
                with archive.open(entry) as file:
                    headers[name] = _npy_header(file)
    except (*HEADER_FAULTS, zipfile.BadZipFile, NotImplementedError, zlib.error, RuntimeError) as error:
        raise UserError(f"data.source: {path} is no plain .npz ({error}): save it with numpy.savez") from error

    blocks = []
    for split, images, labels in _npz_roles(headers):
        shape, dtype = headers[images]
        _need_possible(f"{path}: {images}", shape, dtype.itemsize, entries[images].compress_size)
        layout = _layout(path, images, shape, dtype)
        values = None
        if labels is not None:
            if headers[labels][1].itemsize > 4 * MAX_LABEL:
                raise UserError(f"data.source: {path}: {labels} holds labels of more than {MAX_LABEL} characters")
            values = _npz_array(path, labels)
            if values.shape not in ((shape[0],), (shape[0], 1)) or values.dtype.kind not in "iubU":
                raise UserError(
                    f"data.source: {path}: {labels} is no list of {shape[0]:,} labels: save one for each image"
                )
            values = values.reshape(-1)

        def read(images: str = images, layout: Callable[[NDArray[Any]], NDArray[Any]] = layout) -> NDArray[Any]:
            array = _npz_array(path, images)
            _check_range(path, array)
            return layout(array)

        blocks.append(Block(_names(path, split, values, shape[0]), f"{images} {stamp}", read))
    if not blocks:
        raise UserError(
            f"data.source: {path} holds {', '.join(headers) or 'nothing'}: name the array of images `images`"
        )
    return Arrays(str(path), blocks)


def _npz_roles(headers: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> list[tuple[str, str, str | None]]:
    """(split, images, labels) by the names people use, else the only array that could be images."""
    lower = {name.lower(): name for name in headers}

    def first(*names: str) -> str | None:
        return next((lower[name] for name in names if name in lower), None)

    roles: list[tuple[str, str, str | None]] = []
    for split in ("train", "val", "test"):
        images = first(f"x_{split}", f"{split}_x", f"{split}_images", f"images_{split}")
        if images:
            roles.append((split, images, first(f"y_{split}", f"{split}_y", f"{split}_labels", f"labels_{split}")))
    if roles:
        return roles
    images = first("images", "image", "x", "data", "arr_0")
    if images is None:
        candidates = [name for name, (shape, _) in headers.items() if len(shape) in (3, 4)]
        images = candidates[0] if len(candidates) == 1 else None
    return [("", images, first("labels", "label", "y", "arr_1"))] if images else []


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it holds pickled objects, which are not read")
    if fortran and len(shape) > 1:
        raise ValueError("its axes are in Fortran order")
    return shape, dtype


def _npz_array(path: Path, name: str) -> NDArray[Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(name if name in archive.namelist() else f"{name}.npy")
            with archive.open(entry) as file:
                shape, dtype = _npy_header(file)
                _need_possible(f"{path}: {name}", shape, dtype.itemsize, entry.compress_size)
                return _mapped(file, dtype, shape, path)
    except (zipfile.BadZipFile, ValueError, EOFError, zlib.error) as error:
        raise UserError(f"data.source: {path}: {name} is damaged or cut short: save it again") from error


def _layout(
    path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """The function that brings an array of this shape to N×H×W(×C)."""
    if dtype.kind != "f" and dtype not in (np.uint8, np.uint16, np.bool_):
        raise UserError(f"data.source: {path}: {name} is {dtype}: save it as uint8, uint16, or floats from 0 to 1")
    if len(shape) == 3 or (len(shape) == 4 and shape[-1] in (1, 3, 4)):
        return lambda array: array
    if len(shape) == 4 and shape[1] in (1, 3, 4):
        return lambda array: array.transpose(0, 2, 3, 1)
    sizes = " × ".join(map(str, shape))
    raise UserError(f"data.source: {path}: {name} is {sizes}: expected images × height × width × (1, 3 or 4 channels)")


def _check_range(path: Path, array: Rows) -> None:
    """Floats have no range of their own: only 0 to 1 is unmistakable."""
    if array.dtype.kind != "f":
        return
    some = max(1, 2**24 // int(np.prod(array.shape[1:])))
    for start in range(0, len(array), some):
        part = array[start : start + some]
        if not (part.min() >= 0 and part.max() <= 1):
            raise UserError(f"data.source: {path} has values outside 0 to 1: scale them, or save it as uint8")
