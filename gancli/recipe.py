"""How YAML becomes values and back: strict reading, `extends`, `--set`, every mistake with its file, line and key."""

import difflib
import json
import re
import typing
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Tag, ValidationError
from pydantic.fields import FieldInfo

from gancli.errors import UserError, printable

MAX_BYTES = 100_000
MAX_DEPTH = 20
MAX_NODES = 5_000

Key = tuple[str | int, ...]
S = TypeVar("S", bound="Settings")


class Settings(BaseModel):
    """A section of a recipe: unknown keys refused, values frozen, each field documented by the docstring under it."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, protected_namespaces=()
    )


class Place(NamedTuple):
    """Where something was written: a file with line and column (from 1), or an option of the command line."""

    origin: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.origin}:{self.line}:{self.column}" if self.line else self.origin


class Mistake(NamedTuple):
    """What is wrong, and where."""

    place: Place
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class RecipeError(UserError):
    """Every mistake of a recipe, a line each: `FILE:LINE:COLUMN: key: what is wrong`."""

    prefix = ""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = sorted(set(mistakes))
        super().__init__("\n".join(map(str, self.mistakes)))

    @property
    def lines(self) -> list[str]:
        """Each mistake as it is printed, in one line."""
        return [printable(str(mistake)) for mistake in self.mistakes]


@dataclass
class Document:
    """The values of a recipe, the place of each, and the mistakes met in reading."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[Key, Place] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    unread: set[Key] = field(default_factory=set)
    """Keys whose values were among the mistakes."""

    def place(self, key: Key) -> Place:
        """The place of `key`, or of the nearest section around it."""
        return next(self.places[key[:n]] for n in range(len(key), -1, -1) if key[:n] in self.places)

    def update(self, over: "Document") -> None:
        """Lay `over` above this: sections merge key by key, anything else replaces what stood there."""
        self._merge(self.values, over.values, ())
        self.places.update(over.places)
        self.mistakes += over.mistakes
        self.unread |= over.unread

    def _merge(self, under: dict[str, Any], over: dict[str, Any], at: Key) -> None:
        for name, value in over.items():
            here = (*at, name)
            if isinstance(value, dict) and isinstance(under.get(name), dict):
                self._merge(under[name], value, here)
            else:
                self.places = {key: place for key, place in self.places.items() if key[: len(here)] != here}
                under[name] = value


def read(path: Path, sets: Sequence[str] = ()) -> Document:
    """The values of a recipe file, over those it extends, under those of the options `--set key=value`.

    Raises:
        UserError: the file is missing or unreadable.
        RecipeError: it is no YAML mapping, or an option is not of the form key=value.
    """
    document = _read_file(path, ())
    for option in sets:
        document.update(read_option(option))
    return document


def parse(text: str, origin: str) -> Document:
    """The values of a recipe's text; `origin` names it in mistakes."""
    return _parse(text.encode(), origin)


def validate(schema: type[S], document: Document) -> S:
    """The document as `schema`.

    Raises:
        RecipeError: all its mistakes at once, those met in reading included.
    """
    settings, mistakes = check(schema, document)
    if settings is None or mistakes:
        raise RecipeError(mistakes)
    return settings


def check(schema: type[S], document: Document) -> tuple[S | None, list[Mistake]]:
    """The document as `schema`, or None, with all its mistakes."""
    try:
        # Strict as JSON is: a list may become a tuple and 1 a float, but `true` is no number and "8" is none either.
        settings = schema.model_validate_json(json.dumps(document.values), strict=True)
    except ValidationError as error:
        return None, document.mistakes + list(_explain(schema, document, error))
    return settings, document.mistakes


def dump(settings: Settings) -> str:
    """The settings as YAML that `read` takes back to the same values."""
    values = json.loads(settings.model_dump_json())
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


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


# Reading YAML 1.2's core schema from PyYAML's nodes, which carry their places.


class _Resolver:
    """YAML 1.2's core schema: `1e-4` is a number, `on` and `no` are text, `010` is ten."""

    yaml_implicit_resolvers: typing.ClassVar[dict[str | None, list[tuple[str, re.Pattern[str]]]]] = {}


_PATTERNS: dict[str, re.Pattern[str]] = {}

for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
):
    _PATTERNS[_tag] = re.compile(rf"(?:{_pattern})\Z")
    for _character in _first:
        _Resolver.yaml_implicit_resolvers.setdefault(_character, []).append(
            (f"tag:yaml.org,2002:{_tag}", _PATTERNS[_tag])
        )


class _Loader(_Resolver, yaml.SafeLoader):
    """PyYAML's safe loader up to its nodes, refusing what is nested too deeply or too long before it fills memory."""

    depth = 0
    nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        self.nodes += 1
        if self.depth > MAX_DEPTH or self.nodes > MAX_NODES:
            mark: yaml.Mark = self.get_mark()
            what = f"nested more than {MAX_DEPTH} deep" if self.depth > MAX_DEPTH else f"more than {MAX_NODES:,} values"
            raise yaml.MarkedYAMLError(problem=what, problem_mark=mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


class _Dumper(_Resolver, yaml.SafeDumper):
    """Quotes exactly the text that `_Loader` would take for something else."""


def _read_file(path: Path, above: tuple[Path, ...]) -> Document:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}: give the path of a recipe") from error
    if len(content) > MAX_BYTES:
        raise UserError(f"{path}: larger than {MAX_BYTES:,} bytes: no recipe is")

    document = _parse(content, str(path))
    if "extends" not in document.values:
        return document

    base = document.values.pop("extends")
    place = document.place(("extends",))
    if not isinstance(base, str):
        raise RecipeError([Mistake(place, "extends: expected the path of another recipe")])
    base_path = path.parent / base
    chain = (*above, path.resolve())
    if base_path.resolve() in chain:
        raise RecipeError([Mistake(place, f"extends: {base} leads back to this recipe: break the circle")])
    if not base_path.is_file():
        raise RecipeError([Mistake(place, f"extends: there is no file {base_path}")])
    under = _read_file(base_path, chain)
    under.update(document)
    return under


