"""Every image decoded once, in parallel, to a memory-mapped array in the cache; or when asked for, beyond its limit."""

import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from gancli import files
from gancli.data import kept, reading
from gancli.data.pixels import DECODERS, BadImage, Form, fit, halves
from gancli.data.sources import Source
from gancli.errors import UserError

VERSION = 2
"""Raised whenever the same file would give other pixels."""
CHUNK = 32
CHUNK_BYTES = 16 * 2**20
"""Images that a thread decodes at a time, and their bytes."""

Progress = Callable[[int, int], object]
T = TypeVar("T")
U = TypeVar("U")


class Skipped(NamedTuple):
    """An image that is left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Rows:
    """The images of one split before they are decoded: each row is one image, or two that belong together.

    Args:
        keys: what the images of a row are called.
        sources: where they come from: one source for each key, or one for two keys whose files hold two halves.
        indices: rows × sources, places in the sources' names.
    """

    keys: tuple[str, ...]
    sources: tuple[Source, ...]
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    def names(self, row: int) -> tuple[str, ...]:
        """The relative name for each key."""
        names = tuple(source.names[index] for source, index in zip(self.sources, self.indices[row], strict=True))
        return names if len(names) == len(self.keys) else names * len(self.keys)

    def decode(self, row: int, form: Form) -> tuple[NDArray[np.uint8], ...]:
        """The pixels for each key.

        Raises:
            BadImage: one of them cannot be used.
            UserError: the disk fails.
        """
        try:
            images = [source.open(int(index)) for source, index in zip(self.sources, self.indices[row], strict=True)]
        except OSError as error:
            name = f"{self.sources[0].where}/{self.names(row)[0]}"
            raise UserError(f"{name}: {error.strerror or error}: check the disk, then try again", status=1) from error
        if len(images) < len(self.keys):
            images = list(halves(images[0]))
        return tuple(fit(image, form) for image in images)

    def key(self, form: Form | None) -> str:
        """A digest of all that the pixels depend on; without a form, those of the images as they are."""
        digest = hashlib.sha256(json.dumps([VERSION, DECODERS, self.keys, form and asdict(form)]).encode())
        for source, indices in zip(self.sources, self.indices.T, strict=True):
            digest.update(source.where.encode(errors="surrogateescape"))
            for index in indices:
                line = f"{source.names[index]}\0{source.stamp(int(index))}\n"
                digest.update(line.encode(errors="surrogateescape"))
        return digest.hexdigest()[:32]


class Streamed:
    """An array N×H×W×C that is decoded as it is indexed: the same pixels, without a copy on the disk."""

    dtype = np.dtype(np.uint8)

    def __init__(self, rows: Rows, form: Form, key: str, pool: ThreadPoolExecutor) -> None:
        self._rows, self._form, self._place, self._pool = rows, form, rows.keys.index(key), pool
        self.shape = (len(rows), *form.shape)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, indices: Any) -> NDArray[np.uint8]:
        if isinstance(indices, int | np.integer):
            return self._decode(int(indices))
        wanted = range(len(self))[indices] if isinstance(indices, slice) else np.asarray(indices).tolist()
        return np.stack(list(self._pool.map(self._decode, wanted)))

    def _decode(self, row: int) -> NDArray[np.uint8]:
        try:
            return self._rows.decode(row, self._form)[self._place]
        except BadImage as error:
            name = self._rows.names(row)[self._place]
            raise UserError(f"{name}: {error}: it has changed since it was checked: start again", status=1) from error


Pixels = NDArray[np.uint8] | kept.Kept | Streamed


def workers() -> int:
    """Threads that decode: one for each core this process may use."""
    return len(os.sched_getaffinity(0))


def in_order(function: Callable[[T], U], items: Iterable[T], ahead: int) -> Iterator[U]:
    """`map` on threads: results in order, at most `ahead` items under way, so that memory stays bounded."""
    waiting: deque[Future[U]] = deque()
    pool = ThreadPoolExecutor(min(ahead, workers()))
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class Decoded(NamedTuple):
    """The images of some rows.

    Args:
        pixels: by key, of the rows that have any.
        kept: which rows those are.
        skipped: the others, with their reason.
        contents: digest of the pixels, by key.
    """

    pixels: dict[str, Pixels]
    kept: NDArray[np.int64]
    skipped: list[Skipped]
    contents: dict[str, str]


def decoded(rows: Rows, form: Form, limit: float, progress: Progress | None = None) -> Decoded:
    """The pixels of all rows that have any.

    What is taken from the cache was compared with its checksums: small sets as a whole when they are opened, larger
    ones image by image whenever one is read. A damaged set is decoded again.

    Args:
        rows: what to decode.
        form: what to bring it to.
        limit: bytes above which nothing is kept on the disk but the knowledge of which images are sound.
        progress: called with (rows done, rows in all).

    Raises:
        UserError: the disk fails or is full.
    """
    size = len(rows) * len(rows.keys) * int(np.prod(form.shape))
    keep = size <= limit
    folder = files.cache("data") / (rows.key(form) + ("" if keep else "-checked"))
    with _locked(folder):
        found = _open(rows, form, folder, keep)
        if found is None:
            _build(rows, form, folder, keep, progress)
            found = _open(rows, form, folder, keep)
    if found is None:
        raise UserError(f"{folder}: does not keep what is written to it: set GANCLI_CACHE to another disk", status=1)
    return found


def _open(rows: Rows, form: Form, folder: Path, keep: bool) -> Decoded | None:
    """What the cache has of these rows, or None where it has nothing that is whole."""
    entry = kept.read_entry(folder)
    if entry is None:
        return None
    bad = {int(row): str(reason) for row, reason in entry["bad"]}
    good = np.array([row for row in range(len(rows)) if row not in bad], dtype=np.int64)
    skipped = [Skipped(" + ".join(dict.fromkeys(rows.names(row))), reason) for row, reason in bad.items()]
    pixels: dict[str, Pixels] = {}
    if keep and len(good):
        try:
            for key in rows.keys:
                pixels[key] = kept.open_array(folder, key, entry["arrays"][key], form.shape)
        except (OSError, ValueError, kept.Damaged):
            return None
    else:
        sound = Rows(rows.keys, rows.sources, rows.indices[good])
        pool = ThreadPoolExecutor(workers())
        pixels = {key: Streamed(sound, form, key, pool) for key in rows.keys}
    return Decoded(pixels, good, skipped, {key: entry["arrays"][key]["pixels"] for key in rows.keys})


def clear() -> tuple[int, int]:
    """Remove everything that was decoded. What other processes have open or decode at this moment is left to them.

    Returns:
        Sets removed, and bytes freed.
    """
    place = files.cache("data")
    names = {_name(path) for path in place.iterdir()}
    count, freed = 0, 0
    for name in sorted(names):
        with suppress(BlockingIOError), _locked(place / name, wait=False):
            for path in (place / name, *place.glob(f".{name}.*.part")):
                count += path.is_dir() and path.name == name
                freed += _size(path)
                with suppress(OSError):
                    _remove(path)
            (place / f".{name}.lock").unlink(missing_ok=True)
    return count, freed


def _name(path: Path) -> str:
    """Of an entry, its lock, or the folder that it is decoded into: the entry's name."""
    return re.sub(r"^\.(.*?)(\.[0-9a-f]{8}\.part|\.lock)$", r"\1", path.name)


