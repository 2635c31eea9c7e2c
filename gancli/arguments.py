"""What a Python program gives, checked and brought to one form: recipes, overrides, seeds, labels, images."""

import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gancli.errors import UserError
from gancli.recipe import reading
from gancli.recipe.reading import Document, Place
from gancli.recipe.sections import Recipe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def document(given: Any) -> tuple[Document, str | None]:
    """The values of a recipe in any form, and the name of its file.

    Raises:
        UserError: it is no recipe.
    """
    from gancli.recipe import catalogue

    if isinstance(given, Recipe):
        return Document(given.model_dump(mode="json"), {(): Place("the recipe")}), None
    if isinstance(given, Mapping):
        return Document(_plain(given), {(): Place("the recipe")}), None
    if not isinstance(given, str | os.PathLike):
        raise UserError(f"expected a recipe's path, its name, or its values as a dict, not {type(given).__name__}")
    word = os.fspath(given)
    return reading.read(catalogue.find(word)), Path(word).stem


def overrides(given: Mapping[str, Any]) -> Document:
    """The values of dotted keys and of nested dicts, each at its key.

    Raises:
        UserError: a key or a value that no recipe can hold.
    """
    together = Document()
    for key, value in given.items():
        parts = key.split(".")
        if not all(parts):
            raise UserError(f"{key}: expected a key of the recipe, as in train.steps")
        values = _plain(value)
        for part in reversed(parts):
            values = {part: values}
        at = tuple(parts)
        together.update(Document(values, {at[:n]: Place(f"{key}=…") for n in range(1, len(at) + 1)}))
    return together


def _plain(value: Any) -> Any:
    """A value as JSON knows it: numbers of NumPy, tuples and paths as plain ones."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inside) for name, inside in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inside) for inside in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "item"):
        return value.item()
    raise UserError(f"expected numbers, text, lists and dicts in a recipe, not {type(value).__name__}")


def seeds(given: int | Iterable[int]) -> list[int]:
    """One or several seeds as a list.

    Raises:
        UserError: one is no seed.
    """
    from gancli.seeds import LARGEST

    try:
        chosen = [operator.index(seed) for seed in (given if isinstance(given, Iterable) else [given])]
    except TypeError:
        raise UserError("seeds: expected whole numbers") from None
    if wrong := [seed for seed in chosen if not 0 <= seed <= LARGEST]:
        raise UserError(f"seeds: expected numbers from 0 to {LARGEST}, not {wrong[0]}")
    return chosen


def labels(given: Any, seeds: Sequence[int], classes: Sequence[str]) -> list[int]:
    """The number of each seed's class: all classes in turn where none is given.

    Raises:
        UserError: there is no such class, or not one for each seed.
    """
    if given is None:
        return [seed % max(1, len(classes)) for seed in seeds]
    if not classes:
        raise UserError("labels: this model knows no classes: train with conditional: true, or leave them out")
    several = [given] * len(seeds) if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    if len(several) != len(seeds):
        raise UserError(f"labels: {len(several)} for {len(seeds)} seeds: give one for each, or one for all")
    return [_label(label, classes) for label in several]


def _label(given: Any, classes: Sequence[str]) -> int:
    if isinstance(given, str):
        if given in classes:
            return classes.index(given)
        raise UserError(f"labels: the model knows no class {given!r}: there are {', '.join(classes[:20])}")
    try:
        number = operator.index(given)
    except TypeError:
        raise UserError(f"labels: expected names of classes or their numbers, not {type(given).__name__}") from None
    if not 0 <= number < len(classes):
        raise UserError(f"labels: {number}: there are the classes 0 to {len(classes) - 1}")
    return number


def batch(images: Any) -> "NDArray[np.uint8]":
    """One image or several as N×H×W×C.

    Raises:
        UserError: they have another form.
    """
    import numpy as np

    array = np.asarray(images)
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or array.shape[-1] not in (1, 3, 4) or not array.size:
        raise UserError(
            f"images: expected uint8 N×H×W×C, or one image H×W×C, of 1, 3 or 4 channels, not {array.dtype} "
            f"{'×'.join(map(str, array.shape))}"
        )
    return array if array.ndim == 4 else array[None]
