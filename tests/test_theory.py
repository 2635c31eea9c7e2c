"""The identities of the theory, held by players that are really trained, and what a run on points leaves behind."""

import csv
import json
import math
import re
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
import torch
from commands import run_gancli
from PIL import Image
from scipy.special import ndtri
from torch import nn

from gancli import models
from gancli.data import distributions
from gancli.data.batches import Draws
from gancli.data.distributions import Gaussians
from gancli.recipe import catalogue, reading
from gancli.score import theory
from gancli.score.theory import Witness
from gancli.training.train import build

NEVER = 10**6
LOG2 = math.log(2)


def trained(text: str, generator: nn.Module) -> Witness:
    """A discriminator trained to the recipe's last step against a generator that never has a turn."""
    settings = models.validate(reading.parse(f"{dedent(text)}\ncritic_steps: {NEVER}", "test"))
    model = build(settings)
    model.generator, model.average = generator, None
    model.configure_optimizers()
    train, known = settings.train, distributions.of(settings.data)
    for batch in Draws(known, train.batch_size, train.seed, 0, train.steps):
        model.training_step(batch)
    model.means()
    return Witness(model, known)


class Affine(nn.Module):
    """Noise times a slope plus an offset, so that what it generates is known exactly."""

    def __init__(self, slope: list[float], offset: list[float]) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([slope]))
        self.offset = nn.Parameter(torch.tensor(offset))

    def forward(self, noise: torch.Tensor, labels: None = None) -> torch.Tensor:
        return noise @ self.slope + self.offset


def test_the_best_discriminator_is_the_share_of_the_data_and_knows_the_divergence() -> None:
    """Goodfellow et al. 2014, proposition 1 and theorem 1: D* = p_data / (p_data + p_g), V(D*, G) = 2 JS - log 4."""
    text = """
    model: gan
    latent_dim: 1
    discriminator_hidden: [64, 64]
    learning_rate: 3e-3
    data: {source: gaussian-1d, mean: 4, deviation: 1}
    train: {steps: 1200, decay_steps: 900, batch_size: 1024, ema: null}
    """
    witness = trained(text, Affine([1.5], [5.0]))
    data, model = (Gaussians("", np.array([[m]]), np.array([d]), np.ones(1)) for m, d in ((4.0, 1.0), (5.0, 1.5)))
    x = np.linspace(1, 8, 500)[:, None]  # within 3 deviations of the data, 2 of the model
    p_data, p_model = np.exp(data.log_density(x)), np.exp(model.log_density(x))
    judged = theory.judged(witness.model, x)
    rms = np.sqrt(np.mean((judged - p_data / (p_data + p_model)) ** 2))
    assert rms < 0.03

    wide = np.linspace(-6, 16, 5000)[:, None]
    p, q = np.exp(data.log_density(wide)), np.exp(model.log_density(wide))
    half = (p + q) / 2
    exact = float((p * np.log(p / half) + q * np.log(q / half)).sum() / 2 * (wide[1, 0] - wide[0, 0]))
    assert witness.belief()["jensen_shannon"] == pytest.approx(exact, abs=0.02)
    assert witness.measure()["exact_jensen_shannon"] == pytest.approx(exact, abs=0.005)

    noise, made = witness.pushed(99)  # what the picture shows of G: its percentiles, without chance
    assert noise[:, 0] == pytest.approx(ndtri((np.arange(99) + 0.5) / 99), abs=1e-5)
    assert made == pytest.approx(1.5 * noise + 5, abs=1e-5)
    assert witness.picture().size == (520, 540)


THETAS = (0.25, 0.5, 1.0, 2.0, 4.0)
SEGMENT = ([0.0, 0.5], [0.0, 0.5])
"""Uniform noise on [-1, 1] becomes (0, Z): the generator at θ = 0 of Arjovsky et al. 2017, example 1."""


def test_between_parallel_segments_js_says_nothing_of_the_distance() -> None:
    text = """
    model: gan
    latent_dim: 1
    noise: uniform
    discriminator_hidden: [64, 64]
    learning_rate: 1e-2
    data: {{source: lines-2d, theta: {theta}}}
    train: {{steps: 300, batch_size: 128, ema: null}}
    """
    estimates = [trained(text.format(theta=t), Affine(*SEGMENT)).belief()["jensen_shannon"] for t in THETAS]
    assert all(0.67 <= estimate <= LOG2 for estimate in estimates), estimates


