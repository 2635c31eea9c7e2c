"""A picture of what the networks will see of a source."""

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from gancli import files
from gancli.data import dataset, store
from gancli.data.inventory import take_inventory
from gancli.errors import UserError
from gancli.recipe.data import Data

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""What a preview may be saved as, by extension."""
COLUMNS = 8
TILE = 128


def preview(settings: Data, split: str = "train", progress: store.Progress | None = None) -> Image.Image:
    """A contact sheet of what the network will see of a split: a row for each class, pairs one above the other.

    Images are prepared as in training (cropped, mirrored), from a fixed seed; those larger than 128 pixels are shown
    at that size, those smaller at a whole multiple of theirs.

    Raises:
        UserError: as `dataset.load`, except that images that cannot be used are left out.
    """
    data = dataset.load(settings.model_copy(update={"on_bad_image": "skip"}), split, progress)
    strips: list[tuple[str, list[NDArray[np.uint8]]]] = []
    for title, key, places in _strips(data):
        strips.append((title, [_tile(pixels) for pixels in _prepared(data, settings, key, places, split == "train")]))

    font = ImageFont.load_default(14)
    margin = 8 + max(round(font.getlength(title)) for title, _ in strips)
    height, width = (max(tile.shape[axis] for _, tiles in strips for tile in tiles) for axis in (0, 1))
    sheet = Image.new("RGB", (margin + COLUMNS * (width + 2), len(strips) * (height + 2)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (title, tiles) in enumerate(strips):
        top = row * (height + 2)
        draw.text((4, top + height // 2), title, "black", font, anchor="lm")
        for column, tile in enumerate(tiles):
            sheet.paste(Image.fromarray(tile), (margin + column * (width + 2), top))
    return sheet


def _strips(data: dataset.Dataset) -> list[tuple[str, str, NDArray[np.int64]]]:
    """(title, key, places) of each row of the sheet: at most eight images, spread over the split."""

    def spread(places: NDArray[np.int64]) -> NDArray[np.int64]:
        return places[np.linspace(0, len(places) - 1, min(COLUMNS, len(places))).astype(np.int64)]

    if data.labels is not None:
        members = [
            np.flatnonzero(data.labels == n if data.labels.ndim == 1 else data.labels[:, n])
            for n in range(len(data.classes))
        ]
        named = zip(data.classes, members, strict=True)
        return [(name, "image", spread(places)) for name, places in named if len(places)][:20]
    every = {key: np.arange(len(array)) for key, array in data.images.items()}
    if "image" in data.images:
        return [("", "image", spread(part)) for part in np.array_split(every["image"], 8) if len(part)]
    if data.matched:
        return [(key, key, spread(part)) for part in np.array_split(every["a"], 4) if len(part) for key in "ab"]
    return [(key, key, spread(part)) for key in "ab" for part in np.array_split(every[key], 4) if len(part)]


def _prepared(
    data: dataset.Dataset, settings: Data, key: str, places: NDArray[np.int64], training: bool
) -> NDArray[np.uint8]:
    """N×H×W×C, as the network sees it, back in 8 bits."""
    import torch

    from gancli.data.prepare import prepare

    with torch.random.fork_rng(devices=[]):
        # One seed for all rows: the two of a pair are cropped and mirrored alike.
        torch.manual_seed(0)
        batch = {key: torch.from_numpy(np.array(data.images[key][places])).permute(0, 3, 1, 2)}
        images = prepare(batch, settings, training)[key]
    return images.add(1).mul(127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _tile(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One image as RGB, at the size it is shown."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    if image.mode == "RGBA":
        # Transparency shows as the chequered ground that picture editors use.
        squares = np.indices((image.height, image.width)).sum(axis=0) // 8 % 2
        ground = Image.fromarray(np.where(squares, 200, 255).astype(np.uint8)).convert("RGBA")
        image = Image.alpha_composite(ground, image)
    longest = max(image.size)
    if longest > TILE:
        image.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
    elif longest <= TILE // 2:
        image = image.resize(
            (image.width * (TILE // longest), image.height * (TILE // longest)), Image.Resampling.NEAREST
        )
    return np.asarray(image.convert("RGB"))


def check_place(path: Path, settings: Data, *, force: bool) -> None:
    """Check that a preview may be written, before any work.

    Raises:
        UserError: the extension names no format, something stands there that `force` does not allow to replace, or the
            place is among the images themselves: those are never replaced, and none is added to them.
    """
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"--preview {path}: expected a name that ends with {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise UserError(f"--preview {path}: there is no folder {path.parent}: make it, or give another place")
    for root in _roots(settings):
        if path.parent.resolve().is_relative_to(root) and root.is_dir():
            raise UserError(f"--preview {path}: is inside the data, {root}: give a place outside")
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"--preview {path}: {error.strerror}: give another place") from error
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"--preview {path}: is no regular file: give another place")
    if not force:
        raise UserError(f"--preview {path}: exists already: --force replaces it, or give another place")
    # One of the images may be a link to this file, or have it as a second name.
    if any((other.st_dev, other.st_ino) == (found.st_dev, found.st_ino) for other in _inputs(settings)):
        raise UserError(f"--preview {path}: is one of the files of the data, which are never replaced")


def check_split(settings: Data, split: str) -> None:
    """Check that there is such a split, before any work.

    Raises:
        UserError: there is none.
    """
    if split not in (there := dataset.splits_of(settings)):
        raise UserError(f"--split {split}: {settings.source} has no such split: choose one of {', '.join(there)}")


def save(sheet: Image.Image, path: Path) -> None:
    """Write the picture, whole or not at all."""
    content = io.BytesIO()
    sheet.save(content, FORMATS[path.suffix.lower()])
    files.write(path, content.getvalue())


def _roots(settings: Data) -> Iterator[Path]:
    """The folders and files that the data come from."""
    for name in ("source", "source_b"):
        given = getattr(settings, name, None)
        if given is not None and files.expand(given).exists():
            yield files.expand(given).resolve()


def _inputs(settings: Data) -> Iterator[os.stat_result]:
    """The files that are read."""
    named = getattr(settings, "attribute_file", None)
    for root in [*_roots(settings), *([files.expand(named)] if named else [])]:
        if root.is_file():
            yield root.stat()
    for groups in take_inventory(settings).groups.values():
        for rows in groups:
            for source, indices in zip(rows.sources, rows.indices.T, strict=True):
                for index in indices:
                    place = Path(source.where) / source.names[index]
                    if place.is_file():
                        yield place.stat()
