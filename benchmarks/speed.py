"""How fast gancli trains and samples, beside the same networks in the plain formulation of `benchmarks/plain.py`.

    python benchmarks/speed.py                 # the README's table: ten minutes on two quiet cores
    python benchmarks/speed.py --only dcgan pix2pix --rounds 5
    python benchmarks/speed.py costs           # seconds a step against batch, size and width, beside the FLOPs

Rounds are interleaved (plain, float32, bf16, and again), so that all meet the same disturbances; figures are medians of
the rounds' ratios. gancli's side is its whole step in Lightning: batches gathered and augmented, losses watched, the
check for numbers that are not finite, the averaged generator; the plain side is given ready tensors where it says so.
Nothing is downloaded: images are noise, JPEG files are made.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import plain
import torch
from data import photographs
from pytorch_lightning import Callback, Trainer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from gancli import models, seeds
from gancli.data.batches import Batches
from gancli.data.dataset import Dataset, load
from gancli.data.prepare import prepare
from gancli.gan.adversarial import Adversarial, FromNoise
from gancli.make import sampling
from gancli.recipe import reading
from gancli.recipe.sections import Recipe
from gancli.runs.run import Run
from gancli.training import precision, surroundings, trial
from gancli.training import train as training
from gancli.training.trainable import Trainable

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CLASSES = ("a", "b", "c", "d")
Figures = dict[str, float]


class Work(NamedTuple):
    """Steps to be compared: a recipe, the plain step, how many to warm up with and how many to measure in a round."""

    title: str
    values: dict[str, Any]
    plain_step: Callable[[], plain.Step]
    warm: int
    steps: int


def _dcgan_step() -> plain.Step:
    players = plain.dcgan_generator(64).to(DEVICE), plain.dcgan_discriminator(64).to(DEVICE)
    return plain.noise_step(*players, (100, 1, 1))


WORKS = {
    "dcgan": Work(
        "DCGAN 64 px, batch 64, width 64",
        {"model": "dcgan", "data": {"image_size": 64}, "train": {"batch_size": 64}},
        _dcgan_step,
        1,
        5,
    ),
    "stargan": Work(
        "StarGAN 128 px, batch 8",
        {"model": "stargan", "data": {"image_size": 128}, "train": {"batch_size": 8}},
        plain.stargan_step,
        1,
        5,  # one turn of the generator among them
    ),
    "pix2pix": Work(
        "Pix2Pix 256 px, batch 1", {"model": "pix2pix", "data": {"image_size": 256}}, plain.pix2pix_step, 1, 4
    ),
    "cyclegan": Work(
        "CycleGAN 256 px, 9 blocks, batch 1",
        {"model": "cyclegan", "data": {"image_size": 256}},
        plain.cyclegan_step,
        1,
        1,
    ),
}


def settings_of(values: dict[str, Any], **data: Any) -> Recipe:
    """A recipe, whose images come from nowhere unless `data` says otherwise."""
    data = {"source": "noise"} | values["data"] | data
    document = reading.parse(json.dumps(values | {"data": data}), "benchmark")
    return models.validate(document).resolved(CLASSES)


def noise(settings: Any, count: int = 64) -> Dataset:
    """Images that are noise, of the kind that a recipe wants."""
    draw = np.random.default_rng(0)
    keys = ("a", "b") if settings.model in ("pix2pix", "cyclegan") else ("image",)
    shape = (count, *settings.data.training_size, settings.data.channels)
    images: Any = {key: draw.integers(0, 256, shape, dtype=np.uint8) for key in keys}
    labels = np.arange(count) % len(CLASSES) if settings.model.startswith("stargan") else None
    return Dataset(images, labels, CLASSES if labels is not None else (), {key: [""] * count for key in keys})


class Flops(TorchDispatchMode):
    """Counts multiplications and additions; PyTorch's own counter follows modules too, and stumbles over penalties."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.total += count(*args, **(kwargs or {}), out_val=made)
        return made


class Clock(Callback):
    """Notes when each step ended; the arithmetic of the step after `counted` steps is counted."""

    def __init__(self, counted: int | None = None) -> None:
        self.ends: list[float] = []
        self.counted = counted
        self.counter = Flops()

    def on_train_batch_start(self, *_: Any) -> None:
        if len(self.ends) == self.counted:
            self.counter.__enter__()

    def on_train_batch_end(self, *_: Any) -> None:
        if len(self.ends) == self.counted:
            self.counter.__exit__(None, None, None)
        finish()
        self.ends.append(time.perf_counter())

    def seconds(self, warm: int) -> float:
        """Of a step, after the first few."""
        return (self.ends[-1] - self.ends[warm - 1]) / (len(self.ends) - warm)


