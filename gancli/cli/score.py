"""`gancli eval-fid`, `gancli evaluate`, `gancli fit-features`: numbers with their protocol."""

import json
import shutil
import textwrap
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gancli.cli import app, door, parsing, targets
from gancli.cli.device import Device, use
from gancli.cli.progress import Progress
from gancli.errors import UserError

if TYPE_CHECKING:
    from gancli.metrics.features import Features
    from gancli.metrics.moments import Statistics
    from gancli.runs.run import Run
    from gancli.score import comparison


class Way(StrEnum):
    """How images come to Inception's 299 pixels."""

    tf1 = "tf1"
    pytorch = "pytorch"
    clean = "clean"
    torchmetrics = "torchmetrics"


class Precision(StrEnum):
    """Inception's arithmetic."""

    float32 = "float32"
    bf16 = "bf16"


SUBJECT_HELP = (
    "What is measured: what a run or a model.safetensors generates, a folder, .zip or .npz of images, a built-in or "
    "fetched set, a recipe's data, or an .npz of statistics."
)
SubjectWord = Annotated[str, typer.Argument(metavar="SUBJECT", help=SUBJECT_HELP)]
Against = Annotated[
    str | None, typer.Option(metavar="DATA", help="What it is compared with, any of these (default: the run's data).")
]
Split = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The split of the data: of the reference's with --against, else of SUBJECT's, or of the data that a run "
        "learnt (default: train, or all images where there are no splits).",
    ),
]
Count = Annotated[int | None, typer.Option(min=1, max=2**62, help="Images to generate (default: the recipe's).")]
Seed = Annotated[int, typer.Option(min=0, max=2**62, help="Seed of the first image, and of random subsets.")]
Direction = Annotated[
    str | None,
    typer.Option(metavar="A-TO-B", help="Of a run that translates images, only this direction (default: each)."),
]
Best = Annotated[bool, typer.Option("--best", help="The weights of the best evaluation in training, not the last.")]
NetworkName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="inception, classifier, or a .safetensors file (default: the recipe's)."),
]
Weights = Annotated[Path | None, typer.Option(help="Inception's weights (default: those fetched).")]
Resize = Annotated[
    Way | None,
    typer.Option(
        help="How images come to Inception's size: as in TensorFlow 1 and torch-fidelity (the literature's, and the "
        "default), pytorch-fid, clean-fid, or torchmetrics, which antialiases."
    ),
]
IgnoreOrientation = Annotated[
    bool,
    typer.Option(
        "--ignore-orientation",
        help="Leave photographs as they are stored, as other tools do, not upright as EXIF says.",
    ),
]
Arithmetic = Annotated[Precision, typer.Option(help="Inception's arithmetic.")]
Bootstrap = Annotated[
    int, typer.Option(min=0, help="Resamples for the deviation of the FID: at least 2, or 0 for none.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there already.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command(cls=parsing.Command)
def eval_fid(
    subject: SubjectWord,
    against: Against = None,
    split: Split = None,
    count: Count = None,
    seed: Seed = 0,
    direction: Direction = None,
    best: Best = False,
    features: NetworkName = None,
    weights: Weights = None,
    resize: Resize = None,
    precision: Arithmetic = Precision.float32,
    ignore_orientation: IgnoreOrientation = False,
    bootstrap: Bootstrap = 0,
    save_statistics: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the subject's statistics, an .npz, for later --against.")
    ] = None,
    force: Force = False,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Print the Fréchet distance between two sets of images, with its protocol."""
    targets.check("--save-statistics", save_statistics, ".npz", force, (subject, against, weights))
    _check(["fid"], bootstrap)
    _check_words(subject, against, features, weights, best=best)
    use(device)
    from gancli.score import comparison

    sides = comparison.sides_of(
        comparison.Words(subject, against, split, count, seed, direction, best, ignore_orientation)
    )
    measured, reference = comparison.only(sides, "--save-statistics") if save_statistics else next(iter(sides.values()))
    if save_statistics is not None and measured.statistics is not None:
        raise UserError(f"--save-statistics: {subject} is statistics already: name images")
    network = comparison.Network(features, weights, resize.value if resize else None, precision.value)
    with Progress() as progress:
        if reference is None:
            if save_statistics is None:
                raise UserError(
                    f"{subject}: has no data of its own to be compared with: name real images with --against"
                )
            _save_statistics(sides, network, save_statistics, bootstrap, progress)
            door.result(json.dumps({"statistics": str(save_statistics)})) if as_json else door.paths([save_statistics])
            return
        record = _score(sides, network, ["fid"], seed, bootstrap, progress, save=save_statistics)
    record = {"metric": "fid", "value": record["values"]["fid"]} | record
    if save_statistics is not None:
        record |= {"saved_statistics": str(save_statistics)}
    _publish(record, measured.run, as_json)


@app.command(cls=parsing.Command)
def evaluate(
    subject: SubjectWord,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMES",
            help="fid, kid, is, prdc, fid-infinity, classes, accuracy, intra-fid, pairs; as in fid,kid, or given once "
            "for each (default: the recipe's, or fid).",
        ),
    ] = None,
    against: Against = None,
    split: Split = None,
    count: Count = None,
    seed: Seed = 0,
    direction: Direction = None,
    best: Best = False,
    features: NetworkName = None,
    weights: Weights = None,
    resize: Resize = None,
    precision: Arithmetic = Precision.float32,
    ignore_orientation: IgnoreOrientation = False,
    bootstrap: Bootstrap = 0,
    neighbours: Annotated[
        Path | None,
        typer.Option(metavar="PNG", help="Draw images beside their nearest in the reference: is it memorising?"),
    ] = None,
    force: Force = False,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Print any of the metrics of a set of images, with their protocol."""
    from gancli.metrics import names

    asked = names.read(metrics) if metrics else None
    targets.check("--neighbours", neighbours, ".png", force, (subject, against, weights))
    _check(asked or ["fid"], bootstrap)
    _check_words(subject, against, features, weights, best=best)
    use(device)
    from gancli.runs.run import Run
    from gancli.score import comparison, scoring

    if (of_points := scoring.of_points(subject, seed)) is not None:
        if metrics or against or best or neighbours:
            raise UserError(f"{subject}: learned points, whose measures are exact: leave out all options but --seed")
        _publish(of_points, Run(Path(subject)) if Path(subject).is_dir() else None, as_json)
        return
    sides = comparison.sides_of(
        comparison.Words(subject, against, split, count, seed, direction, best, ignore_orientation)
    )
    measured, _ = comparison.only(sides, "--neighbours") if neighbours else next(iter(sides.values()))
    asked = asked or list(measured.recipe.evaluate.metrics if measured.recipe else ["fid"])
    network = comparison.Network(features, weights, resize.value if resize else None, precision.value)
    with Progress() as progress:
        record = _score(sides, network, asked, seed, bootstrap, progress, neighbours=neighbours)
    _publish(record, measured.run, as_json)


@app.command(cls=parsing.Command)
def fit_features(
    data: Annotated[str, typer.Argument(help="Labelled data: a run, a recipe, or a source with a folder a class.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The .safetensors file to write, for --features.")],
    force: Force = False,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Train a classifier on labelled data, as a feature network for images far from photographs."""
    targets.check("--out", out, ".safetensors", force, (data,))
    use(device)
    from gancli.score import scoring, subjects

    found = subjects.find(data)
    with Progress() as progress:
        sides = scoring.training_data(found.recipe) if found.recipe else (found, None)
        trained = scoring.fitted(*sides, lambda done, total, _: progress.counting("fitting", "steps")(done, total))
    trained.save(out)
    result = {"file": str(out), "accuracy": trained.accuracy, "images": trained.tested}
    if as_json:
        door.result(json.dumps(result))
    else:
        door.paths([out])
    door.note(f"{trained.accuracy:.2%} of {trained.tested:,} held-out images are classified correctly")


def _check_words(subject: str, against: str | None, features: str | None, weights: Path | None, *, best: bool) -> None:
    """Refuse words that mean nothing, and files that are not there; torch is not yet imported."""
    from gancli.runs import words

    words.check(subject, best=best)
    if against is not None:
        words.check(against)
    words.check_file("--weights", weights)
    if features is not None and features.endswith(".safetensors"):
        words.check_file("--features", features)


def _check(metrics: list[str], bootstrap: int) -> None:
    """Refuse what two sides of any kind could not serve, before torch is imported."""
    from gancli.metrics import names

    images = names.Given(labelled=True)
    names.check_served(metrics, images, images, bootstrap)


def _score(
    sides: "comparison.Sides",
    network: "comparison.Network",
    metrics: list[str],
    seed: int,
    bootstrap: int,
    progress: Progress,
    save: Path | None = None,
    neighbours: Path | None = None,
) -> dict[str, Any]:
    """Check everything, load the network, measure; and draw neighbours where they are asked for."""
    from gancli import files
    from gancli.make import images
    from gancli.metrics.names import PAIRS
    from gancli.score import neighbours as nearest
    from gancli.score import scoring

    scoring.check(sides, metrics, bootstrap)
    measured, reference = next(iter(sides.values()))
    if neighbours is not None and (reference is None or reference.statistics or measured.statistics):
        raise UserError("--neighbours: shows images of the reference: name it with --against, not by its statistics")
    loaded = (
        None
        if metrics == [PAIRS] and neighbours is None
        else network.load(sides, progress.counting("fitting a classifier", "steps"))
    )
    told = progress.passing("images")

    def ready() -> None:
        _estimate(sides, loaded, metrics, bootstrap, progress)

    def keep(found: "Statistics") -> None:
        if save is not None:
            found.save(save)

    record = scoring.score_each(
        sides, loaded, metrics, seed=seed, bootstrap=bootstrap, told=told, keep=keep, ready=ready
    )
    if neighbours is not None and reference is not None and loaded is not None:
        sheet = images.picture(nearest.sheet(measured, reference, loaded, told=told))
        with files.writing(neighbours) as file:
            sheet.save(file, format="PNG")
        record |= {"neighbours": str(neighbours)}
    return record


def _estimate(
    sides: "comparison.Sides", loaded: "Features | None", metrics: list[str], bootstrap: int, progress: Progress
) -> None:
    """Refuse what cannot fit or would take weeks, and say when it takes hours."""
    from gancli.score import workload

    generated = any(side.generated for pair in sides.values() for side in pair if side)
    advice = "lower --count" if generated else "name fewer images"
    advice += ", or --bootstrap" if bootstrap else ""
    workload.check(sides, loaded, metrics, bootstrap, advice, progress.warn)


def _save_statistics(
    sides: "comparison.Sides", network: "comparison.Network", file: Path, bootstrap: int, progress: Progress
) -> None:
    """Write the statistics of images that are compared with nothing yet."""
    from gancli.score import scoring

    if bootstrap:
        raise UserError("--bootstrap: needs a comparison: name what the images are compared with, with --against")
    subject, _ = next(iter(sides.values()))
    loaded = network.load(sides, progress.counting("fitting a classifier", "steps"))
    assert loaded is not None
    told = progress.passing("images")
    scoring.statistics(subject, loaded, told, ready=lambda: _estimate(sides, loaded, ["fid"], 0, progress)).save(file)


def _publish(record: dict[str, Any], run: "Run | None", as_json: bool) -> None:
    """Keep the record with the run where it can be written, warn on stderr, print it."""
    if run is not None:
        try:
            run.append_evaluation(record)
        except (OSError, UserError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            door.note(f"warning: {run.evaluations_file}: the result is not kept with the run: {reason}")
    for warning in record["warnings"]:
        door.note(f"warning: {warning}")
    if as_json:
        door.result(json.dumps(record, allow_nan=False))
        return
    said = record.get("not_finite", {})
    rows = {
        name: f"none ({said[name]})" if value is None else f"{value:.6g}" if isinstance(value, float) else value
        for name, value in record["values"].items()
    }
    hidden = ("values", "not_finite", "warnings", "metric", "value")
    entries = {
        name: f"{entry:.6g}" if isinstance(entry, float) else entry
        for name, entry in record.items()
        if name not in hidden
    }
    width = max(map(len, [*rows, *entries]))
    door.result(*(f"{name:{width}}  {value}" for name, value in rows.items()))
    # Of the protocol's entries only these are values: its precision is no share of images, but an arithmetic.
    beside = [name for name in entries if name.startswith(("floor_", "believed_"))]
    door.result("", "which means", *_meanings([*rows, *beside], width))
    door.result("", "measured with")
    door.result(*(f"{name:{width}}  {value}" for name, value in entries.items()))


def _meanings(names: list[str], width: int) -> Iterator[str]:
    """What values mean, in words, wrapped to the terminal; what means the same is said once."""
    from gancli.metrics import glossary

    said: dict[str, str] = {}
    for name in names:
        if meaning := glossary.value(name):
            said.setdefault(meaning, name)
    columns = max(shutil.get_terminal_size().columns, width + 30)
    for meaning, name in said.items():
        yield from textwrap.wrap(
            meaning, columns, initial_indent=f"{name:{width}}  ", subsequent_indent=" " * (width + 2)
        )
