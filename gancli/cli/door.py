"""The one door through which commands print: results to stdout, everything else to stderr.

Text from outside may hold terminal escapes. What a person reads is escaped here, so that no command can forget it.
"""

import json
import os
import sys
from collections.abc import Iterable

import typer

from gancli.errors import printable


def note(text: str) -> None:
    """Print one line on stderr."""
    typer.echo(printable(text), err=True)


def result(*lines: str) -> None:
    """Print lines on stdout, whole; each argument is one line."""
    encoding = sys.stdout.encoding or "utf-8"
    for line in lines:
        typer.echo(printable(line, None).encode(encoding, "backslashreplace"))


def text(whole: str) -> None:
    """Print a text of several lines on stdout."""
    result(*whole.split("\n"))


def paths(found: Iterable[os.PathLike[str]]) -> None:
    """Print paths on stdout, one a line: a program gets their very bytes, a terminal gets them escaped."""
    escaped = sys.stdout.isatty()
    for path in found:
        if escaped:
            result(os.fspath(path))
        else:
            typer.echo(os.fsencode(path))


def files(found: Iterable[os.PathLike[str]], *, as_json: bool, **rest: object) -> None:
    """Print the files of a result, one path a line, or one JSON object with the rest; there may be millions."""
    if not as_json:
        paths(found)
        return
    typer.echo('{"files": [', nl=False)
    for place, path in enumerate(found):
        typer.echo((", " if place else "") + json.dumps(os.fspath(path)), nl=False)
    typer.echo("]" + "".join(f", {json.dumps(key)}: {json.dumps(value)}" for key, value in rest.items()) + "}")
