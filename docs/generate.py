"""Writes docs/reference.md from the code: every command with its options, every family with its fields.

python docs/generate.py
"""

import json
import types
import typing
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gancli import models
from gancli.cli import app
from gancli.cli.examples import EXAMPLES
from gancli.metrics import glossary
from gancli.recipe import reading

TARGET = Path(__file__).parent / "reference.md"


def reference() -> str:
    """The whole page."""
    rows = {name: _rows(models.schema(name)) for name in models.shipped()}
    shared = [row for row in next(iter(rows.values())) if all(row in others for others in rows.values())]
    families = ["### Fields of every recipe", "", *_table(shared)]
    for name, own in rows.items():
        families += [f"### `model: {name}`", "", _one_line(models.schema(name).__doc__), ""]
        families += _table([row for row in own if row not in shared])
    commands = [
        section for words, command in _commands(typer.main.get_command(app)) for section in _command(words, command)
    ]
    lines = ["# Reference", "", "Generated from the code by `python docs/generate.py`.", ""]
    lines += ["## Commands", "", *commands, "## Recipes", "", *families, "## Glossary", "", *_glossary()]
    return "\n".join(lines).rstrip() + "\n"


def _glossary() -> list[str]:
    """The columns of metrics.csv and the values of evaluations."""
    lines = []
    for title, words in (
        ("Columns of `metrics.csv`", glossary.COLUMNS),
        (
            "Values of evaluations (`gancli evaluate`, `evaluations.jsonl`, and `metrics.csv` with `evaluate.every`)",
            glossary.VALUES,
        ),
    ):
        lines += [f"### {title}", "", "| name | meaning |", "|---|---|"]
        lines += [f"| `{name}` | {_one_line(meaning)} |" for name, meaning in words.items()] + [""]
    return lines


def _commands(group: Any, words: tuple[str, ...] = ("gancli",)) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name in group.list_commands(None):
        command = group.commands[name]
        inside = (*words, name)
        found += _commands(command, inside) if hasattr(command, "commands") else [(" ".join(inside), command)]
    return found


def _command(words: str, command: Any) -> list[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = " ".join([words, *(p.name.upper() if p.required else f"[{p.name.upper()}]" for p in arguments)])
    lines = [f"### `{usage}`", "", _one_line(command.help), "", "| option | meaning |", "|---|---|"]
    for parameter in command.params:
        names = f"`{parameter.name.upper()}`" if parameter in arguments else ", ".join(f"`{o}`" for o in parameter.opts)
        default = parameter.default
        said = (
            ""
            if default in (None, False, "", ()) or callable(default)
            else f" Default: {getattr(default, 'value', default)}."
        )
        lines.append(f"| {names} | {_one_line(parameter.help)}{said} |")
    return [*lines, "", "```", *EXAMPLES[command.name], "```", ""]


def _rows(schema: type[BaseModel]) -> list[str]:
    """A row of a table for each field of a family."""
    return [
        f"| `{key}` | {_values(info)} | {_default(info)} | {_one_line(info.description)} |"
        for key, info in reading.fields(schema)
        if not list(reading.sections(info.annotation))
    ]


def _table(rows: list[str]) -> list[str]:
    return ["| field | values | default | meaning |", "|---|---|---|---|", *rows, ""]


def _values(info: FieldInfo) -> str:
    limits = [
        f"{sign} {limit:g}"
        for item in info.metadata
        for name, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))
        if (limit := getattr(item, name, None)) is not None
    ]
    return " ".join([_type(info.annotation), ", ".join(limits)]).strip()


def _type(kind: Any) -> str:
    """A type in words."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _type(arguments[0])
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(argument) for argument in arguments)
    if origin is tuple:
        inner = [argument for argument in arguments if argument is not Ellipsis]
        return f"list of {_type(inner[0])}" if Ellipsis in arguments else f"[{', '.join(map(_type, inner))}]"
    names = {int: "integer", float: "number", str: "text", bool: "true or false", type(None): "null"}
    return names.get(kind, str(kind))


def _default(info: FieldInfo) -> str:
    if info.default_factory is not None:
        return "from other fields"
    if info.default is PydanticUndefined:
        return "required"
    return f"`{json.dumps(info.default)}`"


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    TARGET.write_text(reference())
