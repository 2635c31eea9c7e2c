"""The wheel: whole, and nothing but the package."""

import subprocess
import sys
import zipfile

import pytest
from commands import ROOT

from gancli.recipe import catalogue


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (path,) = out.glob("gancli-*-py3-none-any.whl")
    return zipfile.ZipFile(path)


def test_recipes_and_code_travel_in_the_wheel(wheel) -> None:
    names = set(wheel.namelist())
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "gancli").rglob("*.py")}
    recipes = {f"gancli/recipes/{name}.yaml" for name in catalogue.names()}
    assert sources | recipes | {"gancli/py.typed", "gancli/recipes/schema.json"} <= names


def test_nothing_else_does(wheel) -> None:
    assert {name.split("/")[0].split("-")[0] for name in wheel.namelist()} == {"gancli"}
    (metadata,) = (name for name in wheel.namelist() if name.endswith("METADATA"))
    said = wheel.read(metadata).decode()
    assert "License-Expression: MIT" in said and "Requires-Python: >=3.11" in said
    (entry,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "gancli = gancli.__main__:main" in wheel.read(entry).decode()
