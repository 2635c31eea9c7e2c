"""What commands print: one line a message, nothing that drives a terminal, and paths that scripts can use."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from commands import run_gancli
from test_cli import commands

from gancli.cli import app, door
from gancli.errors import UserError, printable
from gancli.recipe.reading import Mistake, Place, RecipeError

# What a stranger may put into a name, and how it is shown.
HOSTILE = {
    "\x1b[31mred\x1b[0m": "\\x1b[31mred\\x1b[0m",
    "\x1b]0;title\x07": "\\x1b]0;title\\x07",
    "\x9b31m": "\\x9b31m",
    "one\ntwo\rthree\tfour": "one\\ntwo\\rthree\\tfour",
    "line\u2028paragraph\u2029next\x85line": "line\\u2028paragraph\\u2029next\\x85line",
    "\u202egnp.exe\u202c": "\\u202egnp.exe\\u202c",
    "\u2066isolate\u2069": "\\u2066isolate\\u2069",
    "zero\u200bwidth\ufeff": "zero\\u200bwidth\\ufeff",
    "byte \udcff": "byte \\xff",
    "half \ud800": "half \\ud800",
    "tag \U000e0041": "tag \\U000e0041",
    "\x00\x7f": "\\x00\\x7f",
    "Grüße, 猫 und 'ça'": "Grüße, 猫 und 'ça'",
}


@pytest.mark.parametrize("given", HOSTILE, ids=ascii)
def test_text_from_outside_is_escaped_in_every_message(given: str, monkeypatch, capfd) -> None:
    assert printable(given) == HOSTILE[given]
    for error in (UserError(f"{given}: wrong"), RecipeError([Mistake(Place(given, 1, 1), given)])):
        monkeypatch.setattr("gancli.recipe.catalogue.find", lambda _, error=error: (_ for _ in ()).throw(error))
        assert run_gancli("validate", "x") == 2
        out, err = capfd.readouterr()
        assert not out and HOSTILE[given] in err and err.endswith("\n")
        assert err[:-1].isprintable(), "one line that a terminal shows as it is"
    door.note(given)
    door.result(given)
    out, err = capfd.readouterr()
    assert out == err == HOSTILE[given] + "\n"


def test_a_line_is_never_endless() -> None:
    assert len(printable("x" * 10**6)) < 5000


def test_a_result_is_printed_whole(capfd) -> None:
    """However long it is: JSON that loses its middle is no JSON."""
    numbers = list(range(10_000))
    door.result(json.dumps(numbers))
    assert json.loads(capfd.readouterr().out) == numbers


def test_paths_keep_their_bytes_for_scripts_and_are_escaped_on_a_terminal() -> None:
    name = b"\xff\x1b[31m\xe9.png"
    code = f"import os; from gancli.cli import door; x = os.fsdecode({name!r}); door.paths([x]); door.result(x)"
    command, environment = [sys.executable, "-c", code], os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for encoding in ("utf-8:strict", "ascii:strict", "latin-1:strict"):
        strict = environment | {"PYTHONIOENCODING": encoding}
        assert subprocess.check_output(command, env=strict) == name + b"\n\\xff\\x1b[31m\\xe9.png\n"

    controller, terminal = os.openpty()
    subprocess.run(command, stdout=terminal, env=environment, check=True)
    os.close(terminal)
    assert os.read(controller, 1000) == b"\\xff\\x1b[31m\\xe9.png\r\n" * 2


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict"])
def test_a_name_that_is_not_utf_8_is_no_traceback(encoding: str, tmp_path: Path) -> None:
    recipe = os.fsencode(tmp_path) + b"/r\xff\xc3\xa9.yaml"
    Path(os.fsdecode(recipe)).write_text("model: gan\ndata: {source: digits}\n")
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "gancli", "validate", recipe, recipe + b"\x1b"]
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 2 and b"Traceback" not in done.stderr
    assert b"/r\\xff" in done.stdout and done.stdout.endswith(b".yaml: ok\n")
    assert b"/r\\xff" in done.stderr and b".yaml\\x1b: " in done.stderr


SINGLE = [
    pytest.param((*words.values[0], option.opts[0]), option.multiple, id=f"{words.id} {option.opts[0]}")
    for words in commands()
    for option in words.values[1].params
    if option.param_type_name == "option" and not option.is_flag
]


@pytest.mark.parametrize(("words", "several"), SINGLE)
def test_no_option_given_twice_loses_a_value(words, several: bool, gancli) -> None:
    done = gancli(*words, 1, words[-1], 2)
    refused = f"Error: {words[-1]}: given 2 times, and takes one value: give it once\n"
    assert done.status == 2 and not done.out
    assert (done.err == refused) is not several
    assert len(typer.main.get_command(app).commands) > 5 and len(SINGLE) > 40


USE = " --help shows how to use it"
SET = "it is a value of the recipe: --set"
SPACES = "write it without spaces, as in --set train.steps=VALUE"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train --bogus", f"No such option: --bogus (Possible options: --out): gancli train{USE}"),
        ("train gan-digits --steps 100", f"No such option: --steps: {SET} train.steps=VALUE"),
        ("train gan-digits --batch-size=8", f"No such option: --batch-size: {SET} train.batch_size=VALUE"),
        ("train gan-digits --latent-dim 8", f"No such option: --latent-dim: {SET} latent_dim=VALUE"),
        ("data check x --image-size 8", f"No such option: --image-size: {SET} image_size=VALUE"),
        ("train gan-digits --set train.steps = 100", f"--set train.steps: {SPACES}"),
        ("train gan-digits --set train.steps= 100", f"--set train.steps=: {SPACES}"),
        ("train gan-digits more", f"Got unexpected extra argument(s) (more): gancli train{USE}"),
        ("train --resume", f"Option '--resume' requires an argument: gancli{USE}"),
        ("sample", f"Missing argument 'run': gancli sample{USE}"),
        ("data x", f"No such command 'x': gancli data{USE}"),
    ],
)
def test_wrong_usage_is_one_line_that_says_what_to_do(words: str, said: str, gancli) -> None:
    done = gancli(*words.split())
    assert (done.status, done.out, done.err) == (2, "", f"Error: {said}\n")


@pytest.mark.parametrize("words", ["sample x --count 0", "evaluate x --resize no", "trian x", "--no", "fetch", "-x"])
def test_any_wrong_usage_is_one_line(words: str, gancli) -> None:
    done = gancli(*words.split())
    assert done.status == 2 and not done.out and done.err.count("\n") == 1 and done.err.endswith(USE + "\n")
