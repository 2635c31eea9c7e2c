"""The one door through which commands print: results to stdout, everything else to stderr.

Text from outside may hold terminal escapes. What a person reads is escaped here, so that no command can forget it.
"""

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
    if sys.stdout.isatty():
        result(*map(os.fspath, found))
        return
    for path in found:
        typer.echo(os.fsencode(path))
