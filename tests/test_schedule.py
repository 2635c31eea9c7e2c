"""Learning rates and the average are functions of the step, and the average is whole: weights and statistics alike."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from commands import run_gancli

from gancli import models
from gancli.data.batches import Batches
from gancli.data.dataset import load
from gancli.recipe import reading
from gancli.runs.run import Run
from gancli.training.train import build

RATES = ("learning_rate_discriminator", "learning_rate_generator")


def lines(run: Run) -> list[dict[str, str]]:
    """The rows of metrics.csv as they are written, the seconds aside."""
    with run.metrics_file.open(newline="") as file:
        return [{name: text for name, text in row.items() if name != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.parametrize("family", ["gan", "wgan", "stargan"])
def test_an_interrupted_training_writes_the_rows_of_a_whole_one(family, tmp_path, monkeypatch) -> None:
    """Also between two turns of the generator, while the learning rates fall."""
    snapshots = []
    save = Run.save_checkpoint

    def save_and_copy(run: Run, checkpoint: Any, *more: Any, **named: Any) -> None:
        save(run, checkpoint, *more, **named)
        if run.path.name == "whole":
            snapshots.append(shutil.copytree(run.path, tmp_path / str(checkpoint.step)))

    monkeypatch.setattr(Run, "save_checkpoint", save_and_copy)
    values = ("critic_steps=4", "train.decay_steps=12", "train.checkpoint_every=1", "train.log_every=1")
    sets = [word for value in values for word in ("--set", value)]
    assert run_gancli("train", tiny.write(family, tmp_path), "--out", tmp_path / "whole", "-q", *sets) == 0
    expected = lines(Run(tmp_path / "whole"))
    assert len(snapshots) == 13
    for snapshot in snapshots[1::3]:
        assert run_gancli("train", "--resume", snapshot, "-q") == 0
        assert lines(Run(snapshot)) == expected, snapshot
    for row in Run(tmp_path / "whole").metrics():
        share = (12 - (row["step"] - 1)) / 12
        first = Run(tmp_path / "whole").recipe().learning_rate
        assert [row[name] for name in RATES] == pytest.approx([first * share] * 2, rel=1e-5)


@pytest.mark.parametrize(("steps", "decay"), [(6, 60), (6, 7), (6, 6)])
def test_a_decay_longer_than_the_training_begins_at_the_full_rate(steps, decay, tmp_path, gancli) -> None:
    sets = (f"train.steps={steps}", f"train.decay_steps={decay}", "train.log_every=1")
    file = tiny.write("gan", tmp_path)
    done = gancli("train", file, "--out", tmp_path / "run", *(word for value in sets for word in ("--set", value)))
    rates = [row["learning_rate_discriminator"] for row in Run(tmp_path / "run").metrics()]
    assert rates == pytest.approx([2e-4 * (steps - step) / steps for step in range(steps)], rel=1e-5)
    said = f"train.decay_steps: {decay} is longer than the training: the learning rates fall over all {steps} steps"
    assert done.status == 0 and (said in done.err) == (decay > steps)

    # The recipe keeps what it said, and a longer training takes it at its word.
    assert Run(tmp_path / "run").recipe().train.decay_steps == decay
    assert gancli("train", "--resume", tmp_path / "run", "-q", "--set", f"train.steps={2 * decay}").status == 0
    rates = [row["learning_rate_discriminator"] for row in Run(tmp_path / "run").metrics()]
    assert rates[steps] == pytest.approx(2e-4 if steps <= decay else rates[0], rel=1e-5)


@pytest.mark.parametrize("name", ["dcgan", "gan", "pix2pix", "stargan2"])
def test_the_average_is_of_weights_and_of_statistics(name) -> None:
    found = reading.parse(tiny.text(name) + "\n", "tiny")
    settings = models.validate(found)
    dataset = load(settings.data, "train")
    settings = settings.resolved(dataset.classes)
    train = settings.train.model_copy(update={"ema": 0.5})
    model = build(settings.model_copy(update={"train": train}))
    model.configure_optimizers()
    assert model.average is not None
    expected = {key: tensor.clone() for key, tensor in model.average.state_dict().items()}
    for batch in Batches(dataset, train.batch_size, train.seed, 0, 8, referenced=model.referenced):
        before = model.generator_turns(model.step)
        model.training_step(batch)
        turns = model.generator_turns(model.step)
        decay = min(0.5, (1 + turns) / (10 + turns))
        for key, tensor in model.generator.state_dict().items() if turns > before else ():
            floating = tensor.is_floating_point()
            expected[key] = decay * expected[key] + (1 - decay) * tensor if floating else tensor.clone()
    for key, tensor in model.average.state_dict().items():
        torch.testing.assert_close(tensor, expected[key])
    statistics = [key for key in expected if key.endswith("running_var")]
    assert bool(statistics) == (name != "stargan2")
    apart = [(expected[key] - model.generator.state_dict()[key]).abs().max().item() for key in statistics]
    assert all(difference > 0 for difference in apart)


def test_images_of_the_average_are_as_with_the_statistics_of_their_own_batch() -> None:
    """With the statistics of the generator itself they lay .015 apart."""
    sets = ["train.precision=float32", "train.decay_steps=0", "train.steps=300", "train.ema=0.98"]
    settings = models.validate(reading.read(Path("recipes/gan-digits.yaml"), sets))
    dataset = load(settings.data, "train")
    model = build(settings)
    model.configure_optimizers()
    for batch in Batches(dataset, settings.train.batch_size, 0, 0, 300):
        model.training_step(batch)
    average = model.average
    assert average is not None
    noise = torch.stack([model.latent(seed) for seed in range(1000)])
    with torch.no_grad():
        made, own = average(noise), average.train()(noise)
    assert ((made - own).abs().mean() / 2).item() < 0.008
