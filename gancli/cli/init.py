"""`gancli init`: a first recipe for one's own data and machine."""

import shlex
from collections.abc import Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated

import typer

from gancli.cli import app, door, parsing
from gancli.cli.progress import Progress
from gancli.errors import UserError

if TYPE_CHECKING:
    from gancli.setup.estimate import Estimate
    from gancli.setup.suggest import Suggestion
    from gancli.training.machine import Gpu, Processor

CLASSES = 12
"""Names of classes that the header lists."""


@app.command(cls=parsing.Command)
def init(
    data: Annotated[
        str,
        typer.Argument(
            help="A folder or archive of images, or a built-in, fetched or known set: what data.source says."
        ),
    ] = "digits",
    family: Annotated[
        str | None, typer.Option(help="The family to train (default: the one that suits the data best).")
    ] = None,
) -> None:
    """Look at data and machine, and print a commented recipe that fits them: gancli init photos/ > my.yaml."""
    import torch

    from gancli import models
    from gancli.recipe import reading
    from gancli.setup import commented, suggest

    progress = Progress()
    gpu = torch.cuda.is_available()
    try:
        found = suggest.suggest(data, family, gpu=gpu)
    except UserError as error:
        raise UserError(str(error).replace("data.source: ", ""), error.status) from error
    _warn(found, progress)
    progress.note(f"measuring a few steps of {found.family} on this machine")
    estimate, failed = _measured(found)
    if failed:
        progress.note(f"could not measure: {failed}")
    found = found.lasting(estimate.seconds if estimate else None, hour=not gpu)
    header = list(_header(found, estimate, failed))
    text = commented.text(found.settings(), found.values, header, found.reasons, suggest.ALWAYS)
    models.validate(reading.parse(text, "gancli init"))
    door.text(text.removesuffix("\n"))


def _warn(found: "Suggestion", progress: Progress) -> None:
    if found.seen is not None and found.seen.unreadable:
        from gancli.data.store import first_names

        bad = found.seen.unreadable
        progress.note(
            f"{len(bad)} of the {found.seen.looked} images looked at cannot be used: {first_names(bad)}: "
            f"gancli data check {shlex.quote(found.seen.settings.source)} lists all"
        )


def _measured(found: "Suggestion") -> "tuple[Estimate | None, str | None]":
    """The estimate, or why there is none."""
    from gancli.setup.estimate import measure

    try:
        return measure(found.settings(), found.seen.inventory.classes if found.seen else ()), None
    except UserError as error:
        return None, str(error)


def _header(found: "Suggestion", estimate: "Estimate | None", failed: str | None) -> Iterator[str]:
    """What stands above the recipe: data, family, machine, time and memory."""
    from gancli.setup import suggest
    from gancli.training import machine

    source = found.values["data"]["source"]
    yield f"{found.family} on {PurePath(source).name}, written by gancli init. To train:"
    yield "  gancli train my.yaml"
    yield f"Data: {_data(found)}."
    others = [name for name in suggest.suited(source) if name != found.family]
    more = f" {', '.join(others)} would do too: gancli init DATA --family NAME." if others else ""
    yield f"Family: {found.family}, as {found.why}.{more}"
    if found.base is not None:
        yield f"Networks and learning rates: those of the shipped recipe {found.base}."
    yield f"Machine: {_machine(*machine.devices())}."
    if estimate is None:
        yield f"Time and memory could not be measured: {failed}."
        return
    steps = int(found.values["train"]["steps"])
    yield (
        f"Time: about {_duration(steps * estimate.seconds)} for {steps:,} steps. Measured: {estimate.seconds:.3g} s a "
        f"step, the median of {estimate.steps} steps of this recipe in {estimate.precision} on random images, when "
        "this file was written. Beside other programs it takes longer."
    )
    yield f"Memory: {_memory(found, estimate)}."


def _data(found: "Suggestion") -> str:
    seen = found.seen
    if seen is None:
        return f"{found.values['data']['source']}, points that are drawn as they are needed"
    counts = [
        f"{' + '.join(f'{len(rows):,}' for rows in groups)} {'pairs ' if len(groups[0].keys) > 1 else ''}to {use}"
        for split, groups in seen.inventory.groups.items()
        if (use := {"train": "train on", "test": "test with"}.get(split))
    ]
    size = f"{seen.size[0]}×{seen.size[1]} pixels (height×width)"
    facts = [
        *counts,
        size if seen.alike else f"of many sizes, in the middle {size}",
        "gray" if seen.gray else "in colour",
    ]
    if classes := seen.inventory.classes:
        rest = f" and {len(classes) - CLASSES} more" if len(classes) > CLASSES else ""
        facts.append(f"{len(classes)} classes: {', '.join(classes[:CLASSES])}{rest}")
    return f"{'; '.join(facts)}. {seen.looked} images were looked at; gancli data check looks at all"


def _machine(processor: "Processor", gpus: "list[Gpu]") -> str:
    cores = f"{processor.cores} core{'s' if processor.cores > 1 else ''}"
    threads = f"{processor.threads} thread{'s' if processor.threads != 1 else ''} of torch"
    return f"{processor.model}, {cores}, {threads}, {' and '.join(gpu.name for gpu in gpus) or 'no GPU'}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    return f"{round(seconds / 60)} minutes" if seconds < 90 * 60 else f"{seconds / 3600:.1f} hours"


def _memory(found: "Suggestion", estimate: "Estimate") -> str:
    from gancli.recipe.data import Data

    facts = []
    if estimate.gpu_bytes is not None:
        facts.append(f"{_mib(estimate.gpu_bytes)} on the GPU at most")
    if estimate.memory_bytes is not None:
        facts.append(f"{_mib(estimate.memory_bytes)}, the most that this process held in those steps")
    data = found.settings().data
    if found.seen is not None and isinstance(data, Data):
        images = sum(len(rows) * len(rows.keys) for groups in found.seen.inventory.groups.values() for rows in groups)
        size = images * data.shape[0] * data.training_size[0] * data.training_size[1]
        facts.append(f"the decoded images take about {_mib(size)} of the cache's disk")
    return "; ".join(facts)


def _mib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{max(1, round(size / 2**20)):,} MiB"
