"""Reasons to distrust a value, each in a sentence with its number."""

from collections.abc import Iterable, Sequence

from torch import Tensor

from gancli.metrics.fid import Distance, Infinity, rank
from gancli.metrics.sides import Side

TOLERATED_BIAS = 0.05
"""The share of a value that its estimated bias may have without a warning."""
FEW_IN_A_PART = 100
"""Images of a part of the Inception Score: with fewer, their number itself limits the score."""


def fid(found: Distance, subject: Side, reference: Side) -> list[str]:
    """What the numbers of images do to a Fréchet distance, and what is not known of either side."""
    warnings = [*_unknown("the images'", subject), *_unknown("the reference's", reference)]
    named = [("images", subject), ("reference images", reference)]
    counts = " and ".join(f"{side.count:,} {name}" for name, side in named if side.count)
    dimensions = len(subject.moments().mu)
    few = any(side.count and side.count < 2 * dimensions for side in (subject, reference))
    if counts and found.value < found.bias / 2:
        warnings.append(
            f"FID of {counts}: {found.value:.4g} is less than the {found.bias:.3g} that so few images of one kind are "
            "apart by chance: the two sides share images"
        )
    elif counts and (few or found.bias > TOLERATED_BIAS * found.value):
        warnings.append(
            f"FID of {counts}: {_bias(found.bias, found.value, few)}"
            + (f": fewer than two a dimension, of which there are {dimensions:,}" if few else "")
            + "; use kid, or more images, and compare like counts"
        )
    if subject.sizes and reference.sizes and subject.sizes != reference.sizes:
        warnings.append(f"images of {subject.sizes} against {reference.sizes}: their sharpness is compared too")
    return warnings


def intra_fid(found: Iterable[Distance], counts: Sequence[int], dimensions: int) -> list[str]:
    """What the numbers of images of each class do to the FID within classes."""
    distances, fewest = list(found), min(counts)
    value = sum(distance.value for distance in distances) / len(distances)
    bias = sum(distance.bias for distance in distances) / len(distances)
    few = fewest < 2 * dimensions
    if not few and bias <= TOLERATED_BIAS * value:
        return []
    return [f"intra-FID of {fewest:,} images in the smallest class: {_bias(bias, value, few)}; give more images"]


def inception_score(value: float, bias: float, count: int, splits: int) -> list[str]:
    """What the number of images does to an Inception Score: no part can score above its number of images."""
    smallest = count // splits
    reasons = []
    if smallest < FEW_IN_A_PART:
        reasons.append(f"a part of {smallest:,} cannot score above {smallest:,}")
    if -bias > TOLERATED_BIAS * value:
        reasons.append(f"{value:.4g} is about {-bias:.3g} too low")
    return [f"IS of {count:,} images in {splits} parts: {', and '.join(reasons)}; give more images"] if reasons else []


def fid_infinity(found: Infinity, features: Tensor) -> list[str]:
    """How far a FID∞ was extrapolated, and whether along a line."""
    (count, dimensions), value = features.shape, found.value
    warnings = []
    if found.smallest < 2 * dimensions or abs(found.bent - value) > TOLERATED_BIAS * abs(value):
        warnings.append(
            f"FID∞ of {count:,} images: the line through subsets of {found.smallest:,} to {count:,} leads from "
            f"{found.measured:.4g} to {value:.4g}, a parabola to {found.bent:.4g}; with {dimensions:,} dimensions give "
            f"{20 * dimensions:,} images or more"
        )
    if found.bias_of_reference > TOLERATED_BIAS * abs(value):
        warnings.append(f"FID∞: about {found.bias_of_reference:.3g} of {value:.4g} is bias of so few reference images")
    return warnings


def _bias(bias: float, value: float, few: bool) -> str:
    return f"{'at least' if few else 'about'} {min(bias, value):.3g} of {value:.4g} is bias of so few images"


def _unknown(name: str, side: Side) -> list[str]:
    """What a file of statistics does not say."""
    missing = side.unknown + ([] if side.count else ["number of images"])
    if not side.given or not missing:
        return []
    text = f"{name} statistics do not say their {', '.join(missing)}: the value holds only where the other side's agree"
    if not side.count and (found := rank(side.moments())) < len(side.moments().mu):
        text += f"; their covariance has rank {found:,} of {len(side.moments().mu):,}, as {found + 1:,} images give"
    return [text]