def test_between_parallel_segments_the_critic_measures_the_distance() -> None:
    text = """
    model: wgan
    latent_dim: 1
    noise: uniform
    hidden: [64, 64]
    learning_rate: 3e-3
    gradient_penalty: 10
    data: {{source: lines-2d, theta: {theta}}}
    train: {{steps: 500, decay_steps: 400, batch_size: 128, ema: null}}
    """
    estimates = [trained(text.format(theta=t), Affine(*SEGMENT)).belief()["wasserstein"] for t in THETAS]
    assert np.corrcoef(THETAS, estimates)[0, 1] > 0.99
    assert estimates == pytest.approx(THETAS, rel=0.25)


@pytest.mark.parametrize("family", ["gan", "wgan"])
def test_the_sweep_in_the_header_shows_what_each_distance_says(family, tmp_path) -> None:
    """The loop over θ as the recipe's header has it, at two of its places."""
    name = f"{family}-lines2d"
    header = [line for line in catalogue.find(name).read_text().splitlines() if line.startswith("#")]
    sets = re.findall(r"--set (\S+)", "\n".join(header))
    assert "data.theta=$theta" in sets
    exact = []
    for theta in (1, 4):
        words = [word for each in sets for word in ("--set", each.replace("$theta", str(theta)))]
        assert run_gancli("train", name, "--out", tmp_path / str(theta), "-q", *words) == 0
        found = theory.evaluate(tmp_path / str(theta))
        assert found["exact_jensen_shannon"] == pytest.approx(LOG2, abs=1e-3)
        exact.append(found["exact_wasserstein"])
        if family == "gan":
            assert 0.67 <= found["believed"]["jensen_shannon"] <= LOG2
        else:
            assert found["believed"]["wasserstein"] == pytest.approx(found["exact_wasserstein"], rel=0.2)
    assert exact[1] - exact[0] == pytest.approx(3, rel=0.1)


