from dataclasses import replace

import numpy as np
import pytest
import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from gancli.errors import UserError
from gancli.metrics.fid import accumulator, distance, frechet, of_features, statistics
from gancli.metrics.moments import Statistics


def covariance(dimensions, seed):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(dimensions, dimensions, dtype=torch.float64, generator=generator)
    return root @ root.T / dimensions


def test_gaussians_match_the_closed_form_where_covariances_commute():
    mu = torch.linspace(-1, 2, 50, dtype=torch.float64)
    axes = torch.linalg.eigh(covariance(50, 0))[1]
    first, second = torch.linspace(0, 4, 50, dtype=torch.float64), torch.linspace(3, 0.1, 50, dtype=torch.float64)
    one = Statistics(mu, axes * first @ axes.T)
    other = Statistics(torch.zeros_like(mu), axes * second @ axes.T)
    closed = mu.square().sum() + (first.sqrt() - second.sqrt()).square().sum()
    assert frechet(one, other) == pytest.approx(closed.item(), rel=1e-6)
    assert frechet(other, one) == pytest.approx(closed.item(), rel=1e-6)


def test_two_dimensional_gaussians_match_the_closed_form_where_they_do_not_commute():
    one, other = torch.tensor([[2.0, 0.3], [0.3, 1.0]]).double(), torch.tensor([[1.0, -0.5], [-0.5, 3.0]]).double()
    root = ((one @ other).trace() + 2 * (one.det() * other.det()).sqrt()).sqrt()
    closed = one.trace() + other.trace() - 2 * root
    zero = torch.zeros(2).double()
    assert frechet(Statistics(zero, one), Statistics(zero, other)) == pytest.approx(closed.item(), rel=1e-9)


def test_equal_to_torchmetrics_own_value(linear, images):
    features = linear(192, 32)
    reals, fakes = images(500, 1), images(400, 2) // 2
    metric = FrechetInceptionDistance(feature=torch.nn.Flatten(), input_img_size=(32,)).set_dtype(torch.float64)
    metric.update(features(reals).double(), real=True)
    metric.update(features(fakes).double(), real=False)
    ours = frechet(statistics([reals], features), statistics([fakes], features))
    assert ours == pytest.approx(metric.compute().item(), rel=1e-6)
    single = FrechetInceptionDistance(feature=torch.nn.Flatten(), input_img_size=(32,))
    single.update(features(reals), real=True)
    single.update(features(fakes), real=False)
    assert ours == pytest.approx(single.compute().item(), rel=1e-5), "to the digits that float32 allows"


@pytest.mark.parametrize("count", [30, 300])
def test_rank_deficient_sets_match_the_form_without_covariances(linear, images, count):
    """tr (Σ₁Σ₂)^½ is the nuclear norm of X Yᵀ for centred X, Y: no covariance, and no root of a rounding error."""
    features = linear(192, 150)
    reals, fakes = images(count, 1), images(count + 7, 2) // 3
    x, y = (features(images).double() for images in (reals, fakes))
    mean = (x.mean(0) - y.mean(0)).square().sum()
    x, y = (x - x.mean(0)) / (len(x) - 1) ** 0.5, (y - y.mean(0)) / (len(y) - 1) ** 0.5
    expected = mean + x.square().sum() + y.square().sum() - 2 * torch.linalg.matrix_norm(x @ y.T, "nuc")
    assert frechet(statistics([reals], features), statistics([fakes], features)) == pytest.approx(
        expected.item(), rel=1e-6
    )


@pytest.mark.parametrize("count", [2, 40, 400])
def test_identical_sets_are_at_distance_zero_in_any_order_and_batch_size(linear, images, count):
    features = linear(192, 100)
    reals = images(count, 3)
    shuffled = reals[torch.randperm(count, generator=torch.Generator().manual_seed(0))]
    assert frechet(statistics([reals], features), statistics(shuffled.split(7), features)) == pytest.approx(0, abs=1e-6)


