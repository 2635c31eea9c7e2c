"""The recipes that come with gancli."""

import difflib
import os
import re
from pathlib import Path

from gancli.errors import UserError

_PACKAGE = Path(__file__).parent.parent
FOLDER = _PACKAGE / "recipes" if (_PACKAGE / "recipes").is_dir() else _PACKAGE.parent / "recipes"


def names() -> list[str]:
    """The shipped recipes by name."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def text(name: str) -> str:
    """The text of a shipped recipe.

    Raises:
        UserError: there is no shipped recipe of this name.
    """
    if name not in names():
        raise UserError(f"{name}: no such recipe{nearest(name) or ': gancli recipes lists the shipped ones'}")
    return (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def summary(name: str) -> str:
    """The first line of a shipped recipe's header: what it is."""
    return text(name).partition("\n")[0].removeprefix("#").strip()


def family(name: str) -> str:
    """The family that a shipped recipe trains."""
    if found := re.search(r"^model: *(\S+)", text(name), re.MULTILINE):
        return found[1]
    base = re.search(r"^extends: *(\S+)", text(name), re.MULTILINE)
    return family(base[1].removesuffix(".yaml")) if base else ""


def of_family(wanted: str) -> list[str]:
    """The shipped recipes of a family: those that need no data first, then those whose data gancli fetches."""
    return sorted((name for name in names() if family(name) == wanted), key=lambda name: (_needs(name), name))


def find(given: str) -> Path:
    """The file of a recipe given by path, or by the name of a shipped one.

    Raises:
        UserError: there is neither.
    """
    try:
        return _find(given, Path(given))
    except OSError as error:
        raise UserError(f"{given}: {error.strerror}: give the path of a recipe") from error


def _find(given: str, path: Path) -> Path:
    if path.is_file():
        return path
    if given in names():
        return FOLDER / f"{given}.yaml"
    if (path / "recipe.yaml").is_file():
        raise UserError(
            f"{given}: this is a run: --resume {given} continues it, {path / 'recipe.yaml'} trains it again"
        )
    if path.is_dir():
        raise UserError(
            f"{given}: this is a folder: give the path of a recipe, or the name of a shipped one (gancli recipes)"
        )
    if os.path.lexists(path):
        raise UserError(f"{given}: not a regular file: give the path of a recipe")
    if os.sep in given or path.suffix in (".yaml", ".yml"):
        raise UserError(f"{given}: no such file{nearest(given) or ': give the path of a recipe'}")
    if recipes := of_family(given):
        raise UserError(f"{given}: this is a family, not a recipe: give one of its recipes ({', '.join(recipes)})")
    raise UserError(f"{given}: no such recipe{nearest(given) or ': gancli recipes lists the shipped ones'}")


def nearest(given: str) -> str:
    """A hint at the shipped recipe of a similar name; empty where there is none."""
    found = difflib.get_close_matches(Path(given).stem, names(), n=1)
    return f": did you mean '{found[0]}'?" if found else ""


def _needs(name: str) -> int:
    header = text(name)
    return 0 if "# Needs: nothing" in header else 1 if "gancli fetch" in header else 2
