"""Where images come from: each source is a list of names below one root, and opens any of them as a picture.

What is no folder is shown as one: the seventh training image of MNIST, a five, is called `train/5/00006`. So splits
and classes are read from names alone, the same way everywhere.
"""

import io
import os
import re
import stat
import zipfile
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Protocol

from PIL import Image

from gancli import fetch, files
from gancli.data import digits, reading, shapes
from gancli.data.arrays import idx, idx_members, npy, npz, stamp_of
from gancli.data.cifar import cifar, cifar_members
from gancli.data.pixels import EXTENSIONS, HEIC_HINT, BadImage, decode
from gancli.errors import UserError
from gancli.recipe.data import DISTRIBUTIONS
from gancli.recipe.places import is_built_in

MAX_ENTRY_BYTES = 512 * 2**20
MAX_FILE_BYTES = 2**30
"""Of one image: 80 million pixels of 16 bits in four channels have 640 million."""
LARGE_ENTRY_BYTES = 16 * 2**20
MAX_RATIO = 200
MAX_DEPTH = 64
LISTED = 12
"""Extensions that a line names."""


class Source(Protocol):
    """Images by name, in a fixed order, none decoded yet."""

    where: str
    """The root, for messages."""
    names: Sequence[str]
    """Relative, with slashes."""

    def stamp(self, index: int) -> str:
        """What changes when the image does."""
        ...

    def open(self, index: int) -> Image.Image:
        """Decode one image; safe from several threads.

        Raises:
            BadImage: it cannot be used.
            OSError: it cannot be read.
        """
        ...


def find(source: str, size: tuple[int, int], task: shapes.Task) -> Source:
    """The source that a recipe's `source` means.

    Args:
        source: a path, the name of a fetched set, or of a built-in one.
        size: height and width in pixels that built-in images are drawn at.
        task: what the built-in shapes should show.

    Raises:
        UserError: there is nothing, or nothing that holds images.
    """
    count = source.partition(":")[2]
    if source == "digits":
        return digits.source()
    if is_built_in(source):
        return shapes.Shapes(task, size, _number(count) if count else shapes.COUNT)
    if source in fetch.SETS:
        return _fetched(source)
    path = files.expand(source)
    try:
        found = path.stat()
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            known = ", ".join(["digits", "shapes", *fetch.SETS, *DISTRIBUTIONS])
            raise UserError(
                f"data.source: there is no {source}: give a folder, an archive, or one of {known}"
            ) from None
        raise UserError(f"data.source: {source}: {error.strerror}: make it readable") from error
    try:
        if stat.S_ISDIR(found.st_mode):
            return _folder(path)
        if not stat.S_ISREG(found.st_mode):
            raise UserError(f"data.source: {source} is no regular file: give a folder or an archive")
        return _file(path)
    except OSError as error:
        raise UserError(
            f"data.source: {error.filename or source}: {error.strerror or error}: make it readable"
        ) from error


def _number(count: str) -> int:
    number = int(count) if len(count) < 20 else shapes.MOST + 1
    if not 0 < number <= shapes.MOST:
        raise UserError(f"data.source: shapes:{count[:20]}: expected a number from 1 to {shapes.MOST:,}")
    return number


def ignored(source: Source) -> list[str]:
    """The files of a folder or a zip that are not read as images, by name."""
    return list(source.ignored) if isinstance(source, Folder | Zip) else []


def by_extension(names: Iterable[str]) -> dict[str, int]:
    """How many files there are of each extension, the commonest first."""
    return dict(Counter(PurePosixPath(name).suffix.lower() or "without extension" for name in names).most_common())


def passed_over(names: Sequence[str]) -> str:
    """A line about files that are not read, by extension."""
    counts = by_extension(names)
    some = ", ".join(f"{count:,} {extension}" for extension, count in list(counts.items())[:LISTED])
    more = ", …" if len(counts) > LISTED else ""
    hint = f"; {HEIC_HINT}" if {".heic", ".heif"} & {*counts} - EXTENSIONS else ""
    return f"{len(names):,} file{' is' if len(names) == 1 else 's are'} not used: {some}{more}{hint}"


def _fetched(name: str) -> Source:
    fetch.check(name)
    place = fetch.place(name)
    if len(known := fetch.KNOWN[name]) == 1:
        return _file(place)
    # Nothing but what was published counts, whatever else lies there.
    return idx(place, idx_members(place, {file.name for file in known}))


def _folder(path: Path) -> Source:
    if members := idx_members(path):
        return idx(path, members)
    if members := cifar_members(path):
        return cifar(path, members)
    folder = Folder(path)
    if not folder.names:
        known = " ".join(sorted(extension.lstrip(".") for extension in EXTENSIONS))
        what = f"; {passed_over(folder.ignored)}" if folder.ignored else ""
        raise UserError(f"data.source: {path} holds no images ({known}){what}: give the folder that does")
    return folder


def _file(path: Path) -> Source:
    name = path.name.lower()
    if name.endswith(".zip"):
        return Zip(path)
    if name.endswith(".npz"):
        return npz(path)
    if name.endswith(".npy"):
        return npy(path)
    if name.endswith((".tar.gz", ".tgz", ".tar")):
        return cifar(path, None)
    if re.search(r"idx\d-ubyte(\.gz)?$", name):
        return idx(path.parent, {"": path})
    raise UserError(f"data.source: {path}: expected a folder, .zip, .npz, .npy, an idx file, or a CIFAR-10 .tar.gz")


