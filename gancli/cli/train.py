"""`gancli train`: a recipe in, a run directory out."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gancli.cli import app, door, parsing
from gancli.cli.progress import Progress
from gancli.errors import UserError

if TYPE_CHECKING:
    from gancli.recipe.sections import Recipe
    from gancli.runs.run import Run


@app.command(cls=parsing.Command)
def train(
    recipe: Annotated[str | None, typer.Argument(help="A recipe: its path, or the name of a shipped one.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the recipe.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run directory (default: runs/RECIPE-NAME).")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a run that is there already.")] = False,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Continue this run from its last step.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be trained, on what and where; start nothing.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a GAN and print the path of the run."""
    _train(recipe, set_ or [], out, resume, force=force, dry_run=dry_run, quiet=quiet, as_json=as_json)


def _train(
    name: str | None,
    sets: list[str],
    out: Path | None,
    resume: Path | None,
    *,
    force: bool,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    from gancli import models, process
    from gancli.recipe import catalogue
    from gancli.recipe.reading import read
    from gancli.runs.run import Run

    if resume is not None:
        if out is not None or force:
            raise UserError("--resume continues a run where it is: leave out --out and --force")
        Run(resume).recover()
        run = Run.open(resume)
        settings = run.as_before(models.validate(read(run.recipe_file, sets)))
        if name:
            run.check_same(models.validate(read(catalogue.find(name), ())).placed(), name)
    elif name is None:
        raise UserError("give a recipe (gancli recipes lists the shipped ones), or --resume RUN")
    else:
        settings = models.validate(read(catalogue.find(name), sets))
        run = Run(out or Path("runs") / Path(name).stem)
        run.recover()

    settings = settings.placed()

    def check() -> None:
        if resume is None:
            run.check_free(force=force)
        else:
            run.check_unchanged(settings)

    progress = Progress(quiet)
    if dry_run:
        check()
        door.text(_plan(settings, run, progress))
        return
    check()
    from gancli.training.train import load_data  # takes seconds, in which nothing is held yet
    from gancli.training.train import train as start

    with run.held(), progress:
        check()
        dataset = load_data(settings, progress)
        done = start(settings, dataset, run, progress, resume=resume is not None)
    result = {"run": str(run.path), "steps": done.step, "seconds": round(done.seconds, 3)}
    try:
        if as_json:
            door.result(json.dumps(result))
        else:
            door.paths([run.path])
    except BrokenPipeError:
        process.discard_stdout()  # the run is whole, whether or not anybody reads where it is


def _plan(settings: "Recipe", run: "Run", progress: Progress) -> str:
    from gancli.data.dataset import Dataset
    from gancli.recipe import reading
    from gancli.training.train import build, load_data

    dataset = load_data(settings, progress)
    model = build(settings.resolved(dataset.classes))
    counts = [
        f"{player}: {sum(p.numel() for p in getattr(model, player).parameters()):,} parameters"
        for player in ("generator", "discriminator")
    ]
    classes = f" of {len(dataset.classes)} classes" if dataset.classes else ""
    images = f"{len(dataset):,} training images{classes}" if isinstance(dataset, Dataset) else "drawn without end"
    found = f"data: {settings.data.source}: {images}"
    return "\n".join([reading.dump(model.recipe), *counts, found, f"run: {run.path}"])
