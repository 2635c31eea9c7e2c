"""`import gancli`, as a notebook uses it: it says nothing, raises `gancli.UserError`, and makes what commands make."""

import json
import logging
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tiny
from commands import ROOT, run_gancli
from PIL import Image

import gancli
from gancli import models


@pytest.fixture(scope="module", params=["pix2pix", "cyclegan", "stargan", "stargan2"])
def translator(request, tmp_path_factory):
    """A run of every family that translates."""
    folder = tmp_path_factory.mktemp("translators")
    return gancli.train(tiny.write(request.param, folder), out=folder / "run", **{"data.source": "shapes:160"})


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    """A run that knows the ten digits."""
    values = {"model": "gan", "conditional": True, "generator_hidden": [8], "discriminator_hidden": [8]}
    data = {"source": "digits", "image_size": 8, "channels": 1}
    out = tmp_path_factory.mktemp("conditional") / "run"
    return gancli.train(values | {"data": data}, out=out, train={"steps": 3, "batch_size": 8}, latent_dim=4)


def test_importing_gancli_imports_nothing_heavy() -> None:
    code = (
        "import sys, gancli\n"
        "assert dir(gancli) and gancli.UserError\n"
        "assert not {'torch', 'numpy', 'pydantic', 'PIL', 'gancli.api'} & set(sys.modules)\n"
        "try: gancli.train('gan-digits', **{'train.stepz': 1})\n"
        "except gancli.UserError as error: assert 'did you mean' in str(error)\n"
        "else: raise SystemExit(1)\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_everything_in_all_is_there() -> None:
    for name in gancli.__all__:
        assert getattr(gancli, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        gancli.trian  # noqa: B018


def test_a_training_is_that_of_the_command_and_says_nothing(tmp_path, capfd, monkeypatch) -> None:
    sets = {"train.steps": 6, "train.batch_size": 4, "train.log_every": 3}
    words = [word for key, value in sets.items() for word in ("--set", f"{key}={value}")]
    assert run_gancli("train", "gan-digits", *words, "-q", "--out", tmp_path / "command") == 0
    capfd.readouterr()
    monkeypatch.setenv("PL_FAST_DEV_RUN", "1")  # which would end Lightning's trainings after a step
    run = gancli.train("gan-digits", out=tmp_path / "python", **sets)
    assert capfd.readouterr() == ("", "")
    assert os.environ["PL_FAST_DEV_RUN"] == "1"

    assert run.status == "finished" and run.path == tmp_path / "python"
    ours, theirs = (gancli.open_run(tmp_path / name) for name in ("python", "command"))
    assert (ours.sample(range(3)) == theirs.sample(range(3))).all()
    assert [row["step"] for row in run.metrics] == [3, 6] and run.metrics[-1]["generator_gan"] > 0
    assert ours.recipe == theirs.recipe and ours.recipe.train.steps == 6
    assert "open_run" in repr(run)


def test_a_recipe_is_a_path_a_name_a_dict_or_a_recipe(tmp_path) -> None:
    path = tiny.write("gan", tmp_path)
    runs = [
        gancli.train(path, out=tmp_path / "path", **{"train.steps": np.int64(2)}),
        gancli.train(str(path), out=str(tmp_path / "text"), train={"steps": 2}),
        gancli.train(tiny.settings("gan"), out=tmp_path / "recipe", train={"steps": 2}),
        gancli.train(tiny.settings("gan").model_dump(), out=tmp_path / "dict", train={"steps": 2}),
    ]
    assert len({run.sample([1, 2]).tobytes() for run in runs}) == 1


def test_out_is_named_after_the_recipe(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = gancli.train(tiny.write("gan", tmp_path), **{"train.steps": 1})
    assert run.path == Path("runs/tiny-gan") and run.path.is_dir()
    assert gancli.train(tiny.settings("gan"), **{"train.steps": 1}).path == Path("runs/gan")


@pytest.mark.parametrize(
    ("given", "overrides", "said"),
    [
        ("gan-digit", {}, "did you mean 'gan-digits'"),
        ("gan-digits", {"train.stepz": 1}, r"train\.stepz=…: train\.stepz: unknown key \(did you mean 'steps'\?\)"),
        ("gan-digits", {"train": {"steps": -1}}, r"train\.steps: expected greater than 0, not -1"),
        ("gan-digits", {"train.": 1}, "expected a key of the recipe"),
        ("gan-digits", {"latent_dim": object()}, "not object"),
        ({"model": "gan"}, {}, "data: is required"),
        ({"model": "gann", "data": {"source": "digits"}}, {}, "did you mean 'gan'"),
        (3, {}, "not int"),
        ("gan-digits", {"data.source": "nowhere/at/all"}, "nowhere"),
    ],
)
def test_mistakes_are_user_errors(given, overrides, said, tmp_path, capfd) -> None:
    with pytest.raises(gancli.UserError, match=said):
        gancli.train(given, out=tmp_path / "run", **overrides)
    assert capfd.readouterr() == ("", "") and not (tmp_path / "run").exists()


def test_every_mistake_at_once(tmp_path) -> None:
    with pytest.raises(gancli.UserError) as caught:
        gancli.train("gan-digits", out=tmp_path, **{"train.stepz": 1, "latent_dim": 0})
    assert len(caught.value.lines) == 2


def test_a_run_is_not_replaced_unless_asked(digits_run) -> None:
    with pytest.raises(gancli.UserError, match="a run is there already"):
        gancli.train("gan-digits", out=digits_run)


@pytest.mark.parametrize("path", ["nowhere", "."])
def test_what_is_no_run_is_refused(path, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(gancli.UserError):
        gancli.open_run(path)
    with pytest.raises(gancli.UserError):
        gancli.open_run(path, best=True)


def test_samples_are_those_of_the_command(digits_run, gancli_command, tmp_path) -> None:
    gancli_command("sample", digits_run, "--seeds", "3,9", "--out", tmp_path / "made")
    for run in (gancli.open_run(digits_run), gancli.open_run(str(digits_run / "model.safetensors"))):
        made = run.sample([9, 3])
        assert made.dtype == np.uint8 and made.shape == (2, 8, 8, 1)
        assert (made[0, ..., 0] == np.asarray(Image.open(tmp_path / "made" / "000009.png"))).all()
        assert (run.sample(3) == made[1:]).all() and run.sample([]).shape == (0, 8, 8, 1)
        assert (run.sample(np.array([9, 3])) == made).all()


@pytest.fixture
def gancli_command(gancli):  # the fixture of this name hides the package
    return gancli


def test_labels_choose_classes(conditional) -> None:
    assert conditional.classes == tuple("0123456789") and conditional.targets == ()
    made = conditional.sample(range(10), labels="7")
    assert (conditional.sample(range(10), labels=7) == made).all()
    assert (conditional.sample([4, 5], labels=["7", np.int64(7)]) == made[4:6]).all()
    assert (conditional.sample([7], labels=None) == made[7:8]).all(), "the classes take turns by seed"
    assert (conditional.sample([4], labels="1") != made[4:5]).any()


@pytest.mark.parametrize(
    ("seeds", "labels", "said"),
    [
        (-1, None, "from 0 to"),
        (2**63, None, "from 0 to"),
        (1.5, None, "whole numbers"),
        ("12", None, "whole numbers"),
        (1, "ten", "no class 'ten'"),
        (1, 10, "classes 0 to 9"),
        (1, -1, "classes 0 to 9"),
        (1, 0.5, "not float"),
        ([1, 2], ["1"], "1 for 2 seeds"),
    ],
)
def test_seeds_and_labels_that_make_no_sense_are_refused(conditional, seeds, labels, said) -> None:
    with pytest.raises(gancli.UserError, match=said):
        conditional.sample(seeds, labels)


def test_a_model_without_labels_takes_none(digits_run) -> None:
    with pytest.raises(gancli.UserError, match="knows no classes"):
        gancli.open_run(digits_run).sample(1, labels=1)
    with pytest.raises(gancli.UserError, match="call sample"):
        gancli.open_run(digits_run).translate(np.zeros((1, 8, 8, 3), np.uint8))


def test_points_are_float_coordinates(tmp_path) -> None:
    values = {"model": "gan", "generator_hidden": [8], "discriminator_hidden": [8], "latent_dim": 2}
    run = gancli.train(
        values | {"data": {"source": "ring-2d"}}, out=tmp_path / "run", train={"steps": 2, "batch_size": 8}
    )
    assert run.sample(range(5)).shape == (5, 2) and run.sample(3).dtype == np.float32 and run.sample([]).shape == (0, 2)
    found = run.evaluate()
    assert (
        found["values"]["exact_wasserstein"] >= 0
        and len((run.path / "evaluations.jsonl").read_text().splitlines()) == 1
    )


def test_translations_are_those_of_the_command(translator, gancli_command, tmp_path) -> None:
    photographs = np.random.default_rng(0).integers(0, 256, (3, 24, 20, 3), np.uint8)
    for number, image in enumerate(photographs):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    done = gancli_command("sample", translator.path, "--input", tmp_path, "--out", tmp_path / "out")
    assert done.status == 0
    assert len(translator.targets) >= 1 and translator.classes == ()
    target = translator.targets[0]
    made = translator.translate(photographs, target)
    assert made.dtype == np.uint8 and made.shape == photographs.shape
    folder = tmp_path / "out" / (target if (tmp_path / "out" / target).is_dir() else "")
    for number, image in enumerate(made):
        assert (np.asarray(Image.open(folder / f"{number}.png")) == image).all()
    assert (translator.translate(photographs) == made).all()
    assert (translator.translate(photographs[0], seed=0) == made[0]).all()
    with pytest.raises(gancli.UserError, match="call translate"):
        translator.sample(1)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 8, 8, 3), np.float32),
        np.zeros((2, 8, 8), np.uint8),
        np.zeros((8, 8), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
        "photo.png",
    ],
)
def test_images_of_another_form_are_refused(translator, images) -> None:
    with pytest.raises(gancli.UserError, match="expected uint8 N×H×W×C"):
        translator.translate(images)


def test_a_target_that_is_not_known_is_refused(translator) -> None:
    with pytest.raises(gancli.UserError, match=r"^target nowhere: .*knows no 'nowhere'"):
        translator.translate(np.zeros((1, 32, 32, 3), np.uint8), "nowhere")


def test_a_direction_is_a_target_too(translator) -> None:
    images = np.zeros((1, 32, 32, 3), np.uint8)
    for direction, (_, target) in translator.model.model.directions.items():
        assert (translator.translate(images, direction) == translator.translate(images, target)).all()


def test_the_model_is_a_lightning_module(digits_run) -> None:
    from pytorch_lightning import LightningModule

    run = gancli.open_run(digits_run)
    assert isinstance(run.model, LightningModule) and run.model is run.model and not run.model.training
    assert run.model.model.recipe == run.recipe


def test_an_evaluation_is_that_of_the_command(digits_run, gancli_command) -> None:
    command = json.loads(gancli_command("evaluate", digits_run, "--metrics", "fid,kid", "--count", 100, "--json").out)
    before = (digits_run / "evaluations.jsonl").read_text().count("\n")
    run = gancli.open_run(digits_run)
    for metrics in ("fid,kid", ["fid", "kid"]):
        found = run.evaluate(metrics, count=100)
        assert found["values"] == command["values"] and found["images"] == 100
    assert gancli.evaluate(digits_run, "fid", count=100)["values"]["fid"] == command["values"]["fid"]
    assert (digits_run / "evaluations.jsonl").read_text().count("\n") == before + 3


def test_translations_are_scored_by_direction(translator) -> None:
    direction = next(iter(translator.model.model.directions))
    found = translator.evaluate("pairs" if translator.recipe.model == "pix2pix" else "fid", features="classifier")
    assert found["values"] and not any(key.startswith("--") for key in found)
    with pytest.raises(gancli.UserError, match=r"^direction nowhere"):
        translator.evaluate(direction="nowhere")
    assert direction


@pytest.mark.parametrize(
    ("arguments", "said"), [({"metrics": "fidd"}, "^metrics: "), ({"metrics": "fid", "split": "nowhere"}, "nowhere")]
)
def test_an_evaluation_that_makes_no_sense_is_refused(digits_run, arguments, said) -> None:
    with pytest.raises(gancli.UserError, match=said):
        gancli.open_run(digits_run).evaluate(**arguments)


def test_what_is_worth_knowing_is_logged(tmp_path, caplog) -> None:
    with caplog.at_level(logging.INFO, logger="gancli"):
        gancli.train(tiny.write("dcgan", tmp_path), out=tmp_path / "run", **{"train.steps": 1})
    assert any("train.decay_steps" in record.message for record in caplog.records)


def test_a_training_leaves_the_program_as_it_was(tmp_path) -> None:
    import torch

    path = tiny.write("gan", tmp_path)
    torch.manual_seed(1)
    torch.use_deterministic_algorithms(True)
    try:
        before = torch.get_rng_state()
        gancli.train(path, out=tmp_path / "run", **{"train.steps": 2})
        assert torch.equal(before, torch.get_rng_state()) and torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_training_works_in_any_thread(tmp_path) -> None:
    found = []
    path = tiny.write("gan", tmp_path)
    thread = threading.Thread(target=lambda: found.append(gancli.train(path, out=tmp_path / "run", train={"steps": 2})))
    thread.start()
    thread.join()
    assert found and found[0].status == "finished"


def test_the_notebook_of_the_readme_runs(tmp_path, monkeypatch, capfd) -> None:
    """Every line of it, with a shorter training."""
    [block] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    shorter = re.sub(r'"train\.steps": \d+', '"train.steps": 30', block)
    assert shorter != block and "count=" in block
    exec(compile(re.sub(r"count=\d+", "count=60", shorter), "README.md", "exec"), {})
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "runs" / "digits" / "model.safetensors").is_file()


@pytest.mark.parametrize("family", models.names())
def test_every_family_can_be_trained_and_used(family, tmp_path) -> None:
    run = gancli.train(tiny.write(family, tmp_path), out=tmp_path / "run", **{"train.steps": 1})
    made = run.translate(np.zeros((1, 32, 32, 3), np.uint8)) if run.targets else run.sample(0)
    assert made.dtype == np.uint8 and made.shape[0] == 1 and made.shape[-1] == 3
