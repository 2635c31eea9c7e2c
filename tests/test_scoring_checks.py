"""What is checked before images are measured, what is said while they are, and what a record says of both sides."""

import json
import re
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from gancli.metrics import networks
from gancli.metrics.moments import Statistics
from gancli.score import neighbours, scoring, subjects


class Means:
    """A feature network that needs no weights: the means of an image's quarters, whatever its size."""

    name, dimensions = "means", 4
    protocol: ClassVar = {"network": "means", "weights": "none", "resize": "none", "precision": "float32"}

    def __call__(self, batch):
        return torch.nn.functional.adaptive_avg_pool2d(batch.float().mean(1, keepdim=True), 2).flatten(1)


def images(folder: Path, count: int, seed: int = 0, side: int = 8, **options) -> Path:
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (count, side, side), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{number}.png", **options)
    return folder


@pytest.fixture
def place(tmp_path, digits_run, monkeypatch):
    """A folder of things to measure, where the program works."""
    images(tmp_path / "good", 30)
    images(tmp_path / "other", 40, seed=1)
    images(tmp_path / "one", 1)
    np.save(tmp_path / "array.npy", np.zeros((5, 8, 8), np.uint8))
    zero, eye = torch.zeros(4).double(), torch.eye(4).double()
    Statistics(zero, eye).save(tmp_path / "foreign.npz")
    known = {**Means.protocol, "dimensions": 4}
    Statistics(zero + 1, eye, 60, {**known, "data": "good", "image_size": "8×8"}).save(tmp_path / "known.npz")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "run").symlink_to(digits_run)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def means(monkeypatch):
    monkeypatch.setattr(scoring, "network", lambda *_, **__: Means())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("evaluate run --metrics fid,fud", "unknown metric 'fud'"),
        ("evaluate run --metrics fid --metrics kud", "unknown metric 'kud': did you mean kid"),
        ("evaluate good --against other --metrics is,fid,nothing", "unknown metric 'nothing'"),
        ("evaluate good --metrics kid", "kid compares with real images"),
        ("evaluate run --bootstrap 1", "--bootstrap 1: one resample"),
        ("eval-fid run --bootstrap 1", "--bootstrap 1: one resample"),
        ("evaluate run --metrics kid --bootstrap 5", "add fid to --metrics"),
        ("eval-fid good --save-statistics x.npz --bootstrap 5", "--bootstrap: needs a comparison"),
        ("eval-fid known.npz --against other --bootstrap 5", "of statistics only the fid"),
        ("eval-fid known.npz --against foreign.npz --bootstrap 5", "of statistics only the fid"),
        ("evaluate good --against foreign.npz --metrics fid,prdc", "prdc needs the reference's images"),
        ("evaluate good --against known.npz --neighbours x.png", "--neighbours: shows images of the reference"),
        ("evaluate good --neighbours x.png --metrics is", "--neighbours: shows images of the reference"),
        ("eval-fid one --against other", "fid needs at least 2 images on a side, there is 1"),
        ("evaluate good --against one --metrics kid", "kid needs at least 2 images on a side, there is 1"),
        ("evaluate one --against other --metrics fid-infinity", "at least 20 images"),
        ("evaluate one --against other --metrics prdc", "prdc needs at least 6 images on a side"),
        ("evaluate good --against other --metrics pairs", "30 images against 40 targets"),
        ("eval-fid known.npz --save-statistics x.npz", "known.npz is statistics already"),
        ("eval-fid known.npz --against foreign.npz --resize clean", "--resize: both sides are statistics"),
        ("eval-fid known.npz --against foreign.npz --features inception", "--features: both sides are statistics"),
        ("eval-fid run --save-statistics nodir/x.npz", "nodir/x.npz: No such file or directory: give a place"),
        ("eval-fid run --save-statistics array.npy/x.npz", "array.npy/x.npz: Not a directory: give a place"),
        ("eval-fid run --save-statistics x.txt", "x.txt: expected a name that ends in .npz"),
        ("eval-fid run --save-statistics x", "x: expected a name that ends in .npz"),
        ("eval-fid run --save-statistics folder.npz", "folder.npz: is a folder"),
        (f"eval-fid run --save-statistics {'x' * 251}.npz", "File name too long"),
        (f"eval-fid run --save-statistics {'x' * 245}.npz", "File name too long"),
        ("eval-fid good --save-statistics known.npz", "known.npz: exists already"),
        ("eval-fid good --against known.npz --save-statistics known.npz --force", "is read by the same command"),
        ("eval-fid good --against known.npz --save-statistics ./known.npz --force", "is read by the same command"),
        ("evaluate good --against other --neighbours x.jpg", "x.jpg: expected a name that ends in .png"),
        ("evaluate good --against other --neighbours no/x.png", "no/x.png: No such file"),
        ("fit-features digits --out no/x.safetensors", "no/x.safetensors: No such file"),
        ("eval-fid run --ignore-orientation", "--ignore-orientation: neither side is a folder"),
        ("eval-fid array.npy --against known.npz --ignore-orientation", "--ignore-orientation: neither side is"),
    ],
)
def test_everything_that_can_be_refused_is_refused_before_a_network_is_loaded(
    words, said, place, gancli, monkeypatch
) -> None:
    monkeypatch.setattr(networks, "load", lambda *_, **__: pytest.fail("a network was loaded"))
    before = {*place.iterdir()}
    done = gancli(*words.split())
    assert done.status == 2 and not done.out and done.err.count("\n") == 1
    assert re.search(said, done.err), done.err
    assert {*place.iterdir()} == before, "nothing is left behind"


