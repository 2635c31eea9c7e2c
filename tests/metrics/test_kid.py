import math

import pytest
import torch
from torchmetrics.image.kid import KernelInceptionDistance

from gancli.errors import UserError
from gancli.metrics import kid as kids
from gancli.metrics.kid import kid


def gaussian(count, seed, shift=0.0):
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(seed)) + shift


def test_equal_to_the_definition_pair_by_pair():
    reals, fakes = gaussian(9, 0), gaussian(9, 1, 0.5)

    def kernel(x, y):
        return (float(x.double() @ y.double()) / 16 + 1) ** 3

    pairs = [(i, j) for i in range(9) for j in range(9)]
    within = sum(kernel(s[i], s[j]) for s in (reals, fakes) for i, j in pairs if i != j) / (9 * 8)
    across = sum(kernel(reals[i], fakes[j]) for i, j in pairs) / 81
    assert kid(reals, fakes, seed=0)["kid"] == pytest.approx(within - 2 * across, rel=1e-10)


def test_unbiased_two_sets_of_one_distribution_score_around_zero_even_when_small():
    scores = [kid(gaussian(40, 2 * s), gaussian(40, 2 * s + 1), seed=0, subset_size=40)["kid"] for s in range(200)]
    scores = torch.tensor(scores)
    assert abs(scores.mean()) < 3 * scores.std() / 200**0.5
    assert (scores < 0).any()
    assert kid(gaussian(400, 0), gaussian(400, 1, 1.0), seed=0, subset_size=100)["kid"] > 10 * scores.std()


def brute(reals, fakes):
    """MMD² without any thought of speed."""
    x, y = reals.double(), fakes.double()
    kernel = lambda a, b: (a @ b.T / 16 + 1) ** 3  # noqa: E731
    n, m = len(x), len(y)
    within = sum((kernel(s, s).sum() - kernel(s, s).trace()) / (len(s) * (len(s) - 1)) for s in (x, y))
    return (within - 2 * kernel(x, y).sum() / (n * m)).item()


@pytest.mark.parametrize(("n", "m"), [(12, 12), (7, 20), (3, 4)])
def test_few_images_are_compared_all_at_once_with_a_jackknifed_deviation(n, m):
    reals, fakes = gaussian(n, 0), gaussian(m, 1, 0.3)
    without = lambda features, i: torch.cat([features[:i], features[i + 1 :]])  # noqa: E731
    variance = 0.0
    for left in (
        [brute(without(reals, i), fakes) for i in range(n)],
        [brute(reals, without(fakes, i)) for i in range(m)],
    ):
        left = torch.tensor(left, dtype=torch.float64)
        variance += (len(left) - 1) / len(left) * (left - left.mean()).square().sum().item()
    values = kid(reals, fakes, seed=0)
    assert values["kid"] == pytest.approx(brute(reals, fakes), rel=1e-10)
    assert values["kid_deviation"] == pytest.approx(variance**0.5, rel=1e-9)


@pytest.mark.parametrize(("shift", "most"), [(0.5, 1.3), (0.0, 1.8)])
def test_the_deviation_is_what_other_images_would_change(shift, most):
    """Over 300 pairs of sets: as large as the values' own spread; up to √2 more where both have one distribution."""
    found = [kid(gaussian(60, 2 * s), gaussian(60, 2 * s + 1, shift), seed=0) for s in range(300)]
    spread = torch.tensor([values["kid"] for values in found]).std()
    stated = torch.tensor([values["kid_deviation"] for values in found]).square().mean().sqrt()
    assert 0.8 < stated / spread < most


def test_many_images_are_drawn_in_subsets_and_few_are_not(monkeypatch):
    sizes = []
    plain = kids._mmd
    monkeypatch.setattr(kids, "_mmd", lambda one, other: sizes.append(len(one)) or plain(one, other))
    kid(gaussian(199, 0), gaussian(300, 1), seed=0, subset_size=100)
    assert not sizes, "100 subsets that are nearly the same set say nothing and cost a hundredfold"
    assert kid(gaussian(200, 0), gaussian(300, 1), seed=0, subset_size=100)["kid_deviation"] > 0
    assert sizes == [100] * 100


def test_two_images_have_no_deviation():
    assert math.isnan(kid(gaussian(2, 0), gaussian(9, 1), seed=0)["kid_deviation"])


def test_the_protocol_says_which_way_was_taken():
    assert kids.protocol(2000, 5000)["kid_subset_size"] == 1000
    few = kids.protocol(1999, 50_000)
    assert few == {
        "kid_subsets": "none, all images at once, of the larger side 10000",
        "kid_deviation_of": "the value, by the jackknife",
    }


def test_torchmetrics_gives_the_same_to_float32s_digits():
    reals, fakes = gaussian(50, 0), gaussian(50, 1, 0.5)
    metric = KernelInceptionDistance(feature=torch.nn.Identity(), subsets=1, subset_size=50)
    metric.inception.num_features = 16
    metric.update(reals, real=True)
    metric.update(fakes, real=False)
    assert kid(reals, fakes, seed=0)["kid"] == pytest.approx(metric.compute()[0].item(), rel=1e-5)


def test_the_seed_decides_the_subsets():
    one, same, other = (kid(gaussian(50, 0), gaussian(60, 1), seed=seed, subset_size=20) for seed in (1, 1, 2))
    assert one == same != other
    assert one["kid_deviation"] > 0


def test_one_image_is_too_few():
    with pytest.raises(UserError, match="at least 2 images on each side, there are 1 and 5"):
        kid(gaussian(1, 0), gaussian(5, 0), seed=0)
