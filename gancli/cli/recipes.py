"""`gancli recipes`, `gancli validate`, `gancli schema`: recipes without training."""

import json
from typing import Annotated

import typer

from gancli.cli import app, door, parsing


@app.command(cls=parsing.Command)
def recipes(
    name: Annotated[str | None, typer.Argument(help="A shipped recipe: print it, as the start of your own.")] = None,
) -> None:
    """List the shipped recipes, or print one."""
    from gancli import catalogue

    if name is not None:
        door.text(catalogue.text(name).removesuffix("\n"))
        return
    width = max(map(len, catalogue.names()))
    for shipped in catalogue.names():
        door.result(f"{shipped:{width}}  {catalogue.summary(shipped)}")


@app.command(cls=parsing.Command)
def validate(files: Annotated[list[str], typer.Argument(help="Recipes: paths or shipped names.")]) -> None:
    """Check recipes without training."""
    from gancli import catalogue, models, recipe

    mistakes: list[recipe.Mistake] = []
    for file in files:
        try:
            models.validate(recipe.read(catalogue.find(file)))
            door.result(f"{file}: ok")
        except recipe.RecipeError as error:
            mistakes += error.mistakes
    if mistakes:
        raise recipe.RecipeError(mistakes)


@app.command(cls=parsing.Command)
def schema() -> None:
    """Print the JSON Schema of recipes, with which editors complete and check them."""
    from gancli import models

    door.text(json.dumps(models.json_schema(), indent=2))
