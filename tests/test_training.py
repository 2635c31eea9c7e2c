"""Training: the same recipe gives the same weights, however it is cut into pieces."""

from pathlib import Path

import pytest
import torch
from commands import run_gancli

from gancli import files, models
from gancli.recipe import reading
from gancli.runs.opening import open_model
from gancli.runs.run import Run

SETS = ("train.checkpoint_every=7", "train.log_every=10", "train.samples_every=30")


def train(out: Path, *words: str, steps: int = 30) -> Run:
    sets = [word for option in (f"train.steps={steps}", *SETS) for word in ("--set", option)]
    assert run_gancli("train", "gan-digits", "--out", out, "-q", *sets, *words) == 0
    return Run(out)


def test_the_same_recipe_twice_gives_the_same_bytes(tmp_path) -> None:
    first, second = train(tmp_path / "a"), train(tmp_path / "b")
    other = train(tmp_path / "c", "--set", "train.seed=1")
    assert files.sha256(first.weights_file) == files.sha256(second.weights_file)
    assert files.sha256(first.weights_file) != files.sha256(other.weights_file)


def test_a_longer_run_resumed_equals_one_that_never_stopped(tmp_path) -> None:
    whole = train(tmp_path / "whole", steps=40)
    resumed = train(tmp_path / "resumed")
    assert run_gancli("train", "--resume", resumed.path, "--set", "train.steps=40", "-q") == 0
    one, two = (open_model(run.path).generator.state_dict() for run in (whole, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert [row["step"] for row in resumed.metrics()] == [10, 20, 30, 40]


def test_only_the_length_may_change_on_resume(tmp_path, capfd) -> None:
    run = train(tmp_path / "run")
    assert run_gancli("train", "--resume", run.path, "--set", "latent_dim=7") == 2
    assert "latent_dim: 100 -> 7" in capfd.readouterr().err


def test_a_file_of_weights_is_enough(digits_run, tmp_path) -> None:
    lone = tmp_path / "anything.safetensors"
    lone.write_bytes((digits_run / "model.safetensors").read_bytes())
    model = open_model(lone)
    assert model.step == 60 and model.recipe.data.source == "digits"
    settings = models.validate(reading.read(digits_run / "recipe.yaml"))
    assert model.recipe.model_dump() == settings.model_dump()


def test_the_average_is_what_is_sampled(tmp_path) -> None:
    averaged, plain = train(tmp_path / "a"), train(tmp_path / "b", "--set", "train.ema=null")
    one, two = (open_model(run.path).generator.state_dict() for run in (averaged, plain))
    assert not torch.equal(one["layers.0.0.weight"], two["layers.0.0.weight"])


@pytest.mark.parametrize("seed", [0, 3, 64, 129])
def test_a_sample_does_not_depend_on_its_neighbours(digits_run, seed) -> None:
    """Bit for bit, at any place in a batch and in batches of any filling."""
    model = open_model(digits_run)
    (alone,) = model.sample([model.latent(seed)])
    for count in (5, 64, 130):
        among = torch.cat(list(model.sample([model.latent(n) for n in range(seed - min(seed, 3), seed + count)])))
        assert torch.equal(among[min(seed, 3)], alone[0])


@pytest.mark.parametrize("critic_steps", [1, 3])
def test_the_generator_plays_on_every_kth_step(critic_steps) -> None:
    from gancli.training.train import build

    document = reading.parse(f"model: gan\ncritic_steps: {critic_steps}\ndata: {{source: digits}}", "here")
    model = build(models.validate(document))
    plays = []
    for model.step in range(7):
        plays.append(model.generator_plays())
    assert plays == [(step + 1) % critic_steps == 0 for step in range(7)]


def test_a_term_that_comes_late_has_its_column_too(tmp_path) -> None:
    """The generator's first turn is in step 6, after the first row."""
    run = Run(tmp_path)
    run.append_metrics({"step": 2, "discriminator_real": 0.5})
    run.append_metrics({"step": 4, "discriminator_real": None})
    run.append_metrics({"step": 6, "generator_gan": 0.25})
    assert run.metrics_file.read_text().splitlines()[0].split(",") == ["step", "discriminator_real", "generator_gan"]
    assert run.metrics() == [
        {"step": 2, "discriminator_real": 0.5},
        {"step": 4},
        {"step": 6, "generator_gan": 0.25},
    ]


def test_fewer_images_than_a_batch_are_refused_before_training(tmp_path, capfd) -> None:
    words = ("train", "dcgan-digits", "--set", "data.source=shapes:24", "--set", "data.channels=3")
    assert run_gancli(*words, "--out", tmp_path / "run") == 2
    said = capfd.readouterr().err
    assert said.endswith("Error: train.batch_size: 64 is more than the 24 training images: set it to 24 or less\n")
    assert not (tmp_path / "run").exists()
