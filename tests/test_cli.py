"""The commands as a shell script meets them: what goes to stdout, what to stderr, and the exit status."""

import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from gancli import models
from gancli.cli import app
from gancli.cli.examples import EXAMPLES
from gancli.recipe import catalogue


def commands(group=None, prefix=()):
    """Every command with its words."""
    group = group or typer.main.get_command(app)
    found = []
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found += commands(command, (*prefix, name))
        else:
            found.append(pytest.param((*prefix, name), command, id=" ".join((*prefix, name))))
    return found


@pytest.mark.parametrize(("words", "command"), commands())
def test_every_command_and_option_has_help(words, command, gancli) -> None:
    assert command.help
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{' '.join(words)}: {parameter.name} has no help"
    done = gancli(*words, "--help")
    assert done.status == 0 and done.out and not done.err


@pytest.mark.parametrize(("words", "command"), commands())
def test_every_command_s_help_shows_examples_that_parse(words, command, gancli) -> None:
    shown = " ".join(gancli(*words, "--help").out.split())
    assert "<bool>" not in shown
    for example in EXAMPLES[command.name]:
        assert example in shown
        given = shlex.split(example.partition(" > ")[0])
        assert given[: len(words) + 1] == ["gancli", *words]
        command.make_context("it", given[len(words) + 1 :])


def test_help_begins_with_what_is_needed_first(gancli) -> None:
    out = gancli("--help").out
    assert "<bool>" not in out and all(example in out for example in EXAMPLES["gancli"])
    assert re.findall(r"^│ ([a-z][a-z-]+) ", out, re.MULTILINE)[:2] == ["train", "sample"]