def _remove(path: Path) -> None:
    """Remove a folder, or whatever else somebody put in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _size(folder: Path) -> int:
    """Bytes in the files of a folder; others may be removing them."""
    size = 0
    for file in folder.rglob("*"):
        with suppress(OSError):
            size += file.stat().st_size if file.is_file() else 0
    return size


def _build(rows: Rows, form: Form, folder: Path, keep: bool, progress: Progress | None) -> None:
    """Decode every row into a folder that takes its name only when it is complete."""
    for stale in folder.parent.glob(f".{folder.name}.*.part"):
        shutil.rmtree(stale, ignore_errors=True)
    if keep:
        size = len(rows) * len(rows.keys) * int(np.prod(form.shape))
        advice = "make room, set GANCLI_CACHE to another disk, or lower data.cache_limit"
        reading.need_disk(folder.parent, size, f"{len(rows):,} decoded images", advice)
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    part.mkdir()
    try:
        _decode_into(rows, form, part, keep, progress)
        _remove(folder)  # a damaged one: a whole one would have been read
        part.replace(folder)
    except OSError as error:
        message = f"cannot keep decoded images in {folder.parent}: {error.strerror or error}"
        raise UserError(f"{message}: make room, or set GANCLI_CACHE to another disk", status=1) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _decode_into(rows: Rows, form: Form, part: Path, keep: bool, progress: Progress | None) -> None:
    # Many small images at a time, few large ones: what waits to be written is bounded.
    chunk = max(1, min(CHUNK, CHUNK_BYTES // (len(rows.keys) * int(np.prod(form.shape)))))

    def decode(start: int) -> tuple[list[tuple[NDArray[np.uint8], ...]], list[tuple[int, str]]]:
        good, bad = [], []
        for row in range(start, min(start + chunk, len(rows))):
            try:
                good.append(rows.decode(row, form))
            except BadImage as error:
                bad.append((row, str(error)))
        return good, bad

    bad: list[tuple[int, str]] = []
    with ExitStack() as stack:
        out = [stack.enter_context(closing(kept.Writer(part if keep else None, key))) for key in rows.keys]
        for number, (good, worse) in enumerate(in_order(decode, range(0, len(rows), chunk), 2 * workers()), 1):
            bad += worse
            for images in good:
                for writer, image in zip(out, images, strict=True):
                    writer.add(image)
            if progress:
                progress(min(number * chunk, len(rows)), len(rows))
        arrays = {key: writer.finish() for key, writer in zip(rows.keys, out, strict=True)}
    kept.write_entry(part, {"bad": bad, "arrays": arrays})


@contextmanager
def _locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """One process at a time: the second waits, then finds the first one's work.

    Raises:
        BlockingIOError: another process holds it, and this one should not wait.
    """
    path = folder.with_name(f".{folder.name}.lock")
    while True:
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise
            except OSError:
                pass  # Some network disks know no locks; the rename at the end is safe all the same.
            if _is_at(file.fileno(), path):
                yield
                return
            # `clear` removed the file while this process waited for it.


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def first_names(skipped: Sequence[Skipped], limit: int = 5) -> str:
    """The first few with their reasons, in one line; one alone where all have the same reason."""
    if len(skipped) > limit and len({reason for _, reason in skipped}) == 1:
        limit = 1
    text = "; ".join(f"{name} ({reason})" for name, reason in skipped[:limit])
    return text + (f"; and {len(skipped) - limit:,} more" if len(skipped) > limit else "")
