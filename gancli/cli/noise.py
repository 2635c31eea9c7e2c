"""`gancli sample` of a run that makes images or points from noise."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gancli.cli import door
from gancli.cli.progress import Progress
from gancli.errors import UserError

if TYPE_CHECKING:
    from gancli.gan.adversarial import FromNoise
    from gancli.make.sampling import Samples
    from gancli.seeds import Seeds

PIPE = Path("-")
IMAGES, FRAMES = 16, 60
"""How many are made by default."""
FORMS = {".png": "grid", ".gif": "walk", ".zip": "zip", ".npz": "npz", ".csv": "csv"}
FILES = frozenset(
    (".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".svg", ".pdf")
)
FILES |= {
    ".mp4",
    ".apng",
    ".npy",
    ".pt",
    ".ckpt",
    ".safetensors",
    ".tar",
    ".gz",
    ".tgz",
    ".7z",
    ".txt",
    ".json",
    ".yaml",
}
"""Endings of files that no folder should have by mistake."""


@dataclass(frozen=True)
class Wish:
    """What is to be made.

    Args:
        seeds: of the images; of a walk, its stations.
        class_: the name or number of a class, or all.
        out: where to, as it was given.
        form: folder, grid, walk, zip, npz, csv, png (one image into the pipe), or none of these.
        frames: of a walk.
    """

    seeds: "Seeds"
    class_: str | None
    out: Path | None
    form: str
    frames: int

    @property
    def target(self) -> Path:
        """Where to."""
        return self.out or Path({"walk": "walk.gif", "grid": "grid.png"}.get(self.form, "samples"))


def read(
    count: int | None,
    seed: int | None,
    seeds: str | None,
    class_: str | None,
    out: Path | None,
    interpolate: str | None,
    frames: int | None,
    *,
    grid: bool,
) -> Wish:
    """The options as a wish, checked as far as they can be without the model.

    Raises:
        UserError: they contradict each other.
    """
    from gancli.seeds import following, parse

    if seeds is not None:
        _apart("--seeds", {"--count": count, "--seed": seed})
    if interpolate is not None:
        _apart("--interpolate", {"--seeds": seeds, "--count": count, "--seed": seed, "--grid": grid or None})
        if class_ == "all":
            raise UserError("--class all: a walk stays in one class: name it")
    elif frames is not None:
        raise UserError(
            f"--frames {frames}: is for a walk: give --interpolate with the seeds to walk between, or leave it out"
        )
    if interpolate is not None:
        chosen = parse(interpolate, "--interpolate")
    else:
        chosen = parse(seeds, "--seeds") if seeds is not None else following(seed or 0, count or IMAGES)
    form = _form(out, grid=grid, walk=interpolate is not None)
    return Wish(chosen, class_, out, form, frames or FRAMES)


def check_place(wish: Wish, path: Path, *, force: bool) -> None:
    """Refuse a place that is taken, as far as the run's recipe says where images will go; torch is not yet imported.

    Raises:
        UserError: it is taken.
    """
    from gancli import outputs
    from gancli.runs.run import Run

    try:
        recipe = Run(path).recipe()
    except UserError:
        return  # a file of weights has its recipe within, which is read later
    if wish.target == PIPE or recipe.translates or recipe.data.points:
        return
    if wish.form == "folder" and not getattr(recipe, "conditional", False):
        outputs.Place(wish.target).check((f"{seed:06d}.png" for seed in wish.seeds), force=force)
    elif wish.form in ("grid", "walk", "zip", "npz"):
        outputs.Place(wish.target.parent).check([wish.target.name], force=force)


def generate(model: "FromNoise", wish: Wish, *, force: bool, as_json: bool) -> None:
    """Write what a model makes from noise, and print the paths.

    Raises:
        UserError: the place is taken, or does not fit the model; nothing is made then.
    """
    from gancli import outputs
    from gancli.make import sampling

    points = model.recipe.data.points is not None
    target = Path("points.csv") if points and wish.out is None else wish.target
    chosen = sampling.samples(model, wish.seeds, wish.class_)
    form = _fitting(chosen, wish.form, target, points=points)
    sampling.check(model, chosen, target, form, frames=wish.frames)
    if target == PIPE:
        if as_json:
            raise UserError("--json: stdout takes the image: leave one of --json and --out - out")
    elif form == "folder":
        outputs.Place(target).check((sample.name for sample in chosen), force=force)
    else:
        outputs.Place(target.parent).check([target.name], force=force)

    with Progress() as progress:
        if points:
            sampling.write_points(model, wish.seeds, target, progress.counting("making", "points"))
        else:
            made = progress.counting("making", "images")
            sampling.write(
                model, chosen, sys.stdout.buffer if target == PIPE else target, form, frames=wish.frames, told=made
            )
    if target != PIPE:
        written: Iterable[Path] = chosen.paths(target) if form == "folder" else [target]
        door.files(written, as_json=as_json)


def _fitting(chosen: "Samples", form: str, target: Path, *, points: bool) -> str:
    """What to write for a model of points or of images.

    Raises:
        UserError: it cannot be written there.
    """
    if points:
        if form in ("grid", "walk"):
            raise UserError("--grid and --interpolate are for images, and this model makes points: leave them out")
        if target.suffix.lower() not in (".csv", ".npz"):
            raise UserError(f"--out {target}: this model makes points, not images: give a .csv or .npz file")
        return target.suffix.lower().removeprefix(".")
    if form in ("csv", ""):
        raise UserError(f"--out {target}: images from noise go to a folder, .zip, .npz, or .png (a grid): name one")
    if form == "png" and chosen.count > 1:
        raise UserError(f"--out -: takes one image, not {chosen.count:,}: give --count 1, or --grid, or a folder")
    return form


def _apart(option: str, others: dict[str, object]) -> None:
    """Refuse options that say otherwise what one option says already."""
    if given := [other for other, value in others.items() if value is not None]:
        raise UserError(f"{given[0]}: {option} says already which images to make: leave one of them out")


def _form(out: Path | None, *, grid: bool, walk: bool) -> str:
    """What to write.

    Raises:
        UserError: the options and the name of the target contradict each other.
    """
    wanted = "walk" if walk else "grid" if grid else None
    if out is None:
        return wanted or "folder"
    if out == PIPE:
        if walk:
            raise UserError("--out -: takes one image, and a walk is many: give a .gif file")
        return wanted or "png"
    ending = out.suffix.lower()
    named = FORMS.get(ending) or ("" if ending in FILES and not out.is_dir() else "folder")
    if wanted and named != wanted:
        raise UserError(f"--out {out}: {'a walk' if walk else 'a grid'} is one {'.gif' if walk else '.png'} file")
    if named == "walk" and not walk:
        raise UserError(f"--out {out}: a walk needs --interpolate with the seeds to walk between, as in 3,9")
    return named
