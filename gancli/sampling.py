"""Sampling: a model and seeds in, files out."""

import difflib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from gancli import files, images
from gancli.adversarial import FromNoise
from gancli.errors import UserError


@dataclass(frozen=True)
class Sample:
    """One image to be made: a function of its seed and its class alone.

    Args:
        seed: of its noise.
        label: the index of its class; 0 where the model knows no classes.
        folder: the name of its class; empty where the model knows no classes.
    """

    seed: int
    label: int = 0
    folder: str = ""

    @property
    def name(self) -> str:
        """The file's name inside a folder or an archive: sorted by class, as a source of labelled images is."""
        return f"{self.folder}/{self.seed:06d}.png" if self.folder else f"{self.seed:06d}.png"


def samples(model: FromNoise, seeds: Sequence[int], wanted: str | None) -> list[Sample]:
    """What to make: every seed in the class that is wanted, or class by class in all of them.

    Args:
        model: from a family that starts from noise.
        seeds: one for each image of a class.
        wanted: the name or the index of a class, or "all"; None lets the seeds take turns through the classes.

    Raises:
        UserError: the model has no such class.
    """
    if wanted is None:
        return [_sample(model, seed, model.label(seed)) for seed in seeds]
    if not model.classes:
        raise UserError(f"--class {wanted}: this model knows no classes: train with conditional: true, or leave it out")
    if wanted == "all" and wanted not in model.classes:
        return [_sample(model, seed, label) for label in range(len(model.classes)) for seed in seeds]
    return [_sample(model, seed, _class(model.classes, wanted)) for seed in seeds]


def write(model: FromNoise, chosen: Sequence[Sample], target: Path, form: str, *, frames: int) -> list[Path]:
    """Write images.

    Args:
        model: from a family that starts from noise.
        chosen: the images; for a walk, the stations.
        target: a folder, or the one file.
        form: folder (PNG files named by seed, below a folder for each class), grid (a PNG, with a row for each class
            where there are several), walk (a GIF of `frames` frames in the first station's class), zip (of PNG
            files), or npz (`images`, uint8 N×H×W×C, `seeds`, and `labels` and `classes` where there are any).

    Returns:
        The paths written.
    """
    latents = [model.latent(sample.seed) for sample in chosen]
    labels = [sample.label for sample in chosen]
    if form == "walk":
        latents, labels = walk(latents, frames), labels[:1] * frames
    stream = (image for batch in model.sample(latents, labels) for image in images.pixels(batch))
    named = ((sample.name, image) for sample, image in zip(chosen, stream, strict=True))

    if form == "folder":
        for folder in {(target / sample.name).parent for sample in chosen}:
            folder.mkdir(parents=True, exist_ok=True)
        written = []
        for name, content in images.encode_all(named):
            (target / name).write_bytes(content)
            written.append(target / name)
        return written

    target.parent.mkdir(parents=True, exist_ok=True)
    with files.writing(target) as file:
        if form == "grid":
            rows = len(set(labels))
            columns = len(chosen) // rows if rows > 1 and labels == sorted(labels) else None
            images.picture(images.grid(np.stack(list(stream)), columns)).save(file, format="PNG")
        elif form == "walk":
            images.save_animation([images.picture(images.grid(image[None])) for image in stream], file)
        elif form == "npz":
            arrays = {"images": np.stack(list(stream)), "seeds": np.array([sample.seed for sample in chosen])}
            if model.classes:
                arrays |= {"labels": np.array(labels), "classes": np.array(model.classes)}
            np.savez(file, allow_pickle=False, **arrays)
        else:
            _zip(file, named)
    return [target]


def write_points(model: FromNoise, seeds: Sequence[int], target: Path) -> list[Path]:
    """Write the points of some seeds, where a family learnt points.

    Args:
        model: from a family that starts from noise.
        seeds: one for each point.
        target: .csv (a row for each point, with its seed), or .npz (`points`, float32 N×D, and `seeds`).

    Returns:
        The path written.

    Raises:
        UserError: the target is no such file.
    """
    made = torch.cat(list(model.sample([model.latent(seed) for seed in seeds]))).numpy()
    if target.suffix.lower() not in (".csv", ".npz"):
        raise UserError(f"--out {target}: this model makes points, not images: give a .csv or .npz file")
    target.parent.mkdir(parents=True, exist_ok=True)
    with files.writing(target) as file:
        if target.suffix.lower() == ".npz":
            np.savez(file, points=made, seeds=np.array(seeds))
        else:
            rows = [",".join(["seed", *"xy"[: made.shape[1]]])]
            rows += [",".join([str(seed), *map(repr, point)]) for seed, point in zip(seeds, made.tolist(), strict=True)]
            file.write(("\n".join(rows) + "\n").encode())
    return [target]


def walk(stations: Sequence[Tensor], frames: int) -> list[Tensor]:
    """Latents evenly spaced along the way from the first station to the last."""
    legs = list(pairwise(stations)) or [(stations[0], stations[0])]
    places = np.linspace(0, len(legs), frames)
    return [slerp(*legs[min(int(p), len(legs) - 1)], p - min(int(p), len(legs) - 1)) for p in places]


def slerp(start: Tensor, end: Tensor, share: float) -> Tensor:
    """The point after `share` of the way from start to end along the great circle between them.

    High-dimensional normal noise lies near a sphere; a straight line would leave it (White 2016, arXiv:1609.04468).
    """
    cosine = torch.nn.functional.cosine_similarity(start, end, dim=0).clamp(-1, 1)
    angle = torch.arccos(cosine)
    if angle < 1e-4:
        return torch.lerp(start, end, share)
    return (torch.sin((1 - share) * angle) * start + torch.sin(share * angle) * end) / torch.sin(angle)


def _sample(model: FromNoise, seed: int, label: int) -> Sample:
    return Sample(seed, label, model.classes[label]) if model.classes else Sample(seed)


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


def _zip(file: IO[bytes], named: Iterator[tuple[str, images.Pixels]]) -> None:
    # PNG is compressed already: store, and with a fixed date, so that equal images make equal files.
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in images.encode_all(named):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
