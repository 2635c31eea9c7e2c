"""Scoring: every form of the same images has the same score, and what cannot be measured is refused in one line."""

import json
import re
import shutil
import struct
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from commands import run_gancli
from PIL import Image

from gancli import files
from gancli.make import images
from gancli.metrics.moments import Statistics
from gancli.runs.run import Run
from gancli.score import neighbours, scoring, subjects

CLASSIFIER = ("--features", "classifier")


class Means:
    """A feature network that needs no weights: the means of an image's quarters, whatever its size."""

    name, dimensions = "means", 4
    protocol: ClassVar = {"network": "means", "dimensions": 4}

    def __call__(self, batch):
        return torch.nn.functional.adaptive_avg_pool2d(batch.float().mean(1, keepdim=True), 2).flatten(1)


def write(folder: Path, *pictures: Image.Image) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        picture.save(folder / f"{number}.png")
    return folder


def gray(count: int, side: int = 8, seed: int = 0) -> list[Image.Image]:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, side, side), dtype=np.uint8)
    return [Image.fromarray(image) for image in pixels]


def value(done) -> float:
    assert done.status == 0, done.err
    return json.loads(done.out)["value"]


def test_the_same_images_score_the_same_in_every_form(digits_run, gancli, tmp_path) -> None:
    expected = value(gancli("eval-fid", digits_run, "--count", 100, "--json"))
    forms = [tmp_path / name for name in ("folder", "images.zip", "images.npz")]
    for form in forms:
        assert gancli("sample", digits_run, "--count", 100, "--out", form).status == 0
    statistics = tmp_path / "statistics.npz"
    saved = gancli("eval-fid", forms[0], "--save-statistics", statistics, "--features", "classifier")
    assert saved.status == 2 and "class" in saved.err, "nothing names the labels of these images"
    assert gancli("eval-fid", digits_run, "--count", 100, "--save-statistics", statistics, "--json").status == 0
    reals = tmp_path / "reals.npz"
    assert gancli("eval-fid", "gan-digits", "--save-statistics", reals).out == f"{reals}\n"

    for subject in (*forms, statistics):
        found = gancli("eval-fid", subject, "--against", "gan-digits", "--json")
        assert value(found) == pytest.approx(expected, rel=1e-9), subject
    lone = tmp_path / "some.safetensors"
    shutil.copy(digits_run / "model.safetensors", lone)
    assert value(gancli("eval-fid", lone, "--count", 100, "--json")) == expected
    assert value(gancli("eval-fid", statistics, "--against", reals, "--json")) == pytest.approx(expected, rel=1e-9)


def test_a_second_evaluation_reads_no_image_of_the_reference(digits_run, gancli, monkeypatch) -> None:
    shutil.rmtree(files.cache("statistics"))
    read, decode = [], subjects.decode
    monkeypatch.setattr(subjects, "decode", lambda *given: read.append(given) or decode(*given))
    first = value(gancli("eval-fid", digits_run, "--count", 50, "--json"))
    assert read
    read.clear()
    assert value(gancli("eval-fid", digits_run, "--count", 50, "--json")) == first
    assert not read


def test_what_is_printed_is_enough_to_repeat_it(digits_run, gancli) -> None:
    done = gancli("evaluate", digits_run, "--metrics", "fid,kid,is,prdc", "--count", 120, "--bootstrap", 3, "--seed", 7)
    line = json.loads((digits_run / "evaluations.jsonl").read_text().splitlines()[-1])
    tables = [block for block in done.out.split("\n\n") if not block.startswith("which means")]
    said = dict(row.split(maxsplit=1) for row in "\n".join(tables).splitlines() if len(row.split()) > 1)
    assert set(line["values"]) <= set(said) and {"kid_deviation", "fid_deviation", "coverage"} <= set(said)
    for name in ("sha256", "reference_data", "reference_split", "network", "weights", "resize", "images", "first_seed"):
        assert said[name] == str(line[name])
    assert (line["first_seed"], line["images"], line["reference_split"]) == (7, 120, "train")
    assert done.out.count("\nprecision ") == 3, "the value, its meaning, and the arithmetic, which is another thing"
    assert 0.9 < float(said["classifier_accuracy"]) <= 1, "how good the classifier is stands beside its score"
    assert "warning: FID of 120 images and 1,650 reference images: at least " in done.err
    assert line["values"]["fid_bias"] > 0 and said["kid_deviation_of"] == "the value, by the jackknife"


