"""Whether the test split holds enough images to evaluate on, asked before a training starts."""

from collections.abc import Sequence

from gancli.data.dataset import load, load_domain, members, splits_of
from gancli.data.inventory import take_inventory
from gancli.data.settings import Data
from gancli.errors import UserError

FEWEST = 2
"""Images that any statistic of features needs."""


def need_tested(settings: Data, domains: Sequence[str] = (), fewest: int = FEWEST) -> None:
    """Check that the test split can be evaluated on. Nothing is decoded unless bad images are to be skipped.

    Args:
        settings: the recipe's data section.
        domains: those whose test images are needed, as `load_domain` knows them; none for all images of the split.
        fewest: images that each must have.

    Raises:
        UserError: there is no test split, or it holds fewer images, in all or of a domain.
    """
    there = splits_of(settings)
    what = f"data.source: {settings.source}"
    advice = "add some, set data.holdout higher, or set evaluate.every=null"
    if "test" not in there:
        raise UserError(f"{what} has no test split, which evaluations need: {advice}")
    for domain in domains or ("",):
        count = _count(settings, domain)
        if count < fewest:
            found = f"{count} test image{'' if count == 1 else 's'}{f' of {domain}' if domain else ''}"
            raise UserError(f"{what} has {found}, and evaluations need {fewest} or more: {advice}")


def _count(settings: Data, domain: str) -> int:
    """How many test images there are, in all or of a domain, without those that are skipped."""
    if settings.on_bad_image == "skip":
        found = load_domain(settings, domain, "test") if domain else load(settings, "test")
        return min(map(len, found.images.values()))
    inventory = take_inventory(settings)
    groups = inventory.groups["test"]
    if not domain:
        return min(map(len, groups))
    if inventory.labels is None:
        return next(len(rows) for rows in groups if domain in rows.keys)
    return len(members(inventory.labels["test"], inventory.classes, domain))
