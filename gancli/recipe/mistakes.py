"""What is wrong with the values of a recipe, in words: what was expected where, and the nearest valid name."""

import difflib
import json
import re
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pydantic import BaseModel, Discriminator, Tag, ValidationError
from pydantic.fields import FieldInfo

from gancli.recipe.document import Document, Key, Mistake, dotted, shortened


def fields(schema: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every field of a schema by its dotted key, sections before what they hold."""
    for name, info in schema.model_fields.items():
        yield prefix + name, info
        for section in sections(info.annotation):
            yield from fields(section, f"{prefix}{name}.")


def sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """The section that a field's type is, or those that it may be; none for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from sections(argument)


def explain(schema: type[BaseModel], document: Document, error: ValidationError) -> Iterator[Mistake]:
    """A mistake for each key at fault, with what was expected and the nearest valid name."""
    messages: dict[Key, list[str]] = {}
    strays: dict[str, list[str]] = {}
    for problem in error.errors(include_url=False):
        key = _key(schema, problem["loc"], document.values)
        if key in document.unread:
            continue
        if problem["type"] == "extra_forbidden" and _of_another_kind(schema, key):
            strays.setdefault(str(key[0]), []).append(str(key[1]))
            continue
        message = _message(schema, document.values, key, problem)
        if message not in messages.setdefault(key, []):
            messages[key].append(message)
    for key, alternatives in messages.items():
        # A field of several types reports each: the value is said once, at the end.
        expected = " or ".join(text.removeprefix("expected ") if n else text for n, text in enumerate(alternatives))
        got = _value(document.values, key)
        suffix = f", not {_show(got)}" if expected.startswith("expected") and got is not _ABSENT else ""
        yield Mistake(document.place(key), f"{dotted(key)}: {expected}{suffix}" if key else expected)
    for section, names in strays.items():
        source = _value(document.values, (section, "source"))
        said = f"{section}: such data" if source is _ABSENT else f"{section}.source: {_show(source)}"
        yield Mistake(
            document.place((section, "source")),
            f"{said} has no {', '.join(names)}: leave that out, "
            "or start from a recipe for such data (gancli recipes lists them)",
        )


def _of_another_kind(schema: type[BaseModel], key: Key) -> bool:
    """Whether a section that may be of several kinds would know this name if it were of another kind."""
    info = schema.model_fields.get(str(key[0])) if len(key) == 2 else None
    if info is None or _chooser(info) is None:
        return False
    return any(key[1] in kind.model_fields for kind in sections(info.annotation))


_ABSENT = object()


def _value(values: Any, key: Key) -> Any:
    for part in key:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return _ABSENT
    return values


def _key(schema: type[BaseModel], location: Key, values: Any) -> Key:
    """The location without the names that pydantic adds for the members of a union."""
    unions = {name for name, info in fields(schema) if _chooser(info)}
    key: Key = ()
    for n, part in enumerate(location):
        if dotted(location[:n]) in unions:
            continue  # the tag of the member that was chosen
        if _value(values, (*key, part)) is not _ABSENT or (
            n == len(location) - 1 and isinstance(_value(values, key), dict)
        ):
            key = (*key, part)
    return key


def _message(schema: type[BaseModel], values: Any, key: Key, problem: Any) -> str:
    context = problem.get("ctx", {})
    match problem["type"]:
        case "extra_forbidden":
            return "unknown key" + _did_you_mean_key(schema, values, key)
        case "missing" | "union_tag_not_found":
            return "is required"
        case "literal_error" | "union_tag_invalid":
            choices = re.findall(r"'([^']*)'", str(context.get("expected") or context.get("expected_tags")))
            return f"expected {problem['msg'].split('Input should be ')[-1]}" + _did_you_mean(
                _value(values, key), choices
            )
        case "value_error":
            return str(context["error"])
        case "none_required":
            return "expected null"
        case "too_long":
            return f"expected at most {context['max_length']} items"
        case "too_short":
            return f"expected at least {context['min_length']} items"
        case _:
            return f"expected {problem['msg'].removeprefix('Input should be ').removeprefix('a valid ')}"


def _did_you_mean(got: Any, choices: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(str(got), list(choices))
    # Of those as near, the one of the same letters: fingers swap them.
    best = max(nearest, key=lambda name: sorted(name) == sorted(str(got)), default=None)
    return f" (did you mean '{best}'?)" if best else ""


def _did_you_mean_key(schema: type[BaseModel], values: Any, key: Key) -> str:
    known = list(_choosable(schema, values))
    section, name = dotted(key[:-1]), str(key[-1])
    siblings = [other.removeprefix(f"{section}.") for other in known if other.rpartition(".")[0] == section]
    here = _did_you_mean(name, siblings)
    if here:
        return here
    elsewhere = {other.rpartition(".")[2]: other for other in known}
    nearest = difflib.get_close_matches(name, elsewhere, n=1, cutoff=0.75)
    if nearest:
        return f" (did you mean '{elsewhere[nearest[0]]}'?)"
    return f" (known here: {', '.join(sorted(siblings))})"


def _choosable(schema: type[BaseModel], values: Any, prefix: str = "") -> Iterator[str]:
    """Every key that may stand beside these values: of a section of several kinds, the keys of the kind chosen."""
    for name, info in schema.model_fields.items():
        yield prefix + name
        inside = values.get(name) if isinstance(values, dict) else None
        choose = _chooser(info)
        for kind in typing.get_args(info.annotation) if choose else (info.annotation,):
            if not choose or Tag(choose(inside)) in typing.get_args(kind):
                for section in sections(kind):
                    yield from _choosable(section, inside, f"{prefix}{name}.")


def _chooser(info: FieldInfo) -> Callable[[Any], Any] | None:
    """What picks the kind of a section that may be of several kinds, each with a tag; None for any other field."""
    marks = [mark.discriminator for mark in info.metadata if isinstance(mark, Discriminator)]
    return marks[0] if marks and callable(marks[0]) else None


def _show(value: Any) -> str:
    return shortened(json.dumps(value, ensure_ascii=False))
