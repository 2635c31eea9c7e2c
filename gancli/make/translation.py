"""Translation: a model and images in, files of the same names, formats and sizes out, or a sheet of all."""

import errno
import math
import struct
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from gancli import memory, outputs
from gancli.data.pixels import ANIMATED, BadImage, Form, fit
from gancli.data.sources import Source
from gancli.data.store import in_order, workers
from gancli.errors import UserError
from gancli.gan.image_to_image import FromImages
from gancli.make import images
from gancli.make.encoding import ENDINGS, NOTHING, Kept, encode, read
from gancli.make.images import Pixels
from gancli.make.tiles import Turn, cost, tiled

BATCH_PIXELS = 2**19
"""Pixels that are translated at once: eight images of 256×256."""
HELD_PIXELS = 16 * BATCH_PIXELS
"""Pixels of images that wait for others of their size."""
HELD_FILES = 64
"""Files that are being written while the next images are made."""
TILE = 1024
"""Side in pixels of the tiles that larger images are cut into by default."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of a disk that takes no file at all."""
MOST_ROWS = 100
"""Images that a sheet shows."""
SMALL = 64
"""Side in pixels of the image by which the memory for larger ones is estimated."""
BYTES_PER_PIXEL = 24
"""Of an image brought to a size: its pixels before and after, and the sums of its tiles."""


class Made(NamedTuple):
    """What became of one image."""

    place: int
    """In the source's names."""
    original: Pixels
    """What was turned, H×W×C, without padding."""
    images: dict[str, Pixels]
    """By the name of the turn, each of the original's shape."""
    kept: Kept = NOTHING
    """What goes into their files beside them."""


class Failed(NamedTuple):
    """An image that could not be read, or a file that could not be written."""

    name: str
    reason: str


@dataclass(frozen=True)
class Job:
    """Images and what is to be done with them.

    Args:
        model: whose recipe says how colours are treated.
        source: of images of any sizes.
        turns: what is done to each, by name; a single one may have none.
        size: height and width in pixels that every image is brought to, as the recipe's data are; None leaves each as
            large as it is.
        tile: side in pixels of the tiles that larger images are cut into.
        count: how many of the source's images; None for all.
    """

    model: FromImages
    source: Source
    turns: Mapping[str, Turn]
    size: tuple[int, int] | None = None
    tile: int = TILE
    count: int | None = None

    @property
    def names(self) -> Sequence[str]:
        """Of the images, relative."""
        return self.source.names[: self.count]

    def place(self, out: Path) -> outputs.Place:
        """The folder that the files go to: that of `out` where it names a format, else `out` itself."""
        return outputs.Place(out.parent if _names_file(out) else out)

    def name(self, out: Path, place: int, turn: str) -> str:
        """The file of an image below that folder."""
        if _names_file(out):
            return out.name
        name = self.names[place]
        own = outputs.path(name if PurePosixPath(name).suffix.lower() in ENDINGS else f"{name}.png")
        return f"{turn}/{own}" if turn else own

    def check(self, out: Path, *, force: bool) -> None:
        """See that every image can have a file of its own.

        Raises:
            UserError: two images would become one file, an input would be replaced, or something stands in the way.
        """
        made = [(name, self.name(out, n, turn)) for n, name in enumerate(self.names) for turn in self.turns]
        if _names_file(out) and len(made) > 1:
            raise UserError(
                f"--out {out}: is one image, and {len(made)} are made: give a folder, or --grid for a sheet"
            )
        outputs.check_distinct(made)
        place = self.place(out)
        self.check_inputs(out, (place.root / name for _, name in made))
        place.check((name for _, name in made), force=force)

    def check_inputs(self, out: Path, paths: Iterable[Path]) -> None:
        """See that no input would be replaced.

        Raises:
            UserError: one would.
        """
        where = Path(self.source.where)
        if not where.is_dir():
            return
        inputs = {(where / name).resolve() for name in self.names}
        if taken := next((path for path in paths if path.resolve() in inputs), None):
            raise UserError(f"--out {out}: {taken} is an input: give another place")

    def stream(self) -> Iterator[Made | Failed]:
        """Every image, turned; those that come to the same size with padding go together."""
        waiting: dict[tuple[int, int], list[_Read]] = {}
        held = 0
        for found in in_order(self._read, range(len(self.names)), 4 * workers()):
            if isinstance(found, Failed):
                yield found
                continue
            size = self.model.padded(found.pixels.shape[0]), self.model.padded(found.pixels.shape[1])
            waiting.setdefault(size, []).append(found)
            held += size[0] * size[1]
            while held > HELD_PIXELS or len(waiting.get(size, [])) * size[0] * size[1] >= BATCH_PIXELS:
                fullest = max(waiting, key=lambda size: len(waiting[size]) * size[0] * size[1])
                held -= len(waiting[fullest]) * fullest[0] * fullest[1]
                yield from self._turned(waiting.pop(fullest), fullest)
        for size, group in waiting.items():
            yield from self._turned(group, size)

    def _read(self, place: int) -> "_Read | Failed":
        """An image as the network sees it, but for the padding."""
        data = self.model.recipe.data.images
        try:
            image = self.source.open(place)
            if ANIMATED in image.info:
                return Failed(self.names[place], "an animation or several pages: save each as an image of its own")
            size = self.size or (image.height, image.width)
            return _Read(place, *read(image, Form(*size, data.channels, None, data.resize, data.background)))
        except MemoryError:
            return Failed(self.names[place], "out of memory: lower --size")
        except BadImage as error:
            return Failed(self.names[place], str(error))
        except OSError as error:
            return Failed(self.names[place], error.strerror or str(error))

    def _turned(self, group: "list[_Read]", size: tuple[int, int]) -> Iterator[Made | Failed]:
        """Images that are padded to one size."""
        tile = min(size[0], self.model.padded(self.tile)), min(size[1], self.model.padded(self.tile))
        try:
            self._check_tile(tile)
            if size[0] * size[1] > BATCH_PIXELS:  # and goes alone
                needed = 2 * len(self.turns) * group[0].pixels.size
                memory.check(needed, f"{len(self.turns)} results of it", "ask for fewer at once, or lower --size")
            padded = np.stack([_padded(found.pixels, size) for found in group])
            made = {name: tiled(padded, turn, tile) for name, turn in self.turns.items()}
        except UserError as error:
            yield from (Failed(self.names[found.place], str(error)) for found in group)
            return
        except (MemoryError, RuntimeError) as error:
            if not memory.ran_out(error):
                raise
            yield from (Failed(self.names[found.place], "out of memory: lower --tile, or --size") for found in group)
            return
        for row, found in enumerate(group):
            cut = {name: _cut(batch[row], found.pixels) for name, batch in made.items()}
            yield Made(found.place, found.pixels, cut, found.kept)

    def check_size(self) -> None:
        """Refuse a size that cannot fit into memory, before any work.

        Raises:
            UserError: it cannot; the estimate is named.
        """
        if self.size is not None:
            height, width = self.size
            memory.check(BYTES_PER_PIXEL * height * width, f"--size {height}x{width}: an image", "lower --size")
            self._check_tile((min(height, self.tile), min(width, self.tile)))

    def _check_tile(self, tile: tuple[int, int]) -> None:
        """Refuse a tile that cannot fit; those of the usual size are tried."""
        if tile[0] * tile[1] > TILE**2 and self.model.device.type == "cpu":
            needed = int(self._cost * tile[0] * tile[1])
            memory.check(needed, f"--tile {self.tile}: a tile of {tile[0]}×{tile[1]} pixels", "lower --tile")

    @cached_property
    def _cost(self) -> float:
        turn, channels = next(iter(self.turns.values())), self.model.recipe.data.images.channels
        return cost(turn, self.model.padded(SMALL), channels)


