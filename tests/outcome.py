"""All that a training leaves, in a form that two trainings can be compared by: everything but the times."""

import csv
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import tiny
from processes import Command

from gancli import weights
from gancli.runs.run import Run

EVALUATED = "evaluated"
"""Stands for a GAN of digits that is evaluated every second step, where families are named."""
_EVALUATED = """
model: gan
latent_dim: 4
generator_hidden: [8]
discriminator_hidden: [8]
critic_steps: 2
data: {source: digits, image_size: 8, channels: 1}
train: {steps: 12, batch_size: 4, log_every: 5, samples_every: 6, checkpoint_every: 3, decay_steps: 6}
evaluate: {every: 2, images: 16, features: classifier, patience: 5}
"""


def write(family: str, folder: Path) -> Path:
    """A tiny recipe as a file."""
    if family != EVALUATED:
        return tiny.write(family, folder)
    path = folder / "evaluated.yaml"
    path.write_text(_EVALUATED)
    return path


def start(family: str, out: Path, *more: Any, before: Any = None, arguments: tuple[Any, ...] = ()) -> Command:
    """Start or, if there is a run already, resume the training of a tiny recipe."""
    if (out / "recipe.yaml").exists():
        words: tuple[Any, ...] = ("train", "--resume", out, "-q", *more)
    else:
        out.parent.mkdir(exist_ok=True, parents=True)
        words = ("train", write(family, out.parent), "--out", out, "-q", *more)
    return Command(words, out.with_suffix(f".{time.monotonic_ns()}.log"), before, *arguments)


def result(path: Path) -> dict[str, Any]:
    """What each file of a finished run holds, by name, and which files there are."""
    run = Run(path)
    found: dict[str, Any] = {"status": run.status()}
    for file in sorted(path.rglob("*")):
        name = str(file.relative_to(path))
        if file.is_dir() or name == "checkpoints/previous.ckpt":
            found[name] = None  # a signal writes a checkpoint at its own step, and that may be the one before the last
        elif name == "checkpoints/last.ckpt":
            tensors, metadata = weights.read(file, 2**30)
            state = sorted((name, hashlib.sha256(t.numpy().tobytes()).hexdigest()) for name, t in tensors.items())
            found[name] = state, {key: text for key, text in metadata.items() if key != "seconds"}
        elif name == "metrics.csv":
            header, *rows = csv.reader(file.read_text().splitlines())
            column = header.index("seconds")
            found[name] = [header, *([*row[:column], *row[column + 1 :]] for row in rows)]
        elif name == "evaluations.jsonl":
            records = [json.loads(line) for line in file.read_text().splitlines()]
            found[name] = [json.dumps({k: v for k, v in record.items() if k != "time"}) for record in records]
        elif name == "run.json":
            facts = json.loads(file.read_text())
            found[name] = {key: value for key, value in facts.items() if key not in ("started", "finished")}
        else:
            found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The names of what differs."""
    return [name for name in sorted(one.keys() | other.keys()) if one.get(name, "absent") != other.get(name, "absent")]


def checkpoint_step(path: Path) -> int:
    """The step of the newest checkpoint that is whole; 0 before the first."""
    checkpoint, _ = Run(path).load_checkpoint(2**30, repair=False)
    return checkpoint.step if checkpoint else 0
