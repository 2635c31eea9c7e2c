"""Images that are translated: a file, a pipe, anything that data may be, or a run's own test split."""

import io
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gancli import memory
from gancli.data import sources, store
from gancli.data.dataset import load, load_domain, splits_of
from gancli.data.pixels import EXTENSIONS, BadImage, decode
from gancli.data.sources import MAX_ENTRY_BYTES, Source
from gancli.errors import UserError
from gancli.gan.image_to_image import FromImages
from gancli.make import images


class Lone:
    """One image as a source: a file, or bytes that came from elsewhere."""

    def __init__(self, name: str, where: str, file: Callable[[], IO[bytes]]) -> None:
        self.names: Sequence[str] = [name]
        self.where, self._file = where, file

    def stamp(self, index: int) -> str:
        """Nothing is kept of it."""
        return ""

    def open(self, index: int) -> Image.Image:
        """The image, decoded."""
        with self._file() as file:
            return decode(file)


def piped(pipe: IO[bytes]) -> Lone:
    """An image that comes through a pipe."""

    def file() -> IO[bytes]:
        content = pipe.read(MAX_ENTRY_BYTES + 1)
        if len(content) > MAX_ENTRY_BYTES:
            raise BadImage(f"more than {memory.size(MAX_ENTRY_BYTES)}: give a file")
        return io.BytesIO(content)

    return Lone("stdin.png", "/dev/stdin", file)


class Decoded:
    """Images that are decoded already, N×H×W×C, as a source; their files would be PNG.

    `1.jpg` becomes `1.png`; beside another `1.png` it becomes `1.jpg.png`.
    """

    def __init__(self, where: str, names: Iterable[str], pixels: store.Pixels) -> None:
        names = list(names)
        plain = [f"{name.removesuffix(PurePosixPath(name).suffix)}.png" for name in names]
        many = Counter(plain)
        self.names: Sequence[str] = [
            f"{name}.png" if many[short] > 1 and name != short else short
            for name, short in zip(names, plain, strict=True)
        ]
        self.where, self._pixels = where, pixels

    def stamp(self, index: int) -> str:
        """Nothing is kept of them."""
        return ""

    def open(self, index: int) -> Image.Image:
        """One image."""
        return images.picture(np.array(self._pixels[np.array([index])])[0])


def find(word: str, option: str = "--input") -> Source:
    """The images that a word after an option means: an image file, or anything that data.source may be.

    Raises:
        UserError: there are none.
    """
    path = Path(word).expanduser()
    if path.is_file() and path.suffix.lower() in EXTENSIONS:
        return Lone(path.name, str(path.parent), lambda: path.open("rb"))
    try:
        return sources.find(word, (256, 256), "images")
    except UserError as error:
        raise UserError(f"{option}: {str(error).removeprefix('data.source: ')}", error.status) from error


def test_split(model: FromImages, target: str) -> tuple[Source, Source | None]:
    """The images that are turned into a target in the test split of the run's data, and what each should become.

    Where there are many domains, images of all of them in turn.

    Raises:
        UserError: there is no such data, or no test split.
    """
    data = model.recipe.data.images
    if "test" not in splits_of(data):
        raise UserError(f"{data.source}: has no test split: give the images with --input")

    def domain(name: str) -> Source:
        found = load_domain(data, name, "test")
        return Decoded(data.source, found.names["image"], found.images["image"])

    if data.labelled:
        found = load(data, "test")
        order = _in_turn(found.labels, len(found))
        return Decoded(data.source, [found.names["image"][n] for n in order], found.images["image"][order]), None
    (origin, *_) = model.origins(target)
    return domain(origin), domain(target) if data.paired else None


def _in_turn(labels: NDArray[Any] | None, count: int) -> NDArray[np.int64]:
    """The places of images such that their domains take turns: first the first of each."""
    if labels is None or labels.ndim != 1:
        return np.arange(count)
    earlier = np.array([(labels[:place] == label).sum() for place, label in enumerate(labels)])
    return np.lexsort((labels, earlier))
