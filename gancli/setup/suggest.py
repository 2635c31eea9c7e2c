"""A first recipe for some data on some machine: which family, which values, and the reason for each."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from gancli import models
from gancli.data import glance
from gancli.data.check import Kind
from gancli.data.glance import Glance
from gancli.errors import UserError
from gancli.recipe import catalogue, reading
from gancli.recipe.data import DISTRIBUTIONS, Data, Distribution, Domains, Pairs, Unpaired
from gancli.recipe.sections import Recipe

FAMILIES: dict[Kind, str] = {"images": "dcgan", "pairs": "pix2pix", "unpaired": "cyclegan", "labelled": "stargan"}
"""The family for each kind of data where the user names none."""
FOR_POINTS = "gan"
REDUCED = {
    "gan": "gan-mnist",
    "dcgan": "dcgan-mnist",
    "wgan": "wgan-gp-mnist",
    "cyclegan": "cyclegan-fruits",
    "stargan": "stargan-fruits",
    "stargan2": "stargan2-fruits",
}
"""The shipped recipes whose networks were tuned for CPUs; other families get half of their default width."""
LARGEST = {"images": (64, 128), "pairs": (128, 256), "unpaired": (128, 256), "labelled": (64, 128)}
"""Side in pixels that images are reduced to on a CPU, and on a GPU."""
SIZES = (8, 16, 32, 64, 128, 256, 512)
FEW = 2000
"""Training images below which a discriminator soon knows them by heart."""
EPOCHS, EPOCHS_FROM_NOISE = 200, 25
"""How often the papers of translators, and DCGAN's, show every image."""
LEAST_STEPS = 500
ENLARGED = 286 / 256
"""Pix2Pix and CycleGAN take a random crop of images enlarged by this."""
HOUR = 3600
ALWAYS = {
    "model",
    "data.source",
    "data.image_size",
    "data.channels",
    "data.direction",
    "train.steps",
    "train.batch_size",
}
"""What a recipe shows although it may be the default: what a user is most likely to change."""


@dataclass(frozen=True)
class Suggestion:
    """A recipe that fits.

    Args:
        family: its name.
        why: the reason for the family, a sentence.
        values: what the recipe file holds.
        reasons: why a value was chosen, by its dotted key.
        base: the shipped recipe that the other values come from; None for the family's defaults.
        seen: what was seen of the data; None for points.
        wanted: steps that the training should have, however long they take.
        decay: share of the steps over which the learning rate falls; None for the family's default.
    """

    family: str
    why: str
    values: dict[str, Any]
    reasons: dict[str, str]
    base: str | None
    seen: Glance | None
    wanted: int
    decay: float | None = None

    def settings(self) -> Recipe:
        """The recipe, validated.

        Raises:
            RecipeError: its values do not go together.
        """
        return models.validate(reading.Document(self.values, {(): reading.Place("gancli init")}))

    def lasting(self, seconds_per_step: float | None, *, hour: bool) -> "Suggestion":
        """The recipe with its length: as many steps as wanted, or as an hour of this machine allows."""
        steps, reason = self.wanted, None
        if hour and seconds_per_step:
            affordable = max(LEAST_STEPS, _round(HOUR / seconds_per_step))
            if affordable < steps:
                steps, reason = affordable, f"about an hour on this machine; {self.wanted:,} would be better"
        train = dict(self.values["train"]) | {
            "steps": steps,
            "samples_every": max(50, _round(steps / 20)),
            "checkpoint_every": max(100, _round(steps / 10)),
        }
        if self.decay is not None:
            train["decay_steps"] = round(self.decay * steps)
        reasons = self.reasons | ({"train.steps": reason} if reason else {})
        return replace(self, values=self.values | {"train": train}, reasons=reasons)


@dataclass
class _Draft:
    """A recipe on the way."""

    family: str
    gpu: bool
    values: dict[str, Any]
    data: dict[str, Any]
    train: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    decay: float | None = None