class Folder:
    """The images of a folder and the folders below it, by name. Links are followed, but never in a circle."""

    upright = True
    """Whether photographs are turned as their EXIF orientation says."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self._root, self._place = path, path.resolve()
        self.ignored: list[str] = []
        found = sorted(_walk(path, "", (), self.ignored))
        self.ignored.sort()
        self.names: Sequence[str] = [name for name, _ in found]
        self._stats = array("q", [number for _, numbers in found for number in numbers])

    def stamp(self, index: int) -> str:
        """What changes when the image does."""
        return f"{self._place} {self._stats[3 * index : 3 * index + 3].tolist()}"

    def open(self, index: int) -> Image.Image:
        """One image, decoded."""
        try:
            with reading.regular(self._root / self.names[index]) as raw, io.BufferedReader(raw) as file:
                if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
                    raise BadImage(f"larger than {MAX_FILE_BYTES:,} bytes")
                return decode(file, upright=self.upright)
        except OSError as error:
            if error.errno not in reading.OF_THE_FILE:
                raise  # the disk fails
            raise BadImage((error.strerror or "cannot be read").lower()) from error


def _walk(
    folder: Path, prefix: str, above: tuple[tuple[int, int], ...], others: list[str]
) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """Names and (size, time of content, time of change) of the images below a folder; other files go to `others`."""
    here = folder.stat()
    if (here.st_dev, here.st_ino) in above or len(above) > MAX_DEPTH:
        return
    above = (*above, (here.st_dev, here.st_ino))
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            directory = False
            with suppress(OSError):
                directory = entry.is_dir()
            if directory:
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", above, others)
            elif PurePosixPath(entry.name).suffix.lower() in EXTENSIONS:
                try:
                    found = entry.stat()
                except OSError:
                    # A link to nothing is an image that cannot be read, and is named as one.
                    found = entry.stat(follow_symlinks=False)
                yield prefix + entry.name, (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            else:
                others.append(prefix + entry.name)


class Zip:
    """The images in a zip file, read in place: nothing is unpacked to the disk.

    Raises:
        UserError: it is no zip, or one that only an attack or a mistake makes: names that leave the archive, links,
            encryption, archives inside, entries that expand beyond reason.
    """

    upright = True
    """Whether photographs are turned as their EXIF orientation says."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self._stamp = stamp_of(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError) as error:
            raise UserError(f"data.source: {path} is no zip file, or a damaged one ({error}): make it again") from error
        for entry in self._zip.infolist():
            if fault := _fault(entry):
                raise UserError(
                    f"data.source: {path} is refused: {entry.filename!r} {fault}: make the zip again without it"
                )
        entries = [entry for entry in self._zip.infolist() if _is_image(entry)]
        self._entries = sorted(entries, key=lambda entry: entry.filename)
        self.names: Sequence[str] = [entry.filename for entry in self._entries]
        others = [entry.filename for entry in self._zip.infolist() if not entry.is_dir() and not _is_image(entry)]
        self.ignored = sorted(name for name in others if not _is_hidden(name))
        if not self.names:
            raise UserError(f"data.source: {path} holds no images: give a zip that does")
        if len(set(self.names)) < len(self.names):
            raise UserError(f"data.source: {path} holds two entries of one name: make the zip again")

    def stamp(self, index: int) -> str:
        """What changes when the image does."""
        entry = self._entries[index]
        return f"{self._stamp} {entry.CRC} {entry.file_size}"

    def open(self, index: int) -> Image.Image:
        """One image, decoded."""
        try:
            # Decoding seeks, and seeking back in a compressed stream unpacks it again: so the whole entry, unless it is
            # so large that its header should be judged first.
            entry = self._entries[index]
            with self._zip.open(entry) as file:
                content = io.BytesIO(file.read()) if entry.file_size < LARGE_ENTRY_BYTES else file
                return decode(content, upright=self.upright)
        except BadImage:
            raise
        except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError, RuntimeError) as error:
            raise BadImage(f"damaged in the zip: {error}") from error
        except Exception as error:
            # zlib, bzip2 and lzma each have an error of their own.
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise BadImage("damaged in the zip: its content does not unpack") from error


def _is_image(entry: zipfile.ZipInfo) -> bool:
    name = entry.filename
    return not entry.is_dir() and not _is_hidden(name) and PurePosixPath(name).suffix.lower() in EXTENSIONS


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def _fault(entry: zipfile.ZipInfo) -> str | None:
    """Why an entry condemns its zip, or None."""
    name = entry.filename
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        return "is an absolute path"
    if ".." in parts:
        return "leads out of the archive"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "is a link"
    if entry.flag_bits & 0x1:
        return "is encrypted"
    if PurePosixPath(name).suffix.lower() in (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz"):
        return "is an archive inside the archive"
    if entry.file_size > MAX_ENTRY_BYTES or (
        entry.file_size > 2**20 and entry.file_size > MAX_RATIO * max(entry.compress_size, 1)
    ):
        return f"expands from {entry.compress_size:,} to {entry.file_size:,} bytes"
    return None
