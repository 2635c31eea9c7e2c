"""A recipe's data with absolute paths, so that it means the same images from every working directory (no torch)."""

import unicodedata
from pathlib import Path
from typing import TypeVar

from gancli import files
from gancli.fetch import SETS
from gancli.recipe.data import Data

D = TypeVar("D", bound=Data)


def placed(settings: D) -> D:
    """The same with absolute paths.

    Names of built-in and fetched sets stay as they are. So does a path that YAML cannot hold: one with control
    characters, or that is not UTF-8.
    """
    changed = {}
    for name in ("source", "source_b", "attribute_file"):
        given = getattr(settings, name, None)
        if given is None or given in SETS or is_built_in(given):
            continue
        places = [files.expand(given)]
        if name == "attribute_file":
            source = files.expand(settings.source)
            places.append((source if source.is_dir() else source.parent) / given)
        found = next((place.absolute() for place in places if _is_there(place)), None)
        if found is not None and not any(unicodedata.category(c) in ("Cc", "Cs") for c in str(found)):
            changed[name] = str(found)
    return settings.model_copy(update=changed)


def is_built_in(source: str) -> bool:
    """Whether a source is drawn or comes with the program: digits, shapes, shapes:500."""
    name, _, count = source.partition(":")
    return source == "digits" or (name == "shapes" and (not count or count.isdecimal()))


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long a name, or a null in it
        return False
