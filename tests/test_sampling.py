"""Sampling: what is made where, what is refused before any work, and how little memory it takes."""

import io
import itertools
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import run_gancli
from PIL import Image
from processes import Command
from test_strangers import note_memory

from gancli import archives
from gancli.cli import progress
from gancli.make import sampling
from gancli.runs.opening import open_model
from gancli.seeds import LARGEST, Seeds, following, parse

RECIPE = """
model: gan
noise: {noise}
latent_dim: 4
generator_hidden: [8]
discriminator_hidden: [8]
data: {{source: {source}}}
train: {{steps: 4, log_every: 4, checkpoint_every: 4, samples_every: 4}}
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """A run of normal noise, one of uniform noise, and one of points."""
    folder = tmp_path_factory.mktemp("runs")
    images = "digits, image_size: 8, channels: 1"
    for name, noise, source in (
        ("normal", "normal", images),
        ("uniform", "uniform", images),
        ("points", "normal", "ring-2d"),
    ):
        (folder / f"{name}.yaml").write_text(RECIPE.format(noise=noise, source=source))
        assert run_gancli("train", folder / f"{name}.yaml", "--out", folder / name, "-q") == 0
    return {name: folder / name for name in ("normal", "uniform", "points")}


@pytest.mark.parametrize("noise", ["normal", "uniform"])
def test_a_walk_stays_where_its_noise_is(noise, runs, monkeypatch) -> None:
    """Normal noise lies on a sphere, uniform noise in a cube, which the great circle between two corners leaves."""
    model: Any = open_model(runs[noise])
    seen: list[torch.Tensor] = []
    real = model.sample
    monkeypatch.setattr(model, "sample", lambda latents, labels: [seen.extend(latents), *real(latents, labels)][1:])
    sampling.write(model, sampling.samples(model, parse("3,9", "--seeds"), None), io.BytesIO(), "walk", frames=11)
    assert len(seen) == 11 and torch.equal(seen[0], model.latent(3)) and torch.equal(seen[-1], model.latent(9))
    if noise == "uniform":
        corners = [torch.tensor([1.0, 1, 1, 1]), torch.tensor([1.0, -1, 1, 1])]
        assert max(step.abs().max() for step in sampling.walk(corners, 21, straight=True)) <= 1
        assert max(step.abs().max() for step in sampling.walk(corners, 21)) > 1
        assert torch.allclose(seen[5], (seen[0] + seen[10]) / 2)
    else:
        assert not torch.allclose(seen[5], (seen[0] + seen[10]) / 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seeds", "3", "--count", "2"], "--count: --seeds says already which images to make"),
        (["--seeds", "3", "--seed", "2"], "--seed: --seeds says already"),
        (["--interpolate", "3,9", "--count", "2"], "--count: --interpolate says already"),
        (["--interpolate", "3,9", "--seeds", "2"], "--seeds: --interpolate says already"),
        (["--interpolate", "3,9", "--grid"], "--grid: --interpolate says already"),
        (["--frames", "9"], "--frames 9: is for a walk"),
        (["--interpolate", "0-99", "--frames", "9"], "--interpolate: 9 frames cannot show 100 seeds"),
        (["--out", "photo.jpg"], "--out photo.jpg: images from noise go to a folder, .zip, .npz, or .png"),
        (["--out", "made.csv"], "--out made.csv: images from noise go to"),
        (["--out", "made.tar"], "--out made.tar: images from noise go to"),
        (["--out", "-"], "--out -: takes one image, not 16"),
        (["--out", "-", "--count", "1", "--json"], "--json: stdout takes the image"),
        (["--out", "-", "--interpolate", "1,2"], "--out -: takes one image, and a walk is many"),
        (["--seed", str(LARGEST)], f"--seed {LARGEST}: the largest seed is {LARGEST}"),
        (["--seeds", f"1-{LARGEST + 1}"], "the largest seed is"),
        (["--seeds", "9" * 5000], "expected numbers and ranges"),
        (["--seeds", "1-9,4"], "expected each seed once"),
        (["--count", str(10**15)], "images take at least 4,096,000.0 TB"),
        (["--count", str(10**12), "--out", "made.npz"], "images take at least 64.0 TB"),
        (["--count", str(10**15), "--out", "made.zip"], "images take at least 200,000.0 TB"),
        (["--count", str(10**10), "--grid"], "--count 10,000,000,000: a grid of so many images needs about "),
        (["--interpolate", "1,2", "--frames", str(10**9)], "--frames 1,000,000,000: a walk of so many images needs"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(words, said, runs, tmp_path, monkeypatch, gancli) -> None:
    monkeypatch.chdir(tmp_path)
    done = gancli("sample", runs["normal"], *words)
    assert done.status == 2 and done.out == "" and done.err.count("\n") == 1, done.err
    assert said in done.err and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["--out", "p.jpg"], ["--out", "-"], ["--grid"], ["--count", str(10**16)]])
def test_points_are_no_pictures(words, runs, tmp_path, monkeypatch, gancli) -> None:
    monkeypatch.chdir(tmp_path)
    done = gancli("sample", runs["points"], *words)
    assert done.status == 2 and done.err.count("\n") == 1 and list(tmp_path.iterdir()) == []


def test_points_are_written_as_they_come(runs, tmp_path, gancli) -> None:
    for name in ("a.csv", "a.npz"):
        done = gancli("sample", runs["points"], "--count", "5000", "--seed", "7", "--out", tmp_path / name)
        assert done.out == f"{tmp_path / name}\n", done.err
    arrays = np.load(tmp_path / "a.npz")
    rows = np.loadtxt(tmp_path / "a.csv", delimiter=",", skiprows=1)
    assert (tmp_path / "a.csv").read_text().startswith("seed,x,y\n7,")
    assert (rows[:, 0] == arrays["seeds"]).all() and (rows[:, 1:].astype(np.float32) == arrays["points"]).all()
    assert arrays["points"].shape == (5000, 2) and arrays["points"].dtype == np.float32


def test_one_image_goes_through_a_pipe(runs, tmp_path, gancli) -> None:
    gancli("sample", runs["normal"], "--seeds", "5", "--out", tmp_path / "made")
    words = [sys.executable, "-m", "gancli", "sample", str(runs["normal"]), "--out", "-"]
    done = subprocess.run([*words, "--seeds", "5"], capture_output=True, check=True, cwd=tmp_path)
    assert done.stdout == (tmp_path / "made" / "000005.png").read_bytes()
    done = subprocess.run([*words, "--grid", "--count", "9"], capture_output=True, check=True, cwd=tmp_path)
    assert Image.open(io.BytesIO(done.stdout)).size == (3 * 66 + 2, 3 * 66 + 2)
    assert [path.name for path in tmp_path.iterdir()] == ["made"], "no folder is called -"


def test_arrays_are_those_of_numpy(runs, tmp_path, gancli) -> None:
    """Row by row a file comes out as `np.savez` writes it whole, with the largest seed there is."""
    assert gancli("sample", runs["normal"], "--seeds", f"3,{LARGEST}", "--out", tmp_path / "a.npz").status == 0
    arrays = dict(np.load(tmp_path / "a.npz"))
    np.savez(tmp_path / "b.npz", **arrays)
    with zipfile.ZipFile(tmp_path / "a.npz") as ours, zipfile.ZipFile(tmp_path / "b.npz") as theirs:
        assert ours.namelist() == theirs.namelist() == ["images.npy", "seeds.npy"]
        assert all(ours.read(name) == theirs.read(name) for name in ours.namelist())
    assert arrays["seeds"].tolist() == [3, LARGEST]


def test_a_large_zip_is_one_that_others_read(tmp_path) -> None:
    """Beyond 65,535 entries a zip has another form."""
    with (tmp_path / "a.zip").open("wb") as file:
        archives.store(file, ((f"é/{n}.png", b"%d" % n) for n in range(70_000)))
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None and len(archive.namelist()) == 70_000
        assert archive.read("é/69999.png") == b"69999"


@pytest.mark.parametrize("name", [pytest.param("made", marks=pytest.mark.slow), "made.zip", "made.npz"])
def test_many_images_take_no_more_memory_than_few(name, runs, tmp_path) -> None:
    grown = {}
    for count in (6_000, 30_000):
        words = ("sample", runs["normal"], "--count", count, "--out", tmp_path / str(count) / name)
        report = tmp_path / f"{count}.growth"
        ended = Command(words, tmp_path / "log", note_memory, str(report)).end()
        assert ended.status == 0, ended.said[-300:]
        grown[count] = int(report.read_text())
    print(f"{name}: " + ", ".join(f"{count:,} images {size >> 10:,} KiB" for count, size in grown.items()))
    # 24,000 images more took 27 MB when their noise and paths were kept.
    assert grown[30_000] - grown[6_000] < 15_000_000


def test_seeds_are_ranges_however_many_there_are() -> None:
    seeds = parse(f"5,7-{10**18},3", "--seeds")
    assert seeds.count == 10**18 - 6 + 2
    assert list(itertools.islice(seeds, 3)) == [5, 7, 8]
    assert list(following(4, 3)) == [4, 5, 6] == list(Seeds(range(4, 7)))


def test_memory_that_runs_out_says_what_is_too_much(runs, tmp_path, gancli, monkeypatch) -> None:
    def greedy(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    monkeypatch.setattr("gancli.gan.adversarial.FromNoise.sample", greedy)
    for words, said in (
        (["--grid", "--out", "a.png"], "lower --count"),
        (["--interpolate", "1,2", "--out", "a.gif"], "lower --frames"),
        (["--out", "a"], "free some memory, or give --device cpu"),
    ):
        done = gancli("sample", runs["normal"], *words[:-1], tmp_path / words[-1])
        assert done.status == 1 and done.err == f"Error: out of memory while making images of 1×8×8: {said}\n"
    done = gancli("eval-fid", runs["normal"], "--count", "200", "--features", "classifier")
    assert done.status == 1 and "out of memory while measuring fid on " in done.err and "lower --count" in done.err
    assert done.err.count("Error") == 1 and not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize(("total", "said"), [(10**6, True), (1000, False)])
def test_a_job_of_hours_is_announced(total, said, monkeypatch) -> None:
    """Ten images a second: a million take 28 hours."""
    clock = iter(range(10_000))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    notes: list[str] = []
    bar = progress.Progress()
    monkeypatch.setattr(bar, "note", notes.append)
    told = bar.counting("making", "images")
    monkeypatch.setattr(bar, "_due", lambda last: False)
    for done in range(10, 300, 10):
        told(done, total)
    assert notes == (["making 1,000,000 images will take about 28 hours at 10 images/s"] if said else [])


def test_what_was_made_is_whole_json_however_much(runs, tmp_path, gancli) -> None:
    done = gancli("sample", runs["normal"], "--count", "500", "--out", tmp_path / "made", "--json")
    assert len(json.loads(done.out)["files"]) == 500
