"""Whatever is written into a recipe, it is a recipe or a mistake at its line: never a surprise."""

import contextlib
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import tiny
import yaml

from gancli import models
from gancli.errors import UserError
from gancli.recipe import catalogue, reading

FAMILIES = models.names()

# By the type of a field, what is no value of it.
WRONG = {
    int: [
        "abracadabra",
        "'3'",
        "true",
        "[1, 2, 3, 4]",
        "{a: 1}",
        "2.5",
        "-1",
        ".inf",
        "~",
        "99999999999999999999999999",
    ],
    float: ["abracadabra", "'1e-4'", "false", "[1, 2, 3, 4]", "{a: 1}", "-1", ".nan", "-.inf", "1e999", "~"],
    str: ["true", "3", "[a, b]", "{a: b}", "1.5", '"\\0"', "!!python/name:os.system x"],
    bool: ["abracadabra", "1", "yes", "[true]", "'true'", "~"],
    Literal: ["abracadabra", "3.25", "true", "[a]", "{a: b}"],
    tuple: ["abracadabra", "true", "{a: 1}", "[[1]]", "[null]", "-3"],
    dict: ["abracadabra", "3", "[a]", "true", "~"],
}

# Whole texts, the line at fault, and a part of what is said about it.
TEXTS: list[tuple[str, int, str]] = [
    ("", 1, "model: is required"),
    ("# only a comment\n", 1, "model: is required"),
    ("- model: gan\n", 1, "expected `key: value` lines"),
    ("gan\n", 1, "expected `key: value` lines"),
    ("model gan\n", 1, "expected `key: value` lines"),
    ("model:gan\n", 1, "expected `key: value` lines"),
    ("model: gna\ndata: {source: digits}\n", 1, "did you mean 'gan'?"),
    ("model: 3\ndata: {source: digits}\n", 1, "model: no family is called 3"),
    ("model: [gan]\ndata: {source: digits}\n", 1, "model: no family is called ['gan']"),
    ("model: {gan: 1}\ndata: {source: digits}\n", 1, "model: no family is called"),
    ("model: ../gan\ndata: {source: digits}\n", 1, "model: no family is called '../gan'"),
    ("model:\ndata: {source: digits}\n", 1, "model: expected string, not null"),
    ("data: {source: digits}\n", 1, "model: is required"),
    ("model: gan\n", 1, "data: is required"),
    ("model: gan\ndata: {}\n", 2, "data.source: is required"),
    ("model: gan\ndata:\n  image_size: 8\n", 2, "data.source: is required"),
    ("model: gan\nmodel: gan\ndata: {source: digits}\n", 2, "model: given twice"),
    ("model: gan\ndata:\n  source: digits\n  source: digits\n", 4, "data.source: given twice"),
    ("model: gan\ndata: {source: digits}\ntrain: {steps: 5}\ntrain: {seed: 1}\n", 4, "train: given twice"),
    ("model: gan\ndata: {source: digits, source: shapes}\n", 2, "data.source: given twice"),
    ("model: gan\ndata:\n\tsource: digits\n", 3, "not YAML: found character '\\t'"),
    ("model: gan\ndata:\n  source: 'digits\n", 4, "not YAML: found unexpected end of stream"),
    ('model: gan\ndata:\n  source: "digits\n', 4, "not YAML: found unexpected end of stream"),
    ('model: gan\ndata:\n  source: "\\q"\n', 3, "not YAML: found unknown escape character 'q'"),
    ("model: gan\ndata: {source: digits\n", 3, "not YAML: expected ',' or '}'"),
    ("model: gan\nbetas: [0.5, 0.9\ndata: {source: digits}\n", 3, "not YAML: expected ',' or ']'"),
    ("model: gan\ndata: {source: digits]}\n", 2, "not YAML: expected ',' or '}'"),
    ("model: gan\n data: {source: digits}\n", 2, "not YAML: mapping values are not allowed here"),
    ("model: gan\ndata:\n   source: digits\n  channels: 1\n", 4, "not YAML: expected <block end>"),
    ("model: gan\ndata:\nsource: digits\n", 3, "source: unknown key (did you mean 'data.source'?)"),
    ("model: gan: x\n", 1, "not YAML: mapping values are not allowed here"),
    ("model: *gan\n", 1, "not YAML: found undefined alias"),
    ("model: @gan\n", 1, "not YAML: found character '@'"),
    ("model: `gan`\n", 1, "not YAML: found character '`'"),
    ("model: %gan\n", 1, "not YAML: found character '%'"),
    ("model: &a\n  - *a\n", 1, "an alias that repeats or contains itself"),
    ("model: gan\ndata: &d\n  source: digits\n  more: *d\n", 2, "an alias that repeats or contains itself"),
    ("model: gan\ndata: {source: digits}\n---\nmodel: gan\n", 3, "not YAML: but found another document"),
    ("model: !!python/object/apply:os.system ['true']\n", 1, "model: no family is called"),
    ("model: gan\ndata: {source: !!python/name:os.system ''}\n", 2, "tag tag:yaml.org,2002:python/name:os.system"),
    ("model: gan\ndata: {source: !local x}\n", 2, "data.source: the tag !local is not allowed"),
    ("model: gan\ndata: {source: digits}\ntrain: {steps: !!int x}\n", 3, "train.steps: the tag"),
    ("model: gan\ndata: {source: digits}\ntrain: {steps: 2026-01-01}\n", 3, "train.steps: expected integer"),
    ("model: gan\ndata: {source: digits}\ntrain: {steps: 1_000}\n", 3, "train.steps: expected integer"),
    ("model: gan\ndata: {source: digits}\ntrain: {steps: 1:30}\n", 3, "train.steps: expected integer"),
    ("model: gan\ndata: {source: digits}\ntrain: {steps: 10k}\n", 3, "train.steps: expected integer"),
    ("model: gan\ndata: {source: digits}\ntrain: {steps: 1e4}\n", 3, "train.steps: expected integer"),
    ("model: gan\ndata: {source: digits, flip: on}\n", 2, "data.flip: expected boolean, not \"on\""),
    ("model: gan\ndata: {source: digits, flip: yes}\n", 2, "data.flip: expected boolean, not \"yes\""),
    ("model: gan\ndata: {source: digits}\n? [a, b]\n: 3\n", 3, "expected a name before the colon"),
    ("model: gan\ndata: {source: digits}\n{a: b}: 3\n", 3, "expected a name before the colon"),
    ("model: gan\ndata: {source: digits}\n3: 4\n", 3, "3: unknown key"),
    ("model: gan\ndata: {source: digits}\n~: 4\n", 3, "~: unknown key"),
    ("model: gan\ndata: {source: digits}\n<<: {seed: 3}\n", 3, "<<: unknown key"),
    ('model: gan\ndata: {source: digits}\n"\\e[31m": 4\n', 3, '"\\u001b[31m": unknown key'),
    ("model: gan\ndata: {source: digits, background: mauvish}\n", 2, "background: expected a colour name or #rrggbb"),
    ("model: gan\ndata: {source: digits, image_size: [8]}\n", 2, "data.image_size"),
    ("model: gan\ndata: {source: digits, image_size: [8, 8, 8]}\n", 2, "at most 2 items"),
    ("model: gan\ndata: {source: digits, image_size: 64, enlarge: 32}\n", 2, "enlarge: expected at least image_size"),
    ("model: gan\nbetas: [0.5]\ndata: {source: digits}\n", 2, "betas"),
    ("model: gan\nbetas: [0.5, 1.0]\ndata: {source: digits}\n", 2, "betas.1: expected less than 1"),
    ("model: gan\ngenerator_hidden:\n  - 8\n  - x\ndata: {source: digits}\n", 4, "generator_hidden.1: expected int"),
    ("model: gan\nname: \x00\n", 2, "not YAML: the character '\\x00'"),
    ("model: gan\n\n# \x07\n", 3, "not YAML: the character '\\x07'"),
    ("extends: 3\n", 1, "extends: expected the path of another recipe"),
    ("\n\nextends: nowhere.yaml\n", 3, "extends: there is no file"),
    ("model: gan\nextends: self.yaml\n", 2, "leads back to this recipe"),
]  # fmt: skip


