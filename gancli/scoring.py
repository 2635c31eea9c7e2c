"""Scoring: images, what they are compared with, and metrics in; numbers with the protocol to repeat them out."""

import math
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gancli import devices, images, opening, subjects, theory
from gancli.data.dataset import splits_of
from gancli.data.settings import Distribution
from gancli.errors import UserError
from gancli.images import Pixels
from gancli.metrics import classifier, evaluate, fid, networks, pairs, prdc
from gancli.metrics.classifier import Classifier
from gancli.metrics.features import Features, Progress, ProtocolEntries, Scores
from gancli.metrics.inception import Precision
from gancli.metrics.resize import Resize
from gancli.schema import Metric, Recipe
from gancli.subjects import Subject

CLASSIFIER_SEED = 0
PAIRS = "pairs"
"""psnr, ssim and l1 between each image and the reference's image at the same place."""
METRICS: tuple[str, ...] = (*evaluate.METRICS, PAIRS)

Record = dict[str, Any]
"""`values` by name, `warnings`, and the entries of the protocol: one line of evaluations.jsonl."""


def reference_of(subject: Subject, split: str | None) -> Subject | None:
    """What a subject is compared with where nobody says: the data that its run was trained on."""
    return subjects.of_data(subject.recipe, split or "train") if subject.recipe and subject.generated else None


def network(
    name: str | None,
    subject: Subject,
    reference: Subject | None,
    *,
    weights: Path | None = None,
    resize: Resize = "tf1",
    precision: Precision = "float32",
    progress: Progress | None = None,
) -> Features:
    """The feature network of a name, or of the recipe on either side, or Inception.

    Raises:
        UserError: there are no weights, or no labels to train a classifier on.
    """
    sides = [side for side in (subject, reference) if side is not None]
    settings = next((side.recipe for side in sides if side.recipe), None)
    if name is None:
        name = settings.evaluate.features if settings and weights is None else "inception"

    def fit() -> Classifier:
        if settings is not None:
            return fitted(*training_data(settings), progress)
        return fitted(next((side for side in reversed(sides) if side.classes), sides[-1]), None, progress)

    return networks.load(name, resize=resize, weights=weights, precision=precision, device=devices.chosen(), fit=fit)


def training_data(settings: Recipe) -> tuple[Subject, Subject | None]:
    """The images of a recipe that a classifier is trained on, and those that it is tested on."""
    test = subjects.labelled(settings, "test") if "test" in splits_of(settings.data) else None
    return subjects.labelled(settings, "train"), test


def fitted(train: Subject, test: Subject | None, progress: Progress | None = None) -> Classifier:
    """The classifier of labelled images, from the cache where there is one.

    Raises:
        UserError: they have no classes, or different sizes.
    """

    def fit() -> Classifier:
        return classifier.train_classifier(
            *_labelled(train),
            classes=len(train.classes),
            seed=CLASSIFIER_SEED,
            test=_labelled(test) if test is not None else None,
            progress=progress,
            device=devices.chosen(),
        )

    if train.key is None:
        return fit()
    return classifier.cached(repr((CLASSIFIER_SEED, train.key, test and test.key)), fit)


def score(
    subject: Subject,
    reference: Subject | None,
    features: Features | None,
    metrics: Sequence[str],
    *,
    seed: int = 0,
    bootstrap: int = 0,
    progress: evaluate.Counted | None = None,
) -> Record:
    """Measure a subject; of the reference no image is read where only its statistics are needed and known.

    Args:
        subject: what is measured.
        reference: what it is compared with, where a metric needs that.
        features: the network; None where no metric needs one.
        metrics: of `METRICS`.
        seed: of random subsets.
        bootstrap: resamples for the deviation of the FID.
        progress: called with the images done.

    Raises:
        UserError: something given cannot serve a metric.
    """
    if unknown := [name for name in metrics if name not in METRICS]:
        raise UserError(f"--metrics: unknown metric '{unknown[0]}'; choose from {', '.join(METRICS)}")
    asked: list[Metric] = [name for name in evaluate.METRICS if name in metrics]
    values: Scores = {}
    protocol: ProtocolEntries = dict(subject.protocol)
    warnings: list[str] = []
    if reference is not None and (PAIRS in metrics or evaluate.NEED_REFERENCE & {*asked}):
        protocol |= {f"reference_{name}": value for name, value in reference.protocol.items()}

    if subject.statistics and reference and reference.statistics and asked == ["fid"]:
        values["fid"] = fid.frechet(reference.statistics, subject.statistics)
        protocol |= subject.statistics.protocol
    elif asked:
        if features is None:
            raise UserError(f"{asked[0]} needs a feature network: name one with --features")
        classes = _classes(features, subject, reference)
        found = evaluate.evaluate(
            subject.statistics or subject.batches(),
            _reference(reference, features, asked),
            features,
            asked,
            seed=seed,
            bootstrap=bootstrap,
            subject_labels=_labels(subject, classes, asked),
            reference_labels=_labels(reference, classes, asked) if reference else None,
            progress=progress,
        )
        values |= found.values
        protocol |= found.protocol
        warnings += found.warnings
    if PAIRS in metrics:
        values |= _pairs(subject, reference)
    protocol |= {"gancli": version("gancli"), "torch": torch.__version__}
    return {"values": {name: _plain(value) for name, value in values.items()}, "warnings": warnings, **protocol}


