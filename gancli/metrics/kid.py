"""The kernel distance between two sets of features: unbiased, so that it needs no ten thousand images."""

import torch
from torch import Tensor

from gancli.metrics.features import ProtocolEntries, Scores, check_counts

SUBSETS = 100
SUBSET_SIZE = 1000
LARGEST = 10
"""Where all images are taken at once, so many times the subset size are enough of the larger side."""
BLOCK = 1024
"""Rows of the kernel at once: 80 MB for 10,000 columns in float64."""


def kid(reals: Tensor, fakes: Tensor, *, seed: int, subsets: int = SUBSETS, subset_size: int = SUBSET_SIZE) -> Scores:
    """KID (Bińkowski et al. 2018, arXiv 1801.01401): an unbiased estimate of the MMD² with the kernel (x·y / D + 1)³.

    Of two sides with at least two subsets' images each it is the mean over random subsets, drawn without replacement,
    and kid_deviation their standard deviation, as the authors give them. Subsets of fewer images would be much the
    same set again and again: there it is the estimate of all images, and kid_deviation its standard error by the
    jackknife, which is too large, by √2 at most, where the two distributions are the same.

    Args:
        reals: features, N×D.
        fakes: features, M×D.
        seed: of the subsets.
        subsets: how many are drawn.
        subset_size: images of each side in a subset.

    Returns:
        kid and kid_deviation.

    Raises:
        UserError: fewer than two images on a side.
    """
    check_counts(reals, fakes, "KID")
    generator = torch.Generator().manual_seed(seed)
    if not drawn(len(reals), len(fakes), subset_size):
        most = LARGEST * subset_size
        value, error = _whole(_some(reals, most, generator), _some(fakes, most, generator))
        return {"kid": value, "kid_deviation": error}
    estimates = torch.stack(
        [_mmd(_some(reals, subset_size, generator), _some(fakes, subset_size, generator)) for _ in range(subsets)]
    )
    return {"kid": estimates.mean().item(), "kid_deviation": estimates.std(correction=0).item()}


def drawn(reals: int, fakes: int, subset_size: int = SUBSET_SIZE) -> bool:
    """Whether sides of so many images are compared by subsets, or all at once."""
    return min(reals, fakes) >= 2 * subset_size


def protocol(reals: int, fakes: int) -> ProtocolEntries:
    """How sides of so many images are compared, and what kid_deviation is."""
    if drawn(reals, fakes):
        return {
            "kid_subsets": SUBSETS,
            "kid_subset_size": SUBSET_SIZE,
            "kid_deviation_of": f"one subset of {SUBSET_SIZE} images",
        }
    larger = "" if max(reals, fakes) <= LARGEST * SUBSET_SIZE else f", of the larger side {LARGEST * SUBSET_SIZE}"
    return {"kid_subsets": f"none, all images at once{larger}", "kid_deviation_of": "the value, by the jackknife"}


def _some(features: Tensor, size: int, generator: torch.Generator) -> Tensor:
    return features[torch.randperm(len(features), generator=generator)[:size]].double()


def _mmd(one: Tensor, other: Tensor) -> Tensor:
    """The unbiased estimate of MMD²: the diagonals, an image with itself, are left out (eq. 4); it may be negative."""
    size = len(one)
    within = (_off_diagonal(_kernel(one, one)) + _off_diagonal(_kernel(other, other))) / (size * (size - 1))
    return within - 2 * _kernel(one, other).mean()


def _whole(one: Tensor, other: Tensor) -> tuple[float, float]:
    """The estimate of all images, N and M, and its standard error by the jackknife.

    Leaving out image i takes its row out of the sums, so that all N + M estimates cost no more than one.
    """
    n, m = len(one), len(other)
    own, across = _rows(one, one) - _kernel_of_itself(one), _rows(one, other)
    others, back = _rows(other, other) - _kernel_of_itself(other), _rows(other, one)
    value = own.sum() / (n * (n - 1)) + others.sum() / (m * (m - 1)) - 2 * across.sum() / (n * m)
    variance = torch.zeros((), dtype=torch.float64)
    for size, opposite, within, between in ((n, m, own, across), (m, n, others, back)):
        if size == 2:  # a single image is left, which has no MMD²
            return float(value), float("nan")
        left = (within.sum() - 2 * within) / ((size - 1) * (size - 2)) - 2 * (between.sum() - between) / (
            (size - 1) * opposite
        )
        variance += (size - 1) / size * (left - left.mean()).square().sum()
    return float(value), float(variance.sqrt())


def _rows(one: Tensor, other: Tensor) -> Tensor:
    """The sums of the kernel's rows, N."""
    return torch.cat([_kernel(block, other).sum(1) for block in torch.split(one, BLOCK)])


def _kernel_of_itself(features: Tensor) -> Tensor:
    return (features.square().sum(1) / features.shape[1] + 1) ** 3


def _kernel(one: Tensor, other: Tensor) -> Tensor:
    return (one @ other.T / one.shape[1] + 1) ** 3


def _off_diagonal(square: Tensor) -> Tensor:
    return square.sum() - square.trace()
