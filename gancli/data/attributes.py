"""Attribute files: which of many properties each image has, as CelebA's list or as CSV."""

import csv
import difflib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gancli import files
from gancli.data import reading
from gancli.errors import UserError

CELEBA = "list_attr_celeba.txt"
MAX_BYTES = 2**28
"""Of an attribute file: ten times CelebA's."""
_VALUES = {"1": 1, "-1": 0, "0": 0, "true": 1, "false": 0, "yes": 1, "no": 0, "1.0": 1, "0.0": 0, "-1.0": 0}


@dataclass(frozen=True)
class Table:
    """The attributes asked for, by image.

    Args:
        where: the file, for messages.
        rows: 0 or 1 for each attribute, by the name of the image as it is written there.
    """

    where: str
    rows: dict[str, tuple[int, ...]]

    def find(self, name: str) -> tuple[int, ...] | None:
        """The attributes of an image by its relative name, by its last part, or without its extension."""
        path = PurePosixPath(name)
        for spelling in (name, path.name, path.stem):
            if spelling in self.rows:
                return self.rows[spelling]
        return None


def read(source: str, file: str | None, wanted: tuple[str, ...]) -> Table:
    """The table of a source's attributes.

    Args:
        source: the folder or archive of the images; the file is looked for there too.
        file: its path, or None for CelebA's own or the only CSV of the source.
        wanted: the attributes to read.

    Raises:
        UserError: there is no such file or attribute, or a line of it is damaged.
    """
    path = _place(files.expand(source), file)
    try:
        lines = reading.content(path, MAX_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"data.attribute_file: {path} cannot be read as text ({error}): give another file") from error
    comma = any("," in line for line in lines[:2])
    table = list(csv.reader(lines)) if comma else [line.split() for line in lines]

    # CelebA's first line is a count, which edited copies get wrong: the lines themselves are counted.
    start = 1 if table and len(table[0]) == 1 and table[0][0].isdecimal() else 0
    if len(table) <= start:
        raise UserError(f"data.attribute_file: {path} is empty: give a list of attributes")
    header = [name.strip() for name in table[start]]
    names = header[1:] if comma else header
    columns = [_column(path, names, attribute) + 1 for attribute in wanted]

    rows = {}
    for number, row in enumerate(table[start + 1 :], start + 2):
        if not row:
            continue
        try:
            if len(row) != len(names) + 1:
                raise KeyError
            rows[row[0].strip()] = tuple(_VALUES[row[column].strip().lower()] for column in columns)
        except KeyError:
            raise UserError(
                f"data.attribute_file: {path}:{number}: expected a name and {len(names)} values of 1 and -1 (or 0)"
            ) from None
    return Table(path.name, rows)


def _place(source: Path, file: str | None) -> Path:
    folder = source if source.is_dir() else source.parent
    if file is not None:
        for path in (files.expand(file), folder / file):
            if path.is_file():
                return path
        raise UserError(f"data.attribute_file: there is no {file}, nor one in {folder}: give its path")
    for place in (folder, folder.parent):
        if (place / CELEBA).is_file():
            return place / CELEBA
    tables = sorted(folder.glob("*.csv"))
    if len(tables) != 1:
        raise UserError(
            f"data.attribute_file: is required: {folder} holds no {CELEBA} and {len(tables) or 'no'} CSV files"
        )
    return tables[0]


def _column(path: Path, names: list[str], attribute: str) -> int:
    if attribute in names:
        return names.index(attribute)
    nearest = difflib.get_close_matches(attribute, names, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(names[:8])}…"
    raise UserError(f"data.attributes: {path} has no {attribute}: {hint}")
