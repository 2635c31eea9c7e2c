"""A training continues from what it began with: every change before a resume is refused, or named."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tiny
from commands import run_gancli
from PIL import Image

from gancli import weights
from gancli.runs.run import Run

OLD = Path(__file__).parent / "runs-0.1.0"


def recipe(folder: Path, data: Path, *more: str) -> Path:
    """A tiny recipe of the images in a folder."""
    path = folder / "recipe.yaml"
    path.write_text(tiny.text("gan").replace("shapes:24", str(data)))
    return path


def paint(folder: Path, seed: int = 0, count: int = 24) -> Path:
    draw = np.random.default_rng(seed)
    folder.mkdir()
    for n in range(count):
        Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / f"{n:03}.png")
    return folder


class Trained(NamedTuple):
    """A training of 6 steps of 12, its images, and another one of other images and another seed."""

    run: Path
    data: Path
    other: Path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    data, others = paint(folder / "data"), paint(folder / "others", 1)
    words = ("-q", "--set", "train.steps=6", "--set", "train.decay_steps=0")
    assert run_gancli("train", recipe(folder, data), "--out", folder / "run", *words) == 0
    words = (*words, "--set", "train.seed=1")
    assert run_gancli("train", recipe(folder, others), "--out", folder / "other", *words) == 0
    return Trained(folder / "run", data, folder / "other")


@pytest.fixture
def copied(trained: Trained, tmp_path: Path) -> Trained:
    """A copy with which a test may do as it likes; its recipe names the copied images."""
    data = shutil.copytree(trained.data, tmp_path / "data")
    run = shutil.copytree(trained.run, tmp_path / "run")
    return Trained(run, data, trained.other)


def edit(key: str, value: str) -> Callable[[Trained], None]:
    def change(t: Trained) -> None:
        file = t.run / "recipe.yaml"
        lines = file.read_text().splitlines()
        place = next(n for n, line in enumerate(lines) if line.strip().startswith(f"{key}:"))
        lines[place] = lines[place].partition(":")[0] + f": {value}"
        if key == "betas":
            del lines[place + 1 : place + 3]
        file.write_text("\n".join(lines) + "\n")

    return change


def forge(**facts: str) -> Callable[[Trained], None]:
    """Another environment in the checkpoint, as if it had been written elsewhere."""

    def change(t: Trained) -> None:
        file = Run(t.run).last_checkpoint
        tensors, metadata = weights.read(file, 2**30)
        environment = json.loads(metadata["environment"]) | facts
        weights.write(file, tensors, metadata | {"environment": json.dumps(environment)})

    return change


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def repaint(path: Path) -> None:
    before = path.stat()
    Image.fromarray(255 - np.array(Image.open(path))).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def swap(t: Trained) -> None:
    (t.data / "000.png").unlink()
    Image.new("RGB", (8, 8)).save(t.data / "new.png")


def link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def remove_row(t: Trained) -> None:
    file = t.run / "metrics.csv"
    file.write_text(file.read_text().splitlines()[0] + "\n")


def edit_row(t: Trained) -> None:
    file = t.run / "metrics.csv"
    header, row, *rest = file.read_text().splitlines()
    step, images, seconds, _, *values = row.split(",")
    file.write_text("\n".join([header, ",".join([step, images, seconds, "0.5", *values]), *rest, ""]))


def checkpoints_of_the_other(t: Trained) -> None:
    shutil.rmtree(t.run / "checkpoints")
    shutil.copytree(t.other / "checkpoints", t.run / "checkpoints")


# By name: the change, whether it is refused, and what is said.
CHANGES: dict[str, tuple[Callable[[Trained], Any], bool, str]] = {
    "recipe: learning rate": (edit("learning_rate", "0.001"), True, "learning_rate: 0.0002 -> 0.001"),
    "recipe: seed": (edit("seed", "7"), True, "train.seed: 0 -> 7"),
    "recipe: batch size": (edit("batch_size", "5"), True, "train.batch_size: 4 -> 5"),
    "recipe: penalty": (edit("r1", "3.0"), True, "r1: "),
    "recipe: average": (edit("ema", "0.5"), True, "train.ema: "),
    "recipe: decay": (edit("decay_steps", "3"), True, "train.decay_steps: 0 -> 3"),
    "recipe: betas": (edit("betas", "[0.1, 0.9]"), True, "betas: "),
    "recipe: flip": (edit("flip", "true"), True, "data.flip: False -> True"),
    "recipe: removed": (lambda t: (t.run / "recipe.yaml").unlink(), True, "not a run"),
    "data: an image edited": (lambda t: repaint(t.data / "003.png"), True, "the train images are not"),
    "data: all replaced": (lambda t: [repaint(p) for p in t.data.iterdir()], True, "the train images are not"),
    "data: one removed, one added": (swap, True, "the train images are not"),
    "data: renamed": (lambda t: (t.data / "005.png").rename(t.data / "zzz.png"), True, "the train images are not"),
    "data: removed": (lambda t: shutil.rmtree(t.data), True, "data.source: there is no"),
    "checkpoint: another run's newest": (
        lambda t: shutil.copy(t.other / "checkpoints" / "last.ckpt", t.run / "checkpoints"), True, "train.seed: 1 -> 0"
    ),
    "checkpoint: another run's both": (checkpoints_of_the_other, True, "train.seed: 1 -> 0"),
    "checkpoint: damaged": (lambda t: flip(Run(t.run).last_checkpoint), False, "using previous.ckpt"),
    "checkpoint: both damaged": (
        lambda t: (flip(Run(t.run).last_checkpoint), flip(Run(t.run).previous_checkpoint)), True, "damaged"
    ),
    "checkpoint: all removed": (
        lambda t: [p.unlink() for p in (t.run / "checkpoints").iterdir()], True, "recipe (data.source: "
    ),
    "checkpoint: a link": (lambda t: link(Run(t.run).last_checkpoint), False, "is not a regular file: using previous"),
    "weights: another run's": (
        lambda t: shutil.copy(t.other / "model.safetensors", t.run), False, "model.safetensors: is missing, damaged"
    ),
    "weights: removed": (lambda t: (t.run / "model.safetensors").unlink(), False, "model.safetensors: is missing"),
    "directory: metrics removed": (lambda t: (t.run / "metrics.csv").unlink(), False, "metrics.csv: was removed or"),
    "directory: a row removed": (remove_row, False, "metrics.csv: was removed or changed"),
    "directory: a row edited": (edit_row, False, "metrics.csv: was removed or changed"),
    "directory: metrics binary": (lambda t: (t.run / "metrics.csv").write_bytes(b"\xff\n\0\n"), True, "damaged"),
    "directory: metrics a link": (lambda t: link(t.run / "metrics.csv"), True, "metrics.csv: is a link"),
    "directory: pictures removed": (
        lambda t: [p.unlink() for p in (t.run / "samples").iterdir()], False, "1 pictures are missing"
    ),
    "directory: samples a link": (lambda t: link(t.run / "samples"), True, "samples: is a link"),
    "directory: facts removed": (lambda t: (t.run / "run.json").unlink(), False, "run.json: says no run"),
    "environment: instructions": (forge(ONEDNN_MAX_CPU_ISA="AVX2"), False, "ONEDNN_MAX_CPU_ISA: AVX2 -> not set"),
    "environment: processor": (forge(processor="Z80"), False, "processor: Z80 -> "),
    "environment: threads": (forge(threads="77"), False, "threads: 77 -> "),
    "environment: torch": (forge(torch="1.0"), False, "torch: 1.0 -> "),
    "environment: device": (forge(device="NVIDIA Abacus"), False, "device: NVIDIA Abacus -> cpu"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_before_a_resume(name: str, copied: Trained, gancli: Any) -> None:
    change, refused, text = CHANGES[name]
    change(copied)
    done = gancli(
        "train", "--resume", copied.run, "--set", f"data.source={copied.data}", "--set", "train.steps=7", "-q"
    )
    assert done.status == (2 if refused else 0), done.err
    assert text in done.err and "Traceback" not in done.err
    print(f"{name}: {'refused' if refused else 'named'}")


def test_there_are_enough_changes() -> None:
    print(f"{len(CHANGES)} changes, {sum(refused for _, refused, _ in CHANGES.values())} refused, the others named")
    assert len(CHANGES) >= 30


def test_images_that_moved_are_the_same(copied: Trained, gancli: Any) -> None:
    words = ("train", "--resume", copied.run, "--set", f"data.source={copied.data}", "--set", "train.steps=7", "-q")
    done = gancli(*words)
    assert done.status == 0 and done.err.count("\n") == 1 and "the images are the same" in done.err
    assert gancli(*words[:-2], "train.steps=8", "-q").err == ""


def test_another_length_moves_the_decay(tmp_path: Path, gancli: Any) -> None:
    words = ("-q", "--set", "train.decay_steps=2")
    assert gancli("train", tiny.write("gan", tmp_path), "--out", tmp_path / "run", *words).status == 0
    done = gancli("train", "--resume", tmp_path / "run", "-q", "--set", "train.steps=14")
    assert done.status == 0 and "train.steps: 12 -> 14: the learning rates fall to 0 at the new end" in done.err


def test_a_recipe_beside_a_run_must_be_its_own(copied: Trained, tmp_path: Path, gancli: Any) -> None:
    other = gancli("train", recipe(tmp_path, copied.data), "--resume", copied.run)
    assert other.status == 2 and "train.steps: 6 -> 12" in other.err and "leave it out" in other.err
    own = gancli("train", copied.run / "recipe.yaml", "--resume", copied.run, "--set", "train.steps=8", "-q")
    assert own.status == 0 and Run(copied.run).metrics()[-1]["step"] == 8


def test_a_finished_run_without_its_table_is_still_finished(copied: Trained, gancli: Any) -> None:
    (copied.run / "metrics.csv").unlink()
    (copied.run / "model.safetensors").unlink()
    done = gancli("train", "--resume", copied.run, "-q", "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out)["steps"] == 6
    assert weights.describe(copied.run / "model.safetensors")[0]["step"] == "6"


def test_files_say_where_they_come_from(trained: Trained) -> None:
    run, facts = Run(trained.run), json.loads((trained.run / "run.json").read_text())
    for file in (run.last_checkpoint, run.previous_checkpoint, run.weights_file):
        metadata, _ = weights.describe(file)
        assert metadata["run"] == facts["run"]
        assert "seed: 0" in metadata["recipe"] and [*json.loads(metadata["data"])] == ["train"]
        assert {"processor", "machine", "threads", "torch", "numpy", "gancli", "device"} <= {
            *json.loads(metadata["environment"])
        }
    assert facts["run"] != json.loads((trained.other / "run.json").read_text())["run"]


@pytest.mark.parametrize("family", ["gan", "dcgan", "stargan"])
def test_runs_of_version_0_1_0_go_on(family: str, tmp_path: Path, gancli: Any) -> None:
    out = shutil.copytree(OLD / family, tmp_path / "run")
    (out / "samples").mkdir()
    Image.new("RGB", (8, 8)).save(out / "samples" / "step-00000006.png")
    done = gancli("train", "--resume", out, "-q", "--set", "train.steps=12")
    assert done.status == 0, done.err
    assert "of version 0.1.0: nothing says whether the images are still the same" in done.err
    assert Run(out).metrics()[-1]["step"] == 12
    if family == "gan":
        assert [record["step"] for record in Run(out).training_evaluations()] == [4, 8, 12]
    again = gancli("train", "--resume", out, "-q", "--set", "train.steps=13")
    assert again.status == 0 and again.err == ""
    assert gancli("sample", out, "--out", tmp_path / "samples").status == 0
