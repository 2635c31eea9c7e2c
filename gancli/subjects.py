"""What can be measured: from a word on the command line to images in their order, or to statistics of images."""

import itertools
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageColor
from torch import Tensor

from gancli import catalogue, fetch, files, images, models, opening, recipe, runs
from gancli.adversarial import Adversarial, FromNoise
from gancli.data import sources, splits
from gancli.data.dataset import NO, Dataset, decode, form_of, load_domain, members, take_inventory
from gancli.data.pixels import BadImage, whole
from gancli.data.prepare import prepare
from gancli.data.settings import Data, Distribution, Pairs, Unpaired
from gancli.data.store import Rows, in_order, workers
from gancli.errors import UserError
from gancli.from_images import FromImages, Styled
from gancli.images import Pixels
from gancli.metrics.features import ProtocolEntries
from gancli.metrics.fid import Statistics
from gancli.schema import Recipe

BATCH = 64
LATENTS = 64 * BATCH
BY_REFERENCE = " by reference"
"""After the name of a direction: in the styles of references."""


@dataclass(frozen=True)
class Subject:
    """Images to measure, none of which is read yet.

    Args:
        batches: all images, each once, in order, uint8 N×C×H×W; every call begins at the first.
        count: how many.
        protocol: what must be said to have the same images again.
        labels: the class of each image, int64 N; None where there are none.
        classes: their names.
        key: the same for the same images, for what is kept of them; None where they are generated.
        recipe: of the run that they come from, or whose data they are.
        run: the run that generates them, which keeps what is found.
        statistics: of images that are not there any more; there are no batches then.
    """

    batches: Callable[[], Iterator[Tensor]]
    count: int
    protocol: ProtocolEntries
    labels: Callable[[], NDArray[Any] | None]
    classes: tuple[str, ...] = ()
    key: str | None = None
    recipe: Recipe | None = None
    run: runs.Run | None = None
    statistics: Statistics | None = None

    @property
    def generated(self) -> bool:
        """Whether a model makes these images."""
        return self.key is None and self.statistics is None


def find(
    word: str, *, split: str | None = None, count: int | None = None, seed: int = 0, best: bool = False
) -> Subject:
    """What a word means.

    Args:
        word: a run or a lone model.safetensors (what it generates), a recipe (its data, as its networks see it), an
            .npz of statistics, or a source of images: a folder, an archive, a fetched or built-in set.
        split: of data; None takes train, or everything where a source names no splits.
        count: images to generate; None takes the recipe's number.
        seed: of the first image; the others follow it.
        best: the run's weights of the best evaluation.

    Raises:
        UserError: it means nothing, or nothing that can be measured.
    """
    path = Path(word).expanduser()
    if found := model_of(word, best=best):
        model, protocol, run = found
        return of_model(model, count or model.recipe.evaluate.images, seed, protocol, run)
    if path.suffix == ".npz" and path.is_file() and _is_statistics(path):
        statistics = Statistics.load(path)
        return Subject(lambda: iter(()), statistics.n or 0, {"statistics": word}, lambda: None, statistics=statistics)
    if path.suffix in (".yaml", ".yml") or (not path.exists() and word in catalogue.names()):
        return of_data(models.validate(recipe.read(catalogue.find(word))), split or "train")
    if not path.exists() and word.partition(":")[0] not in ("digits", "shapes", *fetch.SETS):
        raise UserError(
            f"{word}: no such file or folder: give a run, its model.safetensors, a folder, a .zip, an .npz, a recipe, "
            f"or one of digits, {', '.join(fetch.SETS)}"
        )
    return of_source(word, split)


def model_of(word: str, *, best: bool = False) -> tuple[Adversarial, ProtocolEntries, runs.Run | None] | None:
    """The model that a word means, what is said of it, and its run; None where the word means none.

    Args:
        word: a run or a lone model.safetensors.
        best: the run's weights of the best evaluation.

    Raises:
        UserError: the run has no weights, or damaged ones.
    """
    path = Path(word).expanduser()
    if not (path.suffix == ".safetensors" or (path / "recipe.yaml").is_file() or best):
        return None
    file = opening.weights_of(path, best=best)
    protocol: ProtocolEntries = {"run": word, "weights_file": file.name, "sha256": files.sha256(file)}
    return opening.open_model(file), protocol, runs.Run(path) if path.is_dir() else None


