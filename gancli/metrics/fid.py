"""The Fréchet distance between two sets of images: torchmetrics keeps the sums of features, the distance is ours."""

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg.lapack import dpstrf
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from gancli import files
from gancli.errors import UserError
from gancli.metrics.features import COMPARED, Features, ProtocolEntries, Scores, Sizes, check_comparable
from gancli.metrics.moments import Statistics


def statistics(batches: Iterable[Tensor], features: Features) -> Statistics:
    """Stream images through a feature network and keep sums alone: memory does not grow with the images.

    Under torch.distributed each process gives its own images, and all get the statistics of all images.

    Args:
        batches: uint8 N×C×H×W, of any N; each image once.
        features: the feature network.

    Raises:
        UserError: fewer than two images, or features that are not finite.
    """
    sums, sizes = accumulator(features.dimensions), Sizes()
    for batch in batches:
        sizes.add(batch)
        sums.update(features(batch), real=True)
    return accumulated(sums, {**features.protocol, "image_size": str(sizes)})


def cached_statistics(key: str, batches: Callable[[], Iterable[Tensor]], features: Features) -> Statistics:
    """As `statistics`, but without reading an image where the same data was measured by the same network before.

    Args:
        key: says which images these are, split included, so that other images have another key.
        batches: called for the images only when they must be read.
        features: the feature network.
    """
    path = _place(key, features)
    if path.is_file():
        try:
            return Statistics.load(path)
        except UserError:  # a damaged cache entry is made again
            path.unlink(missing_ok=True)
    found = statistics(batches(), features)
    with suppress(OSError):  # a full disk costs the next command some time, not this one its result
        found.save(path)
    return found


def is_kept(key: str, features: Features) -> bool:
    """Whether `cached_statistics` would read no image."""
    return _place(key, features).is_file()


def _place(key: str, features: Features) -> Path:
    compared = [f"{name}={features.protocol.get(name)}" for name in COMPARED]
    return files.cache("statistics") / f"{hashlib.sha256(repr([key, *compared]).encode()).hexdigest()}.npz"


def fid_infinity(
    reals: Statistics, fakes: Tensor, protocol: ProtocolEntries, *, seed: int, points: int = 15
) -> "Infinity":
    """The FID that unboundedly many fakes would have (Chong and Forsyth 2020, arXiv 1911.07023).

    FID falls linearly in 1/N: it is measured on random subsets of a tenth of the fakes up to all of them, and the line
    is followed to 1/N = 0. Where a subset has fewer images than features have dimensions, the fall is no line.

    Args:
        reals: statistics of the reference.
        fakes: features, N×D, at least 20.
        protocol: of the fakes' features.
        seed: of the subsets.
        points: how many subsets.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = np.linspace(len(fakes) // 10, len(fakes), points).astype(int)
    found = [
        distance(reals, of_features(fakes[torch.randperm(len(fakes), generator=generator)[:size]], protocol))
        for size in sizes.tolist()
    ]
    values = [each.value for each in found]
    (_, intercept), covariance = np.polyfit(1 / sizes, values, 1, cov=True)
    bent = np.polyfit(1 / sizes, values, 2)[-1]
    return Infinity(
        float(intercept), float(covariance[1, 1] ** 0.5), values[-1], float(bent), found[-1].biases[0], int(sizes[0])
    )


class Infinity(NamedTuple):
    """A FID∞ and how it was found.

    Attributes:
        value: where the line ends.
        deviation: its standard error, from the points' distances from the line.
        measured: the FID of all images.
        bent: where a parabola through the same points ends.
        bias_of_reference: what the reference's count adds to each point, which is not removed.
        smallest: images in the smallest subset.
    """

    value: float
    deviation: float
    measured: float
    bent: float
    bias_of_reference: float
    smallest: int


def bootstrap(reals: Statistics, fakes: Tensor, protocol: ProtocolEntries, *, seed: int, repeats: int) -> Scores:
    """How much the FID would differ with other fakes: its standard deviation over resamples with replacement.

    The resamples' mean is no estimate of the FID (repeated images widen the distance), so only their spread is given.

    Args:
        reals: statistics of the reference.
        fakes: features, N×D.
        protocol: of the fakes' features.
        seed: of the resamples.
        repeats: how many.

    Returns:
        fid_deviation.
    """
    generator = torch.Generator().manual_seed(seed)
    values = [
        frechet(reals, of_features(fakes[torch.randint(len(fakes), (len(fakes),), generator=generator)], protocol))
        for _ in range(repeats)
    ]
    return {"fid_deviation": float(np.std(values, ddof=1))}


def of_features(features: Tensor, protocol: ProtocolEntries) -> Statistics:
    """The statistics of features that are held in memory, N×D."""
    features = features.double()
    return Statistics.of_sums(len(features), features.sum(0), features.T @ features, protocol)


def accumulator(dimensions: int) -> FrechetInceptionDistance:
    """torchmetrics' FID, fed with features instead of images: float64 sums, added over processes."""
    return FrechetInceptionDistance(feature=_Given(dimensions), normalize=False)