def fit(model: Adversarial, dataset: Dataset, steps: int, clock: Clock, arithmetic: str) -> None:
    """Train for some steps as `gancli train` does."""
    surroundings.quieten()
    precision.allow_tf32(arithmetic == "bf16")
    trainer = Trainer(
        max_epochs=1,
        devices=1,
        precision=precision.LIGHTNING[arithmetic],
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    place = (model.recipe.train.batch_size, 0, model.step, model.step + steps)
    trainer.fit(Trainable(model), Batches(dataset, *place, referenced=model.referenced))
    model.means()


def finish() -> None:
    """Wait for what was asked of the accelerator."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


@cache
def subject(name: str) -> tuple[Adversarial, Dataset]:
    """The model and the images of a work, made once."""
    settings = settings_of(WORKS[name].values)
    return training.build(settings), noise(settings)


def time_ours(name: str, arithmetic: str) -> float:
    """Seconds of a step of gancli."""
    surroundings.keep_memory()
    work, clock = WORKS[name], Clock()
    fit(*subject(name), work.warm + work.steps, clock, arithmetic)
    return clock.seconds(work.warm)


def compare_steps(name: str, rounds: int) -> Figures:
    """Seconds a step of plain, float32 and bf16, and the medians of the rounds' ratios.

    gancli has a process of its own, because it sets the C library to keep memory, which scripts do not.
    """
    work = WORKS[name]
    settings = settings_of(work.values)
    batch = prepare(next(iter(Batches(noise(settings), settings.train.batch_size, 0))), settings.data, training=True)
    # Scripts have their images channels first, and hand them over one after the other.
    given = [tensor.contiguous().to(DEVICE) for tensor in batch.values()]
    with torch.device(DEVICE):
        step = work.plain_step()
    for _ in range(work.warm):
        step(*given)
    found: dict[str, list[float]] = {"plain": [], "float32": [], "bf16": []}
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as ours:
        for _ in range(rounds):
            finish()
            start = time.perf_counter()
            for _ in range(work.steps):
                step(*given)
            finish()
            found["plain"].append((time.perf_counter() - start) / work.steps)
            for arithmetic in ("float32", "bf16"):
                found[arithmetic].append(ours.submit(time_ours, name, arithmetic).result())
    return summary(found)


def summary(found: dict[str, list[float]]) -> Figures:
    """Medians of the times, and of the rounds' ratios to the plain formulation."""
    figures = {name: statistics.median(times) for name, times in found.items()}
    for name, times in found.items():
        if name != "plain":
            ratios = [theirs / ours for theirs, ours in zip(found["plain"], times, strict=True)]
            figures[f"{name} ratio"] = statistics.median(ratios)
    return figures


def compare_mnist(rounds: int, steps: int = 200) -> Figures:
    """A GAN of multilayer perceptrons on 60,000 digits: the whole loop with its data, seconds a step."""
    settings = settings_of({"model": "gan", "data": {"image_size": 28, "channels": 1}, "train": {"batch_size": 64}})
    dataset = noise(settings, 60_000)
    images = np.asarray(dataset.images["image"])[..., 0]
    model = training.build(settings)
    players = plain.gan_generator(784).to(DEVICE), plain.gan_discriminator(784).to(DEVICE)
    step = plain.noise_step(*players, (100,))
    loader = plain.endless(plain.Digits(images, 28), 64, workers=0)
    found: dict[str, list[float]] = {"plain": [], "float32": []}
    for _ in range(rounds):
        step(next(loader).to(DEVICE))
        start = time.perf_counter()
        for _ in range(steps):
            step(next(loader).to(DEVICE))
        found["plain"].append((time.perf_counter() - start) / steps)
        clock = Clock()
        fit(model, dataset, steps + 10, clock, "float32")
        found["float32"].append(clock.seconds(10))
    return summary(found)


def compare_folder(count: int, epochs: int = 10) -> Figures:
    """The first epochs on JPEG files of 512 px, DCGAN at 64 px, decode included: seconds in all.

    The plain formulation decodes anew in each epoch, so one is measured and counted as all.
    """
    with tempfile.TemporaryDirectory() as name:
        os.environ["GANCLI_CACHE"] = name + "/cache"
        folder = Path(name) / "set"
        photographs(folder, count, 512)
        step = _dcgan_step()
        batches = count // 64
        start = time.perf_counter()
        for _, images in zip(range(batches), plain.endless(plain.Files(folder, 64), 64, workers=2), strict=False):
            step(images.to(DEVICE))
        finish()
        found = {"plain": [(time.perf_counter() - start) * epochs]}

        settings = settings_of(WORKS["dcgan"].values, source=str(folder), holdout=0)
        arithmetic = chosen(training.build(settings), noise(settings))
        start = time.perf_counter()
        fit(training.build(settings), load(settings.data), batches * epochs, Clock(), arithmetic)
        found[arithmetic] = [time.perf_counter() - start]
        return summary(found)


def compare_sampling(rounds: int, count: int = 640) -> Figures:
    """Seconds for a PNG of a DCGAN of 64 px; the plain loop makes and saves one after the other."""
    model = training.build(settings_of(WORKS["dcgan"].values)).to(DEVICE)
    assert isinstance(model, FromNoise)
    generator = plain.dcgan_generator(64).to(DEVICE).eval()
    found: dict[str, list[float]] = {"plain": [], "float32": []}
    for turn in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            start = time.perf_counter()
            plain.save_one_by_one(generator, count // 4, Path(name) / "plain")
            found["plain"].append((time.perf_counter() - start) / (count // 4))
            start = time.perf_counter()
            chosen = sampling.samples(model, seeds.following(turn * count, count), None)
            sampling.write(model, chosen, Path(name) / "ours", "folder", frames=0)
            found["float32"].append((time.perf_counter() - start) / count)
    return summary(found)


def compare_start(rounds: int) -> Figures:
    """Seconds of `gancli sample RUN --count 1` for the DCGAN of 64 px, beside an import of what it stands on."""
    with tempfile.TemporaryDirectory() as name:
        model = training.build(settings_of(WORKS["dcgan"].values))
        run = Run(Path(name) / "run")
        run.path.mkdir()
        run.write_recipe(model.recipe)
        run.save_weights(model)
        command = [sys.executable, "-m", "gancli", "sample", str(run.path), "--count", "1", "--out"]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        found: dict[str, list[float]] = {"plain": [], "float32": []}
        for turn in range(rounds):
            for way, words in (
                ("plain", [sys.executable, "-c", "import torch"]),
                ("float32", [*command, f"{name}/{turn}"]),
            ):
                start = time.perf_counter()
                subprocess.run(words, env=environment, check=True, capture_output=True)
                found[way].append(time.perf_counter() - start)
        return summary(found)


def chosen(model: Adversarial, dataset: Dataset) -> str:
    """The arithmetic that `train.precision: auto` takes."""
    place = (model.recipe.train.batch_size, model.recipe.train.seed, 0)
    batches = Batches(dataset, *place, referenced=model.referenced)
    return trial.settled(model, lambda count: itertools.islice(batches, count), lambda _: None).train.precision


def cost(values: dict[str, Any]) -> tuple[float, float, str]:
    """Seconds and FLOPs of a step, and the arithmetic, as `train.precision: auto` has it."""
    settings = settings_of(values)
    model, clock, dataset = training.build(settings), Clock(counted=0), noise(settings, 256)
    arithmetic = chosen(model, dataset)
    fit(model, dataset, 5, clock, arithmetic)
    return clock.seconds(2), clock.counter.total, arithmetic


def costs() -> Iterator[tuple[str, float, float, str]]:
    """Seconds and FLOPs of DCGAN's step as one of batch, size and width grows."""
    for batch, size, width in [
        *((batch, 32, 32) for batch in (8, 16, 32, 64, 128)),
        *((64, size, 32) for size in (32, 64, 128)),
        *((64, 32, width) for width in (16, 32, 64)),
    ]:
        values = {"model": "dcgan", "width": width, "data": {"image_size": size}, "train": {"batch_size": batch}}
        yield (f"batch {batch}, {size} px, width {width}", *cost(values))


def machine() -> str:
    """What the figures were measured on."""
    names = [
        line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "name" in line
    ]
    has = "bfloat16 in hardware" if precision.has_bf16() else "no bfloat16 in hardware"
    chip = torch.cuda.get_device_name() if DEVICE.type == "cuda" else names[-1]
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    return f"{chip}, {has}, {torch.get_num_threads()} threads, torch {torch.__version__}, load average {load}"


def row(title: str, figures: Figures) -> str:
    """A line of the table: the plain time in milliseconds, and how many times as fast gancli is."""
    times = [f"{figures[f'{name} ratio']:.2f}" if name in figures else "" for name in ("float32", "bf16")]
    return f"| {title} | {figures['plain'] * 1e3:,.1f} | {times[0]} | {times[1]} |"


def main() -> None:
    """Print the table as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["table", "costs"], default="table")
    parser.add_argument("--only", nargs="+", help="some of: dcgan stargan pix2pix cyclegan mnist folder sampling start")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=640, help="JPEG files of the folder")
    options = parser.parse_args()
    print(machine(), flush=True)
    if options.what == "costs":
        print("\n| DCGAN | ms a step | GFLOPs a step | GFLOPs a second |\n|---|---|---|---|")
        for title, seconds, flops, arithmetic in costs():
            rate = flops / seconds / 1e9
            print(f"| {title} ({arithmetic}) | {seconds * 1e3:,.1f} | {flops / 1e9:,.1f} | {rate:,.0f} |", flush=True)
        return

    rounds = options.rounds
    others = {
        "mnist": ("GAN on 60,000 digits (MLP), the whole loop, a step", lambda: compare_mnist(rounds)),
        "folder": (
            f"first 10 epochs on {options.files} JPEG files of 512 px, at 64 px",
            lambda: compare_folder(options.files),
        ),
        "sampling": ("a PNG of 64 px", lambda: compare_sampling(rounds)),
        "start": ("`gancli sample RUN --count 1` (plain: `import torch`)", lambda: compare_start(rounds)),
    }
    print("\n| what | plain, ms | float32, times as fast | bf16, times as fast |\n|---|---|---|---|", flush=True)
    for name in options.only or [*WORKS, *others]:
        if name in WORKS:
            print(row(WORKS[name].title, compare_steps(name, rounds)), flush=True)
        else:
            title, measure = others[name]
            print(row(title, measure()), flush=True)


if __name__ == "__main__":
    main()