def test_a_wrong_metric_is_told_before_torch_is_imported(place, gancli, monkeypatch) -> None:
    monkeypatch.setattr(scoring, "of_points", lambda *_: pytest.fail("a model was opened"))
    assert gancli("evaluate", "run", "--metrics", "fid, kdi").status == 2


@pytest.mark.parametrize("words", [("--metrics", "fid, kid"), ("--metrics", "fid", "--metrics", "kid")])
def test_metrics_are_named_together_or_one_by_one(words, place, means, gancli) -> None:
    found = json.loads(gancli("evaluate", "good", "--against", "other", *words, "--json").out)
    assert {*found["values"]} == {"fid", "fid_bias", "kid", "kid_deviation"}
    assert found["kid_deviation_of"] == "the value, by the jackknife" and found["values"]["kid_deviation"] > 0


def test_statistics_are_saved_beside_a_bootstrap(place, means, gancli) -> None:
    words = ("--against", "other", "--bootstrap", 4, "--save-statistics", "new.npz", "--json")
    found = json.loads(gancli("eval-fid", "good", *words).out)
    assert found["values"]["fid_deviation"] > 0 and found["saved_statistics"] == "new.npz"
    again = json.loads(gancli("eval-fid", "new.npz", "--against", "other", "--json").out)
    assert again["value"] == pytest.approx(found["value"], rel=1e-9)
    assert (again["data"], again["images"], again["exif_orientation"]) == ("good", 30, "applied")


def test_two_files_of_statistics_are_compared_with_a_warning_for_what_neither_says(place, gancli) -> None:
    done = gancli("eval-fid", "known.npz", "--against", "foreign.npz", "--json")
    found = json.loads(done.out)
    assert found["value"] == pytest.approx(4)
    assert (found["images"], found["reference_images"]) == (60, "unknown")
    assert (found["resize"], found["reference_resize"]) == ("none", "unknown")
    assert (found["statistics"], found["data"], found["reference_statistics"]) == ("known.npz", "good", "foreign.npz")
    assert "network, weights, resize, precision, number of images" in done.err
    both = gancli("eval-fid", "foreign.npz", "--against", "foreign.npz")
    assert both.err.count("warning: the ") == 2 and "resize" in both.out and "unknown" in both.out


