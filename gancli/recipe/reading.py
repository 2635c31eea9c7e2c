"""How YAML becomes values and back: strict reading, `extends`, `--set`, every mistake with its file, line and key."""

import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from gancli.errors import UserError
from gancli.recipe import catalogue, document, mistakes
from gancli.recipe.document import Document, Key, Mistake, Place, RecipeError, dotted
from gancli.recipe.mistakes import fields, sections

__all__ = ["Document", "Mistake", "Place", "RecipeError", "fields", "sections"]

MAX_BYTES = 100_000
MAX_CHAIN = 20
"""Recipes that may extend one another in a row."""
MAX_PARTS = 10
"""Names in a dotted key."""

S = TypeVar("S", bound="Settings")


class Settings(BaseModel):
    """A section of a recipe: unknown keys refused, values frozen, each field documented by the docstring under it."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, protected_namespaces=()
    )


def read(path: Path, sets: Sequence[str] = (), *, found: bool = False) -> Document:
    """The values of a recipe file, over those it extends, under those of the options `--set key=value`.

    A recipe that the user names may extend any file. Those that it extends were perhaps written by somebody else: they
    may extend shipped recipes, and files in their own folder.

    Args:
        path: of the recipe.
        sets: the options, each without `--set`.
        found: whether the user named not this file but the run that holds it, so that it too stays in its own folder.

    Raises:
        UserError: the file is missing or unreadable.
        RecipeError: it is no YAML mapping, or an option is not of the form key=value.
    """
    values = _read_file(path, (), _folder(path) if found else None)
    values.update(read_options(sets))
    return values


def parse(text: str, origin: str) -> Document:
    """The values of a recipe's text; `origin` names it in mistakes."""
    return document.parse(text.encode(errors="surrogatepass"), origin)


def validate(schema: type[S], values: Document) -> S:
    """The document as `schema`.

    Raises:
        RecipeError: all its mistakes at once, those met in reading included.
    """
    settings, found = check(schema, values)
    if settings is None or found:
        raise RecipeError(found)
    return settings


def check(schema: type[S], values: Document) -> tuple[S | None, list[Mistake]]:
    """The document as `schema`, or None, with all its mistakes."""
    try:
        # Strict as JSON is: a list may become a tuple and 1 a float, but `true` is no number and "8" is none either.
        settings = schema.model_validate_json(json.dumps(values.values), strict=True)
    except ValidationError as error:
        return None, values.mistakes + list(mistakes.explain(schema, values, error))
    return settings, values.mistakes


def dump(settings: Settings | Mapping[str, Any]) -> str:
    """The settings, or some values of them, as YAML that `read` takes back to the same values."""
    values = json.loads(settings.model_dump_json()) if isinstance(settings, Settings) else dict(settings)
    return yaml.dump(values, Dumper=document.Dumper, sort_keys=False, allow_unicode=True, width=100)


def read_options(options: Sequence[str]) -> Document:
    """The values of options `key=value`, each at its key.

    Raises:
        RecipeError: one is not of that form, or two give the same key.
    """
    together = Document()
    given: dict[Key, str] = {}
    for option in options:
        values = _read_option(option)
        for key in _leaves(values.values):
            before = next((other for at, other in given.items() if at[: len(key)] == key[: len(at)]), None)
            if before is not None:
                message = f"{dotted(key)}: given twice, first by --set {before}: give it once"
                raise RecipeError([Mistake(Place(f"--set {option}"), message)])
            given[key] = option
        together.update(values)
    return together


def _read_option(option: str) -> Document:
    key, equals, text = option.partition("=")
    origin = f"--set {option}"
    parts = key.split(".")
    if not equals or not all(parts) or len(parts) > MAX_PARTS:
        raise RecipeError([Mistake(Place(origin), "expected key=value, as in train.steps=500")])
    values = document.parse(text.encode(errors="surrogateescape"), origin, root=tuple(parts))
    values.places = {at: Place(origin) for at in values.places}
    values.mistakes = [Mistake(Place(origin), message) for _, message in values.mistakes]
    for part in reversed(parts):
        values.values = {part: values.values}
    return values


def _leaves(values: dict[str, Any], at: Key = ()) -> Iterator[Key]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*at, name))
        else:
            yield (*at, name)


def _read_file(path: Path, above: tuple[str, ...], inside: Path | None) -> Document:
    """A recipe over those it extends.

    Args:
        path: of the recipe.
        above: the recipes that extend this one, the first one first.
        inside: the folder that what it extends may not leave; None for any.
    """
    values = document.parse(_content(path), str(path))
    if "extends" not in values.values:
        return values

    base = values.values.pop("extends")
    place = values.place(("extends",))
    chain = (*above, os.path.realpath(path))
    base_path = _base(path, base, chain, inside, place)
    try:
        under = _read_file(base_path, chain, _folder(base_path))
    except RecipeError as error:
        if any(mistake.message.startswith("extends:") for mistake in error.mistakes):
            raise
        # It may be any file of this machine: nothing of it is quoted.
        message = f"extends: {base_path} cannot be read as a recipe: gancli validate on it says why"
        raise RecipeError([Mistake(place, message)]) from error
    except UserError as error:
        raise RecipeError([Mistake(place, f"extends: {error}")]) from error
    under.update(values)
    return under


def _base(path: Path, base: object, chain: tuple[str, ...], inside: Path | None, place: Place) -> Path:
    """The file that a recipe extends: one beside it, or a shipped recipe by its name."""
    if not isinstance(base, str) or not base:
        raise RecipeError(
            [Mistake(place, "extends: expected the path of another recipe, or the name of a shipped one")]
        )
    found = path.parent / base
    if not os.path.lexists(found) and base in catalogue.names():
        found = catalogue.FOLDER / f"{base}.yaml"
    elif inside is not None and not Path(os.path.realpath(found)).is_relative_to(inside):
        message = f"extends: {base} leaves the folder of this recipe, which you did not name yourself: copy it there"
        raise RecipeError([Mistake(place, message)])
    if os.path.realpath(found) in chain:
        raise RecipeError([Mistake(place, f"extends: {base} leads back to this recipe: break the circle")])
    if len(chain) >= MAX_CHAIN:
        message = f"extends: more than {MAX_CHAIN} recipes, each of which extends the next: join some of them"
        raise RecipeError([Mistake(place, message)])
    if not os.path.lexists(found):
        raise RecipeError([Mistake(place, f"extends: there is no file {found}{catalogue.nearest(base)}")])
    return found


def _folder(path: Path) -> Path:
    return Path(os.path.realpath(path)).parent


def _content(path: Path) -> bytes:
    """The bytes of a regular file; a pipe or a device, which may never end, is not read."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UserError(f"{path}: not a regular file: give the path of a recipe")
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}: give the path of a recipe") from error
    if len(content) > MAX_BYTES:
        raise UserError(f"{path}: larger than {MAX_BYTES:,} bytes: no recipe is")
    return content
