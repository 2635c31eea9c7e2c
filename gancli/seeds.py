"""Seeds as they are asked for: ranges, none of which is written out, however many seeds they hold."""

from collections.abc import Iterator
from itertools import pairwise

from gancli.errors import UserError

LARGEST = 2**63 - 1
"""What a file of arrays can hold."""


class Seeds:
    """Seeds in their order, as ranges."""

    def __init__(self, *ranges: range) -> None:
        self.ranges = ranges

    @property
    def count(self) -> int:
        """How many; `len` knows no number this large."""
        return sum(part.stop - part.start for part in self.ranges)

    def __iter__(self) -> Iterator[int]:
        for part in self.ranges:
            yield from part


def following(first: int, count: int) -> Seeds:
    """So many seeds from the first on.

    Raises:
        UserError: they go beyond the largest one.
    """
    if first + count - 1 > LARGEST:
        raise UserError(f"--seed {first}: the largest seed is {LARGEST}: give a smaller --seed or --count")
    return Seeds(range(first, first + count))


def parse(text: str, option: str) -> Seeds:
    """3,7,100-120 as seeds.

    Raises:
        UserError: it is no list of seeds, or holds one twice.
    """
    try:
        found = []
        for part in text.split(","):
            first, dash, last = part.partition("-")
            found.append(range(int(first), int(last if dash else first) + 1))
    except ValueError:
        raise UserError(f"{option} {text[:100]}: expected numbers and ranges, as in 3,7,100-120") from None
    ordered = sorted(found, key=lambda part: part.start)
    if any(not part for part in found) or any(b.start < a.stop for a, b in pairwise(ordered)):
        raise UserError(f"{option} {text[:100]}: expected each seed once, ranges upwards, as in 3,7,100-120")
    if ordered[-1].stop - 1 > LARGEST:
        raise UserError(f"{option} {text[:100]}: the largest seed is {LARGEST}: give smaller ones")
    return Seeds(*found)