def test_images_of_any_size_are_measured_as_they_are_and_that_is_said(tmp_path) -> None:
    folder = write(tmp_path / "mixed", *gray(3, 8), *gray(3, 12), Image.new("RGB", (8, 8), "red"), *gray(70, 8))
    subject = subjects.of_source(str(folder), None)
    shapes = [tuple(batch.shape) for batch in subject.batches()]
    assert sum(shape[0] for shape in shapes) == 77 and {shape[1:] for shape in shapes} == {
        (1, 8, 8),
        (3, 8, 8),
        (1, 12, 12),
    }
    record = scoring.score(subject, subject, Means(), ["fid"])
    assert record["values"]["fid"] == pytest.approx(0, abs=1e-6)
    assert record["image_size"] == "8×8 to 12×12, 2 sizes, each image resized by itself"


def test_a_source_with_splits_gives_the_one_that_is_asked(tmp_path) -> None:
    write(tmp_path / "set" / "train", *gray(4))
    write(tmp_path / "set" / "test", *gray(3, seed=1))
    counts = {split: subjects.of_source(str(tmp_path / "set"), split).count for split in (None, "train", "test")}
    assert counts == {None: 4, "train": 4, "test": 3}


def deep_png() -> bytes:
    """A PNG of 16 bits a channel in RGB, which Pillow reads but cannot write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    rows = zlib.compress(8 * (b"\0" + bytes(6 * 8)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture
def bad(tmp_path, digits_run):
    """Things that cannot be measured, by name."""
    write(tmp_path / "good", *gray(4))
    write(tmp_path / "one", *gray(1))
    (tmp_path / "empty").mkdir()
    write(tmp_path / "damaged", *gray(3))
    (tmp_path / "damaged" / "1.png").write_bytes(b"no image")
    write(tmp_path / "deep", *gray(2), Image.fromarray(np.full((8, 8), 9999, np.uint16)))
    write(tmp_path / "clear", *gray(2), Image.new("RGBA", (8, 8), (1, 2, 3, 4)))
    np.save(tmp_path / "deep.npy", np.full((3, 8, 8, 3), 9999, np.uint16))
    (tmp_path / "deep-colour").mkdir()
    for name in ("0.png", "1.png"):
        (tmp_path / "deep-colour" / name).write_bytes(deep_png())
    np.save(tmp_path / "nan.npy", np.full((3, 8, 8), np.nan, np.float32))
    moments = {"mu": torch.zeros(128).double(), "sigma": torch.eye(128).double()}
    Statistics(**moments, protocol={"network": "other"}).save(tmp_path / "other.npz")
    Statistics(**moments, protocol={"resize": "clean"}).save(tmp_path / "clean.npz")
    Statistics(torch.zeros(3).double(), torch.eye(3).double()).save(tmp_path / "three.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "other.npz").read_bytes()[:99])
    (tmp_path / "run").symlink_to(digits_run)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("eval-fid empty --against gan-digits", "empty holds no images"),
        ("eval-fid one --against gan-digits", "at least 2 images"),
        ("eval-fid damaged --against gan-digits", "damaged: 1.png: not an image"),
        ("eval-fid deep --against gan-digits", "deep: 2.png: more than 8 bits"),
        ("eval-fid deep.npy --against gan-digits", "deep.npy: .*0: more than 8 bits"),
        (
            "eval-fid deep-colour --against gan-digits",
            "deep-colour: 2 of 2 images .*0.png: more than 8 bits.*1.png: more than 8 bits",
        ),
        ("eval-fid clear --against gan-digits", "clear: 2.png: transparent"),
        ("eval-fid nan.npy --against gan-digits", "nan.npy has values outside 0 to 1"),
        ("eval-fid run --against other.npz", "network classifier against other"),
        ("eval-fid run --against clean.npz", "resize none against clean"),
        ("eval-fid run --against three.npz", "3 dimensions"),
        ("eval-fid run --against cut.npz", "cut.npz is no plain .npz"),
        ("eval-fid run --against nowhere", "nowhere: no such file or folder"),
        ("eval-fid run --split nine", "no nine split"),
        ("eval-fid good", "good: has no data of its own.*--against"),
        ("eval-fid good --against gan-digits --split nine", "no nine split"),
        ("eval-fid run --best", "run: has no best.safetensors"),
        ("eval-fid run --features nothing", "unknown network 'nothing'"),
        ("evaluate run --metrics fud", "unknown metric 'fud'"),
        ("evaluate run --metrics kid --against other.npz", "kid needs the reference's images"),
        ("evaluate run --metrics accuracy", "accuracy needs the class of each image"),
        ("evaluate run --metrics pairs --count 3", "3 images against 1,650 targets"),
        ("evaluate other.npz --metrics is --against gan-digits", "of statistics only the fid"),
        ("fit-features good --out x.safetensors", "needs a class for each image"),
        ("fit-features digits --out x.bin", "ends in .safetensors"),
        ("eval-fid good --against gan-digits --count 3", "--count 3: neither side is generated"),
        ("eval-fid run --save-statistics three.npz", "three.npz: exists already"),
        ("evaluate run --neighbours cut.npz", "ends in .png"),
        ("train gan-digits --set evaluate.every=5 --set evaluate.metrics=[accuracy]", "conditional"),
        ("train gan-digits --set evaluate.every=5 --set evaluate.features=nothing", "unknown network 'nothing'"),
        ("train gan-digits --set evaluate.images=1", "evaluate.images: expected .* 2"),
        ("sample run --best", "run: has no best.safetensors"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(words, said, bad, gancli, monkeypatch) -> None:
    monkeypatch.chdir(bad)
    before = {*bad.iterdir()}
    done = gancli(*words.split())
    lines = [line for line in done.err.splitlines() if not line.startswith(("fitting", "precision:"))]
    assert done.status == 2 and not done.out
    assert len(lines) == 1 and re.search(said, lines[0]), lines
    assert {*bad.iterdir()} == before, "nothing is left behind"


def test_classes_are_told_by_the_seed_or_by_the_folder(gancli, tmp_path) -> None:
    run = tmp_path / "run"
    sets = ("conditional=true", "train.steps=10", "evaluate.images=60")
    assert run_gancli("train", "gan-digits", "--out", run, "-q", *(w for s in sets for w in ("--set", s))) == 0
    gancli("sample", run, "--count", 60, "--out", tmp_path / "folder")
    words = ("--metrics", "accuracy,intra-fid", "--json")
    one = json.loads(gancli("evaluate", run, *words).out)["values"]
    other = json.loads(gancli("evaluate", tmp_path / "folder", "--against", "gan-digits", *words).out)["values"]
    assert one == pytest.approx(other, rel=1e-9) and len(one) == 13 and 0 <= one["accuracy"] <= 1


def test_pairs_are_compared_one_by_one_and_infinity_is_valid_json(gancli, tmp_path) -> None:
    same, other = write(tmp_path / "a", *gray(3, 16)), write(tmp_path / "b", *gray(3, 16, seed=1))
    words = ("--metrics", "pairs", "--json")
    exact = json.loads(gancli("evaluate", same, "--against", same, *words).out, parse_constant=pytest.fail)
    assert exact["values"] == {"psnr": None, "ssim": pytest.approx(1), "l1": 0}
    assert exact["not_finite"] == {"psnr": "infinite: 3 of 3 pairs are equal"}
    assert "none (infinite: 3 of 3 pairs are equal)" in gancli("evaluate", same, "--against", same, *words[:2]).out
    assert json.loads(gancli("evaluate", same, "--against", other, *words).out)["values"]["psnr"] < 20


def test_the_nearest_neighbour_of_a_training_image_is_itself(tmp_path) -> None:
    subject = subjects.of_source(str(write(tmp_path / "some", *gray(30, images.CELL))), None)
    sheet = neighbours.sheet(subject, subject, Means(), rows=5, nearest=3)
    cell = images.CELL + 2
    tiles = sheet[1:-1, 1:-1].reshape(5, cell, 4, cell, 3).transpose(0, 2, 1, 3, 4)
    assert (tiles[:, 0] == tiles[:, 1]).all()
    assert not (tiles[:, 0] == tiles[:, 2]).all((1, 2, 3)).any()


def test_a_fitted_network_is_used_again(gancli, tmp_path, digits_run) -> None:
    file = tmp_path / "digits.safetensors"
    done = gancli("fit-features", "gan-digits", "--out", file)
    assert done.out == f"{file}\n" and re.search(r"9\d\.\d+% of 147 held-out images", done.err)
    assert gancli("fit-features", "gan-digits", "--out", file).status == 2
    words = ("--count", 50, "--json")
    assert value(gancli("eval-fid", digits_run, "--features", file, *words)) == value(
        gancli("eval-fid", digits_run, *words)
    )


SETS = ("train.steps=30", "train.decay_steps=0", "train.log_every=10", "evaluate.every=8", "evaluate.images=100")


def train(out: Path, *words: str, sets=SETS) -> Run:
    last = {setting.partition("=")[0]: setting for setting in sets}.values()
    assert run_gancli("train", *words, "--out", out, "-q", *(w for s in last for w in ("--set", s))) == 0
    return Run(out)


def scores(run: Run) -> list[tuple[int, float]]:
    return [(line["step"], line["values"]["fid"]) for line in run.training_evaluations()]


def test_an_evaluated_training_resumes_exactly(tmp_path, gancli) -> None:
    whole = train(tmp_path / "whole", "gan-digits", sets=(*SETS, "train.steps=40"))
    plain = train(tmp_path / "plain", "gan-digits", sets=(*SETS, "train.steps=40", "evaluate.every=null"))
    assert len(scores(whole)) == 5 and not scores(plain) and not plain.best_file.exists()
    one, two = (subjects.opening.open_model(run.path).generator.state_dict() for run in (whole, plain))
    assert all(torch.equal(one[name], two[name]) for name in one), "evaluating changes nothing"

    cut = train(tmp_path / "cut", "gan-digits")
    kept = cut.last_checkpoint.read_bytes()
    gancli("eval-fid", cut.path, "--count", 20)
    for _ in range(2):  # the second time as if killed after step 40, with the checkpoint of step 30
        assert run_gancli("train", "--resume", cut.path, "--set", "train.steps=40", "-q") == 0
        assert scores(cut) == scores(whole)
        assert files.sha256(cut.best_file) == files.sha256(whole.best_file)
        assert len(cut.evaluations_file.read_text().splitlines()) == 6, "what the user asked for stays"
        cut.last_checkpoint.write_bytes(kept)

    measured = {int(row["step"]): row["fid"] for row in whole.metrics() if "fid" in row}
    assert list(measured) == [8, 16, 24, 32, 40]
    assert [row["step"] for row in whole.metrics()] == [8, 10, 16, 20, 24, 30, 32, 40]
    best = min(measured, key=measured.__getitem__)
    assert json.loads(gancli("eval-fid", whole.path, "--best", "--json").out)["step"] == best
    assert value(gancli("eval-fid", whole.path, "--best", "--json")) == pytest.approx(measured[best], rel=1e-4)
    assert gancli("sample", whole.path, "--best", "--count", 1, "--out", tmp_path / "samples").status == 0


def test_patience_ends_a_training_that_does_not_improve(tmp_path, capfd) -> None:
    still = (*SETS, "learning_rate=1e-30", "train.ema=null", "evaluate.patience=2", "evaluate.metrics=[prdc]")
    run = train(tmp_path / "run", "gan-digits", sets=still)
    steps = [line["step"] for line in run.training_evaluations()]
    facts = json.loads(run.facts_file.read_text())
    assert steps[-1] < 30 and facts["status"] == "finished" and facts["step"] == steps[-1]
    weights = files.sha256(run.weights_file)
    assert run_gancli("train", "--resume", run.path, "-q") == 0
    assert files.sha256(run.weights_file) == weights, "it has ended, and a resume does not begin it again"
    assert run_gancli("train", "--resume", run.path, "-q", "--set", "evaluate.patience=null") == 0
    assert run.metrics()[-1]["step"] == 30


def test_a_known_distribution_is_measured_exactly(gancli, tmp_path) -> None:
    run = tmp_path / "run"
    sets = ("train.steps=5", "train.log_every=5", "train.samples_every=5")
    words = [word for option in sets for word in ("--set", option)]
    assert run_gancli("train", "gan-gaussian1d", "--out", run, "-q", *words) == 0
    found = json.loads(gancli("evaluate", run, "--json").out)
    name = "exact_wasserstein"
    assert found["values"][name] > found[f"floor_{name}"] > 0 and found["believed_jensen_shannon"] is not None
    assert "exact_wasserstein" in gancli("evaluate", run).out
    assert len((run / "evaluations.jsonl").read_text().splitlines()) == 2
    done = gancli("evaluate", run, "--metrics", "fid")
    assert done.status == 2 and "learned points" in done.err
    done = gancli("eval-fid", run)
    assert done.status == 2 and "gancli evaluate" in done.err
    assert done.err.count("\n") == 1
