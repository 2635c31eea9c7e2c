"""Divergences, distances and modes against what can be computed by hand."""

import math

import numpy as np
import pytest

from gancli.data import distributions
from gancli.metrics.divergences import Divergences, transport
from gancli.recipe import data as settings

GAUSSIAN = distributions.of(settings.Gaussian(source="gaussian-1d", mean=0, deviation=1))
RING = distributions.of(settings.Ring(source="ring-2d"))


@pytest.mark.parametrize("shift", [0.0, 0.3, 1.0])
def test_a_shifted_gaussian_is_as_far_as_its_formulas_say(shift) -> None:
    """KL is half the squared shift in units of the deviation, W1 the shift, total variation erf(shift / √8)."""
    assert isinstance(GAUSSIAN, distributions.Gaussians)
    measures = Divergences(GAUSSIAN)(GAUSSIAN.quantiles(100_000)[:, None] + shift)
    assert measures["exact_kl_data_model"] == pytest.approx(shift**2 / 2, rel=0.02, abs=1e-3)
    assert measures["exact_kl_model_data"] == pytest.approx(shift**2 / 2, rel=0.02, abs=1e-3)
    assert measures["exact_wasserstein"] == pytest.approx(shift, abs=1e-9)
    assert measures["exact_total_variation"] == pytest.approx(math.erf(shift / math.sqrt(8)), rel=0.02, abs=1e-3)


@pytest.mark.parametrize("known", [GAUSSIAN, RING], ids=lambda known: known.name)
def test_jensen_shannon_lies_between_0_and_log_2(known) -> None:
    measure = Divergences(known)
    assert 0 <= measure.floor()["exact_jensen_shannon"] < 0.01
    far = measure(np.full((1000, known.dimensions), 500.0))
    assert far["exact_jensen_shannon"] == pytest.approx(math.log(2), abs=5e-3)
    assert math.isfinite(far["exact_kl_data_model"]) and math.isfinite(far["exact_kl_model_data"])


@pytest.mark.parametrize("theta", [0.5, 3])
def test_two_segments_are_as_far_as_they_stand_apart(theta) -> None:
    near, far = (distributions.of(settings.Lines(source="lines-2d", theta=t)) for t in (0, theta))
    measures = Divergences(far)(distributions.points(near, 10_000, 9))
    assert measures["exact_jensen_shannon"] == pytest.approx(math.log(2), abs=1e-3)
    assert measures["exact_wasserstein"] == pytest.approx(theta, abs=0.02)


def test_transport_is_the_best_pairing_s_mean() -> None:
    points = np.random.default_rng(0).normal(size=(200, 2))
    assert transport(points, points[::-1]) == 0
    assert transport(points, points + np.array([3, 4])) == pytest.approx(5)


@pytest.mark.parametrize("kept", [1, 5, 8])
def test_modes_and_quality_are_counted(kept) -> None:
    assert isinstance(RING, distributions.Gaussians)
    drawn = distributions.points(RING, 10_000, 5)
    mode = np.linalg.norm(drawn[:, None] - RING.centres, axis=-1).argmin(1)
    measures = Divergences(RING)(drawn[mode < kept])
    assert measures["modes_covered"] == kept
    assert measures["high_quality"] == pytest.approx(1 - math.exp(-4.5), abs=0.01)

    astray = drawn.copy()
    astray[: len(astray) // 2] = 0  # half of them in the middle of the ring
    assert Divergences(RING)(astray)["high_quality"] == pytest.approx(0.494, abs=0.01)
