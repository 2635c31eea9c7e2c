"""The known distributions: draws, densities and masses that agree with one another."""

import numpy as np
import pytest
import torch

from gancli.data import distributions
from gancli.data.batches import Draws
from gancli.metrics.divergences import edges
from gancli.recipe import data as settings

KINDS = (settings.Gaussian, settings.Mixture, settings.Ring, settings.Grid, settings.Spiral, settings.Lines)
KNOWN = [distributions.of(kind(source=name)) for kind, name in zip(KINDS, settings.DISTRIBUTIONS, strict=True)]
DENSE = [known for known in KNOWN if isinstance(known, distributions.Gaussians)]


def name(known: distributions.Known) -> str:
    return known.name


def test_uneven_mixtures_are_as_they_are_asked_for() -> None:
    data = settings.Mixture(source="mixture-1d", means=(-1, 5), deviations=(0.1, 2), weights=(3, 1))
    drawn = distributions.points(distributions.of(data), 40_000, 0)[:, 0]
    assert (drawn < 0).mean() == pytest.approx(0.75, abs=0.01)
    assert drawn[drawn < 0].std() == pytest.approx(0.1, rel=0.05)
    assert drawn.mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("known", KNOWN, ids=name)
def test_draws_fall_into_cells_as_their_masses_say(known) -> None:
    count, cells = 50_000, edges(known)
    masses = known.masses(cells)
    assert masses.sum() == pytest.approx(1)
    counts = np.histogramdd(distributions.points(known, count, 0), cells)[0]
    assert counts[masses == 0].sum() == 0
    often = masses * count > 5
    chi_square = (np.square(counts - masses * count) / (masses * count).clip(1e-9))[often].mean()
    assert chi_square == pytest.approx(1, abs=5 * np.sqrt(2 / often.sum()))


@pytest.mark.parametrize("known", DENSE, ids=name)
def test_densities_integrate_to_the_masses(known) -> None:
    lattice = [np.linspace(low, high, 1 + int((high - low) / known.scale * 4)) for low, high in known.extent]
    cell = np.prod([line[1] - line[0] for line in lattice])
    points = np.stack(np.meshgrid(*lattice, indexing="ij"), axis=-1).reshape(-1, known.dimensions)
    density = np.exp(known.log_density(points))
    assert density.sum() * cell == pytest.approx(1, abs=1e-3)

    cut = known.centres[0] + 0.1 * known.scale  # a corner through a mode
    corner = known.masses([np.array([-np.inf, c, np.inf]) for c in cut]).flat[0]
    assert density[(points < cut).all(1)].sum() * cell == pytest.approx(corner, abs=0.05)


def test_quantiles_invert_the_distribution() -> None:
    known = next(k for k in DENSE if k.name == "mixture-1d")
    quantiles = known.quantiles(1000)
    below = [known.masses([np.array([-np.inf, q, np.inf])])[0] for q in quantiles]
    assert below == pytest.approx((np.arange(1000) + 0.5) / 1000, abs=1e-6)


@pytest.mark.parametrize("known", KNOWN, ids=name)
def test_a_batch_is_a_function_of_its_position(known) -> None:
    whole = list(Draws(known, 16, 7, 0, 4))
    (last,) = Draws(known, 16, 7, 3, 4)
    assert torch.equal(whole[3]["image"], last["image"])
    assert last["image"].shape == (16, known.dimensions) and last["image"].dtype == torch.float32
    assert not torch.equal(whole[2]["image"], last["image"])
    assert not torch.equal(whole[0]["image"], next(iter(Draws(known, 16, 8, 0, 1)))["image"])