def score_each(
    comparisons: Mapping[str, tuple[Subject, Subject | None]],
    features: Features | None,
    metrics: Sequence[str],
    *,
    seed: int = 0,
    bootstrap: int = 0,
    progress: evaluate.Counted | None = None,
) -> Record:
    """Measure several subjects, by name, as `score` does each: the mean of each value, and the values by name.

    What is done by reference has a mean of its own.

    Raises:
        UserError: something given cannot serve a metric.
    """
    records, done = {}, 0
    for name, (subject, reference) in comparisons.items():

        def told(count: int, before: int = done) -> None:
            if progress is not None:
                progress(before + count)

        records[name] = score(subject, reference, features, metrics, seed=seed, bootstrap=bootstrap, progress=told)
        done += subject.count + (reference.count if reference else 0)
    if len(records) == 1:
        return next(iter(records.values()))

    first = next(iter(records.values()))
    values: dict[str, float] = {}
    for group, chosen in (
        ("", [record for name, record in records.items() if not name.endswith(subjects.BY_REFERENCE)]),
        (subjects.BY_REFERENCE, [record for name, record in records.items() if name.endswith(subjects.BY_REFERENCE)]),
    ):
        for value in first["values"] if chosen else ():
            values[value + group] = float(np.mean([float(record["values"][value]) for record in chosen]))
    merged: Record = {"values": {name: _plain(value) for name, value in values.items()}}
    for name, record in records.items():
        merged["values"] |= {f"{value} {name}": found for value, found in record["values"].items()}
    merged["warnings"] = _once({name: record["warnings"] for name, record in records.items()})
    for key, entry in first.items():
        if key not in ("values", "warnings"):
            entries = {name: record.get(key) for name, record in records.items()}
            merged |= {key: entry} if all(other == entry for other in entries.values()) else {key: entries}
    return merged


def _once(warnings: Mapping[str, Sequence[str]]) -> list[str]:
    """The warnings by name; of those that differ in their numbers alone the first, and how many more there are."""
    kinds: dict[str, list[str]] = {}
    for name, some in warnings.items():
        for warning in some:
            kinds.setdefault(re.sub(r"\d[\d,]*", "", warning), []).append(f"{name}: {warning}")
    return [first + (f" (and {len(more)} more like this)" if more else "") for first, *more in kinds.values()]


def of_points(word: str, seed: int) -> Record | None:
    """The exact measures of a run that learnt a distribution whose density is known; None of anything else.

    Raises:
        UserError: the run has no weights, or damaged ones.
    """
    path = Path(word).expanduser()
    if not (path.suffix == ".safetensors" or (path / "recipe.yaml").is_file()):
        return None
    if not isinstance(opening.open_model(path).recipe.data, Distribution):
        return None
    found = theory.evaluate(path, seed)
    beside = {name: found.pop(name) for name in ("believed", "floor")}
    values = {name: found.pop(name) for name in beside["floor"]}
    protocol = {f"{group}_{name}": value for group, measures in beside.items() for name, value in measures.items()}
    plain = {name: _plain(value) if isinstance(value, float) else value for name, value in protocol.items()}
    return {"values": {name: _plain(value) for name, value in values.items()}, "warnings": [], **found, **plain}


