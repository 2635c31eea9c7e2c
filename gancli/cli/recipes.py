"""`gancli recipes`, `gancli validate`, `gancli schema`: recipes without training."""

import json
import shutil
import textwrap
from collections.abc import Iterator
from typing import Annotated

import typer

from gancli.cli import app, door, parsing


@app.command(cls=parsing.Command)
def recipes(
    name: Annotated[str | None, typer.Argument(help="A shipped recipe: print it, as the start of your own.")] = None,
) -> None:
    """List the shipped recipes by family, those that need no data first, or print one."""
    from gancli.recipe import catalogue

    if name is not None:
        door.text(catalogue.text(name).removesuffix("\n"))
        return
    families = sorted({catalogue.family(shipped) for shipped in catalogue.names()})
    door.result(*(line for family in families for line in _listed(family)))


def _listed(family: str) -> Iterator[str]:
    """A family's shipped recipes with their summaries, wrapped to the terminal."""
    from gancli.recipe import catalogue

    column = 4 + max(map(len, catalogue.names()))
    yield f"{family}:"
    for shipped in catalogue.of_family(family):
        head = f"  {shipped}".ljust(column)
        width = max(shutil.get_terminal_size().columns, column + 20)
        yield from textwrap.wrap(catalogue.summary(shipped), width, initial_indent=head, subsequent_indent=" " * column)


@app.command(cls=parsing.Command)
def validate(files: Annotated[list[str], typer.Argument(help="Recipes: paths or shipped names.")]) -> None:
    """Check recipes without training."""
    from gancli import models
    from gancli.recipe import catalogue, reading

    mistakes: list[reading.Mistake] = []
    for file in files:
        try:
            models.validate(reading.read(catalogue.find(file)))
            door.result(f"{file}: ok")
        except reading.RecipeError as error:
            mistakes += error.mistakes
    if mistakes:
        raise reading.RecipeError(mistakes)


@app.command(cls=parsing.Command)
def schema() -> None:
    """Print the JSON Schema of recipes, with which editors complete and check them."""
    from gancli import models

    door.text(json.dumps(models.json_schema(), indent=2))