def faults(path: Path, text: str | bytes) -> list[reading.Mistake]:
    """The mistakes of a recipe; it has some, or this fails."""
    path.write_bytes(text.encode(errors="surrogatepass") if isinstance(text, str) else text)
    with pytest.raises(reading.RecipeError) as caught:
        pytest.fail(f"accepted: {models.validate(reading.read(path))} from {text!r}")
    assert caught.value.status == 2
    assert all(c.isprintable() or c == "\n" for c in str(caught.value))
    return caught.value.mistakes


def kind_of(annotation: Any) -> Any:
    """The entry of WRONG for a field."""
    members = [annotation, *get_args(annotation)]
    if any(get_origin(m) is tuple for m in members):
        return tuple
    if get_origin(annotation) is Literal:
        return Literal
    if isinstance(annotation, type) and issubclass(annotation, reading.BaseModel):
        return dict
    return next((kind for kind in (bool, int, float, str) if kind in members), Literal)


def fields_of(family: str) -> Iterator[tuple[str, Any]]:
    """The fields of a family that its tiny recipe has: data may be of several kinds, and images come first."""
    places = reading.parse(reading.dump(tiny.settings(family)), "here").places
    seen = {"model"}
    for key, info in reading.fields(models.schema(family)):
        if key not in seen and tuple(key.split(".")) in places:
            seen.add(key)
            yield key, info