def of_model(
    model: Adversarial, count: int, seed: int, protocol: ProtocolEntries | None = None, run: runs.Run | None = None
) -> Subject:
    """What a model generates from `count` seeds on, rounded to 8 bits as a PNG is; draws no global random number.

    Raises:
        UserError: it does not start from noise.
    """
    if not isinstance(model, FromNoise):
        raise UserError(f"{model.recipe.model}: translates images, and has none of its own: name a folder of images")
    background = _of_images(model.recipe).background
    seeds = range(seed, seed + count)

    def batches() -> Iterator[Tensor]:
        for start in range(0, count, LATENTS):
            some = seeds[start : start + LATENTS]
            made = model.sample([model.latent(s) for s in some], [model.label(s) for s in some])
            for batch in made:
                yield _tensor(_opaque(images.pixels(batch), background))

    labels = np.array([model.label(s) for s in seeds]) if model.classes else None
    entries: ProtocolEntries = {**(protocol or {}), "model": model.recipe.model, "step": model.step, "first_seed": seed}
    return Subject(batches, count, entries, lambda: labels, model.classes, None, model.recipe, run)


def comparisons(
    model: FromImages, seed: int, split: str, protocol: ProtocolEntries | None = None, run: runs.Run | None = None
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
        if isinstance(model, Styled):
            guided = of_translation(model, direction, seed, protocol, run, by_reference=True)
            found[direction + BY_REFERENCE] = guided, reals
    return found


def of_translation(
    model: FromImages,
    direction: str,
    seed: int,
    protocol: ProtocolEntries | None = None,
    run: runs.Run | None = None,
    *,
    by_reference: bool = False,
) -> Subject:
    """The test images of one domain turned into another, each labelled with what it should be.

    By reference, each takes the style of a test image of the target: the first of the first, and so on, around.
    """
    origin, target = model.directions[direction]
    inputs, references = (of_domain(model.recipe, domain, "test") for domain in (origin, target))
    background = _of_images(model.recipe).background

    def ready(batch: Tensor) -> Tensor:
        return prepare({"image": batch}, model.recipe.data, training=False)["image"]

    def batches() -> Iterator[Tensor]:
        first = seed
        styles = itertools.cycle(image for batch in references.batches() for image in batch)
        for batch in inputs.batches():
            if by_reference and isinstance(model, Styled):
                shown = torch.stack([*itertools.islice(styles, len(batch))])
                made = model.styled(ready(batch), model.styles_of(ready(shown), target))
            else:
                made = model.translate(ready(batch), target, range(first, first + len(batch)))
            yield _tensor(_opaque(images.pixels(made), background))
            first += len(batch)

    entries: ProtocolEntries = {**(protocol or {}), "model": model.recipe.model, "step": model.step}
    entries |= {"direction": direction, "inputs": "test split"}
    entries |= {"references": "test split"} if by_reference else {"first_seed": seed}
    if model.dropout is not None:
        entries["dropout"] = "on" if model.dropout else "off"
    number = inputs.classes.index(target)
    labels = np.full(inputs.count, number)
    return Subject(batches, inputs.count, entries, lambda: labels, inputs.classes, None, model.recipe, run)


def of_domain(settings: Recipe, domain: str, split: str) -> Subject:
    """The images of one domain in a split of a recipe's data, at the networks' size, labelled among all domains.

    Raises:
        UserError: there is no such data or split.
    """
    data = _of_images(settings)
    inventory = take_inventory(data)
    if split not in inventory.groups:
        load_domain(data, domain, split)  # says what there is
    names = inventory.classes or ("a", "b")
    number = names.index(domain.removeprefix(NO))

    @cache
    def decoded() -> Dataset:
        return load_domain(data, domain, split)

    def batches() -> Iterator[Tensor]:
        array = decoded().images["image"]
        for start in range(0, len(array), BATCH):
            places = np.arange(start, min(start + BATCH, len(array)))
            yield _tensor(_opaque(np.array(array[places]), data.background))

    groups = inventory.groups[split]
    rows = [group.key(form_of(data, data.size)) for group in groups]
    if data.on_bad_image == "skip":
        count = len(decoded())  # how many are left out is known only then
    elif inventory.labels is None:
        count = next(len(group) for group in groups if domain in group.keys)
    else:
        count = len(members(inventory.labels[split], names, domain))
    labels = np.full(count, number)
    protocol: ProtocolEntries = {"data": data.source, "split": split, "domain": domain}
    return Subject(batches, count, protocol, lambda: labels, names, repr((rows, domain)), settings)


def labelled(settings: Recipe, split: str) -> Subject:
    """A split of a recipe's data, each image with its class: of two domains, the domain.

    Raises:
        UserError: there is no such data or split.
    """
    data = _of_images(settings)
    if not isinstance(data, Pairs | Unpaired):
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
    )


