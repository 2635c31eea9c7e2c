"""The families: folders of this package, and what installed packages offer under the entry point gancli.families.

A family is a package with two modules: `recipe`, which holds `Recipe` and imports no torch, and `model`, which holds
`Generator`, `Discriminator` and `Model`.
"""

import difflib
import importlib
import re
from collections.abc import Iterable
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic.json_schema import models_json_schema

from gancli.errors import UserError
from gancli.recipe import reading
from gancli.recipe.sections import Recipe

FOLDER = Path(__file__).parent
ENTRY_POINT = "gancli.families"


@cache
def shipped() -> tuple[str, ...]:
    """The names of the families in this package."""
    return tuple(sorted(path.parent.name for path in FOLDER.glob("*/recipe.py")))


@cache
def offered() -> dict[str, str]:
    """The packages of the families that other installed packages offer, by name; none replaces a shipped one."""
    points = entry_points(group=ENTRY_POINT)
    return {point.name: point.value for point in points if point.name not in shipped()}


def names() -> list[str]:
    """The families there are."""
    return sorted([*shipped(), *offered()])


def exists(name: object) -> bool:
    """Whether a family has this name."""
    return name in shipped() or name in names()


def load(name: str) -> ModuleType:
    """The module of a family's networks: `Generator`, `Discriminator` and `Model`."""
    return _part(name, "model")


def schema(name: str) -> type[Recipe]:
    """The `Recipe` of a family; does not import torch."""
    found: type[Recipe] = _part(name, "recipe").Recipe
    return found


def _part(name: str, part: str) -> ModuleType:
    """A module of a family.

    The name is only looked up: one that is neither shipped nor offered by an installed package imports nothing.

    Raises:
        UserError: the package that offers the family cannot be imported.
    """
    if name in shipped():
        return importlib.import_module(f"gancli.models.{name}.{part}")
    package = offered()[name]
    try:
        return importlib.import_module(f"{package}.{part}")
    except Exception as error:  # a stranger's code may raise anything
        what = f"{type(error).__name__}: {error}".partition("\n")[0]
        message = f"model: {name}: the package {package} cannot be imported: {what}: update or remove it"
        raise UserError(message) from error


def validate(document: reading.Document) -> Recipe:
    """The document as a recipe of the family that it names.

    Raises:
        RecipeError: all its mistakes at once.
    """
    try:
        return _validate(document)
    except reading.RecipeError as error:
        raise reading.RecipeError(_of_recipes(document, error.mistakes)) from None


def _of_recipes(document: reading.Document, mistakes: Iterable[reading.Mistake]) -> list[reading.Mistake]:
    """The mistakes, but one alone of each file that is no recipe: nothing of it is quoted.

    A file is a recipe if at least half of the names at its top are those of a recipe, or near to one.
    """
    known = ["extends", *dict.fromkeys(field for name in names() for field in schema(name).model_fields)]
    foreign = {
        file
        for file, found in document.files.items()
        if 2 * sum(bool(difflib.get_close_matches(name, known, n=1)) for name in found) < len(found)
    }
    kept = [mistake for mistake in mistakes if mistake.place.origin not in foreign]
    return kept + [
        reading.Mistake(reading.Place(file, 1, 1), "no recipe: few of its names are a recipe's, such as model or data")
        for file in foreign
    ]


def _validate(document: reading.Document) -> Recipe:
    name = document.values.get("model")
    if exists(name):
        return reading.validate(schema(str(name)), document)

    # Without a family its own fields cannot be judged, but the sections that all families share can.
    _, mistakes = reading.check(Recipe, document)
    mistakes = [mistake for mistake in mistakes if not re.match(r"\w+: unknown key", mistake.message)]
    nearest = difflib.get_close_matches(str(name), names(), n=1)
    hint = f"did you mean '{nearest[0]}'?" if nearest else f"there are: {', '.join(names())}"
    if name is not None:
        mistakes.append(reading.Mistake(document.place(("model",)), f"model: no family is called {name!r} ({hint})"))
    raise reading.RecipeError(mistakes)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of recipes: one of the families'."""
    families = [schema(name) for name in names()]
    references, definitions = models_json_schema([(family, "validation") for family in families])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gancli recipe",
        "oneOf": [references[family, "validation"] for family in families],
        **definitions,
    }
