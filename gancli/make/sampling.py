"""Sampling: a model and seeds in, files out."""

import difflib
import itertools
import math
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from gancli import archives, files, memory, outputs
from gancli.errors import UserError
from gancli.gan.adversarial import FromNoise
from gancli.make import images
from gancli.seeds import Seeds

AT_ONCE = 4096
"""Samples whose noise is drawn before they are made."""
BLOCK = 4096
"""Bytes that the smallest file takes of a disk."""
ENTRY = 200
"""Bytes that the smallest image takes of a zip."""

Told = Callable[[int, int], object]
"""Called with how many are done, and of how many."""


@dataclass(frozen=True)
class Sample:
    """One image to be made: a function of its seed and its class alone.

    Args:
        seed: of its noise.
        label: the index of its class; 0 where the model knows no classes.
        folder: the folder of its class; empty where the model knows no classes.
    """

    seed: int
    label: int = 0
    folder: str = ""

    @property
    def name(self) -> str:
        """The file's name inside a folder or an archive: sorted by class, as a source of labelled images is."""
        return f"{self.folder}/{self.seed:06d}.png" if self.folder else f"{self.seed:06d}.png"


@dataclass(frozen=True)
class Samples:
    """Images to be made, one after the other; none is listed, as there may be millions.

    Args:
        seeds: one for each image of a class.
        labels: the classes, each of which gets all seeds; None lets the seeds take turns through the classes.
        classes: the names of the model's classes; empty where it knows none.
    """

    seeds: Seeds
    labels: Sequence[int] | None
    classes: Sequence[str]

    @property
    def count(self) -> int:
        """How many images."""
        return self.seeds.count * (1 if self.labels is None else len(self.labels))

    def __iter__(self) -> Iterator[Sample]:
        folders = outputs.labels(self.classes)
        if not folders:
            yield from map(Sample, self.seeds)
        elif self.labels is None:
            for seed in self.seeds:
                yield Sample(seed, seed % len(folders), folders[seed % len(folders)])
        else:
            for label in self.labels:
                yield from (Sample(seed, label, folders[label]) for seed in self.seeds)

    def paths(self, target: Path) -> Iterator[Path]:
        """The files of the images below a folder."""
        return (target / sample.name for sample in self)


def samples(model: FromNoise, seeds: Seeds, wanted: str | None) -> Samples:
    """What to make: every seed in the class that is wanted, or class by class in all of them.

    Args:
        model: from a family that starts from noise.
        seeds: one for each image of a class.
        wanted: the name or the index of a class, or "all"; None lets the seeds take turns through the classes.

    Raises:
        UserError: the model has no such class.
    """
    if wanted is None:
        return Samples(seeds, None, model.classes)
    if not model.classes:
        raise UserError(f"--class {wanted}: this model knows no classes: train with conditional: true, or leave it out")
    if wanted == "all" and wanted not in model.classes:
        return Samples(seeds, range(len(model.classes)), model.classes)
    return Samples(seeds, [_class(model.classes, wanted)], model.classes)