def wrong_values(family: str) -> Iterator[tuple[str, int, str]]:
    """The resolved recipe with one value made wrong, the line of it, and its key."""
    for key, info in fields_of(family):
        kind = kind_of(info.annotation)
        optional = type(None) in get_args(info.annotation)
        for wrong in WRONG[kind]:
            if (wrong == "~" and optional) or (kind is tuple and wrong == "-3" and "tuple" not in str(info.annotation)):
                continue
            values = yaml.safe_load(reading.dump(tiny.settings(family)))
            *sections, name = key.split(".")
            inner = values
            for section in sections:
                inner = inner[section]
            inner[name] = "@@"
            text = yaml.safe_dump(values, sort_keys=False).replace("'@@'", wrong)
            line = next(n for n, line in enumerate(text.splitlines(), 1) if line.strip() == f"{name}: {wrong}")
            yield text, line, key


def misspelt(family: str) -> Iterator[tuple[str, int, str]]:
    """The resolved recipe with one name misspelt as fingers do, the line of it, and the right name."""
    base = reading.dump(tiny.settings(family))
    for key, info in fields_of(family):
        name = key.rpartition(".")[2]
        if info.is_required():
            continue
        lines = base.splitlines()
        place = reading.parse(base, "here").place(tuple(key.split(".")))
        wrong = name[:-2] + name[-1] + name[-2] if len(name) > 3 and name[-1] != name[-2] else name + name[-1]
        lines[place.line - 1] = lines[place.line - 1].replace(f"{name}:", f"{wrong}:", 1)
        yield "\n".join(lines) + "\n", place.line, name


def test_hand_made_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "self.yaml"
    cases = [(text, line, part, 9) for text, line, part in TEXTS]
    for family in FAMILIES:
        cases += [(text, line, key.partition(".")[0], 2) for text, line, key in wrong_values(family)]
        cases += [(text, line, f"did you mean '{name}'", 1) for text, line, name in misspelt(family)]
    wrong = []
    for text, line, part, most in cases:
        found = faults(path, text)
        named = any(mistake.place.line == line and part in mistake.message for mistake in found)
        raw = any(word in mistake.message for mistake in found for word in ("Input should", "validation", "Tuple"))
        if not named or raw or len(found) > most:
            wrong.append((text.splitlines()[line - 1 : line], line, part, found))
    assert not wrong, "\n".join(map(str, wrong))
    print(f"{len(cases)} hand-made mistakes, each named at its line")
    assert len(cases) >= 200


