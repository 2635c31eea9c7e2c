"""`gancli sample`: images out of a run."""

import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gancli.cli import app, door, noise, parsing
from gancli.cli.device import Device, use
from gancli.cli.progress import Progress
from gancli.errors import UserError

if TYPE_CHECKING:
    from gancli.data.sources import Source
    from gancli.gan.image_to_image import FromImages
    from gancli.make.images import Pixels
    from gancli.make.tiles import Turn
    from gancli.make.translation import Job
    from gancli.make.turns import Turns


@app.command(cls=parsing.Command)
def sample(
    run: Annotated[Path, typer.Argument(help="A run, or its model.safetensors alone.")],
    count: Annotated[
        int | None,
        typer.Option(min=1, help="How many images (default: 16 from noise; of a translator's test split all)."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=2**63 - 1,
            help="Seed of the first, and the others follow it; of every translated image (default: 0).",
        ),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Exactly these seeds instead, as in 3,7,100-120.")] = None,
    class_: Annotated[
        str | None,
        typer.Option("--class", metavar="CLASS", help="Name or number of a class, or all: the seeds in each class."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A folder for PNG files named by seed, or a file: .zip, .npz, .png (grid), .gif (walk); "
            "for a model of points .csv or .npz. Of translations a folder for files of the inputs' names, formats and "
            "sizes (JPEG at quality 95), a file where there is one input, or - for a PNG on stdout (default: samples, "
            "grid.png, walk.gif or points.csv; of translations translated, or - for one from stdin)."
        ),
    ] = None,
    grid: Annotated[
        bool, typer.Option("--grid", help="One PNG with all images; of translations beside their inputs.")
    ] = False,
    interpolate: Annotated[
        str | None, typer.Option(metavar="SEEDS", help="Walk between these seeds, as in 3,9, and write a GIF.")
    ] = None,
    frames: Annotated[int | None, typer.Option(min=2, help="Frames of the walk (default: 60).")] = None,
    input_: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="IMAGES",
            help="What to translate: an image, a folder with all below it, a .zip, or - for an image on stdin "
            "(default: the test split of the run's data).",
        ),
    ] = None,
    direction: Annotated[
        str | None,
        typer.Option(metavar="A-TO-B", help="a-to-b or b-to-a, where the run learnt both (default: a-to-b)."),
    ] = None,
    domain: Annotated[
        list[str] | None,
        typer.Option(
            help="What images are to become, of a run of many domains: the name of one, or attributes, as in "
            "Blond_Hair,Male=0,Young=flip; may be given again (default: each of them)."
        ),
    ] = None,
    styles: Annotated[
        int | None, typer.Option(min=1, help="Styles of each domain, from --seed on, of a run that has styles.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGES",
            help="Take the style of every image here, of the one --domain or of the domain whose folder it stands in.",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="HEIGHTxWIDTH",
            help="Bring every image to this size first, as the recipe's data.resize says, as in 256 or 256x384 "
            "(default: each keeps its own).",
        ),
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(
            min=16, help="Side in pixels of the overlapping tiles that larger images are cut into (default: 1024)."
        ),
    ] = None,
    dropout: Annotated[
        str | None,
        typer.Option(
            metavar="ON|OFF",
            help="pix2pix's noise: on, seeded, each image normalised by itself, as the paper tests (default); or off, "
            "normalised as in training on average.",
        ),
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="The weights of the best evaluation in training, not the last.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there already.")] = False,
    device: Device = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Generate images, or translate those given, and print the paths of the files written."""
    from_noise = {"--seeds": seeds, "--class": class_, "--interpolate": interpolate, "--frames": frames}
    of_domains: dict[str, Any] = {"--domain": domain or None, "--styles": styles, "--reference": reference}
    from_images = of_domains | {"--input": input_, "--direction": direction, "--size": size, "--tile": tile}
    from_images |= {"--dropout": dropout}
    wish = None
    if not any(value is not None for value in from_images.values()):
        wish = noise.read(count, seed, seeds, class_, out, interpolate, frames, grid=grid)
    forced = _size(size) if size else None
    if dropout not in (None, "on", "off"):
        raise UserError(f"--dropout {dropout}: expected on or off")
    _check_words(run, input_, reference, best=best)
    if wish is not None:
        noise.check_place(wish, run, force=force)
    use(device)

    from gancli.data.sources import ignored, passed_over
    from gancli.make import turns
    from gancli.runs import opening
    from gancli.seeds import following

    opened = opening.open_model(run, best=best)
    family = opened.recipe.model
    if not opened.targets:
        _refuse(from_images, f"is for runs that translate images, and {family} makes them from noise")
        assert wish is not None
        noise.generate(opened.maker(), wish, force=force, as_json=as_json)
        return

    model = opened.translator()
    _refuse(from_noise, f"is for runs that make images from noise, and {family} translates them")
    if dropout is not None:
        if model.dropout is None:
            raise UserError(f"--dropout: {family} has none: leave it out")
        model.dropout = dropout == "on"
    if model.recipe.data.images.labelled:
        _refuse({"--direction": direction}, f"is for runs of two domains, and {family} knows many: see --domain")
        into, wanted = model.targets[0], _turns(model, domain or [], seed or 0, styles, reference)
    else:
        _refuse(of_domains, f"is for runs of many domains, and {family} knows two: see --direction")
        into = _target(model, direction)
        wanted = turns.of_targets(model, [into], following(seed or 0, 1))
    job, aims = _job(model, input_, into, wanted.turns, forced, tile, count)
    place = out or Path("grid.png" if grid else "-" if input_ == "-" else "translated")
    if as_json and place == noise.PIPE:
        raise UserError("--json: stdout takes the image: leave one of --json and --out - out")
    written, failed = _translate(job, aims, place, wanted.references, grid=grid, force=force)
    if unused := ignored(job.source):
        door.note(f"{job.source.where}: {passed_over(unused)}")
    if place != noise.PIPE:
        failures = [{"input": name, "reason": reason} for name, reason in failed]
        door.files(written, as_json=as_json, failed=failures)
    if failed:
        names = ", ".join(name for name, _ in failed[:10]) + (" and others" if len(failed) > 10 else "")
        # An image that cannot be read is missing in every turn.
        missing = sum(1 if grid or name not in job.names else len(job.turns) for name, _ in failed)
        total = len(job.names) * (1 if grid else len(job.turns))
        raise UserError(f"{missing} of {total} images failed: {names}: fix or remove them", 1)


def _check_words(run: Path, input_: str | None, reference: str | None, *, best: bool) -> None:
    """Refuse words that mean nothing, after options that fit the run; torch is not yet imported."""
    from gancli.runs import opening, words
    from gancli.runs.run import Run

    opening.weights_of(run, best=best)
    try:
        recipe = Run(run).recipe()
    except UserError:
        return  # a file of weights has its recipe within, which is read later
    if input_ is not None and recipe.translates:
        words.check_images(input_, "--input")
    if reference is not None and recipe.translates and recipe.data.images.labelled:
        words.check_images(reference, "--reference")


def _turns(model: "FromImages", targets: list[str], seed: int, styles: int | None, reference: str | None) -> "Turns":
    """What is done to every image by a model of many domains."""
    from gancli import seeds
    from gancli.make import inputs, turns

    if reference is None:
        return turns.of_targets(model, targets, seeds.following(seed, styles or 1))
    _refuse({"--styles": styles}, "is for styles of seeds, and --reference gives others")
    return turns.of_references(model, inputs.find(reference, "--reference"), targets)


def _target(model: "FromImages", direction: str | None) -> str:
    known = model.directions
    if direction is None:
        return model.targets[0]
    if direction not in known:
        raise UserError(f"--direction {direction}: this run learnt {' and '.join(known)}: take that, or train another")
    return known[direction][1]


def _job(
    model: "FromImages",
    word: str | None,
    target: str,
    turns: "Mapping[str, Turn]",
    size: tuple[int, int] | None,
    tile: int | None,
    count: int | None,
) -> "tuple[Job, Source | None]":
    """What there is to do; and what each image should become, where that is known."""
    from gancli.make import inputs, translation

    aims: Source | None = None
    if word == "-":
        source: Source = inputs.piped(sys.stdin.buffer)
    elif word is not None:
        source = inputs.find(word)
    else:
        source, aims = inputs.test_split(model, target)
    return translation.Job(model, source, turns, size, tile or translation.TILE, count), aims


def _translate(
    job: "Job", aims: "Source | None", out: Path, heading: "Sequence[Pixels]", *, grid: bool, force: bool
) -> tuple[list[Path], list[tuple[str, str]]]:
    """Translate images into files, a sheet (below the heading, where there is one) or the pipe.

    Returns:
        The paths written, and the images that failed with their reasons.

    Raises:
        UserError: the place is taken, or does not fit.
    """
    from gancli import files, outputs
    from gancli.make import encoding, translation

    if grid and ((out.suffix.lower() != ".png" and out != noise.PIPE) or len(job.names) > translation.MOST_ROWS):
        raise UserError(f"--grid: makes one .png of at most {translation.MOST_ROWS} images: change --out or --count")
    if out == noise.PIPE and not grid and len(job.names) * len(job.turns) > 1:
        raise UserError("--out -: takes one image, and there are several to make: give a folder")
    if out.suffix.lower() in (noise.FILES | {*noise.FORMS}) - encoding.ENDINGS and not out.is_dir():
        raise UserError(f"--out {out}: translations go to a folder, or one image to an image file: name such a place")
    if grid and out != noise.PIPE:
        job.check_inputs(out, [out])
        outputs.Place(out.parent).check([out.name], force=force)
    elif out != noise.PIPE:
        job.check(out, force=force)
    job.check_size()

    made: list[Any] = []
    failed: list[tuple[str, str]] = []
    done, each, unread = 0, 1 if grid or out == noise.PIPE else len(job.turns), frozenset(job.names)
    with Progress() as progress:
        told = progress.counting("translating", "images")
        results = translation.rows(job, aims) if grid else translation.write(job, out)
        for result in job.stream() if out == noise.PIPE and not grid else results:
            if isinstance(result, translation.Failed):
                failed.append(result)
                progress.note(f"{result.name}: {result.reason}")
                done += each if result.name in unread else 1
            else:
                made.append(result)
                done += 1
            told(done, len(job.names) * each)
    if made and (grid or out == noise.PIPE):
        with nullcontext(sys.stdout.buffer) if out == noise.PIPE else files.writing(out) as file:
            if grid:
                encoding.encode(translation.sheet(job, made, heading), file, ".png")
            else:
                (image,) = made[0].images.values()
                encoding.encode(image, file, ".png", made[0].kept)
        return [] if out == noise.PIPE else [out], failed
    return sorted(made), failed


def _refuse(options: dict[str, Any], why: str) -> None:
    """Say which option was given that does not fit the run's family."""
    for name, value in options.items():
        if value is not None:
            raise UserError(f"{name}: {why}: leave it out")


def _size(text: str) -> tuple[int, int]:
    """256 or 256x384 as height and width."""
    found = re.fullmatch(r"(\d{1,5})(?:[x×](\d{1,5}))?", text)
    sides = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not all(sides):
        raise UserError(f"--size {text}: expected pixels, as in 256, or 256x384 for 256 high and 384 wide")
    return sides