def neighbours(subject: Subject, reference: Subject, features: Features, *, rows: int = 12, nearest: int = 7) -> Pixels:
    """A sheet of the first images, each beside the reference's nearest ones by their features: is it memorising?

    Args:
        subject: whose first `rows` images are shown.
        reference: is read once.
        features: the network.
        rows: images shown.
        nearest: neighbours of each.

    Raises:
        UserError: there are no images on a side.
    """
    if subject.statistics or reference.statistics:
        raise UserError("--neighbours: statistics hold no images to show; name images")
    shown: list[Tensor] = []
    for batch in subject.batches():
        shown += list(batch[: rows - len(shown)])
        if len(shown) == rows:
            break
    targets = torch.cat([features(image[None]) for image in shown])
    found: list[list[tuple[float, Tensor]]] = [[] for _ in shown]
    for batch in reference.batches():
        distances, places = prdc.nearest(targets, features(batch), count=min(nearest, len(batch)))
        for row, best in enumerate(found):
            some = zip(distances[row].tolist(), places[row].tolist(), strict=True)
            best += [(distance, batch[place]) for distance, place in some]
            best.sort(key=lambda pair: pair[0])
            del best[nearest:]
    fewest = min(map(len, found))
    tiles = [
        _tile(tile)
        for image, best in zip(shown, found, strict=True)
        for tile in (image, *(image for _, image in best[:fewest]))
    ]
    return images.grid(np.stack(tiles), 1 + fewest)


def _reference(reference: Subject | None, features: Features, asked: Sequence[Metric]) -> Any:
    """Batches, or statistics where they do."""
    needed = evaluate.NEED_REFERENCE & {*asked}
    if reference is None or not needed:
        return None
    if reference.statistics is not None:
        return reference.statistics
    if reference.key is not None and not evaluate.NEED_REFERENCE_FEATURES & needed:
        return fid.cached_statistics(reference.key, reference.batches, features)
    return reference.batches()


def _classes(features: Features, subject: Subject, reference: Subject | None) -> tuple[str, ...]:
    """The names of the classes in the order in which labels count them."""
    named = next((side.recipe for side in (subject, reference) if side is not None and side.recipe), None)
    if isinstance(features, Classifier) and named is not None:
        return subjects.labelled(named, "train").classes
    return reference.classes if reference is not None and reference.classes else subject.classes


def _labels(side: Subject, classes: tuple[str, ...], asked: Sequence[Metric]) -> Tensor | None:
    """The class of each image, counted in the order of `classes`."""
    if not evaluate.NEED_LABELS & {*asked} or not side.classes:
        return None
    if set(side.classes) <= set(classes):
        order = [classes.index(name) for name in side.classes]
    elif all(name.isdecimal() and int(name) < len(classes) for name in side.classes):
        order = [int(name) for name in side.classes]
    else:
        other = next(name for name in side.classes if name not in classes)
        raise UserError(f"class {other} is not among {', '.join(classes)}: give both sides the same classes")
    labels = side.labels()
    assert labels is not None
    if labels.ndim != 1:
        raise UserError("attributes that are each true or false are no classes: name data with a folder for each class")
    return torch.tensor(order)[torch.from_numpy(np.asarray(labels, np.int64))]


def _pairs(subject: Subject, reference: Subject | None) -> Scores:
    if reference is None or reference.statistics or subject.statistics:
        raise UserError(f"{PAIRS} compares image by image; name the targets' images with --against")
    if subject.count != reference.count:
        raise UserError(
            f"{PAIRS}: {subject.count:,} images against {reference.count:,} targets: give one target for each"
        )
    return pairs.pairs(zip(subject.batches(), reference.batches(), strict=False))


def _labelled(data: Subject) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    labels = data.labels() if data.classes else None
    if labels is None or labels.ndim != 1:
        raise UserError(
            f"{data.protocol.get('data', 'this data')}: a classifier needs a class for each image, and it has none; "
            "use features: inception"
        )
    batches = [batch.permute(0, 2, 3, 1).numpy() for batch in data.batches()]
    if len({batch.shape[1:] for batch in batches}) > 1:
        raise UserError(
            f"{data.protocol['data']}: a classifier needs images of one size: name a recipe of this data, "
            "which brings them to its image_size"
        )
    return np.concatenate(batches), labels


def _plain(value: float) -> float | str:
    """JSON has no number for what is not finite."""
    return value if math.isfinite(value) else str(value)


def _tile(image: Tensor) -> Pixels:
    """C×H×W as RGB of one size."""
    pixels = image.permute(1, 2, 0).numpy()
    tile = images.picture(pixels).convert("RGB")
    larger = max(tile.size) > images.CELL
    return np.array(tile.resize((images.CELL,) * 2, Image.Resampling.LANCZOS if larger else Image.Resampling.NEAREST))
