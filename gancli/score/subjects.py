"""What can be measured: from a word on the command line to images in their order, or to statistics of images."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageColor
from torch import Tensor

from gancli import files, models
from gancli.data import sources, store
from gancli.data.dataset import NO, Dataset, decode, form_of, load_domain, members
from gancli.data.inventory import take_inventory
from gancli.data.prepare import prepare
from gancli.gan.adversarial import Adversarial
from gancli.gan.image_to_image import FromImages
from gancli.make import images
from gancli.make.images import Pixels
from gancli.metrics.features import ProtocolEntries
from gancli.metrics.moments import Statistics, is_statistics
from gancli.recipe import catalogue, reading
from gancli.recipe.sections import Recipe
from gancli.runs import opening, words
from gancli.runs.run import Run
from gancli.score.originals import of_source
from gancli.score.subject import BATCH, Subject, Told, tensor

LATENTS = 64 * BATCH
SAID = (
    "data",
    "split",
    "domain",
    "exif_orientation",
    "weights_file",
    "sha256",
    "model",
    "step",
    "first_seed",
    "direction",
)
"""What a file of statistics may say of its images; nothing else of it gets into a record."""
BY_REFERENCE = " by reference"
"""After the name of a direction: in the styles of references."""


def find(
    word: str,
    *,
    split: str | None = None,
    count: int | None = None,
    seed: int = 0,
    best: bool = False,
    upright: bool = True,
) -> Subject:
    """What a word means.

    Args:
        word: a run or a lone model.safetensors (what it generates), a recipe (its data, as its networks see it), an
            .npz of statistics, or a source of images: a folder, an archive, a fetched or built-in set.
        split: of data; None takes train, or everything where a source names no splits.
        count: images to generate; None takes the recipe's number.
        seed: of the first image; the others follow it.
        best: the run's weights of the best evaluation.
        upright: whether photographs of a source are turned as their EXIF orientation says.

    Raises:
        UserError: it means nothing, or nothing that can be measured.
    """
    path = Path(word).expanduser()
    if found := model_of(word, best=best):
        model, protocol, run = found
        return of_model(model, count or model.recipe.evaluate.images, seed, protocol, run)
    if path.suffix == ".npz" and path.is_file() and is_statistics(path):
        statistics = Statistics.load(path)
        said = {name: statistics.protocol[name] for name in SAID if name in statistics.protocol}
        entries: ProtocolEntries = {"statistics": word, **said}
        return Subject(lambda: iter(()), statistics.n or 0, entries, lambda: None, statistics=statistics)
    if path.suffix in (".yaml", ".yml") or (not path.exists() and word in catalogue.names()):
        return of_data(models.validate(reading.read(catalogue.find(word))), split or "train")
    words.check(word)
    return of_source(word, split, upright=upright)


def model_of(word: str, *, best: bool = False) -> tuple[Adversarial, ProtocolEntries, Run | None] | None:
    """The model that a word means, what is said of it, and its run; None where the word means none.

    Args:
        word: a run or a lone model.safetensors.
        best: the run's weights of the best evaluation.

    Raises:
        UserError: the run has no weights, or damaged ones.
    """
    path = Path(word).expanduser()
    if not (words.is_model(path) or best):
        return None
    file = opening.weights_of(path, best=best)
    protocol: ProtocolEntries = {"run": word, "weights_file": file.name, "sha256": files.sha256(file)}
    return opening.open_model(file), protocol, Run(path) if path.is_dir() else None


def of_model(
    model: Adversarial, count: int, seed: int, protocol: ProtocolEntries | None = None, run: Run | None = None
) -> Subject:
    """What a model generates from `count` seeds on, rounded to 8 bits as a PNG is; draws no global random number.

    Raises:
        UserError: it does not start from noise.
    """
    maker = model.maker()
    background = model.recipe.data.images.background
    seeds = range(seed, seed + count)

    def batches() -> Iterator[Tensor]:
        for start in range(0, count, LATENTS):
            some = seeds[start : start + LATENTS]
            made = maker.sample([maker.latent(s) for s in some], [maker.label(s) for s in some])
            for batch in made:
                yield tensor(_opaque(images.pixels(batch), background))

    def labels() -> NDArray[Any] | None:
        return np.arange(seed, seed + count) % len(maker.classes) if maker.classes else None

    entries: ProtocolEntries = {**(protocol or {}), "model": model.recipe.model, "step": model.step, "first_seed": seed}
    return Subject(batches, count, entries, labels, maker.classes, None, model.recipe, run)


def comparisons(
    model: FromImages, seed: int, split: str, protocol: ProtocolEntries | None = None, run: Run | None = None
) -> dict[str, tuple[Subject, Subject]]:
    """By direction, the test images of the origin turned into the target, and real images of the target.

    Of a family with styles each direction is there twice: in styles of seeds, and `by reference`.

    Args:
        model: rounds its translations to 8 bits as a PNG does, and draws no global random number.
        seed: of the first image; the others follow it.
        split: of the real images.
        protocol: what is said of the model.
        run: the run that it is of.

    Raises:
        UserError: its data have no such split, or are not here.
    """
    found: dict[str, tuple[Subject, Subject]] = {}
    for direction, (_, target) in model.directions.items():
        reals = of_domain(model.recipe, target, split)
        found[direction] = of_translation(model, direction, seed, protocol, run), reals
        if model.stylist():
            guided = of_translation(model, direction, seed, protocol, run, by_reference=True)
            found[direction + BY_REFERENCE] = guided, reals
    return found


def of_translation(
    model: FromImages,
    direction: str,
    seed: int,
    protocol: ProtocolEntries | None = None,
    run: Run | None = None,
    *,
    by_reference: bool = False,
) -> Subject:
    """The test images of one domain turned into another, each labelled with what it should be.

    By reference, each takes the style of a test image of the target: the first of the first, and so on, around.
    """
    origin, target = model.directions[direction]
    stylist = model.stylist() if by_reference else None
    inputs, references = (of_domain(model.recipe, domain, "test") for domain in (origin, target))
    background = model.recipe.data.images.background

    def ready(batch: Tensor) -> Tensor:
        return prepare({"image": batch}, model.recipe.data, training=False)["image"]

    def batches() -> Iterator[Tensor]:
        first = seed
        styles = itertools.cycle(image for batch in references.batches() for image in batch)
        for batch in inputs.batches():
            if stylist is not None:
                shown = torch.stack([*itertools.islice(styles, len(batch))])
                made = stylist.styled(ready(batch), stylist.styles_of(ready(shown), target))
            else:
                made = model.translate(ready(batch), target, range(first, first + len(batch)))
            yield tensor(_opaque(images.pixels(made), background))
            first += len(batch)

    entries: ProtocolEntries = {**(protocol or {}), "model": model.recipe.model, "step": model.step}
    entries |= {"direction": direction, "inputs": "test split"}
    entries |= {"references": "test split"} if by_reference else {"first_seed": seed}
    if model.dropout is not None:
        entries["dropout"] = "on" if model.dropout else "off"
    number = inputs.classes.index(target)
    labels = np.full(inputs.count, number)
    return Subject(
        batches,
        inputs.count,
        entries,
        lambda: labels,
        inputs.classes,
        None,
        model.recipe,
        run,
        prepare=inputs.prepare,
    )


def of_domain(settings: Recipe, domain: str, split: str) -> Subject:
    """The images of one domain in a split of a recipe's data, at the networks' size, labelled among all domains.

    Raises:
        UserError: there is no such data or split.
    """
    data = settings.data.images
    inventory = take_inventory(data)
    if split not in inventory.groups:
        load_domain(data, domain, split)  # says what there is
    names = inventory.classes or ("a", "b")
    number = names.index(domain.removeprefix(NO))

    decoded = _once(lambda progress: load_domain(data, domain, split, progress))

    def batches() -> Iterator[Tensor]:
        array = decoded().images["image"]
        for start in range(0, len(array), BATCH):
            places = np.arange(start, min(start + BATCH, len(array)))
            yield tensor(_opaque(np.array(array[places]), data.background))

    groups = inventory.groups[split]
    rows = [group.key(form_of(data, data.size)) for group in groups]
    if data.on_bad_image == "skip":
        count = len(decoded())  # how many are left out is known only then
    elif inventory.labels is None:
        count = next(len(group) for group in groups if domain in group.keys)
    else:
        count = len(members(inventory.labels[split], names, domain))
    labels = np.full(count, number)
    protocol: ProtocolEntries = {"data": data.source, "split": split, "domain": domain, **_turned(groups)}
    return Subject(batches, count, protocol, lambda: labels, names, repr((rows, domain)), settings, prepare=decoded)


def labelled(settings: Recipe, split: str) -> Subject:
    """A split of a recipe's data, each image with its class: of two domains, the domain.

    Raises:
        UserError: there is no such data or split.
    """
    data = settings.data.images
    if data.keys == ("image",):
        return of_data(settings, split)
    sides = [of_domain(settings, domain, split) for domain in ("a", "b")]
    labels = np.repeat(range(len(sides)), [side.count for side in sides])
    return Subject(
        lambda: itertools.chain.from_iterable(side.batches() for side in sides),
        sum(side.count for side in sides),
        {"data": data.source, "split": split},
        lambda: labels,
        sides[0].classes,
        repr([side.key for side in sides]),
        settings,
        prepare=lambda told: _all(sides, told),
    )


def of_data(settings: Recipe, split: str) -> Subject:
    """A split of a recipe's data at the networks' size, not enlarged or mirrored; of two domains the target, B.

    Raises:
        UserError: there is no such data or split.
    """
    data = settings.data.images.model_copy(update={"enlarge": None})
    inventory = take_inventory(data)

    decoded = _once(lambda progress: decode(data, inventory, split, progress))
    if split not in inventory.groups:
        decoded()  # says what there is
    key = inventory.groups[split][-1].keys[-1]

    def batches() -> Iterator[Tensor]:
        array = decoded().images[key]
        for start in range(0, len(array), BATCH):
            yield tensor(_opaque(np.array(array[start : start + BATCH]), data.background))

    rows = [group.key(form_of(data, data.size)) for group in inventory.groups[split]]
    # How many are left out is known only when they are decoded.
    skipping = data.on_bad_image == "skip"
    return Subject(
        batches,
        len(decoded().images[key]) if skipping else len(inventory.groups[split][-1]),
        {"data": data.source, "split": split, **_turned(inventory.groups[split])},
        lambda: decoded().labels,
        inventory.classes,
        repr((rows, key, getattr(data, "direction", ""))),
        settings,
        prepare=decoded,
    )


def _turned(groups: Iterable[store.Rows]) -> ProtocolEntries:
    """That photographs were turned upright when they were decoded, where the data are files of images."""
    files_of_images = any(
        isinstance(source, sources.Folder | sources.Zip) for rows in groups for source in rows.sources
    )
    return {"exif_orientation": "applied"} if files_of_images else {}


def _all(sides: Iterable[Subject], told: Told | None) -> None:
    for side in sides:
        side.prepare(told)


def _once(decode: Callable[[store.Progress | None], Dataset]) -> "Callable[..., Dataset]":
    """Decode a set when it is first asked for, and tell of it."""
    found: list[Dataset] = []

    def decoded(told: Told | None = None) -> Dataset:
        if not found:
            found.append(decode(None if told is None else lambda done, total: told("decoding", done, total)))
        return found[0]

    return decoded


def _opaque(pixels: Pixels, background: str) -> Pixels:
    """N×H×W×C over the data's background where they are transparent."""
    if pixels.shape[-1] != 4:
        return pixels
    canvas = Image.new("RGBA", pixels.shape[2:0:-1], ImageColor.getrgb(background)[:3])
    return np.stack(
        [np.array(Image.alpha_composite(canvas, Image.fromarray(image)).convert("RGB")) for image in pixels]
    )
