"""The time and memory that a training takes on this machine, measured by a few steps on random images."""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from gancli.data import distributions
from gancli.data.dataset import Dataset
from gancli.recipe.sections import Recipe
from gancli.runs.run import Run
from gancli.training.recorder import Interrupted
from gancli.training.train import train

WARM_UP = 2
"""Steps before the clock starts: the first ones allocate memory and choose algorithms."""
SECONDS = 20
"""Time after which no further step is measured."""
MOST_STEPS = 20
NEVER = 10**8


@dataclass(frozen=True)
class Estimate:
    """What was measured.

    Args:
        seconds: that a step takes, the median of those measured.
        steps: how many were measured.
        memory_bytes: that this process held at most, the program itself included; None where the system does not say.
        gpu_bytes: that tensors took at most on the GPU; None without one.
        precision: of the arithmetic, float32 or bf16.
    """

    seconds: float
    steps: int
    memory_bytes: int | None
    gpu_bytes: int | None
    precision: str


class _Enough(Exception):
    """So many steps were measured."""


class _Clock:
    """Times the steps after the first few; serves `training.Progress`.

    Args:
        rounds: how many rounds to measure.
        length: steps of a round, in one of which the generator plays.
    """

    def __init__(self, rounds: int, length: int) -> None:
        self._most, self._length, self.steps = rounds, length, 0
        self._seconds: list[float] = []
        self._started = self._since = self._began = self._round = time.monotonic()

    @property
    def seconds(self) -> float:
        """Of a step: the median of the rounds, or the mean of the steps where they are too slow for a round."""
        if self._seconds:
            return median(self._seconds) / self._length
        return (self._since - self._began) / self.steps

    def begin(self, done: int, total: int) -> None:
        """Training starts."""
        self._started = time.monotonic()

    def advance(self, step: int, row: dict[str, float] | None) -> None:
        """A step is done."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.monotonic()
        if step <= WARM_UP:
            self._since = self._began = self._round = now
            return
        self.steps, self._since = step - WARM_UP, now
        if self.steps % self._length == 0:
            self._seconds.append(now - self._round)
            self._round = now
        if len(self._seconds) >= self._most or now - self._started > SECONDS:
            raise _Enough

    def note(self, text: str) -> None:
        """Nothing is said."""

    warn = note

    def counting(self, what: str, unit: str, *, at_once: bool = False) -> Callable[[int, int], None]:
        """Nothing is shown."""
        return lambda done, total: None


def measure(settings: Recipe, classes: tuple[str, ...]) -> Estimate:
    """Train a few steps of a recipe, on random images, in a folder that is removed.

    Args:
        settings: the recipe.
        classes: the names of the data's classes, or none.

    Raises:
        UserError: it cannot be trained here.
    """
    every = settings.train.model_copy(
        update={"steps": NEVER, "log_every": NEVER, "samples_every": NEVER, "checkpoint_every": NEVER, "decay_steps": 0}
    )
    recipe = settings.model_copy(update={"train": every})
    # Turns of the generator come once in critic_steps: whole rounds are measured.
    rounds = max(1, MOST_STEPS // (2 * settings.critic_steps))
    clock = _Clock(rounds, settings.critic_steps)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "run")
        try:
            with run.held():
                train(recipe, _random(settings, classes), run, clock, resume=False)
        except _Enough:
            pass
        except Interrupted:
            raise KeyboardInterrupt from None
        precision = run.recipe().train.precision
    gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    return Estimate(clock.seconds, clock.steps, _peak(), gpu, precision)


def _random(settings: Recipe, classes: tuple[str, ...]) -> Any:
    """As many random images as two batches need."""
    if settings.data.points:
        return distributions.of(settings.data.points)
    data = settings.data.images
    count = max(2 * settings.train.batch_size, len(classes))
    generator = np.random.default_rng(0)
    shape = (count, *data.training_size, data.channels)
    images: dict[str, Any] = {key: generator.integers(0, 256, shape, dtype=np.uint8) for key in data.keys}
    labels = np.arange(count) % len(classes) if classes else None
    names = {key: [str(place) for place in range(count)] for key in data.keys}
    return Dataset(images, labels, classes, names, matched=data.matched)


def _peak() -> int | None:
    """Bytes that this process held at most."""
    try:
        import resource
    except ImportError:  # not on this system
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
