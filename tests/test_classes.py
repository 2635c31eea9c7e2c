"""Classes: told to both players, kept with the weights, asked for by name."""

import zipfile

import numpy as np
import pytest
import torch
from commands import run_gancli

from gancli import models
from gancli.recipe import reading
from gancli.runs.opening import open_model
from gancli.runs.run import Run
from gancli.training.train import build

FAMILIES = [name for name in models.names() if "conditional" in models.schema(name).model_fields]

RECIPE = """
model: {family}
conditional: true
data: {{source: digits, image_size: 8, channels: 1}}
train: {{steps: 12, log_every: 4, samples_every: 12, checkpoint_every: 6, batch_size: 8}}
"""


@pytest.fixture(scope="module", params=FAMILIES)
def run(request, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "r.yaml").write_text(RECIPE.format(family=request.param))
    assert run_gancli("train", folder / "r.yaml", "--out", folder / "run", "-q") == 0
    return Run(folder / "run")


def test_the_weights_alone_know_the_classes(run, tmp_path) -> None:
    lone = tmp_path / "lone.safetensors"
    lone.write_bytes(run.weights_file.read_bytes())
    model = open_model(lone)
    assert model.classes == tuple("0123456789") == run.recipe().data.classes


def test_both_players_look_at_the_class(run) -> None:
    model = open_model(run.path)
    noise, labels = torch.randn(4, model.recipe.latent_dim), torch.tensor([1, 1, 1, 1])
    images = model.generator(noise, labels)
    assert not torch.equal(images, model.generator(noise, labels + 1))
    discriminator = build(model.recipe).discriminator
    assert not torch.equal(discriminator(images, labels), discriminator(images, labels + 1))


def test_the_run_resumes_with_and_without_the_recipe_it_came_from(run) -> None:
    assert run_gancli("train", "--resume", run.path, "-q") == 0
    assert run_gancli("train", run.path.parent / "r.yaml", "--resume", run.path, "-q") == 0


def test_a_sample_is_a_function_of_seed_and_class(run, tmp_path, gancli) -> None:
    out = tmp_path / "all"
    assert gancli("sample", run.path, "--class", "all", "--count", 3, "--out", out).status == 0
    names = {str(path.relative_to(out)) for path in out.rglob("*.png")}
    assert names == {f"{c}/{seed:06d}.png" for c in "0123456789" for seed in range(3)}
    assert gancli("sample", run.path, "--class", "7", "--seed", 2, "--count", 1, "--out", tmp_path / "one").status == 0
    assert (tmp_path / "one/7/000002.png").read_bytes() == (out / "7/000002.png").read_bytes()
    assert gancli("sample", run.path, "--count", 3, "--out", tmp_path / "turns.zip").status == 0
    with zipfile.ZipFile(tmp_path / "turns.zip") as archive:
        assert archive.namelist() == ["0/000000.png", "1/000001.png", "2/000002.png"]
        assert archive.read("2/000002.png") == (out / "2/000002.png").read_bytes()


def test_classes_do_not_collide(run, tmp_path, gancli) -> None:
    for name in ("3", "4"):
        assert gancli("sample", run.path, "--class", name, "--count", 2, "--out", tmp_path / "s").status == 0
    again = gancli("sample", run.path, "--class", "4", "--count", 1, "--out", tmp_path / "s")
    assert again.status == 2 and "4/000000.png: exists already" in again.err


def test_a_grid_has_a_row_for_each_class(run, tmp_path, gancli) -> None:
    from PIL import Image

    grid = tmp_path / "grid.png"
    assert gancli("sample", run.path, "--class", "all", "--count", 3, "--out", grid).status == 0
    width, height = Image.open(grid).size
    assert (width - 2) / 3 == (height - 2) / 10
    assert gancli("sample", run.path, "--class", "all", "--count", 3, "--out", tmp_path / "a.npz").status == 0
    arrays = np.load(tmp_path / "a.npz")
    assert arrays["labels"].tolist() == [c for c in range(10) for _ in range(3)]
    assert arrays["classes"].tolist() == list("0123456789") and arrays["images"].shape == (30, 8, 8, 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--class", "12"], "Error: --class 12: the model knows no such class"),
        (["--class", "seven"], "Error: --class seven: the model knows no such class: there are 0, 1, 2"),
        (["--class", "all", "--interpolate", "1,2"], "Error: --class all: a walk stays in one class"),
    ],
)
def test_a_wrong_class_is_one_line(run, words, said, gancli) -> None:
    done = gancli("sample", run.path, *words)
    assert done.status == 2 and done.err.startswith(said) and done.err.count("\n") == 1 and not done.out


def test_a_model_without_classes_says_so(digits_run, gancli) -> None:
    done = gancli("sample", digits_run, "--class", "3")
    assert done.status == 2 and "this model knows no classes" in done.err


@pytest.fixture
def plain_folder(tmp_path):
    from PIL import Image

    folder = tmp_path / "plain"
    folder.mkdir()
    for n in range(20):
        Image.new("L", (8, 8), n).save(folder / f"{n}.png")
    return folder


def test_classes_asked_of_data_without_labels_are_refused_before_training(plain_folder, tmp_path, gancli) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(RECIPE.format(family="dcgan").replace("digits", str(plain_folder)))
    for words in ([], ["--dry-run"]):
        done = gancli("train", file, "--out", tmp_path / "run", *words)
        assert done.status == 2 and done.err.splitlines()[-1].startswith("Error: conditional: data.source: ")
        assert not (tmp_path / "run").exists()


def test_other_classes_than_the_data_s_are_refused(tmp_path, gancli) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(RECIPE.format(family="gan"))
    done = gancli("train", file, "--out", tmp_path / "run", "--set", "data.classes=[zero, one]")
    assert done.status == 2 and "data.classes: zero, one: digits has 0, 1, 2" in done.err


def test_a_dry_run_names_the_classes(tmp_path, gancli) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(RECIPE.format(family="dcgan"))
    done = gancli("train", file, "--dry-run")
    assert done.status == 0 and reading.parse(done.out.split("generator: ")[0], "plan").values["data"]["classes"]
