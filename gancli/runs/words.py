"""What words of a command line stand for, as far as it can be said before torch is imported, which takes seconds."""

from pathlib import Path

from gancli import fetch
from gancli.errors import UserError
from gancli.recipe import catalogue
from gancli.runs import opening

BUILT_IN = ("digits", "shapes")
"""Sources that are drawn, or come with a library."""


def check(word: str, *, best: bool = False) -> None:
    """Refuse a word that means nothing that can be measured.

    Args:
        word: a run, a lone model.safetensors, a recipe, an .npz of statistics, or a source of images.
        best: whether the run's weights of the best evaluation are wanted.

    Raises:
        UserError: nothing stands there, or a run that has no weights.
    """
    path = Path(word).expanduser()
    if is_model(path) or best:
        opening.weights_of(path, best=best)
    elif not (path.exists() or path.suffix in (".yaml", ".yml") or word in catalogue.names() or _is_source(word)):
        raise UserError(
            f"{word}: no such file or folder: give a run, its model.safetensors, a folder, a .zip, an .npz, a recipe, "
            f"or one of digits, {', '.join(fetch.SETS)}"
        )


def is_model(path: Path) -> bool:
    """Whether a path means a run, or a model.safetensors alone."""
    return path.suffix == ".safetensors" or (path / "recipe.yaml").is_file()


def check_images(word: str, option: str) -> None:
    """Refuse a word after an option that means no images at all.

    Raises:
        UserError: nothing stands there.
    """
    if not (word == "-" or Path(word).expanduser().exists() or _is_source(word)):
        from gancli.data import sources

        try:
            sources.find(word, (256, 256), "images")
        except UserError as error:
            raise UserError(f"{option}: {str(error).removeprefix('data.source: ')}", error.status) from error


def check_file(option: str, word: str | Path | None) -> None:
    """Refuse a file that an option names and that is not there.

    Raises:
        UserError: it is not.
    """
    if word is not None and not Path(word).is_file():
        raise UserError(f"{option} {word}: there is no such file")


def _is_source(word: str) -> bool:
    return word.partition(":")[0] in (*BUILT_IN, *fetch.SETS)