def of_data(settings: Recipe, split: str) -> Subject:
    """A split of a recipe's data at the networks' size, not enlarged or mirrored; of two domains the target, B.

    Raises:
        UserError: there is no such data or split.
    """
    data = _of_images(settings).model_copy(update={"enlarge": None})
    inventory = take_inventory(data)

    @cache
    def decoded() -> Dataset:
        return decode(data, inventory, split)

    if split not in inventory.groups:
        decoded()  # says what there is
    key = inventory.groups[split][-1].keys[-1]

    def batches() -> Iterator[Tensor]:
        array = decoded().images[key]
        for start in range(0, len(array), BATCH):
            yield _tensor(_opaque(np.array(array[start : start + BATCH]), data.background))

    rows = [group.key(form_of(data, data.size)) for group in inventory.groups[split]]
    # How many are left out is known only when they are decoded.
    skipping = data.on_bad_image == "skip"
    return Subject(
        batches,
        len(decoded().images[key]) if skipping else len(inventory.groups[split][-1]),
        {"data": data.source, "split": split},
        lambda: decoded().labels,
        inventory.classes,
        repr((rows, key, getattr(data, "direction", ""))),
        settings,
    )


def _of_images(settings: Recipe) -> Data:
    if isinstance(settings.data, Distribution):
        raise UserError(f"{settings.data.source}: points, not images: gancli evaluate RUN measures them exactly")
    return settings.data


def of_source(source: str, split: str | None) -> Subject:
    """The images of a source as they are, whatever their sizes.

    Raises:
        UserError: it holds no images, or no such split.
    """
    try:
        found = sources.find(source, (64, 64), "images")
    except UserError as error:
        raise UserError(str(error).removeprefix("data.source: "), error.status) from error
    names = [splits.read(name) for name in splits.below_root(found.names)]
    parts = splits.divide(names, 0)
    if not any(name.split for name in names):
        parts = {split or "all": parts["train"]}
        if split:
            raise UserError(f"--split {split}: {source} names no splits: leave --split out, all its images are taken")
    wanted = split or next(iter(parts))
    if wanted not in parts:
        raise UserError(f"--split {wanted}: {source} has no such split: there are {', '.join(parts)}")
    places = parts[wanted]

    def read(place: int) -> Pixels:
        try:
            return whole(found.open(place))
        except BadImage as error:
            raise UserError(f"{source}: {found.names[place]}: {error}: mend or remove it") from error
        except OSError as error:
            raise UserError(f"{source}: {found.names[place]}: {error.strerror or error}: see to the disk", 1) from error

    folders = tuple(sorted({names[place].folder for place in places}, key=splits.natural))
    labelled = len(folders) > 1 and "" not in folders
    labels = np.array([folders.index(names[place].folder) for place in places]) if labelled else None
    return Subject(
        lambda: stacked(in_order(read, places, 4 * workers())),
        len(places),
        {"data": source, "split": wanted},
        lambda: labels,
        folders if labelled else (),
        Rows(("image",), (found,), np.array(places).reshape(-1, 1)).key(None),
    )


def stacked(stream: Iterable[Pixels]) -> Iterator[Tensor]:
    """Images of any sizes, H×W×C, as batches N×C×H×W of neighbours of one size."""
    for _, alike in itertools.groupby(stream, lambda image: image.shape):
        while some := list(itertools.islice(alike, BATCH)):
            yield _tensor(np.stack(some))


def _tensor(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def _opaque(pixels: Pixels, background: str) -> Pixels:
    """N×H×W×C over the data's background where they are transparent."""
    if pixels.shape[-1] != 4:
        return pixels
    canvas = Image.new("RGBA", pixels.shape[2:0:-1], ImageColor.getrgb(background)[:3])
    return np.stack(
        [np.array(Image.alpha_composite(canvas, Image.fromarray(image)).convert("RGB")) for image in pixels]
    )


def _is_statistics(path: Path) -> bool:
    """Whether an .npz holds statistics rather than images; a damaged one is neither."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {"mu.npy", "sigma.npy"} <= {*archive.namelist()}
    except (zipfile.BadZipFile, OSError):
        return False
