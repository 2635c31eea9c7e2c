"""One side of a comparison: measured in one pass, or read from a file of statistics, and what is known of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from gancli.errors import UserError
from gancli.metrics import fid
from gancli.metrics.features import COMPARED, Features, ProtocolEntries, Sizes, check_comparable
from gancli.metrics.moments import Statistics

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Kept:
    """Images whose statistics are kept between commands: they are read only where nothing is kept yet.

    Args:
        key: the same for the same images.
        batches: the images, when they must be read.
    """

    key: str
    batches: Callable[[], Iterable[Tensor]]


Source = Iterable[Tensor] | Statistics | Kept
"""What a side can be given as: uint8 N×C×H×W batches, statistics, or images whose statistics may be known."""


@dataclass(frozen=True)
class Side:
    """What was measured of one side.

    Attributes:
        count: of its images; None where a file of statistics does not say.
        sizes: of its images, in words; empty where a file does not say.
        protocol: of its features.
        statistics: where a Fréchet distance was asked for.
        features: N×D, where a metric needs more than their sums.
        given: whether the statistics were given, not measured here.
    """

    count: int | None
    sizes: str
    protocol: ProtocolEntries
    statistics: Statistics | None = None
    features: Tensor | None = None
    given: bool = False

    def held(self) -> Tensor:
        """The features that a metric asked to hold."""
        assert self.features is not None
        return self.features

    def moments(self) -> Statistics:
        """The statistics that a metric asked for."""
        assert self.statistics is not None
        return self.statistics

    @property
    def unknown(self) -> list[str]:
        """The entries that must agree on both sides and that are not known of this one."""
        return [name for name in COMPARED if name not in self.protocol and name != "dimensions"]


def measure(source: Source, features: Features | None, *, moments: bool, hold: bool) -> Side:
    """One pass over the images; features are held only where a metric needs more than their sums.

    Under torch.distributed each process gives its own images, and all get the side of all images.

    Args:
        source: the images.
        features: the network; None where the source is statistics.
        moments: whether their mean and covariance are needed.
        hold: whether the features themselves are.

    Raises:
        UserError: there are no images, or features that are not finite.
    """
    if isinstance(source, Statistics):
        return _given(source)
    assert features is not None
    if isinstance(source, Kept):
        if moments and not hold:
            return _given(fid.cached_statistics(source.key, source.batches, features))
        source = source.batches()
    sums, sizes = fid.accumulator(features.dimensions), Sizes()
    held: list[Tensor] = []
    count = 0
    for batch in source:
        sizes.add(batch)
        found = features(batch)
        if not found.isfinite().all():
            raise UserError("the features hold NaN or infinity; check the weights of the feature network")
        if moments:
            sums.update(found, real=True)
        if hold:
            held.append(found)
        count += len(batch)
    protocol = {**features.protocol, "image_size": str(sizes)}
    statistics = fid.accumulated(sums, protocol) if moments else None
    together = gathered(torch.cat([torch.empty(0, features.dimensions), *held])) if hold else None
    if statistics is not None and statistics.n is not None:
        count = statistics.n
    elif together is not None:
        count = len(together)
    if not count:
        raise UserError("there are no images to measure; give at least two")
    return Side(count, str(sizes), features.protocol, statistics, together)


def gathered(mine: Tensor | None) -> Tensor:
    """All processes' rows, process after process."""
    assert mine is not None
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.cat(gather_all_tensors(mine))
    return mine


def check_network(features: Features, given: Statistics) -> None:
    """Refuse statistics of another network before an image is read."""
    check_comparable(features.protocol, given.protocol)
    if len(given.mu) != features.dimensions:
        raise UserError(
            f"the statistics have {len(given.mu)} dimensions, the features of {features.name} {features.dimensions}; "
            "compute both with the same network"
        )


def described(subject: Side, reference: Side | None) -> ProtocolEntries:
    """What is known of both sides: the subject's entries, and the reference's where they differ or are unknown."""
    entries: ProtocolEntries = {name: subject.protocol.get(name, UNKNOWN) for name in COMPARED}
    entries |= {name: entry for name, entry in subject.protocol.items() if name not in (*entries, *NOT_OF_FEATURES)}
    for prefix, side in (("", subject), ("reference_", reference)):
        if side is not None:
            if prefix:
                own = {name: side.protocol.get(name, UNKNOWN) for name in COMPARED}
                entries |= {prefix + name: entry for name, entry in own.items() if entry != entries[name]}
            entries[f"{prefix}images"] = side.count or UNKNOWN
            entries[f"{prefix}image_size"] = side.sizes or UNKNOWN
    return entries


NOT_OF_FEATURES = ("images", "image_size")


def _given(found: Statistics) -> Side:
    protocol: ProtocolEntries = {name: found.protocol[name] for name in COMPARED if name in found.protocol}
    protocol["dimensions"] = len(found.mu)
    return Side(found.n, str(found.protocol.get("image_size", "")), protocol, found, given=True)