@pytest.fixture(scope="module")
def ring_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short training of gan-ring2d: whole as a run, poor as a GAN."""
    path = tmp_path_factory.mktemp("runs") / "ring"
    sets = (
        "train.steps=20",
        "train.decay_steps=0",
        "train.log_every=10",
        "train.samples_every=10",
        "train.checkpoint_every=10",
    )
    assert run_gancli("train", "gan-ring2d", "--out", path, "-q", *(w for s in sets for w in ("--set", s))) == 0
    return path


def test_a_run_on_points_shows_and_measures_itself(ring_run) -> None:
    assert Image.open(ring_run / "samples" / "step-00000020.png").size[0] > 400
    assert (ring_run / "samples" / "step-00000020.png").stat().st_size < 60_000
    assert Image.open(ring_run / "samples" / "progress.gif").n_frames == 2
    with (ring_run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    exact = [name for name in rows[0] if name.startswith("exact_")]
    assert {"exact_jensen_shannon", "exact_wasserstein", "exact_total_variation"} < set(exact)
    assert all(float(row[name]) >= 0 for row in rows for name in (*exact, "modes_covered", "high_quality"))


def test_evaluating_a_run_says_what_is_and_what_is_believed(ring_run) -> None:
    result = json.loads(json.dumps(theory.evaluate(ring_run)))
    assert result["step"] == 20 and result["points"] == 10_000
    assert set(result["believed"]) == {"jensen_shannon"}
    assert result["exact_jensen_shannon"] > result["floor"]["exact_jensen_shannon"] >= 0
    alone = theory.evaluate(ring_run / "model.safetensors")
    assert alone["believed"] == {}
    assert alone["exact_wasserstein"] == result["exact_wasserstein"]


@pytest.mark.parametrize("name", ["points.csv", "points.npz"])
def test_points_are_sampled_into_files(ring_run, tmp_path, gancli, name) -> None:
    done = gancli("sample", ring_run, "--seeds", "3,7,5-6", "--out", tmp_path / name)
    assert done.status == 0 and done.out.strip() == str(tmp_path / name)
    if name.endswith("csv"):
        table = np.genfromtxt(tmp_path / name, delimiter=",", names=True)
        seeds, points = table["seed"], np.stack([table["x"], table["y"]], axis=1)
    else:
        with np.load(tmp_path / name) as found:
            seeds, points = found["seeds"], found["points"]
    assert list(seeds) == [3, 7, 5, 6] and points.shape == (4, 2)
    assert len(np.unique(points, axis=0)) == 4


@pytest.mark.parametrize("words", [["--out", "folder"], ["--grid"], ["--interpolate", "1,2"]])
def test_points_make_no_images(ring_run, gancli, words, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = gancli("sample", ring_run, *words)
    assert done.status == 2 and "points" in done.err and done.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_resumed_run_on_points_is_the_same_run(ring_run, tmp_path) -> None:
    sets = ("train.decay_steps=0", "train.log_every=10", "train.samples_every=10", "train.checkpoint_every=10")
    words = [w for s in sets for w in ("--set", s)]
    run = tmp_path / "run"
    assert run_gancli("train", "gan-ring2d", "--out", run, "-q", *words, "--set", "train.steps=10") == 0
    assert run_gancli("train", "--resume", run, "-q", "--set", "train.steps=20") == 0
    assert theory.evaluate(run)["exact_wasserstein"] == theory.evaluate(ring_run)["exact_wasserstein"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{source: ring-2d, mods: 8}", "data.mods: unknown key (did you mean 'modes'?)"),
        ("{source: ring-2d, deviation: -1}", "data.deviation: expected greater than or equal to 0.001, not -1"),
        ("{source: mixture-1d, means: [1, 2]}", "data: deviations: expected as many as there are means (2)"),
        ("{source: digits, image_sizes: 8}", "data.image_sizes: unknown key (did you mean 'image_size'?)"),
        ("5", "data: expected an object, not 5"),
    ],
)
@pytest.mark.parametrize("family", ["gan", "wgan"])
def test_mistakes_are_those_of_the_kind_of_data_alone(family, data, message) -> None:
    with pytest.raises(reading.RecipeError) as error:
        models.validate(reading.parse(f"model: {family}\ndata: {data}", "it"))
    assert [mistake.message for mistake in error.value.mistakes] == [message]


def test_families_of_images_say_that_they_learn_no_points() -> None:
    with pytest.raises(reading.RecipeError, match="ring-2d gives points, which this family does not learn"):
        models.validate(reading.parse("model: dcgan\ndata: {source: ring-2d}", "it"))


def finished(name: str, folder: Path) -> Path:
    """A shipped recipe, trained to its end."""
    assert run_gancli("train", name, "--out", folder / name, "-q") == 0
    return folder / name


@pytest.mark.slow
def test_gan_gaussian1d_ends_where_nobody_can_tell(tmp_path) -> None:
    """W1 within 0.05 standard deviations, and D within 0.05 of 1/2 within 3 of them."""
    run = finished("gan-gaussian1d", tmp_path)
    result = theory.evaluate(run)
    assert result["exact_wasserstein"] <= 0.05
    assert abs(result["believed"]["jensen_shannon"]) < 0.01
    model = theory.with_discriminator(run)
    assert np.abs(theory.judged(model, np.linspace(1, 7, 200)[:, None]) - 0.5).max() <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "modes", "share"),
    [
        ("gan-ring2d", 8, 0.87),  # 0.917 where the recipe was measured; other machines round otherwise
        ("wgan-ring2d", 8, 0.8),  # 0.860
        ("wgan-gp-grid2d", 25, 0.8),  # 0.835
    ],
)
def test_every_mode_is_found(name, modes, share, tmp_path) -> None:
    result = theory.evaluate(finished(name, tmp_path))
    assert result["modes_covered"] == modes
    assert result["high_quality"] >= share


@pytest.mark.slow
def test_gan_ring2d_minimax_stalls(tmp_path) -> None:
    """Where D runs ahead, log(1 - D) is flat: D still tells the points apart, and most are no good."""
    result = theory.evaluate(finished("gan-ring2d-minimax", tmp_path))
    assert result["high_quality"] <= 0.6  # 0.376
    assert result["believed"]["jensen_shannon"] >= 0.2  # 0.35
