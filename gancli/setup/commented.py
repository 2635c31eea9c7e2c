"""A recipe as YAML with a comment above each value: what the field means, and why it was chosen."""

import re
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gancli.errors import printable
from gancli.recipe import reading

WIDTH = 100
PLAIN = re.compile(r"[\w.+'-]+")
"""What may stand between the brackets of a list as it is."""


def text(
    settings: reading.Settings,
    given: Mapping[str, Any],
    header: Sequence[str],
    reasons: Mapping[str, str],
    always: Collection[str],
) -> str:
    """The recipe, which `reading.parse` reads back to the same settings.

    Args:
        settings: the recipe, validated.
        given: the values that are not left to the defaults, nested as in the file.
        header: paragraphs that stand at the top.
        reasons: why a value was chosen, by its dotted key.
        always: dotted keys that are shown even where they are the default.
    """
    lines = [*(line for paragraph in header for line in comment(paragraph)), ""]
    lines += _section(settings, given, reasons, always, "")
    return "\n".join(lines) + "\n"


def comment(paragraph: str, indent: str = "") -> list[str]:
    """A paragraph as lines of a comment; nothing in it can end the comment."""
    wrapped = textwrap.wrap(printable(paragraph), WIDTH - len(indent) - 2, break_on_hyphens=False, drop_whitespace=True)
    return [f"{indent}# {line}" for line in wrapped]


def _section(
    section: BaseModel, given: Mapping[str, Any], reasons: Mapping[str, str], always: Collection[str], prefix: str
) -> Iterator[str]:
    indent = "  " * prefix.count(".")
    # Plain values first: a section ends where the next begins.
    fields = sorted(type(section).model_fields.items(), key=lambda f: isinstance(getattr(section, f[0]), BaseModel))
    for name, info in fields:
        value, key = getattr(section, name), f"{prefix}{name}"
        if name not in given:
            continue
        if isinstance(value, BaseModel):
            inside = list(_section(value, given[name], reasons, always, f"{key}."))
            yield from [f"{indent}{name}:", *inside] if inside else []
        elif key in always or value != _default(info):
            yield from comment(" ".join((info.description or "").split()), indent)
            if key in reasons:
                yield from comment(f"Here: {reasons[key]}.", indent)
            plain = section.model_dump(mode="json", include={name})[name]
            yield from (f"{indent}{line}" for line in _lines(name, plain))


def _lines(name: str, value: Any) -> list[str]:
    """A value with its name; a list of plain words and numbers in brackets."""
    if isinstance(value, list):
        items = [reading.dump({"": item}).partition(":")[2].strip() for item in value]
        if all(PLAIN.fullmatch(item) for item in items):
            return [f"{name}: [{', '.join(items)}]"]
    return reading.dump({name: value}).splitlines()


def _default(info: FieldInfo) -> Any:
    return info.get_default(call_default_factory=False)