@pytest.mark.parametrize(("words", "command"), commands())
def test_wrong_usage_exits_2_and_says_nothing_on_stdout(words, command, gancli) -> None:
    done = gancli(*words, "--no-such-option")
    assert done.status == 2 and not done.out
    assert "no-such-option" in done.err and "Traceback" not in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "gan-digit"], "Error: gan-digit: no such recipe: did you mean 'gan-digits'?\n"),
        (["train"], "Error: give a recipe (gancli recipes lists the shipped ones), or --resume RUN\n"),
        (
            ["train", "gan-digits", "--set", "train.stepz=5"],
            "--set train.stepz=5: train.stepz: unknown key (did you mean 'steps'?)\n",
        ),
        (["train", "gan-digits", "--set", "steps"], "--set steps: expected key=value, as in train.steps=500\n"),
        (
            ["train", "gan-digits", "--set", "data.source=nowhere/at/all"],
            re.compile(r"Error: .*nowhere/at/all.*\n"),
        ),
        (
            ["sample", "no-such-run"],
            "Error: no-such-run: No such file or directory: give a run or its model.safetensors\n",
        ),
        (["sample", "x", "--seeds", "3-1"], re.compile(r"Error: --seeds 3-1: expected .*\n")),
        (["sample", "x", "--seeds", "a"], re.compile(r"Error: --seeds a: expected .*\n")),
        (["sample", "x", "--grid", "--out", "y.zip"], "Error: --out y.zip: a grid is one .png file\n"),
        (["sample", "x", "--out", "y.gif"], re.compile(r"Error: --out y.gif: a walk needs --interpolate.*\n")),
        (["eval-fid", "no-such-run"], re.compile(r"Error: no-such-run: .*\n")),
        (["validate", "no-such.yaml"], "Error: no-such.yaml: no such file: give the path of a recipe\n"),
        (["recipes", "gan-mnits"], "Error: gan-mnits: no such recipe: did you mean 'gan-mnist'?\n"),
    ],
)
def test_what_the_user_must_change_is_one_line(words, said, gancli, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = gancli(*words)
    assert done.status == 2 and not done.out
    assert said.fullmatch(done.err) if isinstance(said, re.Pattern) else done.err == said
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_a_new_process_behaves_the_same(tmp_path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("model: gann\ntrain: {stepz: 5}\n")
    done = subprocess.run(
        [sys.executable, "-m", "gancli", "validate", bad], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.splitlines() == [
        f"{bad}:1:1: data: is required",
        f"{bad}:1:1: model: no family is called 'gann' (did you mean 'gan'?)",
        f"{bad}:2:9: train.stepz: unknown key (did you mean 'steps'?)",
    ]


def test_every_mistake_of_every_file_at_once(gancli, tmp_path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("model: gan\nlatent_dim: -1\ndata:\n  source: digits\n  chanels: 1\n")
    second.write_text("model: gan\nloss: minmax\ndata: {source: digits}\nlatent_dim: 1e2\n")
    done = gancli("validate", first, second, "gan-digits")
    assert done.status == 2
    assert done.err.splitlines() == [
        f"{first}:2:1: latent_dim: expected greater than 0, not -1",
        f"{first}:5:3: data.chanels: unknown key (did you mean 'channels'?)",
        f"{second}:2:1: loss: expected 'non-saturating' or 'minimax' (did you mean 'minimax'?), not \"minmax\"",
        f"{second}:4:1: latent_dim: expected integer, not 100.0",
    ]
    assert done.out == "gan-digits: ok\n"


def test_recipes_are_listed_by_family_and_printed(gancli, monkeypatch) -> None:
    for width in (80, 60, 132):
        monkeypatch.setenv("COLUMNS", str(width))
        listed = gancli("recipes").out.splitlines()
        assert max(map(len, listed)) <= width
        assert any(re.match(r"  gan-digits +A GAN on ", line) for line in listed)
        words = " ".join(line.strip() for line in listed)
        assert all(" ".join([name, catalogue.summary(name)]) in re.sub(" +", " ", words) for name in catalogue.names())
    families = [line.removesuffix(":") for line in listed if not line.startswith(" ")]
    assert families == models.names()
    gan = [line.split()[0] for line in listed[listed.index("gan:") + 1 : listed.index("pix2pix:")] if line[2] != " "]
    assert gan[0] == "gan-digits" and gan[-1] == "gan-mnist", "those that need no data first"
    assert gancli("recipes", "gan-mnist").out.startswith("# The 2014 GAN on MNIST")


def test_training_prints_the_run_alone_and_leaves_it_whole(gancli, tmp_path) -> None:
    run = tmp_path / "run"
    done = gancli("train", "gan-digits", "--set", "train.steps=20", "--out", run)
    assert done.status == 0
    assert done.out == f"{run}\n"
    assert "step 20 of 20" in done.err and "\r" not in done.err and "\x1b" not in done.err
    found = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert {
        "recipe.yaml",
        "run.json",
        "metrics.csv",
        "curves.png",
        "model.safetensors",
        "checkpoints/last.ckpt",
        "samples/step-00000020.png",
        "samples/progress.gif",
    } <= found
    facts = json.loads((run / "run.json").read_text())
    assert facts["status"] == "finished" and facts["seed"] == 0 and facts["versions"]["torch"]

    again = gancli("train", "gan-digits", "--out", run)
    assert again.status == 2 and all(option in again.err for option in ("--resume", "--force", "--out"))
    assert gancli("train", run / "recipe.yaml", "--out", run, "--force", "-q").status == 0
    quiet = gancli("train", "gan-digits", "--set", "train.steps=20", "--out", tmp_path / "quiet", "-q", "--json")
    assert quiet.err == "" and json.loads(quiet.out)["run"] == str(tmp_path / "quiet")


def test_a_dry_run_starts_nothing(gancli, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = gancli("train", "gan-mnist", "--set", "data.source=digits", "--dry-run")
    assert done.status == 0 and list(tmp_path.iterdir()) == []
    assert "latent_dim: 100" in done.out
    assert "generator: " in done.out and " parameters" in done.out
    assert "run: runs/gan-mnist" in done.out


def png(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_a_seed_means_one_image(digits_run, gancli, tmp_path) -> None:
    """Whatever the count, the order and the form of the output."""
    done = gancli("sample", digits_run, "--count", 70, "--seed", 5, "--out", tmp_path / "folder")
    assert done.out.splitlines() == [str(tmp_path / "folder" / f"{n:06d}.png") for n in range(5, 75)]
    gancli("sample", digits_run, "--seeds", "74,9,20-22", "--out", tmp_path / "some")
    for path in (tmp_path / "some").iterdir():
        assert path.read_bytes() == (tmp_path / "folder" / path.name).read_bytes()
    assert len(list((tmp_path / "some").iterdir())) == 5

    gancli("sample", digits_run / "model.safetensors", "--seeds", "7,70", "--out", tmp_path / "two.npz")
    arrays = np.load(tmp_path / "two.npz")
    assert arrays["seeds"].tolist() == [7, 70] and arrays["images"].shape == (2, 8, 8, 1)
    assert (arrays["images"][1, ..., 0] == png(tmp_path / "folder" / "000070.png")).all()

    gancli("sample", digits_run, "--count", 3, "--out", tmp_path / "three.zip")
    assert zipfile.ZipFile(tmp_path / "three.zip").namelist() == ["000000.png", "000001.png", "000002.png"]


def test_grids_and_walks_are_one_file(digits_run, gancli, tmp_path) -> None:
    assert gancli("sample", digits_run, "--count", 9, "--grid", "--out", tmp_path / "grid.png").status == 0
    assert png(tmp_path / "grid.png").shape == (3 * 66 + 2, 3 * 66 + 2)
    done = gancli(
        "sample", digits_run, "--interpolate", "3,9", "--frames", 12, "--out", tmp_path / "walk.gif", "--json"
    )
    assert json.loads(done.out) == {"files": [str(tmp_path / "walk.gif")]}
    assert Image.open(tmp_path / "walk.gif").n_frames == 12
    assert gancli("sample", digits_run, "--grid", "--out", tmp_path / "grid.png").status == 2
    assert gancli("sample", digits_run, "--grid", "--out", tmp_path / "grid.png", "--force").status == 0


def test_a_score_carries_its_protocol(digits_run, gancli) -> None:
    done = gancli("eval-fid", digits_run, "--count", 200, "--json")
    assert done.status == 0
    score = json.loads(done.out)
    assert score["value"] > 0
    assert score["images"] == 200 and score["network"] == "classifier" and score["weights"].startswith("sha256:")
    assert "FID of 200 images and 1,650 reference images: at least" in done.err
    line = json.loads((digits_run / "evaluations.jsonl").read_text().splitlines()[-1])
    assert {key: line[key] for key in score} == score


def test_inception_without_weights_says_how_to_get_them(digits_run, gancli, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    from gancli.errors import UserError
    from gancli.metrics import inception

    with pytest.raises(UserError, match="gancli fetch inception"):
        inception.load(None)


def unfinished(folder: Path, status: str) -> Path:
    """A run of this status without any weights."""
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text("model: gan\ndata: {source: digits}\n")
    (folder / "run.json").write_text(json.dumps({"status": status}))
    return folder


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train my.yaml", "my.yaml: no such file: give the path of a recipe"),
        ("train some/gan-digit.yaml", "some/gan-digit.yaml: no such file: did you mean 'gan-digits'?"),
        ("train .", ".: this is a folder: give the path of a recipe, or the name of a shipped one (gancli recipes)"),
        ("train runs/failed", "runs/failed: this is a run: --resume runs/failed continues it, "
         "runs/failed/recipe.yaml trains it again"),
        ("train pipe", "pipe: not a regular file: give the path of a recipe"),
        ("train " + "x" * 300, "x" * 300 + ": File name too long: give the path of a recipe"),
        ("train dcgan", "dcgan: this is a family, not a recipe: give one of its recipes "
         "(dcgan-digits, dcgan-cifar10, dcgan-mnist, dcgan-mnist-conditional, dcgan-celeba, dcgan-folder)"),
        ("train --resume failed", "failed: no run is there: did you mean runs/failed?"),
        ("train --resume runs", "runs: this is a folder of runs: give one of them, such as runs/diverged"),
        ("train --resume nothing", "nothing: No such file or directory: give a run or its model.safetensors"),
        ("sample failed", "failed: no run is there: did you mean runs/failed?"),
        ("sample .", ".: not a run (it has no recipe.yaml): give the directory that gancli train wrote"),
        ("sample runs", "runs: this is a folder of runs: give one of them, such as runs/diverged"),
        ("sample runs/failed", "runs/failed: has no model.safetensors yet, and its training has stopped: "
         "continue it with gancli train --resume runs/failed"),
        ("sample runs/diverged", "runs/diverged: has no model.safetensors because its training diverged before the "
         "first checkpoint: train again with a smaller learning_rate"),
        ("recipes my.yaml", "my.yaml: no such recipe: gancli recipes lists the shipped ones"),
    ],
)  # fmt: skip
def test_a_word_that_means_nothing_is_answered_with_what_it_may_have_meant(
    words: str, said: str, gancli, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    unfinished(tmp_path / "runs" / "failed", "failed")
    unfinished(tmp_path / "runs" / "diverged", "diverged")
    os.mkfifo(tmp_path / "pipe")
    done = gancli(*words.split())
    assert (done.status, done.out, done.err) == (2, "", f"Error: {said}\n")


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("gan-digits", "ring-2d", '"ring-2d" has no image_size, channels'),
        ("gan-ring2d", "digits", '"digits" has no deviation'),
        ("gan-mixture1d", "grid-2d", '"grid-2d" has no deviations'),
    ],
)
def test_data_of_another_kind_is_the_mistake_not_its_fields(name: str, source: str, said: str, gancli) -> None:
    done = gancli("train", name, "--dry-run", "--set", f"data.source={source}")
    advice = "leave that out, or start from a recipe for such data (gancli recipes lists them)"
    line = re.escape(f"--set data.source={source}: data.source: {said}") + r".*" + re.escape(f": {advice}\n")
    assert done.status == 2 and re.fullmatch(line, done.err), done.err


def test_a_checkpoint_is_not_a_model(digits_run, gancli) -> None:
    checkpoint = digits_run / "checkpoints" / "last.ckpt"
    done = gancli("sample", checkpoint)
    said = f"Error: {checkpoint}: is a checkpoint, or holds no recipe: give the run or its model.safetensors\n"
    assert (done.status, done.err) == (2, said)