class _Read(NamedTuple):
    """An image as the network sees it, but for the padding."""

    place: int
    pixels: Pixels
    kept: Kept


def write(job: Job, out: Path) -> Iterator[Path | Failed]:
    """Write what a job makes, each file whole or not at all, while the next images are being made."""
    saving: deque[Future[Path | Failed]] = deque()
    place = job.place(out)
    with ThreadPoolExecutor(workers()) as pool:
        for made in job.stream():
            if isinstance(made, Failed):
                yield made
                continue
            for turn, image in made.images.items():
                saving.append(pool.submit(_save, place, job.name(out, made.place, turn), image, made.kept))
            # Large images wait in smaller numbers.
            most = min(HELD_FILES, max(1, HELD_PIXELS // max(1, math.prod(made.original.shape[:2]))))
            while len(saving) > most:
                yield saving.popleft().result()
        while saving:
            yield saving.popleft().result()


def rows(job: Job, aims: Source | None = None) -> Iterator[list[Pixels] | Failed]:
    """Each image, what it was turned into, and what it should have become where that is known, at a sheet's size."""
    form = _of_sheet(job)
    for made in job.stream():
        if isinstance(made, Failed):
            yield made
        else:
            aim = [] if aims is None else [fit(aims.open(made.place), Form(*made.original.shape))]
            yield [fit(images.picture(image), form) for image in (made.original, *made.images.values(), *aim)]


def sheet(job: Job, rows: Sequence[Sequence[Pixels]], heading: Sequence[Pixels] = ()) -> Pixels:
    """The rows of a job as one picture, each image whole at the size of the recipe's data.

    Args:
        job: that made the rows.
        rows: as `rows` gives them.
        heading: what stands above the columns of the turns; empty for nothing.
    """
    if heading:
        above = [fit(images.picture(image), _of_sheet(job)) for image in heading]
        rows = [[np.full_like(above[0], 255), *above], *rows]
    return images.grid(np.stack([image for row in rows for image in row]), len(rows[0]))


def _of_sheet(job: Job) -> Form:
    data = job.model.recipe.data.images
    return Form(*data.size, data.channels, resize="contain")


def _names_file(out: Path) -> bool:
    return out.suffix.lower() in ENDINGS and not out.is_dir()


def _save(place: outputs.Place, name: str, image: Pixels, kept: Kept) -> Path | Failed:
    ending = PurePosixPath(name).suffix
    try:
        try:
            return place.save(name, lambda file: encode(image, file, ending, kept))
        except (ValueError, TypeError, RuntimeError, struct.error):
            # Pillow reads some EXIF and profiles that it cannot write.
            return place.save(name, lambda file: encode(image, file, ending, Kept(kept.alpha, {})))
    except OSError as error:
        if error.errno in FULL:
            raise  # so would all others
        return Failed(str(place.root / name), error.strerror or str(error))
    except (UserError, ValueError, RuntimeError, struct.error) as error:
        return Failed(str(place.root / name), f"cannot be written: {error}")


def _padded(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """H×W×C, mirrored at its borders up to a size in pixels."""
    spare = [whole - side for whole, side in zip(size, pixels.shape, strict=False)]
    return np.pad(pixels, [*((room // 2, room - room // 2) for room in spare), (0, 0)], mode="reflect")


def _cut(pixels: Pixels, original: Pixels) -> Pixels:
    """What `_padded` added, taken away again."""
    height, width = original.shape[:2]
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]
