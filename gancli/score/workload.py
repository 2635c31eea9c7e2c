"""How much memory and time a measurement takes, estimated before it begins."""

import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from gancli import memory
from gancli.errors import UserError
from gancli.metrics import fid, kid, names, prdc
from gancli.metrics.features import Features
from gancli.score.subject import Subject

FEW = 5000
"""Images that are measured without an estimate of the time: it would cost more than it tells."""
PROBED = 16
"""Images of a batch that are timed."""
HOUR = 3600.0
LONGEST = 7 * 24 * HOUR
"""Seconds beyond which a measurement is taken for a mistake."""
BYTES = 20
"""For each held feature: as it is found, beside the others, and in float64 with one copy."""
LABEL = 50
"""Bytes of a label while all are listed."""

Sides = Mapping[str, tuple[Subject, Subject | None]]


def check(
    sides: Sides,
    features: Features | None,
    metrics: Collection[str],
    bootstrap: int,
    advice: str,
    note: Callable[[str], None] | None = None,
) -> None:
    """Refuse a measurement that cannot fit into memory or that would take weeks; say when it takes hours.

    Args:
        sides: what is measured, and what it is compared with.
        features: the network; None where no metric needs one.
        metrics: what is measured.
        bootstrap: resamples for the deviation of the FID.
        advice: what to ask for instead.
        note: told of a long measurement.

    Raises:
        UserError: it does not fit, or takes longer than a week, with the estimate.
    """
    if features is None:
        return
    hold = bool({*metrics} - {"fid", names.PAIRS}) or bootstrap > 0
    hold_reference = bool(names.NEED_REFERENCE_FEATURES & {*metrics})
    for subject, reference in sides.values():
        held = hold * _count(subject) + hold_reference * _count(reference)
        needed = 60 * features.dimensions**2 + BYTES * features.dimensions * held
        needed += LABEL * subject.count * bool(names.NEED_LABELS & {*metrics})
        memory.check(needed, f"measuring {', '.join(metrics)} of {subject.count:,} images", advice)
    counts = [_count(side) for pair in sides.values() for side in pair]
    if max(counts) <= FEW and bootstrap <= 10:
        return
    seconds = sum(_seconds(*pair, features, {*metrics}, bootstrap) for pair in sides.values())
    if seconds > LONGEST:
        raise UserError(f"this measurement would take about {_words(seconds)} on this machine: {advice}")
    if seconds > HOUR and note is not None:
        note(f"this measurement takes about {_words(seconds)} on this machine")


def _seconds(
    subject: Subject, reference: Subject | None, features: Features, metrics: set[str], bootstrap: int
) -> float:
    """Of one comparison, from the time that a few of its images take."""
    n, m = _count(subject), _count(reference)
    seconds = _rate(subject, features) * n
    if reference is not None and m and names.NEED_REFERENCE & metrics and not is_kept(reference, features, metrics):
        seconds += _rate(reference, features) * m
    pairs = ("prdc" in metrics) * (n + m) ** 2
    if "kid" in metrics and m:
        most = kid.LARGEST * kid.SUBSET_SIZE
        drawn = 3 * kid.SUBSETS * kid.SUBSET_SIZE**2
        pairs += drawn if kid.drawn(n, m) else (min(n, most) + min(m, most)) ** 2
    if pairs:
        some = torch.randn(prdc.BLOCK, features.dimensions, dtype=torch.float64)
        seconds += pairs * _timed(lambda: some @ some.T) / prdc.BLOCK**2
    if bootstrap:
        rows = min(n, 4096)
        some = torch.randn(rows, features.dimensions)
        moments = fid.of_features(some, {})
        each = _timed(lambda: fid.distance(moments, moments)) + _timed(lambda: fid.of_features(some, {})) * n / rows
        seconds += bootstrap * each
    return seconds


def _rate(side: Subject, features: Features) -> float:
    """Seconds of one image: making or reading it, and its features."""
    with _reading(side) as batches:
        first = next(batches, torch.empty(0))[:PROBED]
        if not len(first):
            return 0.0
        start = time.perf_counter()
        second = next(batches, first)
        made = (time.perf_counter() - start) / len(second)
    features(first)  # the first time is also that of getting ready
    return made + _timed(lambda: features(first)) / len(first)


@contextmanager
def _reading(side: Subject) -> Iterator[Iterator[Tensor]]:
    """The batches of a side; what stands between them ends here, above all torch's modes in which they are made."""
    batches = side.batches()
    try:
        yield batches
    finally:
        if isinstance(batches, Generator):
            batches.close()


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def is_kept(reference: Subject, features: Features | None, metrics: Collection[str]) -> bool:
    """Whether no image of the reference is read, as its statistics do and are known."""
    if (names.NEED_REFERENCE_FEATURES | {names.PAIRS}) & {*metrics}:
        return False
    return reference.key is not None and features is not None and fid.is_kept(reference.key, features)


def _count(side: Subject | None) -> int:
    return 0 if side is None or side.statistics is not None else side.count


def _words(seconds: float) -> str:
    for unit, size in (("years", 365.25 * 24 * HOUR), ("days", 24 * HOUR), ("hours", HOUR)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds / 60:,.0f} minutes"
