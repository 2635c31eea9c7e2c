"""A source means the same images from every working directory."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import yaml
from PIL import Image

from gancli import fetch
from gancli.data.dataset import load
from gancli.errors import UserError
from gancli.recipe.data import Images, Labelled, Unpaired
from gancli.recipe.places import placed

pytestmark = pytest.mark.usefixtures("cache")


def photographs(folder: Path, seed: int = 0, count: int = 8) -> Path:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


def test_paths_become_absolute_and_names_stay(tmp_path, monkeypatch):
    photographs(tmp_path / "set")
    (tmp_path / "set" / "table.csv").write_text("")
    (tmp_path / "mnist").mkdir()
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert placed(Images(source="set")).source == str(tmp_path / "set")
    assert placed(Unpaired(source="set", source_b="set/")).source_b == str(tmp_path / "set")
    labelled = placed(Labelled(source="set", attributes=("x",), attribute_file="table.csv"))
    assert labelled.attribute_file == str(tmp_path / "set" / "table.csv")
    for name in ("digits", "shapes", "shapes:7", "mnist", "not/there", "~nobody-of-this-name/x"):
        assert placed(Images(source=name)).source == name
    already = Images(source=str(tmp_path / "set"))
    assert placed(already) == already


@pytest.mark.parametrize("name", ["line\nbreak", "\udcff\udcfe"], ids=ascii)
def test_a_path_that_yaml_cannot_hold_stays(tmp_path, monkeypatch, name):
    photographs(tmp_path / name / "set")
    monkeypatch.chdir(tmp_path / name)
    assert placed(Images(source="set")).source == "set"
    assert len(load(placed(Images(source="set", image_size=8, holdout=0)))) == 8


def test_a_fetched_set_is_meant_by_its_name_whatever_stands_here(tmp_path, monkeypatch):
    photographs(tmp_path / "mnist")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"run `gancli fetch mnist`, or give \./mnist"):
        load(Images(source="mnist"))
    assert len(load(Images(source="./mnist", image_size=8, holdout=0))) == 8
    place = fetch.place("mnist")
    assert not place.exists()


def test_a_run_resumes_on_its_own_images_from_another_directory(tmp_path, monkeypatch, gancli):
    for number, folder in enumerate(("here", "there")):
        photographs(tmp_path / folder / "set", number)
    values = yaml.safe_load(tiny.text("gan"))
    values["data"] |= {"source": "set", "holdout": 0}
    values["train"]["steps"] = 6
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.chdir(tmp_path / "here")
    assert gancli("train", "../recipe.yaml", "--out", tmp_path / "run", "-q").status == 0
    said = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert said["data"]["source"] == str(tmp_path / "here" / "set")
    monkeypatch.chdir(tmp_path / "there")
    done = gancli("train", "--resume", tmp_path / "run", "--set", "train.steps=9", "-q")
    assert done.status == 0, done.err
    done = gancli("train", "../recipe.yaml", "--resume", tmp_path / "run", "--set", "train.steps=12", "-q")
    assert done.status == 2 and f"data.source: {tmp_path}/here/set -> {tmp_path}/there/set" in done.err
