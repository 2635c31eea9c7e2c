"""Turns: what the command line asks of a family of many domains, as what is done to each image, by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from torch import Tensor

from gancli import outputs
from gancli.data.pixels import BadImage, Form, fit
from gancli.data.sources import Source
from gancli.errors import UserError
from gancli.gan.image_to_image import FromImages, Styled
from gancli.make.images import Pixels
from gancli.make.tiles import Turn, tensor
from gancli.seeds import Seeds

MOST = 100
"""Turns at once: styles, references or targets."""


@dataclass(frozen=True)
class Turns:
    """What is done to every image.

    Args:
        turns: by the name of the folder that the results go to; a single one has none.
        references: the images whose styles they are, in the turns' order; empty where there are none.
    """

    turns: Mapping[str, Turn]
    references: Sequence[Pixels] = field(default_factory=tuple)


def of_targets(model: FromImages, targets: Sequence[str], seeds: Seeds) -> Turns:
    """Every target, in the style of every seed where the family has styles.

    Args:
        model: of the family.
        targets: as `check_target` allows; none stands for all.
        seeds: of the styles; of a family without styles only one.

    Raises:
        UserError: a target makes no sense, or there are too many.
    """
    targets = tuple(dict.fromkeys(targets)) or model.every_target
    for target in targets:
        model.check_target(target)
    if seeds.count > 1 and model.stylist() is None:
        raise UserError(f"--styles {seeds.count}: {model.recipe.model} has one style of each domain: leave it out")
    _few(len(targets) * seeds.count)
    turns: dict[str, Turn] = {}
    for target in targets:
        for seed in seeds:
            parts = ([outputs.label(target)] if len(targets) > 1 else []) + (
                [f"style-{seed}"] if seeds.count > 1 else []
            )
            turns["/".join(parts)] = _seeded(model, target, seed)
    return Turns(turns)


def of_references(model: FromImages, references: Source, targets: Sequence[str]) -> Turns:
    """In the style of every reference, as an image of the target or of the domain whose folder it stands in.

    Raises:
        UserError: the family takes no references, one cannot be read, or its domain is not known.
    """
    if (stylist := model.stylist()) is None:
        raise UserError(f"--reference: {model.recipe.model} takes no styles from images: leave it out")
    if len(targets) > 1:
        raise UserError("--reference: works with one domain: name it with --domain, or give a folder for each domain")
    data = model.recipe.data.images
    form = Form(*data.size, data.channels, None, data.resize, data.background)
    turns: dict[str, Turn] = {}
    shown: list[Pixels] = []
    _few(len(references.names))
    for place, name in enumerate(references.names):
        path = PurePosixPath(name)
        target = targets[0] if targets else path.parent.name
        if not targets and target not in model.targets:
            known = ", ".join(model.targets)
            raise UserError(f"--reference: {name}: of which domain? give --domain, or a folder for each of {known}")
        model.check_target(target)
        try:
            pixels = fit(references.open(place), form)
        except (BadImage, OSError) as error:
            raise UserError(f"--reference: {name}: {error}: fix or remove it") from error
        turn = _styled(stylist, stylist.styles_of(tensor(pixels[None]), target))
        folder = outputs.path(name.removesuffix(path.suffix)) if len(references.names) > 1 else ""
        if folder in turns:
            raise UserError(f"--reference: {name} and another one have the same name but for the ending: rename one")
        turns[folder] = turn
        shown.append(pixels)
    return Turns(turns, shown)


def _seeded(model: FromImages, target: str, seed: int) -> Turn:
    return lambda images: model.translate(images, target, [seed] * len(images))


def _styled(model: Styled, style: Tensor) -> Turn:
    return lambda images: model.styled(images, style)


def _few(count: int) -> None:
    if count > MOST:
        raise UserError(f"more than {MOST} targets, styles or references at once ({count:,}): ask for fewer")
