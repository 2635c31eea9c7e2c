"""`gancli data check`, `gancli data clear`, `gancli fetch`: data before it is trained on."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gancli.cli import app, door, parsing
from gancli.cli.progress import Progress
from gancli.errors import UserError

data = typer.Typer(cls=parsing.Group, help="See what a source holds before training on it.", no_args_is_help=True)
app.add_typer(data, name="data")


class Kind(StrEnum):
    """What a source is looked at as."""

    images = "images"
    pairs = "pairs"
    unpaired = "unpaired"
    labelled = "labelled"


@data.command(cls=parsing.Command)
def check(
    source: Annotated[
        str, typer.Argument(help="A folder, a file, or a built-in or fetched set: what data.source says.")
    ],
    kind: Annotated[Kind | None, typer.Option(help="The kind of data (default: guessed from the data).")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A field of the data section, as in image_size=128."),
    ] = None,
    preview: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Draw a contact sheet of what the networks will see.")
    ] = None,
    split: Annotated[str, typer.Option(help="The split that the preview shows.")] = "train",
    force: Annotated[bool, typer.Option("--force", help="Replace a preview that is there already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Open every image of a source and report what there is; exit 2 if one cannot be used. Sizes are height×width."""
    from gancli.data import check as checking
    from gancli.data import preview as drawing
    from gancli.recipe import reading

    document = reading.Document({"source": source}, {(): reading.Place(source)})
    # What a recipe calls data.layout is layout here; both are understood.
    document.update(reading.read_options([option.removeprefix("data.") for option in set_ or []]))
    likely = kind.value if kind else checking.guess(str(document.values["source"]), document.values)
    settings = reading.validate(checking.KINDS[likely], document)
    if preview is not None:
        drawing.check_place(preview, settings, force=force)
        drawing.check_split(settings, split)
    with Progress() as progress:
        report = checking.check(settings, progress.counting("checking", "images"))
        if preview is not None:
            drawing.save(drawing.preview(settings, split, progress.counting("decoding", "images")), preview)
    door.text(json.dumps(report.as_json()) if as_json else report.text())
    if not report.usable:
        advice = (
            "" if report.skips else ", or leave them out with --set data.on_bad_image=skip, here and in gancli train"
        )
        raise UserError(f"{source}: some images cannot be used: fix or remove them{advice}")


@data.command(cls=parsing.Command)
def clear() -> None:
    """Remove decoded images from the cache; they are decoded again when they are needed."""
    from gancli.data import store

    count, size = store.clear()
    door.result(f"{count:,} decoded sets removed, {size / 2**20:,.0f} MiB")


@app.command(cls=parsing.Command)
def fetch(
    name: Annotated[str, typer.Argument(help="mnist, fashion-mnist, cifar10, or inception (the weights behind FID).")],
) -> None:
    """Download a well-known file into the cache, verified; the only command that opens a connection."""
    from gancli import fetch as fetching

    with Progress() as progress:
        door.paths([fetching.fetch(name, progress.counting("fetching", "bytes"))])