def suggest(source: str, family: str | None, *, gpu: bool) -> Suggestion:
    """The recipe for a source, of the family that the user names or of the one that suits it best.

    Args:
        source: as `data.source` takes it.
        family: its name, or None.
        gpu: whether a GPU will train.

    Raises:
        UserError: there is no such source or family, or the family does not suit the data.
    """
    if family is not None and family not in models.names():
        raise UserError(f"--family {family}: no such family: take one of {', '.join(models.names())}")
    if source in DISTRIBUTIONS:
        return _for_points(source, family or FOR_POINTS)
    if not source.isprintable():
        raise UserError(f"{source}: a recipe cannot hold this name: rename the folder, or give it another by a link")
    likely = glance.kind_of(source)
    chosen = family or FAMILIES[likely]
    kind = kind_needed(chosen)
    _check_halves(source, chosen, kind, likely)
    try:
        seen = glance.look(glance.as_kind(source, kind))
    except UserError as error:
        if family is None:
            raise
        raise UserError(f"--family {family}: does not suit this data: {error} {_others(source)}") from error
    return _for_images(source, chosen, kind, seen, gpu=gpu)


def kind_needed(family: str) -> Kind:
    """The kind of images that a family learns from, as its recipe says."""
    for section in _sections(family):
        if issubclass(section, Pairs):
            return "pairs"
        if issubclass(section, Unpaired):
            return "unpaired"
        if issubclass(section, Domains):
            return "labelled"
    return "images"


def suited(source: str) -> list[str]:
    """The families that can learn from a source.

    Raises:
        UserError: there is no such source.
    """
    if source in DISTRIBUTIONS:
        return [name for name in models.names() if any(issubclass(s, Distribution) for s in _sections(name))]
    likely = glance.kind_of(source)
    kinds = []
    for kind in FAMILIES:
        try:
            _check_halves(source, "", kind, likely)
            glance.as_kind(source, kind)
        except UserError:
            continue
        kinds.append(kind)
    return [name for name in models.names() if kind_needed(name) in kinds]


def _sections(family: str) -> Iterator[type[Any]]:
    yield from reading.sections(models.schema(family).model_fields["data"].annotation)


def _check_halves(source: str, family: str, kind: Kind, likely: Kind) -> None:
    if kind != "pairs" and likely == "pairs" and getattr(glance.as_kind(source, "pairs"), "layout", "") != "folders":
        raise UserError(
            f"--family {family}: does not suit this data: each image of {source} holds a pair side by side, and it "
            f"would learn both halves as one picture (families that suit: {FAMILIES['pairs']})"
        )


def _others(source: str) -> str:
    return f"(families that suit: {', '.join(suited(source)) or 'none'})"


def _for_points(source: str, family: str) -> Suggestion:
    takers = suited(source)
    if family not in takers:
        raise UserError(
            f"--family {family}: does not suit this data: {source} gives points, and {family} learns from images "
            f"{_others(source)}"
        )
    name = _shipped(family, source) or _shipped(family, "ring-2d")
    base = _values(name)
    values = {name: value for name, value in base.items() if name not in ("data", "train", "evaluate")}
    own = base.get("data", {}) if base.get("data", {}).get("source") == source else {}
    train = {name: value for name, value in base.get("train", {}).items() if name in ("batch_size", "ema", "log_every")}
    steps, decay = _length(base)
    values |= {"model": family, "data": {**own, "source": source}, "train": train}
    why = f"{source} gives points of a known distribution, which {' and '.join(takers)} learn"
    return Suggestion(family, why, values, {}, name, None, steps or 4000, decay)


def _for_images(source: str, family: str, kind: Kind, seen: Glance, *, gpu: bool) -> Suggestion:
    name = _base(family, source, seen, gpu=gpu)
    base = _values(name)
    values = {name: value for name, value in base.items() if name not in ("data", "train", "evaluate", "extends")}
    train = {name: value for name, value in base.get("train", {}).items() if name in ("batch_size", "ema")}
    draft = _Draft(family, gpu, values | {"model": family}, {"source": glance.absolute(source)}, train)
    tuned = base.get("data", {}).get("source") == source
    steps, draft.decay = _length(base)
    if not base and not gpu:
        _halve_width(draft)
    _describe(draft, kind, seen)
    _size(draft, kind, seen, base if tuned else {})
    _teach(draft, kind, seen, tuned=tuned)
    _batches(draft, seen)
    if steps is None or (kind != "images" and not tuned):
        steps = max(steps or 0, _wanted(draft, kind, seen))
    return Suggestion(
        family,
        _why(kind, seen),
        {**draft.values, "data": draft.data, "train": draft.train, **_evaluation(draft, kind, seen)},
        draft.reasons,
        name,
        seen,
        steps,
        draft.decay,
    )