def accumulated(sums: FrechetInceptionDistance, protocol: ProtocolEntries) -> Statistics:
    """The statistics of what `update(…, real=True)` was given, over all processes."""
    with sums.sync_context():
        n, total, second = sums.real_features_num_samples, sums.real_features_sum, sums.real_features_cov_sum
        return Statistics.of_sums(int(n), total.clone(), second.clone(), protocol)


class Distance(NamedTuple):
    """A Fréchet distance, and what is expected of it that the numbers of images alone bring about.

    Attributes:
        value: the distance.
        biases: of each side, upward, as `distance` estimates them; 0 where the number of images is unknown.
    """

    value: float
    biases: tuple[float, float]

    @property
    def bias(self) -> float:
        """Of both sides together."""
        return sum(self.biases)


def frechet(one: Statistics, other: Statistics) -> float:
    """The value of `distance`."""
    return distance(one, other).value


def distance(one: Statistics, other: Statistics) -> Distance:
    """The Fréchet distance ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½) (Heusel et al. 2017, arXiv 1706.08500, eq. 6).

    tr (Σ₁Σ₂)^½ is the sum of the singular values s of L₁ᵀL₂ for any factors Σ = LLᵀ. Pivoted Cholesky gives such
    factors for rank-deficient covariances too, and no eigenvalue near zero has its rounding error enlarged by a
    square root.
    torchmetrics' own `compute` takes the eigenvalues of the product: it suffers from that, and takes twice as long.

    A side of N images makes the value too large: its mean by tr Σ / N, its covariance, as the trace of a square root is
    concave, to first order in 1/N and for Gaussian features by Σᵢⱼ sᵢsⱼ(1 + δᵢⱼ) / (sᵢ + sⱼ) / 2(N − 1). Of fewer
    images than two a dimension this is less than the whole bias.

    Raises:
        UserError: features of different networks, resizes or dimensions.
    """
    check_comparable(one.protocol, other.protocol)
    if one.mu.shape != other.mu.shape:
        raise UserError(
            f"the two sides have features of {len(one.mu)} and {len(other.mu)} dimensions; "
            "compute both with the same network"
        )
    first, second = one.sigma.double(), other.sigma.double()
    roots = torch.linalg.svdvals(_factor(first).T @ _factor(second))
    value = (one.mu.double() - other.mu.double()).square().sum() + first.trace() + second.trace() - 2 * roots.sum()
    roots = roots[roots > 0]
    spread = (roots[:, None] * roots / (roots[:, None] + roots)).sum() + roots.sum() / 2
    biases = [
        float(sigma.trace() / side.n + spread / 2 / (side.n - 1)) if side.n else 0.0
        for side, sigma in ((one, first), (other, second))
    ]
    return Distance(max(float(value), 0.0), (biases[0], biases[1]))  # below zero is rounding


def rank(found: Statistics) -> int:
    """The rank of the covariance as far as the precision that it was stored in can tell: N − 1 of N images, or D."""
    double = found.sigma.dtype == torch.float64
    sigma = found.sigma.double()
    return int(dpstrf(sigma.numpy(), tol=(1e-10 if double else 1e-6) * float(sigma.diag().max()), lower=1)[2])


def _factor(sigma: Tensor) -> Tensor:
    """L, D×rank, with Σ = LLᵀ, by pivoted Cholesky, which stops where nothing but rounding is left."""
    packed, pivots, rank, _ = dpstrf(sigma.numpy(), lower=1)
    factor = np.empty((len(packed), rank))
    factor[pivots - 1] = np.tril(packed)[:, :rank]
    return torch.from_numpy(factor)


class _Given(nn.Module):
    """The identity: torchmetrics asks for a network, and the features are already there."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.num_features = dimensions

    def forward(self, features: Tensor) -> Tensor:
        """What was given."""
        return features
