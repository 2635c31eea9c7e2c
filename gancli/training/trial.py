"""Which arithmetic a training computes in, where its recipe leaves that to the machine: the faster one, as measured.

That a processor has instructions for bfloat16 does not say that they are faster: that depends on the processor, on how
busy it is, and on the networks. So both are tried for a moment on a copy of the model, and the finding is kept.
"""

import copy
import hashlib
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import torch

from gancli import files
from gancli.gan.adversarial import Adversarial, Batch
from gancli.gan.finite import Diverged
from gancli.recipe.sections import Recipe
from gancli.training import precision
from gancli.training.machine import processor_name
from gancli.training.surroundings import machine_facts

WORTH = 1.1
"""How many times as fast bfloat16 must be to be taken: it keeps fewer digits, and rates measured twice differ."""
SHARE = 0.02
"""Share of a training's steps that a trial may take."""
SECONDS = 3.0
"""How long a trial goes on once it has the fewest rounds; slow networks take longer for these alone."""
FEWEST, MOST = 3, 15
"""Rounds that a trial measures, after one that warms up."""
BATCHES = 4
"""Batches of the training's own data that a trial takes in turn."""
CEILINGS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Variables by which a user limits the instructions that are used."""

Times = dict[str, float]
"""Seconds of a step by arithmetic."""


class Kind(NamedTuple):
    """A kind of step: with or without a turn of the generator."""

    step: int
    share: float


def settled(model: Adversarial, batches: Callable[[int], Iterator[Batch]], note: Callable[[str], None]) -> Recipe:
    """The model's recipe with its precision chosen; for auto the faster one, as measured here, now or before.

    Neither the model nor any generator of random numbers is changed.

    Args:
        model: with its initial weights.
        batches: gives the first so many batches of the training.
        note: called with what was chosen and why, where that was measured.
    """
    recipe = model.recipe
    if recipe.train.precision != "auto":
        return recipe
    chosen, why = _chosen(model, batches, note)
    if why is not None:
        note(f"precision: {chosen}: {why}")
    return recipe.with_precision(chosen)


def _chosen(
    model: Adversarial, batches: Callable[[int], Iterator[Batch]], note: Callable[[str], None]
) -> tuple[str, str | None]:
    """The arithmetic, and the reason in words; None where there was nothing to measure."""
    if model.recipe.data.points:
        return "float32", None  # bf16 would round the points to 8 bits
    if not precision.has_bf16():
        return "float32", None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found, when = known(model, device), "measured before"
    if found is None:
        kinds = _kinds(model)
        rounds = min(MOST, int(model.recipe.train.steps * SHARE / (2 * len(kinds))) - 1)
        if rounds < FEWEST:
            return "float32", None  # measuring would take longer than it can save
        when = "measured now"
        try:
            found = _measured(model, kinds, rounds, list(batches(BATCHES)), device, note)
        except Diverged:
            return "float32", "the first steps diverge"
        with suppress(OSError):
            files.write(_place(model, device), json.dumps(found) + "\n")
    ratio = found["float32"] / found["bf16"]
    return ("bf16" if ratio >= WORTH else "float32"), f"bf16 takes a step {ratio:.2f} times as fast as float32, {when}"


def known(model: Adversarial, device: torch.device) -> Times | None:
    """What an earlier trial of the same networks on this machine found; None if there was none."""
    try:
        found: Any = json.loads(_place(model, device).read_text())
        times = {name: float(found[name]) for name in precision.LIGHTNING}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return times if all(0 < seconds < math.inf for seconds in times.values()) else None


def _place(model: Adversarial, device: torch.device) -> Path:
    """The file of the finding: its name is a digest of all that the times depend on.

    These are the machine, the shapes of all weights and images, and the recipe. Of numbers such as weights of penalties
    it only matters whether they are 0; of the data and the length of the training, only the size of a batch.
    """
    recipe = model.recipe
    fields = recipe.model_dump(mode="json", exclude={"data", "train", "evaluate", "learning_rate", "betas"})
    what = {
        "machine": machine_facts(device) | {"processor": processor_name()} | {n: os.environ.get(n) for n in CEILINGS},
        "recipe": {name: bool(value) if isinstance(value, float) else value for name, value in fields.items()},
        "batch": [recipe.train.batch_size, *recipe.data.shape],
        "weights": {name: [*tensor.shape] for name, tensor in model.state_dict().items()},
    }
    digest = hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:32]
    return files.cache("precision") / f"{digest}.json"


def _kinds(model: Adversarial) -> list[Kind]:
    """The kinds of steps that the training has, each with a step in its middle and its share of all."""
    steps = model.recipe.train.steps
    share = model.generator_turns(steps) / steps
    kinds = []
    for plays, part in ((True, share), (False, 1 - share)):
        near = islice(range(steps // 2, steps), 1000)  # rarer steps do not matter
        step = next((n for n in near if (model.generator_turns(n + 1) > model.generator_turns(n)) == plays), None)
        if part and step is not None:
            kinds.append(Kind(step, part))
    return kinds or [Kind(0, 1.0)]


def _measured(
    model: Adversarial,
    kinds: Sequence[Kind],
    rounds: int,
    batches: Sequence[Batch],
    device: torch.device,
    note: Callable[[str], None],
) -> Times:
    """Train a copy of the model for some rounds of steps, each step once in each arithmetic; returns the medians.

    The two take turns at being first, so that what disturbs the machine disturbs both.
    """
    trial = copy.deepcopy(model).to(device)
    trial.configure_optimizers()
    given = cycle([{name: tensor.to(device) for name, tensor in batch.items()} for batch in batches])
    times: dict[tuple[str, Kind], list[float]] = {(name, kind): [] for name in precision.LIGHTNING for kind in kinds}
    with _nothing_drawn(device):
        for turn in range(1 + rounds):
            began = time.perf_counter()
            for kind in kinds:
                batch = next(given)
                for name in sorted(precision.LIGHTNING, reverse=bool(turn % 2)):
                    trial.step = kind.step
                    times[name, kind].append(_seconds(trial, batch, name, device))
            took = time.perf_counter() - began
            trial.means()
            if turn == 0:
                until = time.perf_counter() + SECONDS
                times = {key: [] for key in times}
                if took > SECONDS:
                    note(f"precision: comparing float32 with bf16 takes some {FEWEST * took:.0f} s, once")
            elif turn >= FEWEST and time.perf_counter() > until:
                break
    return {
        name: sum(kind.share * statistics.median(times[name, kind]) for kind in kinds) for name in precision.LIGHTNING
    }


def _seconds(trial: Adversarial, batch: Batch, arithmetic: str, device: torch.device) -> float:
    """Of one step."""
    precision.allow_tf32(arithmetic == "bf16")
    start = time.perf_counter()
    with torch.autocast(device.type, torch.bfloat16, enabled=arithmetic == "bf16"):
        trial.training_step(batch)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


@contextmanager
def _nothing_drawn(device: torch.device) -> Iterator[None]:
    """Leave the generators of random numbers as they were."""
    with torch.random.fork_rng([torch.cuda.current_device()] if device.type == "cuda" else []):
        yield
