"""What each command imports, which is most of the time that it takes to answer: counted in modules, not seconds."""

import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from commands import run_gancli

from gancli.cli import app

HEAVY = {"torch", "pytorch_lightning", "numpy", "matplotlib", "scipy", "sklearn", "PIL"}
LIGHTNING = {"pytorch_lightning", "lightning_fabric", "lightning"}
COMMANDS = sorted(command.name or command.callback.__name__.replace("_", "-") for command in app.registered_commands)


def loaded_after(statement: str) -> set[str]:
    """The modules that a fresh interpreter holds after a statement."""
    code = f"import sys\ntry:\n    {statement}\nexcept SystemExit:\n    pass\nprint('MODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("MODULES ")[2].split())


def loaded_by(*words: object) -> set[str]:
    """The modules that a command has loaded at its end."""
    arguments = list(map(str, ["gancli", *words]))
    modules = loaded_after(f"sys.argv = {arguments!r}; from gancli.cli import main; main()")
    assert "gancli.cli" in modules
    return modules


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    assert run_gancli("train", tiny.write("dcgan", folder), "--out", folder / "run", "-q") == 0
    return folder / "run"


@pytest.fixture(scope="module")
def base() -> set[str]:
    return loaded_after("import torch, pytorch_lightning")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_needs_nothing_heavy(command: str) -> None:
    modules = loaded_by(command, "--help")
    assert not HEAVY & modules
    assert len(modules) <= 700


def test_help_needs_no_cryptography() -> None:
    """OpenSSL, behind `secrets` and `hashlib`, costs five milliseconds of two hundred."""
    modules = loaded_after("sys.argv = ['gancli', '--help']; from gancli.__main__ import main; main()")
    assert "gancli.cli" in modules and not {"_hashlib", "secrets"} & modules


@pytest.mark.parametrize(
    "words", [["--help"], ["train", "no-such-recipe"], ["recipes"], ["schema"], ["validate", "gan-digits"]]
)
def test_what_needs_no_network_answers_without_torch(words: list[str]) -> None:
    modules = loaded_by(*words)
    assert not HEAVY & modules
    assert len(modules) <= 700


def test_reading_every_recipe_needs_no_torch() -> None:
    modules = loaded_after(
        "from gancli import models; from gancli.recipe import catalogue, reading; "
        "[models.validate(reading.read(catalogue.find(name))) for name in catalogue.names()]"
    )
    assert "gancli.recipe.sections" in modules
    assert not {"torch", "pytorch_lightning", "numpy"} & modules


def test_sampling_needs_little_beside_torch(run: Path, tmp_path: Path) -> None:
    more = loaded_by("sample", run, "--count", 1, "--out", tmp_path / "made") - loaded_after("import torch")
    assert (tmp_path / "made" / "000000.png").exists()
    assert not {"gancli.training.train", "gancli.metrics.fid", "sklearn", "scipy", *LIGHTNING} & more
    assert len(more) <= 300


@pytest.mark.parametrize("words", [("sample", "RUN", "--input", "shapes:2", "--out", "OUT"), ("eval-fid", "RUN")])
def test_translating_and_scoring_need_no_lightning(words: tuple[str, ...], tmp_path: Path) -> None:
    assert run_gancli("train", tiny.write("pix2pix", tmp_path), "--out", tmp_path / "run", "-q") == 0
    places = {"RUN": tmp_path / "run", "OUT": tmp_path / "made"}
    modules = loaded_by(*(places.get(word, word) for word in words))
    assert "gancli.models.pix2pix.model" in modules and not LIGHTNING & modules


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sample", "NONE"), "NONE"),
        (("sample", "RUN", "--best"), "has no best.safetensors"),
        (("sample", "RUN", "--grid", "--out", "TAKEN.png"), "TAKEN.png: exists already"),
        (("sample", "RUN", "--seeds", "3", "--out", "FOLDER"), "000003.png: exists already"),
        (("sample", "TRANSLATOR", "--input", "NONE"), "--input: "),
        (("evaluate", "NONE"), "NONE: no such file or folder"),
        (("evaluate", "RUN", "--against", "NONE"), "NONE: no such file or folder"),
        (("evaluate", "RUN", "--best"), "has no best.safetensors"),
        (("evaluate", "RUN", "--metrics", "fdi"), "unknown metric"),
        (("evaluate", "RUN", "--neighbours", "TAKEN.png"), "TAKEN.png: exists already"),
        (("evaluate", "RUN", "--features", "NONE.safetensors"), "--features "),
        (("eval-fid", "NONE.safetensors"), "NONE.safetensors"),
        (("eval-fid", "RUN", "--weights", "NONE"), "--weights "),
        (("eval-fid", "EMPTY"), "EMPTY: has no model.safetensors"),
        (("eval-fid", "RUN", "--save-statistics", "TAKEN.npz"), "TAKEN.npz: exists already"),
    ],
)
def test_what_is_missing_or_taken_is_said_before_torch_is_imported(
    words: tuple[str, ...], said: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("TAKEN.png", "TAKEN.npz"):
        Path(name).touch()
    Path("FOLDER").mkdir()
    Path("FOLDER/000003.png").touch()
    for name, family in (("EMPTY", "dcgan"), ("TRANSLATOR", "pix2pix")):
        Path(name).mkdir()
        Path(name, "recipe.yaml").write_text(tiny.text(family))
    Path("TRANSLATOR/model.safetensors").touch()
    arguments = ["gancli", *(str(run) if word == "RUN" else word for word in words)]
    code = f"import sys; sys.argv = {arguments!r}; from gancli.cli import main\ntry:\n    main()\nfinally:\n    "
    code += "print('MODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert said in done.stderr, done.stderr
    assert not {"torch", "torchmetrics", *LIGHTNING} & set(done.stdout.rpartition("MODULES ")[2].split())


def test_importing_every_metric_needs_no_lightning() -> None:
    rooms = "score.scoring", "score.subjects", "score.theory", "make.translation", "make.sampling"
    modules = loaded_after("import " + ", ".join(f"gancli.{room}" for room in rooms))
    assert "torchmetrics" in modules and not LIGHTNING & modules


def test_training_needs_little_beside_lightning(run: Path, base: set[str]) -> None:
    more = loaded_by("train", "--resume", run, "-q", "--set", "train.steps=13") - base
    assert "gancli.training.train" in more and not {"sklearn", "torchmetrics.image.fid"} & more
    assert len(more) <= 300