def test_order_and_batch_size_do_not_change_the_value(linear, images):
    features = linear(192, 100)
    fakes = statistics([images(300, 5) // 2], features)
    reals = images(300, 4)
    whole = frechet(statistics([reals], features), fakes)
    assert frechet(statistics(reals.flip(0).split(11), features), fakes) == pytest.approx(whole, rel=1e-6)


def test_sums_are_kept_in_double_precision_whatever_the_features(images):
    sums = accumulator(3)
    sums.update(torch.full((1, 3), 1.0), real=True)
    sums.update(torch.full((1, 3), 2.0**-40), real=True)
    assert sums.real_features_sum[0].item() == 1 + 2.0**-40


def test_saved_statistics_are_the_same(linear, images, tmp_path):
    found = statistics([images(50, 0)], linear(192, 20))
    found.save(tmp_path / "reals.npz")
    loaded = Statistics.load(tmp_path / "reals.npz")
    for name in ("mu", "sigma"):
        assert getattr(loaded, name).equal(getattr(found, name))
    assert (loaded.n, loaded.protocol) == (found.n, found.protocol) == (50, found.protocol | {"images": 50})


def test_other_tools_statistics_are_read(linear, images, tmp_path):
    found = statistics([images(50, 0)], linear(192, 20))
    np.savez_compressed(tmp_path / "foreign.npz", mu=found.mu.numpy(), sigma=found.sigma.numpy())
    loaded = Statistics.load(tmp_path / "foreign.npz")
    assert loaded.n is None
    assert loaded.protocol == {}
    assert frechet(loaded, found) == pytest.approx(0, abs=1e-6)


def npz(path, **arrays):
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK\x03\x04" + bytes(50)),
        lambda path: npz(path, mu=np.zeros(3)),
        lambda path: npz(path, mu=np.zeros(3), sigma=np.zeros((4, 4))),
        lambda path: npz(path, mu=np.zeros(0), sigma=np.zeros((0, 0))),
        lambda path: npz(path, mu=np.full(3, np.nan), sigma=np.eye(3)),
        lambda path: npz(path, mu=np.zeros(2), sigma=np.array([[1.0, 2.0], [0.0, 1.0]])),
        lambda path: npz(path, mu=np.zeros(2), sigma=np.eye(2), protocol=np.array("[1]")),
        lambda path: np.savez(path, mu=np.array([{}], object), sigma=np.eye(1)),
    ],
)
def test_what_is_no_statistics_file_is_refused(tmp_path, write):
    path = tmp_path / "bad.npz"
    write(path)
    with pytest.raises(UserError) as refused:
        Statistics.load(path)
    assert str(refused.value).startswith(str(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        Statistics.load(tmp_path / "none.npz")


@pytest.mark.parametrize("key", ["network", "weights", "resize", "precision"])
def test_statistics_of_another_network_or_resize_are_refused(key):
    mu, sigma = torch.zeros(2).double(), torch.eye(2).double()
    one, other = (Statistics(mu, sigma, protocol={key: value}) for value in ("a", "b"))
    with pytest.raises(UserError, match=f"{key} a against b"):
        frechet(one, other)


def test_other_dimensions_are_refused():
    one, other = (Statistics(torch.zeros(d).double(), torch.eye(d).double()) for d in (2, 3))
    with pytest.raises(UserError, match="2 and 3 dimensions"):
        frechet(one, other)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images_are_refused(linear, images, count):
    with pytest.raises(UserError, match="at least 2 images"):
        statistics([images(1, 0)] * count, linear(192, 4))


@pytest.mark.parametrize("count", [60, 150])
def test_the_stated_bias_is_that_of_small_samples(count):
    """Against what 60 pairs of small sets of two Gaussians are too far apart, in the mean: right to 15 %."""
    spread = torch.linspace(1, 0.2, 24).double()
    draw = lambda seed, scale: (  # noqa: E731
        torch.randn(count, 24, generator=torch.Generator().manual_seed(seed)).double() * spread * scale
    )
    true = ((1.3 - 1) * spread).square().sum().item()
    found = [distance(of_features(draw(2 * s, 1), {}), of_features(draw(2 * s + 1, 1.3), {})) for s in range(60)]
    excess = sum(each.value for each in found) / 60 - true
    stated = sum(each.bias for each in found) / 60
    assert excess > 0.2 * true
    assert stated == pytest.approx(excess, rel=0.15)


def test_of_too_few_images_the_stated_bias_is_less_than_the_whole():
    few = [of_features(torch.randn(10, 24, generator=torch.Generator().manual_seed(s)), {}) for s in range(2)]
    found = distance(*few)
    assert 0 < found.bias < found.value, "both are of one distribution: all of the value is bias"


def test_sides_of_unknown_counts_have_no_stated_bias():
    one, other = (of_features(torch.randn(50, 4, generator=torch.Generator().manual_seed(s)), {}) for s in range(2))
    both = distance(one, other).biases
    assert distance(one, replace(other, n=None)).biases == (both[0], 0)
