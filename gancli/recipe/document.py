"""A YAML text as values with the place of each: YAML 1.2's core schema, read strictly."""

import json
import re
import typing
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from gancli.errors import UserError, printable

MAX_DEPTH = 20
MAX_NODES = 5_000

Key = tuple[str | int, ...]


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
    files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The files that were read, each with the names at its top."""

    def place(self, key: Key) -> Place:
        """The place of `key`, or of the nearest section around it."""
        return next(self.places[key[:n]] for n in range(len(key), -1, -1) if key[:n] in self.places)

    def update(self, over: "Document") -> None:
        """Lay `over` above this: sections merge key by key, anything else replaces what stood there."""
        replaced: set[Key] = set()
        _merge(self.values, over.values, (), replaced)
        if replaced:
            self.places = {
                key: place
                for key, place in self.places.items()
                if not any(key[:n] in replaced for n in range(1, len(key) + 1))
            }
        self.places.update(over.places)
        self.mistakes += over.mistakes
        self.unread |= over.unread
        self.files |= over.files


def _merge(under: dict[str, Any], over: dict[str, Any], at: Key, replaced: set[Key]) -> None:
    for name, value in over.items():
        here = (*at, name)
        if isinstance(value, dict) and isinstance(under.get(name), dict):
            _merge(under[name], value, here, replaced)
        else:
            if name in under:
                replaced.add(here)
            under[name] = value


_NO_BREAKS = "\x85\u2028\u2029"
"""Line breaks to PyYAML, which reads YAML 1.1; ordinary characters to YAML 1.2."""


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


class Dumper(_Resolver, yaml.SafeDumper):
    """Quotes exactly the text that `parse` would take for something else."""


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if any(c in text for c in _NO_BREAKS) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


Dumper.add_representer(str, _represent)


def parse(content: bytes, origin: str, root: Key = ()) -> Document:
    """A document of a YAML text: a mapping for a file, any value (put at `root`) for an option.

    Raises:
        RecipeError: it is no YAML, or not of this form.
    """
    document = Document(places={(): Place(origin, 1, 1)})
    reader = _Reader(document, origin)
    node = reader.compose(content, at_line=not root)
    value: Any = reader.convert(node, root, ()) if node is not None else None if root else {}
    if not root:
        if not isinstance(value, dict):
            raise RecipeError([Mistake(Place(origin, 1, 1), "expected `key: value` lines, as in `model: gan`")])
        document.files[origin] = tuple(value)
    document.values = value  # an option's is put at its key by whoever reads the option
    return document


class _Reader:
    """Turns one YAML text into values, and notes their places and mistakes in a document."""

    def __init__(self, document: Document, origin: str) -> None:
        self._document, self._origin = document, origin
        self._nodes = 0
        self._shields: dict[str, str] = {}

    def compose(self, content: bytes, *, at_line: bool) -> yaml.Node | None:
        """The text's nodes; mistakes name the line and the column unless `at_line` is false."""

        def mistake(line: int, column: int, message: str) -> RecipeError:
            return RecipeError([Mistake(Place(self._origin, *(line, column) if at_line else ()), message)])

        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise mistake(line, 1, f"byte {error.start} is not UTF-8 text: save it as UTF-8") from error
        try:
            return _Loader(self._shield(text)).get_single_node()
        except yaml.reader.ReaderError as error:
            before = text[: int(error.position)]
            line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
            raise mistake(line, column, f"not YAML: the character {chr(error.character)!a}") from error
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error).splitlines()[0]
            raise mistake(line, column, f"not YAML: {self._unshield(problem)}") from error

    def convert(self, node: yaml.Node, key: Key, around: tuple[yaml.Node, ...]) -> Any:
        """The value of a node, which stands at `key` inside the nodes `around` it."""
        self._nodes += 1
        if self._nodes > MAX_NODES or node in around:
            message = "an alias that repeats or contains itself: write it out"
            raise RecipeError([Mistake(self._at(node), message)])
        self._document.places.setdefault(key, self._at(node))
        if isinstance(node, yaml.SequenceNode):
            return [self.convert(item, (*key, index), (*around, node)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, key, around)
        node.value = self._unshield(node.value)
        try:
            return _scalar(node)
        except ValueError as error:
            self._document.mistakes.append(Mistake(self._at(node), f"{dotted(key)}: {error}"))
            self._document.unread.add(key)
            return None

    def _mapping(self, node: yaml.MappingNode, key: Key, around: tuple[yaml.Node, ...]) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for name_node, value_node in node.value:
            if not isinstance(name_node, yaml.ScalarNode):
                self._document.mistakes.append(Mistake(self._at(name_node), "expected a name before the colon"))
                continue
            name = self._unshield(str(name_node.value))
            if name in mapping:
                self._document.mistakes.append(Mistake(self._at(name_node), f"{dotted((*key, name))}: given twice"))
                continue
            self._document.places[(*key, name)] = self._at(name_node)
            mapping[name] = self.convert(value_node, (*key, name), (*around, node))
        return mapping

    def _at(self, node: yaml.Node) -> Place:
        return Place(self._origin, node.start_mark.line + 1, node.start_mark.column + 1)

    def _shield(self, text: str) -> str:
        """The text, in which characters that it lacks replace those that PyYAML alone takes for line breaks."""
        spare = (c for c in map(chr, range(0xF0000, 0xFFFFE)) if c not in text)
        self._shields = {next(spare): c for c in _NO_BREAKS if c in text}
        return text.translate({ord(c): shield for shield, c in self._shields.items()})

    def _unshield(self, text: str) -> str:
        return text.translate({ord(shield): c for shield, c in self._shields.items()})


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


def dotted(key: Key) -> str:
    """A key as messages name it."""
    names = (name if (name := str(at)).isprintable() else json.dumps(name) for at in key)
    return ".".join(shortened(name) for name in names)


def shortened(text: str) -> str:
    """A text from outside as a message quotes it."""
    return text if len(text) <= 60 else text[:57] + "…"
