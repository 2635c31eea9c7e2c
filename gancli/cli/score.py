"""`gancli eval-fid`, `gancli evaluate`, `gancli fit-features`: numbers with their protocol."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gancli.cli import app, door, parsing
from gancli.cli.device import Device, use
from gancli.cli.progress import Progress
from gancli.errors import UserError

if TYPE_CHECKING:
    from gancli.from_images import FromImages
    from gancli.metrics.features import Features, ProtocolEntries
    from gancli.runs import Run
    from gancli.subjects import Subject


class Way(StrEnum):
    """How images come to Inception's 299 pixels."""

    tf1 = "tf1"
    pytorch = "pytorch"
    clean = "clean"


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
    str | None, typer.Option(help="The split of data that is taken (default: train, or all where there are none).")
]
Count = Annotated[int | None, typer.Option(min=1, help="Images to generate (default: the recipe's).")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the first image, and of random subsets.")]
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
Resize = Annotated[Way, typer.Option(help="How images come to Inception's size.")]
Arithmetic = Annotated[Precision, typer.Option(help="Inception's arithmetic.")]
Bootstrap = Annotated[int, typer.Option(min=0, help="Resamples for the deviation of the FID.")]
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
    resize: Resize = Way.tf1,
    precision: Arithmetic = Precision.float32,
    bootstrap: Bootstrap = 0,
    save_statistics: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the subject's statistics, an .npz, for later --against.")
    ] = None,
    force: Force = False,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Print the Fréchet distance between two sets of images, with its protocol."""
    from dataclasses import replace

    from gancli.metrics import fid

    use(device)
    _check_free(save_statistics, force)
    sides = _sides(subject, against, split, count, seed, direction, best)
    measured, compared = _only(sides, "--save-statistics") if save_statistics else next(iter(sides.values()))
    if compared is None and save_statistics is None:
        raise UserError(f"{subject}: has no data of its own to be compared with: name real images with --against")
    with Progress() as progress:
        network = _network(measured, compared, features, weights, resize, precision, progress)
        if save_statistics is not None:
            if network is None or measured.statistics is not None:
                raise UserError(f"--save-statistics: {subject} is statistics already: name images")
            found = fid.statistics(measured.batches(), network)
            found.save(save_statistics)
            if compared is None:
                if as_json:
                    door.result(json.dumps({"statistics": str(save_statistics)}))
                else:
                    door.paths([save_statistics])
                return
            sides = {"": (replace(measured, statistics=found), compared)}
        record = _score(sides, network, ["fid"], seed, bootstrap, progress)
    record = {"metric": "fid", "value": record["values"]["fid"]} | record
    _publish(record, measured.run, as_json)


@app.command(cls=parsing.Command)
def evaluate(
    subject: SubjectWord,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="fid, kid, is, prdc, fid-infinity, classes, accuracy, intra-fid, pairs; as in fid,kid "
            "(default: the recipe's, or fid).",
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
    resize: Resize = Way.tf1,
    precision: Arithmetic = Precision.float32,
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
    from gancli import files, images, runs, scoring

    use(device)
    if (of_points := scoring.of_points(subject, seed)) is not None:
        if metrics or against or best or neighbours:
            raise UserError(f"{subject}: learnt points, whose measures are exact: leave all options but --seed out")
        _publish(of_points, runs.Run(Path(subject)) if Path(subject).is_dir() else None, as_json)
        return
    _check_free(neighbours, force)
    sides = _sides(subject, against, split, count, seed, direction, best)
    measured, compared = _only(sides, "--neighbours") if neighbours else next(iter(sides.values()))
    recipe_s = list[str](measured.recipe.evaluate.metrics if measured.recipe else ["fid"])
    wanted = metrics.split(",") if metrics else recipe_s
    with Progress() as progress:
        only_pairs = wanted == [scoring.PAIRS] and neighbours is None
        network = None if only_pairs else _network(measured, compared, features, weights, resize, precision, progress)
        record = _score(sides, network, wanted, seed, bootstrap, progress)
        if neighbours is not None:
            if compared is None or network is None:
                raise UserError("--neighbours: shows the reference's nearest images: name it with --against")
            sheet = images.picture(scoring.neighbours(measured, compared, network))
            with files.writing(neighbours) as file:
                sheet.save(file, format="PNG")
            record |= {"neighbours": str(neighbours)}
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
    from gancli import scoring, subjects

    if out.suffix != ".safetensors":
        raise UserError(f"--out {out}: expected a name that ends in .safetensors")
    use(device)
    _check_free(out, force)
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


def _sides(
    subject: str,
    against: str | None,
    split: str | None,
    count: int | None,
    seed: int,
    direction: str | None,
    best: bool,
) -> "dict[str, tuple[Subject, Subject | None]]":
    """What is measured and what it is compared with; of a run that translates images for each direction."""
    from gancli import scoring, subjects
    from gancli.from_images import FromImages

    model, protocol, run = subjects.model_of(subject, best=best) or (None, {}, None)
    if isinstance(model, FromImages):
        if count is not None:
            raise UserError(f"--count {count}: all test images are translated: leave it out")
        return _directions(model, protocol, run, against, split, seed, direction)
    if direction is not None:
        raise UserError(f"--direction: {subject} is no run that translates images: leave it out")
    measured = subjects.find(subject, split=None if against else split, count=count, seed=seed, best=best)
    if against is None:
        compared = scoring.reference_of(measured, split)
    else:
        compared = subjects.find(against, split=split, count=count, seed=seed)
    if count is not None and not any(side.generated for side in (measured, compared) if side):
        raise UserError(f"--count {count}: neither side is generated, all images are measured: leave it out")
    return {"": (measured, compared)}


def _directions(
    model: "FromImages",
    protocol: "ProtocolEntries",
    run: "Run | None",
    against: str | None,
    split: str | None,
    seed: int,
    direction: str | None,
) -> "dict[str, tuple[Subject, Subject | None]]":
    from gancli import subjects

    sides = subjects.comparisons(model, seed, split or "test", protocol, run)
    if direction not in (None, *sides):
        raise UserError(f"--direction {direction}: this run learnt {', '.join(sides)}: take one of these")
    chosen = {name: pair for name, pair in sides.items() if direction in (None, name)}
    if against is None:
        return {**chosen}
    return {name: (fakes, subjects.find(against, split=split)) for name, (fakes, _) in chosen.items()}


def _only(sides: "dict[str, tuple[Subject, Subject | None]]", option: str) -> "tuple[Subject, Subject | None]":
    if len(sides) > 1:
        raise UserError(f"{option}: is of one direction: choose it with --direction from {', '.join(sides)}")
    return next(iter(sides.values()))


def _check_free(file: Path | None, force: bool) -> None:
    if file is not None and file.exists() and not force:
        raise UserError(f"{file}: exists already: --force replaces it, another name leaves it")


def _network(
    subject: "Subject",
    reference: "Subject | None",
    name: str | None,
    weights: Path | None,
    resize: Way,
    precision: Precision,
    progress: Progress,
) -> "Features | None":
    """The feature network; none where both sides are statistics, which need none."""
    from gancli import scoring

    if subject.statistics and reference and reference.statistics:
        return None
    return scoring.network(
        name,
        subject,
        reference,
        weights=weights,
        resize=resize.value,
        precision=precision.value,
        progress=lambda done, total, _: progress.counting("fitting a classifier", "steps")(done, total),
    )


def _score(
    sides: "dict[str, tuple[Subject, Subject | None]]",
    network: "Features | None",
    metrics: list[str],
    seed: int,
    bootstrap: int,
    progress: Progress,
) -> dict[str, Any]:
    from gancli import scoring

    told = progress.counting("measuring", "images")
    total = sum(side.count for pair in sides.values() for side in pair if side)
    return scoring.score_each(
        sides, network, metrics, seed=seed, bootstrap=bootstrap, progress=lambda done: told(done, total)
    )


def _publish(record: dict[str, Any], run: "Run | None", as_json: bool) -> None:
    """Keep the record with the run, warn on stderr, print it."""
    if run is not None:
        run.append_evaluation(record)
    for warning in record["warnings"]:
        door.note(f"warning: {warning}")
    if as_json:
        door.result(json.dumps(record, allow_nan=False))
        return
    rows = {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in record["values"].items()}
    entries = {k: v for k, v in record.items() if k not in ("values", "warnings", "metric", "value")}
    width = max(map(len, [*rows, *entries]))
    door.result(*(f"{name:{width}}  {value}" for name, value in rows.items()))
    door.result("", "measured with")
    door.result(*(f"{name:{width}}  {value}" for name, value in entries.items()))