def check(model: FromNoise, chosen: Samples, target: Path, form: str, *, frames: int) -> None:
    """Refuse what fits neither the memory nor the disk, before any work.

    Args:
        model: from a family that starts from noise.
        chosen: the images.
        target: as for `write`.
        form: as for `write`.
        frames: of a walk.

    Raises:
        UserError: it does not fit; the estimate is named.
    """
    pixels = math.prod(model.recipe.data.shape)
    count = frames if form == "walk" else chosen.count
    if form in ("grid", "walk"):
        # A picture holds each image enlarged, and is there three times while it is put together and encoded.
        shown = pixels * max(1, -(-images.CELL // max(model.recipe.data.shape[-2:]))) ** 2
        if form == "walk" and chosen.count > frames:
            raise UserError(f"--interpolate: {frames} frames cannot show {chosen.count:,} seeds: raise --frames")
        option, what = ("--frames", "a walk") if form == "walk" else ("--count", "a grid")
        memory.check(3 * count * shown, f"{option} {count:,}: {what} of so many images", f"lower {option}")
        return

    least = {"folder": BLOCK, "zip": ENTRY, "csv": 10}.get(form, pixels)
    _check_disk(target, count, least, files=count if form == "folder" else 1)


def _check_disk(target: Path, count: int, least: int, *, files: int) -> None:
    place = next(folder for folder in (target, *target.absolute().parents) if folder.is_dir())
    found = os.statvfs(place)
    free = found.f_bavail * found.f_frsize
    if count * least > free:
        said = f"{count:,} images take at least {memory.size(count * least)}, and {memory.size(free)} are free"
    elif found.f_files and files > found.f_favail:
        said = f"{files:,} files, and the disk takes {found.f_favail:,} more"
    else:
        return
    raise UserError(f"--out {target}: {said}: lower --count, or give a place on another disk")


def write(
    model: FromNoise, chosen: Samples, target: Path | IO[bytes], form: str, *, frames: int = 0, told: Told | None = None
) -> None:
    """Write images.

    Args:
        model: from a family that starts from noise.
        chosen: the images; for a walk, the stations.
        target: a folder, or the one file, which may be open already.
        form: folder (PNG files named by seed, below a folder for each class), grid (a PNG, with a row for each class
            where there are several), walk (a GIF of `frames` frames in the first station's class), zip (of PNG
            files), npz (`images`, uint8 N×H×W×C, `seeds`, and `labels` and `classes` where there are any), or png (the
            one image).
        frames: of a walk.
        told: is called with the images done.

    Raises:
        UserError: memory ran out.
        OSError: the disk does not take it; of a file nothing is left.
    """
    size = "×".join(map(str, model.recipe.data.shape))
    advice = {"grid": "lower --count", "walk": "lower --frames"}.get(form, "free some memory, or give --device cpu")
    with memory.in_words(f"while making images of {size}: {advice}"):
        stream = _made(model, chosen, frames if form == "walk" else None, told)
        if form == "folder" and isinstance(target, Path):
            place = outputs.Place(target)
            for name, content in images.encode_all(_named(chosen, stream)):
                place.save(name, content)
            return
        if isinstance(target, Path):
            target.parent.mkdir(parents=True, exist_ok=True)
        with files.writing(target) if isinstance(target, Path) else nullcontext(target) as file:
            _one_file(model, chosen, stream, file, form)


def _one_file(model: FromNoise, chosen: Samples, stream: Iterator[images.Pixels], file: IO[bytes], form: str) -> None:
    if form == "png":
        file.write(images.png(next(stream)))
    elif form == "grid":
        columns = chosen.seeds.count if chosen.labels is not None and len(chosen.labels) > 1 else None
        images.picture(images.grid(np.stack(list(stream)), columns)).save(file, format="PNG")
    elif form == "walk":
        images.save_animation([images.picture(images.grid(image[None])) for image in stream], file)
    elif form == "npz":
        _npz(model, chosen, stream, file)
    else:
        archives.store(file, images.encode_all(_named(chosen, stream)))


def _made(model: FromNoise, chosen: Samples, frames: int | None, told: Told | None) -> Iterator[images.Pixels]:
    """The images, H×W×C, each made when it is asked for; with `frames` those of a walk between the chosen ones."""
    done, total, rest = 0, frames or chosen.count, iter(chosen)
    while done < total:
        some = list(rest if frames else itertools.islice(rest, AT_ONCE))
        latents, labels = [model.latent(sample.seed) for sample in some], [sample.label for sample in some]
        if frames:
            latents = walk(latents, frames, straight=model.recipe.noise == "uniform")
            labels = labels[:1] * frames
        for batch in model.sample(latents, labels):
            yield from images.pixels(batch)
            done += len(batch)
            if told is not None:
                told(done, total)


def _named(chosen: Samples, stream: Iterator[images.Pixels]) -> Iterator[tuple[str, images.Pixels]]:
    return ((sample.name, image) for sample, image in zip(chosen, stream, strict=True))


def _npz(model: FromNoise, chosen: Samples, stream: Iterator[images.Pixels], file: IO[bytes]) -> None:
    """Arrays as `np.savez` writes them, row by row."""
    channels, height, width = model.recipe.data.shape
    with zipfile.ZipFile(file, "w") as archive:
        rows = (image.tobytes() for image in stream)
        archives.array(archive, "images", np.dtype(np.uint8), (chosen.count, height, width, channels), rows)
        for name, numbers in (
            ("seeds", (sample.seed for sample in chosen)),
            ("labels", (sample.label for sample in chosen)),
        ):
            if name == "seeds" or model.classes:
                rows = (np.int64(number).tobytes() for number in numbers)
                archives.array(archive, name, np.dtype(np.int64), (chosen.count,), rows)
        if model.classes:
            # An array of texts gives each as much room as the longest needs.
            short = [name if len(name) < outputs.LONGEST else outputs.label(name) for name in model.classes]
            with archive.open("classes.npy", "w") as member:
                np.save(member, np.array(short))


def write_points(model: FromNoise, seeds: Seeds, target: Path, told: Told | None = None) -> None:
    """Write the points of some seeds, where a family learnt points.

    Args:
        model: from a family that starts from noise.
        seeds: one for each point.
        target: .csv (a row for each point, with its seed), or .npz (`points`, float32 N×D, and `seeds`).
        told: is called with the points done.
    """
    (dimensions,) = model.recipe.data.shape
    chosen, rest = Samples(seeds, None, ()), iter(seeds)

    def rows() -> Iterator[tuple[int, Tensor]]:
        done = 0
        while some := list(itertools.islice(rest, AT_ONCE)):
            for batch in model.sample([model.latent(seed) for seed in some]):
                yield from zip(range(done, done + len(batch)), batch, strict=True)
                done += len(batch)
                if told is not None:
                    told(done, chosen.count)

    target.parent.mkdir(parents=True, exist_ok=True)
    with memory.in_words("while making points: lower --count"), files.writing(target) as file:
        if target.suffix.lower() == ".npz":
            with zipfile.ZipFile(file, "w") as archive:
                points = (point.numpy().tobytes() for _, point in rows())
                archives.array(archive, "points", np.dtype(np.float32), (chosen.count, dimensions), points)
                numbers = (np.int64(seed).tobytes() for seed in seeds)
                archives.array(archive, "seeds", np.dtype(np.int64), (chosen.count,), numbers)
        else:
            file.write((",".join(["seed", *"xy"[:dimensions]]) + "\n").encode())
            for seed, (_, point) in zip(seeds, rows(), strict=True):
                file.write((",".join([str(seed), *map(repr, point.tolist())]) + "\n").encode())


def walk(stations: Sequence[Tensor], frames: int, *, straight: bool = False) -> list[Tensor]:
    """Latents evenly spaced along the way from the first station to the last.

    Args:
        stations: latents.
        frames: how many to return, the first and the last station included.
        straight: along lines, as for uniform noise, which must stay inside its cube; else along great circles.
    """
    between = torch.lerp if straight else slerp
    legs = list(pairwise(stations)) or [(stations[0], stations[0])]
    places = np.linspace(0, len(legs), frames)
    return [between(*legs[min(int(p), len(legs) - 1)], p - min(int(p), len(legs) - 1)) for p in places]


def slerp(start: Tensor, end: Tensor, share: float) -> Tensor:
    """The point after `share` of the way from start to end along the great circle between them.

    High-dimensional normal noise lies near a sphere; a straight line would leave it (White 2016, arXiv:1609.04468).
    """
    cosine = torch.nn.functional.cosine_similarity(start, end, dim=0).clamp(-1, 1)
    angle = torch.arccos(cosine)
    if angle < 1e-4:
        return torch.lerp(start, end, share)
    return (torch.sin((1 - share) * angle) * start + torch.sin(share * angle) * end) / torch.sin(angle)


def _class(classes: Sequence[str], wanted: str) -> int:
    """The index of a class given by its name or, where none has that name, by its index."""
    if wanted in classes:
        return classes.index(wanted)
    if wanted.isdecimal() and int(wanted) < len(classes):
        return int(wanted)
    nearest = difflib.get_close_matches(wanted, classes, n=1) if not wanted.isdecimal() else []
    several = ", ".join(classes[:20]) + (f" and {len(classes) - 20} more" if len(classes) > 20 else "")
    known = f"did you mean {nearest[0]}?" if nearest else f"there are {several}; all takes every one"
    raise UserError(f"--class {wanted}: the model knows no such class: {known}")
