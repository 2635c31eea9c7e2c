"""What is compared when something is scored: words become the two sides, and a feature network."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gancli.errors import UserError

if TYPE_CHECKING:
    from gancli.gan.image_to_image import FromImages
    from gancli.metrics.features import Features, ProtocolEntries
    from gancli.metrics.inception import Precision
    from gancli.metrics.resize import Resize
    from gancli.runs.run import Run
    from gancli.score.subject import Subject

    Sides = dict[str, tuple[Subject, Subject | None]]
    """What is measured and what it is compared with; of a run that translates images for each direction."""


@dataclass(frozen=True)
class Words:
    """What the options say of the two sides."""

    subject: str
    against: str | None
    split: str | None
    count: int | None
    seed: int
    direction: str | None
    best: bool
    ignore_orientation: bool


class Network(NamedTuple):
    """What the options say of the feature network."""

    name: str | None
    weights: Path | None
    resize: "Resize | None"
    precision: "Precision"

    def load(self, sides: "Sides", fitting: Callable[[int, int], None]) -> "Features | None":
        """The feature network; none where both sides are statistics, which need none.

        Args:
            sides: what is compared.
            fitting: called with (steps done, steps in all) where a classifier is fitted.

        Raises:
            UserError: an option that nothing uses, or a network that cannot be had.
        """
        from gancli.score import scoring

        subject, reference = next(iter(sides.values()))
        if subject.statistics and reference and reference.statistics:
            given = {"--features": self.name, "--weights": self.weights, "--resize": self.resize}
            if unused := [option for option, value in given.items() if value is not None]:
                raise UserError(f"{unused[0]}: both sides are statistics, which need no network: leave it out")
            return None
        return scoring.network(
            self.name,
            subject,
            reference,
            weights=self.weights,
            resize=self.resize,
            precision=self.precision,
            progress=lambda done, total, _: fitting(done, total),
        )


def sides_of(words: Words) -> "Sides":
    """Open both sides; no image is read yet.

    Raises:
        UserError: a word that means nothing, or an option that nothing uses.
    """
    from gancli.score import scoring, subjects

    upright = not words.ignore_orientation
    model, protocol, run = subjects.model_of(words.subject, best=words.best) or (None, {}, None)
    if model is not None and model.targets:
        if words.count is not None:
            raise UserError(f"--count {words.count}: all test images are translated: leave it out")
        sides = _directions(model.translator(), protocol, run, words)
    else:
        if words.direction is not None:
            raise UserError(f"--direction: {words.subject} is not a run that translates images: leave it out")
        measured = subjects.find(
            words.subject,
            split=None if words.against else words.split,
            count=words.count,
            seed=words.seed,
            best=words.best,
            upright=upright,
        )
        if words.against is None:
            compared = scoring.reference_of(measured, words.split)
        else:
            compared = subjects.find(
                words.against, split=words.split, count=words.count, seed=words.seed, upright=upright
            )
        if words.count is not None and not any(side.generated for side in (measured, compared) if side):
            raise UserError(f"--count {words.count}: neither side is generated, all images are measured: leave it out")
        sides = {"": (measured, compared)}
    found = [side.protocol.get("exif_orientation") for pair in sides.values() for side in pair if side]
    if words.ignore_orientation and "ignored" not in found:
        raise UserError("--ignore-orientation: neither side is a folder or a zip of image files: leave it out")
    return sides


def _directions(
    model: "FromImages", protocol: "ProtocolEntries", run: "Run | None", words: Words
) -> "dict[str, tuple[Subject, Subject | None]]":
    from gancli.score import subjects

    split = None if words.against else words.split
    sides = subjects.comparisons(model, words.seed, split or "test", protocol, run)
    if words.direction not in (None, *sides):
        raise UserError(f"--direction {words.direction}: this run learnt {', '.join(sides)}: take one of these")
    chosen = {name: pair for name, pair in sides.items() if words.direction in (None, name)}
    if words.against is None:
        return {**chosen}
    reference = subjects.find(words.against, split=words.split, upright=not words.ignore_orientation)
    return {name: (fakes, reference) for name, (fakes, _) in chosen.items()}


def only(sides: "Sides", option: str) -> "tuple[Subject, Subject | None]":
    """The one comparison there is.

    Raises:
        UserError: there are several directions, and `option` is of one.
    """
    if len(sides) > 1:
        raise UserError(f"{option}: works on one direction: choose it with --direction from {', '.join(sides)}")
    return next(iter(sides.values()))
