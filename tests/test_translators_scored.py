"""Scoring runs that translate images: each direction's translations of the test images, against real ones."""

import json
from typing import ClassVar

import numpy as np
import pytest
import tiny
import torch
from commands import run_gancli
from PIL import Image

from gancli.data.shapes import Shapes, draw, recolour
from gancli.make import images
from gancli.runs.opening import open_model
from gancli.runs.run import Run
from gancli.score import scoring, subjects

FAMILIES = ["pix2pix", "cyclegan"]


class Means:
    """A feature network that needs no weights: the means of an image's quarters."""

    name, dimensions = "means", 4
    protocol: ClassVar = {"network": "means", "dimensions": 4}

    def __call__(self, batch):
        return torch.nn.functional.adaptive_avg_pool2d(batch.float().mean(1, keepdim=True), 2).flatten(1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    for family in FAMILIES:
        words = ("--set", "data.source=shapes:40", "--set", "train.steps=1")
        assert run_gancli("train", tiny.write(family, folder), "--out", folder / family, "-q", *words) == 0
    return {family: folder / family for family in FAMILIES}


def pixels(subject) -> np.ndarray:
    return np.concatenate([batch.permute(0, 2, 3, 1).numpy() for batch in subject.batches()])


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_scored_is_what_sample_writes(family, trained, tmp_path, gancli) -> None:
    model = open_model(trained[family])
    if family == "pix2pix":
        model.dropout = False
    for direction, (fakes, reals) in subjects.comparisons(model, 0, "test").items():
        out = tmp_path / direction
        words = ("--dropout", "off") if family == "pix2pix" else ()
        written = gancli("sample", trained[family], "--direction", direction, "--out", out, *words).out.split()
        made = np.stack([np.array(Image.open(path)) for path in written])
        assert fakes.count == reals.count == len(made) == 4
        assert np.array_equal(pixels(fakes), made)
        assert fakes.protocol["direction"] == direction and fakes.generated and not reals.generated


def test_each_direction_is_compared_with_its_own_domain(trained) -> None:
    model = open_model(trained["cyclegan"])
    source = Shapes("unpaired", (8, 8), 40)
    for direction, (fakes, reals) in subjects.comparisons(model, 0, "test").items():
        target = direction[-1].upper()
        wanted = [n for n, name in enumerate(source.names) if name.startswith(f"test/{target}")]
        assert np.array_equal(pixels(reals), np.stack([np.array(source.open(n)) for n in wanted]))
        assert fakes.classes == ("a", "b") and (fakes.labels() == "ab".index(direction[-1])).all()


def test_both_directions_and_their_mean_are_printed(trained, gancli, monkeypatch) -> None:
    monkeypatch.setattr(scoring, "network", lambda *_, **__: Means())
    both = json.loads(gancli("eval-fid", trained["cyclegan"], "--json").out)
    single = {
        direction: json.loads(gancli("eval-fid", trained["cyclegan"], "--direction", direction, "--json").out)["value"]
        for direction in ("a-to-b", "b-to-a")
    }
    assert {name: both["values"][f"fid {name}"] for name in single} == pytest.approx(single)
    assert both["value"] == pytest.approx(sum(single.values()) / 2)
    assert both["direction"] == {name: name for name in single} and both["reference_split"] == "test"
    assert len(Run(trained["cyclegan"]).evaluations_file.read_text().splitlines()) == 3


def test_pairs_are_compared_with_their_targets(trained, gancli) -> None:
    done = gancli("evaluate", trained["pix2pix"], "--metrics", "pairs", "--json")
    found = json.loads(done.out)
    model = open_model(trained["pix2pix"])
    ((fakes, reals),) = subjects.comparisons(model, 0, "test").values()
    expected = np.abs(pixels(fakes).astype(float) - pixels(reals)).mean() / 255
    assert found["values"]["l1"] == pytest.approx(expected, rel=1e-5)
    assert found["dropout"] == "on" and set(found["values"]) == {"l1", "psnr", "ssim"}


def test_a_perfect_translator_scores_perfectly(trained) -> None:
    """The truth in place of the generators: every translation is called the target; of what does nothing, none."""
    model = open_model(trained["cyclegan"])
    source = Shapes("unpaired", (8, 8), 40)
    truth = {}
    for n in range(len(source.names)):
        shape = source.shape(n)
        other = {"red": "blue", "blue": "red"}[shape.colour]
        truth[np.array(source.open(n)).tobytes()] = recolour(shape, other)

    def translate(batch, target, seeds):
        made = [draw(truth[image.tobytes()], 8, 8) for image in images.pixels(batch)]
        return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2) / 127.5 - 1

    sides = subjects.comparisons(model, 0, "test")
    network = scoring.network("classifier", *next(iter(sides.values())))
    values = {}
    for name, turn in (("perfect", translate), ("idle", lambda batch, target, seeds: batch)):
        model.translate = turn
        values[name] = scoring.score_each(sides, network, ["accuracy", "fid"])["values"]
    assert values["perfect"]["accuracy"] == values["perfect"]["accuracy a-to-b"] == 1
    assert values["idle"]["accuracy"] == 0
    assert values["perfect"]["fid"] < values["idle"]["fid"] / 10


def test_directions_are_evaluated_while_training(tmp_path, gancli) -> None:
    sets = ("evaluate.every=6", "evaluate.features=classifier", "evaluate.metrics=[accuracy]")
    words = [word for option in sets for word in ("--set", option)]
    done = gancli("train", tiny.write("cyclegan", tmp_path), "--out", tmp_path / "run", "-q", *words)
    assert done.status == 0, done.err
    run = Run(tmp_path / "run")
    lines = run.training_evaluations()
    assert [line["step"] for line in lines] == [6, 12] and run.best_file.is_file()
    for line in lines:
        parts = [line["values"][f"accuracy {name}"] for name in ("a-to-b", "b-to-a")]
        assert line["values"]["accuracy"] == pytest.approx(sum(parts) / 2)


@pytest.mark.parametrize(
    ("family", "words", "said"),
    [
        ("cyclegan", ["--count", "5"], "--count 5: all test images are translated"),
        ("pix2pix", ["--direction", "b-to-a"], "--direction b-to-a: this run learnt a-to-b"),
        ("cyclegan", ["--split", "validation"], "has no validation split"),
        ("cyclegan", ["--save-statistics", "x.npz"], "--save-statistics: works on one direction"),
    ],
)
def test_what_does_not_fit_is_one_line(family, words, said, trained, gancli) -> None:
    done = gancli("eval-fid", trained[family], *words)
    assert done.status == 2 and said in done.err and done.err.count("\n") == 1