def read_option(option: str) -> Document:
    """The value of an option `key=value`, at its key.

    Raises:
        RecipeError: it is not of that form.
    """
    key, equals, text = option.partition("=")
    origin = f"--set {option}"
    if not equals or not all(key.split(".")):
        raise RecipeError([Mistake(Place(origin), "expected key=value, as in train.steps=500")])
    parts = key.split(".")
    document = _parse(text.encode(errors="surrogateescape"), origin, root=tuple(parts))
    document.places = {at: Place(origin) for at in document.places}
    document.mistakes = [Mistake(Place(origin), message) for _, message in document.mistakes]
    for part in reversed(parts):
        document.values = {part: document.values}
    return document


def _parse(content: bytes, origin: str, root: Key = ()) -> Document:
    """A document of a YAML text: a mapping for a file, any value (put at `root`) for an option."""
    document = Document(places={(): Place(origin, 1, 1)})
    try:
        node = _Loader(content.decode("utf-8-sig")).get_single_node()
    except UnicodeDecodeError as error:
        place = Place(origin, content.count(b"\n", 0, error.start) + 1, 1)
        raise RecipeError([Mistake(place, f"byte {error.start} is not UTF-8 text: save it as UTF-8")]) from error
    except yaml.reader.ReaderError as error:
        before = content.decode("utf-8-sig")[: int(error.position)]
        place = Place(origin, before.count("\n") + 1, len(before) - before.rfind("\n")) if not root else Place(origin)
        raise RecipeError([Mistake(place, f"not YAML: the character {chr(error.character)!a}")]) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = Place(origin, mark.line + 1, mark.column + 1) if mark and not root else Place(origin)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error).splitlines()[0]
        raise RecipeError([Mistake(place, f"not YAML: {problem}")]) from error

    nodes = 0

    def at(mark: yaml.Mark) -> Place:
        return Place(origin, mark.line + 1, mark.column + 1)

    def convert(node: yaml.Node, key: Key, around: tuple[yaml.Node, ...]) -> Any:
        nonlocal nodes
        nodes += 1
        if nodes > MAX_NODES or node in around:
            raise RecipeError([Mistake(at(node.start_mark), "an alias that repeats or contains itself: write it out")])
        document.places.setdefault(key, at(node.start_mark))
        if isinstance(node, yaml.SequenceNode):
            return [convert(item, (*key, index), (*around, node)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            mapping: dict[str, Any] = {}
            for name_node, value_node in node.value:
                name = str(name_node.value) if isinstance(name_node, yaml.ScalarNode) else None
                if name is None or name in mapping:
                    message = (
                        "expected a name before the colon" if name is None else f"{_dotted((*key, name))}: given twice"
                    )
                    document.mistakes.append(Mistake(at(name_node.start_mark), message))
                    continue
                document.places[(*key, name)] = at(name_node.start_mark)
                mapping[name] = convert(value_node, (*key, name), (*around, node))
            return mapping
        try:
            return _scalar(node)
        except ValueError as error:
            document.mistakes.append(Mistake(at(node.start_mark), f"{_dotted(key)}: {error}"))
            document.unread.add(key)
            return None

    value: Any = convert(node, root, ()) if node is not None else None if root else {}
    if not root and not isinstance(value, dict):
        raise RecipeError([Mistake(Place(origin, 1, 1), "expected `key: value` lines, as in `model: gan`")])
    document.values = value  # an option's is put at its key by read_option
    return document


def _scalar(node: yaml.Node) -> Any:
    text: str = node.value
    match node.tag.removeprefix("tag:yaml.org,2002:"):
        case "str":
            # A null in a path, or half a surrogate pair anywhere, would be a surprise later.
            if bad := next((c for c in text if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"), None):
                raise ValueError(f"the character {bad!a} is not allowed")
            return text
        case "null":
            return None
        case "bool" if text.lower() in ("true", "false"):
            return text.lower() == "true"
        case "int" | "float" if len(text) > 40:
            raise ValueError("a number of too many digits")
        case "int" if _PATTERNS["int"].match(text):
            return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
        case "float" if _PATTERNS["float"].match(text):
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        case _:
            raise ValueError(f"the tag {node.tag} is not allowed: write plain values")


# Saying what is wrong with the values.


def _explain(schema: type[BaseModel], document: Document, error: ValidationError) -> Iterator[Mistake]:
    """A mistake for each key at fault, with what was expected and the nearest valid name."""
    messages: dict[Key, list[str]] = {}
    for problem in error.errors(include_url=False):
        key = _key(schema, problem["loc"], document.values)
        if key in document.unread:
            continue
        message = _message(schema, document.values, key, problem)
        if message not in messages.setdefault(key, []):
            messages[key].append(message)
    for key, alternatives in messages.items():
        # A field of several types reports each: the value is said once, at the end.
        expected = " or ".join(text.removeprefix("expected ") if n else text for n, text in enumerate(alternatives))
        got = _value(document.values, key)
        suffix = f", not {_show(got)}" if expected.startswith("expected") and got is not _ABSENT else ""
        yield Mistake(document.place(key), f"{_dotted(key)}: {expected}{suffix}" if key else expected)


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
        if _dotted(location[:n]) in unions:
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
    section, name = _dotted(key[:-1]), str(key[-1])
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


def _dotted(key: Key) -> str:
    return ".".join(part if (part := str(at)).isprintable() else json.dumps(part) for at in key)


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
