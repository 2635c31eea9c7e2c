"""Families from other packages: built, installed and trained as docs/adding-a-family.md says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT

PAGE = (ROOT / "docs" / "adding-a-family.md").read_text()
FILES = dict(re.findall(r"```(?:toml|python|yaml)\n# (\S+)\n(.*?)```", PAGE, flags=re.DOTALL))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a Python that has the page's package installed."""
    folder, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "gancli_lsgan" / "__init__.py").touch()

    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(folder)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}


def gancli(environment: dict[str, str], folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gancli", *map(str, words)]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)


def test_the_page_s_family_is_small() -> None:
    lines = [line for name in FILES if name.endswith(".py") for line in FILES[name].splitlines()]
    entry = 'lsgan = "gancli_lsgan"'
    assert entry in FILES["pyproject.toml"] and len(lines) + 1 <= 60


def test_an_installed_family_validates_trains_and_samples(installed, tmp_path) -> None:
    (tmp_path / "mine.yaml").write_text(FILES["lsgan-digits.yaml"])
    short = ("--set", "train.steps=4", "--set", "width=4")
    assert gancli(installed, tmp_path, "validate", "mine.yaml").returncode == 0
    done = gancli(installed, tmp_path, "train", "mine.yaml", *short, "--out", "run", "-q")
    assert (done.returncode, done.stdout.strip()) == (0, "run"), done.stderr
    assert (tmp_path / "run" / "metrics.csv").read_text().startswith("step,images,seconds,discriminator_real")
    done = gancli(installed, tmp_path, "sample", "run", "--count", "2", "--out", "made")
    assert done.returncode == 0 and len([*(tmp_path / "made").iterdir()]) == 2, done.stderr
    schema = gancli(installed, tmp_path, "schema")
    assert '"wanted_label"' in schema.stdout

    wrong = gancli(installed, tmp_path, "train", "mine.yaml", "--dry-run", "--set", "wanted_lable=1")
    assert wrong.returncode == 2 and "wanted_label" in wrong.stderr


def test_a_run_of_a_family_that_is_not_installed_says_so(installed, tmp_path) -> None:
    (tmp_path / "mine.yaml").write_text(FILES["lsgan-digits.yaml"])
    done = gancli(os.environ | {"PYTHONPATH": str(ROOT)}, tmp_path, "train", "mine.yaml")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "lsgan" in done.stderr


@pytest.mark.parametrize("name", ["os", "gancli_lsgan", "gancli.models.gan", "../gan", "this"])
def test_a_name_that_no_package_offers_imports_nothing(name, tmp_path) -> None:
    (tmp_path / "evil.yaml").write_text(f"model: {name}\ndata: {{source: digits}}\n")
    code = """
import sys
sys.argv = ["gancli", "validate", "evil.yaml"]
from gancli.cli import main
before = set(sys.modules)
try:
    main()
except SystemExit as end:
    assert end.code == 2
assert not {"this", "gancli_lsgan"} & (set(sys.modules) - before)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
