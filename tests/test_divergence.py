"""A number that is not finite is caught in its step, before it reaches the weights."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from commands import run_gancli

from gancli import models, weights
from gancli.gan import adversarial
from gancli.gan.adversarial import PLAYERS, Adversarial
from gancli.runs.run import Run

FAMILIES = models.names()
STEP = 8
"""In which both players have a turn, two steps after a checkpoint."""

Patch = pytest.MonkeyPatch


def poison_input(patch: Patch, model: type[Adversarial]) -> list[str]:
    prepare, count = adversarial.prepare, []

    def poisoned(*arguments: Any, **named: Any) -> Any:
        batch = prepare(*arguments, **named)
        count.append(1)
        if len(count) == STEP:
            name = next(name for name, tensor in batch.items() if tensor.is_floating_point())
            batch[name][(-1,) * batch[name].ndim] = math.nan
        return batch

    patch.setattr(adversarial, "prepare", poisoned)
    return ["the input '"]


def poison_weight(patch: Patch, model: type[Adversarial]) -> list[str]:
    step = model.training_step

    def poisoned(self: Adversarial, *arguments: Any) -> None:
        if self.step + 1 == STEP:
            weight = next(self.generator.parameters()).data
            weight[(0,) * weight.ndim] = math.inf
        step(self, *arguments)

    patch.setattr(model, "training_step", poisoned)
    return ["the generator's weight '"]


def poison_loss(player: str) -> Callable[[Patch, type[Adversarial]], list[str]]:
    def poison(patch: Patch, model: type[Adversarial]) -> list[str]:
        loss = getattr(model, f"{player}_loss")

        def poisoned(self: Adversarial, *arguments: Any) -> dict[str, Any]:
            terms = loss(self, *arguments)
            if self.step + 1 == STEP:
                name = next(iter(terms))
                terms[name] = terms[name] * math.nan
            return terms

        patch.setattr(model, f"{player}_loss", poisoned)
        return [f"the {player}'s loss term '"]

    return poison


def poison_gradient(player: str) -> Callable[[Patch, type[Adversarial]], list[str]]:
    def poison(patch: Patch, model: type[Adversarial]) -> list[str]:
        check = model._check

        def poisoned(self: Adversarial, turn: Any, terms: Any) -> None:
            if self.step + 1 == STEP and turn == player:
                gradient = next(p.grad for p in getattr(self, player).parameters() if p.grad is not None)
                gradient[(0,) * gradient.ndim] = -math.inf
            check(self, turn, terms)

        patch.setattr(model, "_check", poisoned)
        return [f"the {player}'s gradient of '"]

    return poison


POISONS = {
    "input": poison_input,
    "weight": poison_weight,
    **{f"{player}-loss": poison_loss(player) for player in PLAYERS},
    **{f"{player}-gradient": poison_gradient(player) for player in PLAYERS},
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("poison", POISONS)
def test_nan(family: str, poison: str, tmp_path: Path, monkeypatch: Patch, capfd: Any) -> None:
    out = tmp_path / "run"
    words = ("train", tiny.write(family, tmp_path), "--out", out, "-q", "--set", "train.decay_steps=0")
    with monkeypatch.context() as patch:
        expected = POISONS[poison](patch, models.load(family).Model)
        assert run_gancli(*words) == 3
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and said.startswith(f"Error: diverged at step {STEP}: ")
    assert all(text in said for text in expected), said
    assert Run(out).status() == "diverged"

    tensors, metadata = weights.read(Run(out).last_checkpoint, 2**30)
    assert metadata["step"] == "6" and weights.not_finite(tensors) is None
    weights.read(Run(out).weights_file, 2**30)

    # The run goes on with another learning rate, and with nothing else that is other.
    assert run_gancli("train", "--resume", out, "-q", "--set", "data.flip=true", "--set", "learning_rate=1e-5") == 2
    assert "(data.flip: False -> True)" in capfd.readouterr().err
    rate = ("--set", "learning_rate=1e-5")
    assert run_gancli("train", "--resume", out, "-q", *rate) == 0
    assert Run(out).metrics()[-1]["learning_rate_discriminator"] == 1e-5
    assert [row["step"] for row in Run(out).metrics()] == [5, 10, 12]


@pytest.mark.parametrize("poison", POISONS)
def test_nan_where_looking_at_every_turn_would_cost_too_much(
    poison: str, tmp_path: Path, monkeypatch: Patch, capfd: Any
) -> None:
    """As on CUDA: it is met before the next thing is written, which is the checkpoint of the step after."""
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Adversarial, "_asynchronous", True)
        POISONS[poison](patch, models.load("dcgan").Model)
        assert run_gancli("train", tiny.write("dcgan", tmp_path), "--out", out, "-q") == 3
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and said.startswith(f"Error: diverged at step {STEP + 1}: ")
    tensors, metadata = weights.read(Run(out).last_checkpoint, 2**30)
    assert metadata["step"] == "6" and weights.not_finite(tensors) is None
    assert weights.not_finite(weights.read(Run(out).weights_file, 2**30)[0]) is None
    assert [row["step"] for row in Run(out).metrics()] == [5]
    assert run_gancli("train", "--resume", out, "-q") == 0


def test_a_real_divergence(tmp_path: Path, gancli: Any) -> None:
    """A learning rate of 1e38 overflows the weights; what is written stays finite."""
    out = tmp_path / "run"
    done = gancli("train", tiny.write("gan", tmp_path), "--out", out, "-q", "--set", "learning_rate=1e38")
    assert done.status == 3 and "is not finite: continue before it with gancli train --resume" in done.err
    checkpoint, _ = Run(out).load_checkpoint(2**30)
    assert checkpoint is not None and weights.not_finite(checkpoint.tensors) is None


@pytest.mark.parametrize(
    ("family", "setting", "step", "player"),
    [
        ("gan", "r1=1e30", 1, "discriminator"),
        ("wgan", "gradient_penalty=1e25", 1, "discriminator"),
        ("pix2pix", "lambda_l1=1e25", 2, "generator"),
        ("cyclegan", "lambda_a=1e25", 2, "generator"),
        ("stargan", "lambda_reconstruction=1e25", 2, "generator"),
        ("stargan2", "r1=1e30", 1, "discriminator"),
    ],
)
def test_squares_of_gradients_that_overflow_are_met_in_their_own_step(
    family: str, setting: str, step: int, player: str, tmp_path: Path, gancli: Any
) -> None:
    sets = (setting, "train.checkpoint_every=100", "train.log_every=1", "train.steps=6")
    words = [word for value in sets for word in ("--set", value)]
    done = gancli("train", tiny.write(family, tmp_path), "--out", tmp_path / "run", "-q", *words)
    assert done.status == 3 and done.err.count("\n") == 1
    assert done.err.startswith(f"Error: diverged at step {step}: the {player}'s mean of squared gradients of '")
    run = Run(tmp_path / "run")
    tensors, metadata = weights.read(run.last_checkpoint, 2**30)
    assert metadata["step"] == "0" and weights.not_finite(tensors) is None
    assert all(math.isfinite(value) for row in run.metrics() for value in row.values())


def test_large_gradients_whose_squares_can_be_averaged_go_on(tmp_path: Path, monkeypatch: Patch) -> None:
    """The sum of squares overflows long before the squares do: that is a doubt, and no divergence."""
    doubts, check = [], Adversarial._check

    def enlarged(self: Adversarial, player: Any, terms: Any) -> bool:
        for parameter in getattr(self, player).parameters():
            if parameter.grad is not None:
                parameter.grad.fill_(5e18)
        doubts.append(check(self, player, terms))
        return doubts[-1]

    monkeypatch.setattr(Adversarial, "_check", enlarged)
    assert run_gancli("train", tiny.write("gan", tmp_path), "--out", tmp_path / "run", "-q") == 0
    assert doubts and all(doubts)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_watched_never_reaches_a_file_as_infinity(
    value: float, tmp_path: Path, monkeypatch: Patch, capfd: Any
) -> None:
    model = models.load("dcgan").Model
    loss = model.generator_loss

    def watched(self: Adversarial, *arguments: Any) -> Any:
        self.watch(odd=torch.tensor(value if self.step + 1 == STEP else 1.0))
        return loss(self, *arguments)

    monkeypatch.setattr(model, "generator_loss", watched)
    out = tmp_path / "run"
    assert run_gancli("train", tiny.write("dcgan", tmp_path), "--out", out, "-q") == 3
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and "'watched.odd' is not finite" in said
    tensors, metadata = weights.read(Run(out).last_checkpoint, 2**30)
    assert metadata["step"] == "6" and weights.not_finite(tensors) is None
    assert "inf" not in Run(out).metrics_file.read_text() and "nan" not in Run(out).metrics_file.read_text()
    more = ("--set", "train.checkpoint_every=100")
    assert run_gancli("train", tiny.write("dcgan", tmp_path), "--out", tmp_path / "two", "-q", *more) == 3
    assert "the mean of 'odd' is not finite" in capfd.readouterr().err
    assert [row["step"] for row in Run(tmp_path / "two").metrics()] == [5]