def _shipped(family: str, source: str, *, conditional: bool = False) -> str | None:
    """A shipped recipe of this family for this very source; rather a conditional one where asked."""
    found = {name: _values(name) for name in catalogue.names()}
    alike = [name for name, v in found.items() if v["model"] == family and v["data"]["source"] == source]
    return min(alike, key=lambda name: found[name].get("conditional", False) != conditional, default=None)


def _base(family: str, source: str, seen: Glance, *, gpu: bool) -> str | None:
    """The recipe to begin with: one for this source or, without a GPU, one for CPUs; None for the papers' defaults."""
    if same := _shipped(family, source, conditional=bool(seen.inventory.classes)):
        return same
    return None if gpu else REDUCED.get(family)


def _values(shipped: str | None) -> dict[str, Any]:
    return reading.read(catalogue.find(shipped)).values if shipped else {}


def _length(base: dict[str, Any]) -> tuple[int | None, float | None]:
    """The steps of a recipe, and the share of them over which the learning rate falls; None where it does not say."""
    train = base.get("train", {})
    steps = train.get("steps")
    return steps, train["decay_steps"] / steps if steps and "decay_steps" in train else None


def _halve_width(draft: _Draft) -> None:
    width = models.schema(draft.family).model_fields.get("width")
    if width is not None and isinstance(width.default, int):
        draft.values["width"] = max(8, width.default // 2)
        draft.reasons["width"] = f"half of the default {width.default}, as there is no GPU"


def _describe(draft: _Draft, kind: Kind, seen: Glance) -> None:
    """What the data section says of the source besides the size."""
    data = draft.data
    for name in ("layout", "domains", "direction"):
        value = getattr(seen.settings, name, None)
        if value is not None and name in type(seen.settings).model_fields:
            data[name] = list(value) if isinstance(value, tuple) else value
    if kind == "pairs" and seen.drawn == "b":
        data["direction"] = "b-to-a"
        draft.reasons["data.direction"] = "B looks drawn beside A, so a drawing becomes a photograph; or the other way"
    if kind == "unpaired" and (more := len(_classes(seen)) - 2) > 0:
        draft.reasons["data.domains"] = f"the first two of the folders; there are {more} more"
    data["channels"] = 1 if seen.gray else 3
    if seen.gray:
        draft.reasons["data.channels"] = f"all of the {seen.looked} images looked at are gray"
    elif not glance.SHAPES.fullmatch(data["source"]):
        data["flip"] = True
        draft.reasons["data.flip"] = "photographs may be mirrored; leave it out where left and right differ"


def _size(draft: _Draft, kind: Kind, seen: Glance, same: dict[str, Any]) -> None:
    """The size that the networks see: that of the images, or what this machine can train and the family can build."""
    natural, most = min(seen.size), LARGEST[kind][draft.gpu]
    start = max((size for size in SIZES if size <= most and size <= natural * 1.25), default=SIZES[0])
    preferred = [size for size in SIZES if size >= start] + [size for size in reversed(SIZES) if size < start]
    if same:
        preferred.insert(0, same["data"]["image_size"])
    mistakes: list[reading.Mistake] = []
    for size in preferred:
        draft.data["image_size"] = size
        if kind in ("pairs", "unpaired") and not same:
            draft.data["enlarge"] = round(size * ENLARGED)
            draft.reasons["data.enlarge"] = "a random crop of it is taken, so that no image is seen twice alike"
        document = reading.Document(draft.values | {"data": draft.data}, {(): reading.Place("gancli init")})
        _, mistakes = reading.check(models.schema(draft.family), document)
        if not mistakes:
            break
    else:
        raise reading.RecipeError(mistakes)
    height, width = seen.size
    theirs = f"the images have {height}×{width} pixels (height×width){'' if seen.alike else ' or other sizes'}"
    if size < natural:
        theirs += f"; more than {size} would take long here" if size == most else ""
    if max(height, width) > 1.1 * min(height, width):
        theirs += "; each is cut to a square, unless data.resize is contain or stretch"
    draft.reasons["data.image_size"] = theirs


def _teach(draft: _Draft, kind: Kind, seen: Glance, *, tuned: bool) -> None:
    """Labels and augmentation, for families that have such fields."""
    fields, classes, count = models.schema(draft.family).model_fields, seen.inventory.classes, seen.count("train")
    if "conditional" in fields:
        draft.values.pop("conditional", None)
        if classes:
            draft.values["conditional"] = True
            draft.reasons["conditional"] = f"there are {len(classes)} classes"
    if "augment" in fields and count < FEW and not tuned:
        draft.values["augment"] = [*([] if seen.gray else ["colour"]), "translation", "cutout"]
        draft.reasons["augment"] = f"{count:,} images are few, and the discriminator would soon know them by heart"


def _batches(draft: _Draft, seen: Glance) -> None:
    """The family's batch size, or what the images allow."""
    default = models.schema(draft.family).model_fields["train"].default.batch_size
    wanted = draft.train.get("batch_size", default)
    fewest = min(map(len, seen.inventory.groups["train"]))
    draft.train["batch_size"] = min(wanted, 2 ** int(math.log2(fewest)))
    if draft.train["batch_size"] < wanted:
        draft.reasons["train.batch_size"] = f"{wanted} would be more than the {fewest} training images"


def _wanted(draft: _Draft, kind: Kind, seen: Glance) -> int:
    """As many steps as the papers take, by epochs where they count so."""
    default: int = models.schema(draft.family).model_fields["train"].default.steps
    epoch = max(map(len, seen.inventory.groups["train"])) / int(draft.train["batch_size"])
    if kind in ("pairs", "unpaired"):
        return max(10_000, _round(EPOCHS * epoch))
    return max(2 * default, _round(EPOCHS_FROM_NOISE * epoch)) if kind == "images" else default


def _evaluation(draft: _Draft, kind: Kind, seen: Glance) -> dict[str, Any]:
    """Features that need no download where the data have labels to train a classifier on."""
    if not _classes(seen) and kind not in ("pairs", "unpaired"):
        return {}
    what = "the classes" if _classes(seen) else "A and B"
    draft.reasons["evaluate.features"] = (
        f"a classifier of {what}, which needs no download; inception gives the FID that papers print, after "
        "gancli fetch inception"
    )
    return {"evaluate": {"features": "classifier"}}


def _classes(seen: Glance) -> tuple[str, ...]:
    """The class folders of a source, those of two domains included."""
    if seen.inventory.classes or seen.settings.matched:
        return seen.inventory.classes
    sides = {rows.sources[0].where for rows in seen.inventory.groups["train"]}
    return glance.classes_of(seen.settings.source) if len(sides) == 1 else ()


def _why(kind: Kind, seen: Glance) -> str:
    settings: Data = seen.settings
    if settings.paired:
        how = "two images side by side" if settings.halves == 2 else "files of the same names in A and B"
        return f"the images are pairs ({how}), from which it learns what an input should become"
    if kind == "unpaired":
        return "there are two domains of images without pairs, each of which it turns into the other"
    if kind == "labelled":
        return "there is a folder for each domain, and it turns an image into any of them"
    labels = f"in {len(seen.inventory.classes)} classes" if seen.inventory.classes else "without labels"
    return f"there are images {labels}, and it makes new ones like them from noise"


def _round(number: float) -> int:
    """The number with its first digit alone, or 1.5 or 2.5 times a power of ten: 1,742 becomes 1,500."""
    power = 10 ** math.floor(math.log10(max(1, number)))
    return max(int(step * power) for step in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9) if step * power <= max(1, number))