def test_a_file_of_statistics_cannot_write_into_the_record(place, gancli) -> None:
    said = {**Means.protocol, "values": "a", "warnings": "b", "gancli": "9", "run": "c", "images": 7, "split": "test"}
    Statistics(torch.zeros(4).double(), torch.eye(4).double(), 60, said).save(Path("false.npz"))
    found = json.loads(gancli("eval-fid", "false.npz", "--against", "known.npz", "--json").out)
    assert isinstance(found["values"], dict) and isinstance(found["warnings"], list)
    assert found["gancli"] != "9" and "run" not in found and found["images"] == 60 and found["split"] == "test"


def test_a_bad_image_is_found_before_anything_is_measured(place, gancli, monkeypatch) -> None:
    monkeypatch.setattr(Means, "__call__", lambda *_: pytest.fail("an image was measured"))
    monkeypatch.setattr(scoring, "network", lambda *_, **__: Means())
    for name in ("7.png", "9.png"):
        (place / "other" / name).write_bytes(b"no image")
    for words in (("good", "--against", "other"), ("other", "--against", "good"), ("run", "--against", "other")):
        done = gancli("eval-fid", *words)
        assert done.status == 2 and "other: 2 of 40 images cannot be measured: 7.png: not an image" in done.err
        assert done.err.count("\n") == 1


def test_a_class_of_too_few_images_is_found_before_anything_is_measured(place, gancli, monkeypatch) -> None:
    monkeypatch.setattr(Means, "__call__", lambda *_: pytest.fail("an image was measured"))
    monkeypatch.setattr(scoring, "network", lambda *_, **__: Means())
    for side, counts in (("real", (3, 4)), ("fake", (5, 1))):
        for name, count in zip(("cats", "dogs"), counts, strict=True):
            images(place / side / name, count)
    done = gancli("evaluate", "fake", "--against", "real", "--metrics", "fid,intra-fid")
    assert done.status == 2 and "of dogs there are 4 real ones and 1 measured ones" in done.err


def test_every_pass_is_told_of_and_ends_where_it_should(place, means) -> None:
    good, other = (subjects.find(name) for name in ("good", "other"))
    seen: dict[str, list[tuple[int, int]]] = {}
    told = lambda what, done, total: seen.setdefault(what, []).append((done, total))  # noqa: E731
    scoring.score_each({"": (good, other)}, Means(), ["fid", "kid"], told=told)
    assert {what: each[-1] for what, each in seen.items()} == {
        "reading the images": (40, 40),
        "measuring the images": (30, 30),
        "measuring the reference": (40, 40),
    }
    scoring.score_each({"": (good, good)}, None, ["pairs"], told=told)
    assert seen["comparing pairs"][-1] == (30, 30)
    neighbours.sheet(good, other, Means(), told=told)
    assert seen["looking for neighbours"][-1] == (40, 40)


def test_a_photograph_is_turned_upright_or_left_as_it_is(place, means, gancli) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    images(place / "turned", 30, side=8, exif=exif)
    plain = ("eval-fid", "turned", "--against", "good", "--json")
    upright, stored = (gancli(*plain, *more) for more in ((), ("--ignore-orientation",)))
    upright, stored = json.loads(upright.out), json.loads(stored.out)
    assert stored["value"] == pytest.approx(0, abs=1e-9) and upright["value"] > 1
    assert (upright["exif_orientation"], stored["exif_orientation"]) == ("applied", "ignored")
    assert gancli("eval-fid", "turned", "--save-statistics", "turned.npz").status == 0
    mixed = gancli("eval-fid", "turned.npz", "--against", "good", "--ignore-orientation")
    assert "EXIF orientation was applied for the images and ignored for the reference" in mixed.err


def test_a_run_that_cannot_be_written_is_evaluated_all_the_same(place, digits_run, means, gancli) -> None:
    file = digits_run / "evaluations.jsonl"
    kept = file.read_bytes() if file.exists() else None
    file.unlink(missing_ok=True)
    file.mkdir()  # what cannot be appended to, even by the superuser
    try:
        done = gancli("eval-fid", "run", "--count", 20, "--json")
    finally:
        file.rmdir()
        if kept is not None:
            file.write_bytes(kept)
    assert done.status == 0 and json.loads(done.out)["value"] > 0
    assert "evaluations.jsonl: the result is not kept with the run: Is a directory" in done.err