def test_a_recipe_in_another_encoding(tmp_path: Path) -> None:
    (found,) = faults(tmp_path / "latin.yaml", b"model: gan\ndata: {source: \xff}\n")
    assert found.place.line == 2 and "not UTF-8" in found.message


BOMBS = {
    "aliases": "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)),
    "a long list": "a: [" + "1," * 49_000 + "1]",
    "many keys": "".join(f"k{n}: 1\n" for n in range(9_000)),
    "brackets": "[" * 90_000,
    "braces": "{" * 90_000,
    "dashes": "- " * 45_000,
    "a long word": "a: " + "x" * 99_000,
    "many digits": "learning_rate: " + "9" * 5_000,
    "megabytes": "a: " + "x" * 10_000_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.yaml"
    path.write_text(BOMBS[name])
    began = time.process_time()
    with pytest.raises(UserError) as caught:
        models.validate(reading.read(path))
    assert caught.value.status == 2 and len(str(caught.value)) < 2000
    assert time.process_time() - began < 10


NASTY = [
    *("~", "null", "{", "}", "[", "]", ":", "- ", "? ", "&a ", "*a", "!!int ", "!x ", "|\n", ">\n", "'", '"', "%", "@"),
    *("#", "\t", "\n", "\n  ", "---\n", "...\n", ".nan", ".inf", "-1", "1e999", "0x", "0o9", "9" * 50, "true", "[[]]"),
    *("<<: ", "{a: {b: c}}", "\x00", "\ufeff", "\ud800", "\x85", "é", "extends: x\n", "model: gan\n", '"\\0"'),
]  # fmt: skip


def mutated(text: str, draw: random.Random) -> str:
    """The text after one to four accidents."""
    for _ in range(draw.randint(1, 4)):
        lines = text.splitlines(keepends=True) or [""]
        one, two = draw.randrange(len(lines)), draw.randrange(len(lines))
        at = draw.randrange(len(text) + 1)
        match draw.randrange(8):
            case 0:
                del lines[one]
            case 1:
                lines.insert(one, lines[two])
            case 2:
                lines[one], lines[two] = lines[two], lines[one]
            case 3:
                lines[one] = "  " * draw.randrange(3) + lines[one].lstrip()
            case 4:
                name, colon, _ = lines[one].partition(":")
                lines[one] = f"{name}{colon} {draw.choice(NASTY)}\n"
            case 5:
                lines = [text[:at], draw.choice(NASTY), text[at:]]
            case 6:
                lines = [text[:at], text[at + draw.randrange(4) :]]
            case _:
                lines = [text[:at], chr(draw.randrange(32, 127)), text[at + 1 :]]
        text = "".join(lines)
    return text


@pytest.mark.slow
def test_mutated_recipes(tmp_path: Path) -> None:
    draw, refused = random.Random(3), 0
    texts = [tiny.text(family) for family in FAMILIES]
    texts += ["".join(catalogue.find(n).read_text().partition("model:")[1:]) for n in catalogue.names()]
    path = tmp_path / "mutated.yaml"
    for _ in range(20_000):
        text = mutated(draw.choice(texts), draw)
        path.write_bytes(text.encode(errors="surrogatepass"))
        try:
            models.validate(reading.read(path))
        except UserError as error:
            refused += 1
            assert error.status == 2
            assert "Traceback" not in str(error) and str(error)
            with contextlib.suppress(AttributeError):
                assert all(str(m.place).startswith(str(tmp_path)) for m in error.mistakes), text  # type: ignore[attr-defined]
    print(f"20,000 mutated recipes: {refused} refused, the others valid, no other exception")
    assert 10_000 < refused < 20_000


def test_keys_of_points_without_a_source_are_mistakes() -> None:
    with pytest.raises(UserError) as caught:
        models.validate(reading.parse("model: gan\ndata: {radius: 2}\n", "x"))
    assert "radius" in str(caught.value)
