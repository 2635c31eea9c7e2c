"""The metrics' names, and what each of them needs: without torch, so that a wrong name is answered at once."""

import difflib
from collections.abc import Iterable
from typing import NamedTuple, get_args

from gancli.errors import UserError
from gancli.recipe.sections import Metric

METRICS: tuple[Metric, ...] = get_args(Metric)
"""fid alone keeps memory flat and takes the reference as statistics; the others hold N×D features in memory."""
PAIRS = "pairs"
"""psnr, ssim and l1 between each image and the reference's image at the same place."""
NAMES: tuple[str, ...] = (*METRICS, PAIRS)

NEED_REFERENCE: frozenset[Metric] = frozenset({"fid", "kid", "prdc", "fid-infinity", "intra-fid"})
NEED_REFERENCE_FEATURES: frozenset[Metric] = frozenset({"kid", "prdc", "intra-fid"})
NEED_CLASSES: frozenset[Metric] = frozenset({"is", "classes", "accuracy"})
NEED_LABELS: frozenset[Metric] = frozenset({"accuracy", "intra-fid"})

HEADLINES: dict[Metric, tuple[str, ...]] = {
    "fid": ("fid",),
    "kid": ("kid",),
    "is": ("is",),
    "prdc": ("coverage", "precision", "recall", "density"),
    "fid-infinity": ("fid_infinity",),
    "classes": ("confidence",),
    "accuracy": ("accuracy",),
    "intra-fid": ("intra_fid",),
}
"""The values of each metric that a curve is drawn of; the first says which of two models is the better one."""
HIGHER_IS_BETTER: frozenset[Metric] = frozenset({"is", "prdc", "classes", "accuracy"})

LEAST: dict[str, int] = {"fid": 2, "kid": 2, "is": 2, "prdc": 6, "fid-infinity": 20, "intra-fid": 2}
"""Images that a side must have: two have a covariance, fid-infinity begins with a tenth of the images, and prdc needs
each image and its five nearest neighbours."""


class Given(NamedTuple):
    """What is known of a side before an image of it is read.

    Attributes:
        images: how many; None where that is not known.
        statistics: whether it is mean and covariance alone.
        labelled: whether the class of each image is known.
    """

    images: int | None = None
    statistics: bool = False
    labelled: bool = False


def read(words: Iterable[str]) -> list[str]:
    """The names in `--metrics fid,kid --metrics prdc`, each once; spaces around commas do not matter.

    Raises:
        UserError: a name that is none, or no name at all.
    """
    given = [name.strip() for word in words for name in word.split(",")]
    names = list(dict.fromkeys(name for name in given if name))
    check(names)
    if not names:
        raise UserError(f"--metrics: no metric is named: choose from {', '.join(NAMES)}")
    return names


def check(names: Iterable[str]) -> None:
    """Refuse a name that is none.

    Raises:
        UserError: with the nearest name.
    """
    for name in names:
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, 1)
            guess = f"did you mean {near[0]}? There are" if near else "choose from"
            raise UserError(f"--metrics: unknown metric '{name}': {guess} {', '.join(NAMES)}")


def check_served(asked: Iterable[str], subject: Given, reference: Given | None, bootstrap: int = 0) -> None:
    """Refuse what these two sides cannot serve, before a network is loaded or an image is read.

    Args:
        asked: metrics.
        subject: the side that is measured.
        reference: the side that it is compared with; None where there is none.
        bootstrap: resamples for the deviation of the FID.

    Raises:
        UserError: with the metric, what it lacks, and what to name instead.
    """
    asked = list(asked)
    check(asked)
    if bootstrap == 1:
        raise UserError("--bootstrap 1: one resample has no deviation: give at least 2, or leave it out")
    if bootstrap and "fid" not in asked:
        raise UserError("--bootstrap: gives the deviation of the FID: add fid to --metrics, or leave --bootstrap out")
    if subject.statistics and ({*asked} - {"fid"} or bootstrap):
        raise UserError("of statistics only the fid can be measured, without --bootstrap; name the images")
    for metric in asked:
        if metric in NEED_REFERENCE | {PAIRS} and reference is None:
            raise UserError(f"{metric} compares with real images; name them with --against")
        if metric in NEED_REFERENCE_FEATURES | {PAIRS} and reference is not None and reference.statistics:
            raise UserError(f"{metric} needs the reference's images, a statistics file does not hold them; name images")
        if metric in NEED_LABELS and not subject.labelled:
            raise UserError(f"{metric} needs the class of each image; give labelled images")
        if metric == "intra-fid" and reference is not None and not reference.labelled:
            raise UserError(f"{metric} needs the class of each reference image; name labelled data with --against")
        if metric == PAIRS and reference is not None and subject.images != reference.images:
            raise UserError(
                f"{PAIRS}: {subject.images:,} images against {reference.images:,} targets: give one for each"
            )
        sides = [subject, reference] if metric in NEED_REFERENCE else [subject]
        for side in sides:
            if side is not None and side.images is not None and side.images < LEAST.get(metric, 1):
                raise UserError(f"{metric} needs at least {LEAST[metric]} images on a side, there is {side.images}")
