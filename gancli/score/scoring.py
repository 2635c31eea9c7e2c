"""Scoring: images, what they are compared with, and metrics in; numbers with the protocol to repeat them out."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gancli import devices, memory
from gancli.data.dataset import splits_of
from gancli.errors import UserError
from gancli.metrics import classifier, evaluate, fid, names, networks, pairs
from gancli.metrics.classifier import Classifier
from gancli.metrics.features import Features, Progress, Scores
from gancli.metrics.inception import Precision
from gancli.metrics.moments import Statistics
from gancli.metrics.names import PAIRS, Given
from gancli.metrics.resize import Resize
from gancli.metrics.sides import Kept, Source
from gancli.recipe.sections import Metric, Recipe
from gancli.runs import opening
from gancli.score import records, subjects, theory, workload
from gancli.score.records import Record
from gancli.score.subject import BATCH, Subject, Told

CLASSIFIER_SEED = 0


def reference_of(subject: Subject, split: str | None) -> Subject | None:
    """What a subject is compared with by default: the data that its run was trained on."""
    return subjects.of_data(subject.recipe, split or "train") if subject.recipe and subject.generated else None


def network(
    name: str | None,
    subject: Subject,
    reference: Subject | None,
    *,
    weights: Path | None = None,
    resize: Resize | None = None,
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


@memory.in_words("while fitting a classifier on labelled images: use --features inception")
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


def check(
    comparisons: Mapping[str, tuple[Subject, Subject | None]], metrics: Sequence[str], bootstrap: int = 0
) -> None:
    """Refuse what cannot be measured, before a network is loaded or an image is read.

    Raises:
        UserError: something given cannot serve a metric.
    """
    for subject, reference in comparisons.values():
        given = [
            Given(
                None if side.statistics and not side.count else side.count,
                side.statistics is not None,
                bool(side.classes),
            )
            for side in (subject, reference)
            if side is not None
        ]
        names.check_served(metrics, given[0], given[1] if reference is not None else None, bootstrap)


def score(
    subject: Subject,
    reference: Subject | None,
    features: Features | None,
    metrics: Sequence[str],
    *,
    seed: int = 0,
    bootstrap: int = 0,
    told: Told | None = None,
    keep: Callable[[Statistics], None] | None = None,
) -> Record:
    """Measure a subject; of the reference no image is read where only its statistics are needed and known.

    Args:
        subject: what is measured.
        reference: what it is compared with, where a metric needs that.
        features: the network; None where no metric needs one.
        metrics: of `names.NAMES`.
        seed: of random subsets.
        bootstrap: resamples for the deviation of the FID.
        told: called as images are read.
        keep: called with the subject's statistics, where the fid is measured.

    Raises:
        UserError: something given cannot serve a metric.
    """
    check({"": (subject, reference)}, metrics, bootstrap)
    asked: list[Metric] = [name for name in names.METRICS if name in metrics]
    values: Scores = {}
    reasons: dict[str, str] = {}
    protocol, warnings = dict(subject.protocol), list[str]()
    compared = reference if PAIRS in metrics or names.NEED_REFERENCE & {*asked} else None
    if compared is not None:
        protocol.update((f"reference_{name}", value) for name, value in compared.protocol.items())
        warnings += _turned(subject, compared)

    if asked:
        if features is None and not (subject.statistics and reference and reference.statistics):
            raise UserError(f"{asked[0]} needs a feature network: name one with --features")
        classes = _classes(features, subject, reference)
        advice = "lower --count, measure smaller images, ask for fid alone, or give --device cpu"
        with memory.in_words(f"while measuring {', '.join(asked)} on {subject.count:,} images: {advice}"):
            found = evaluate.evaluate(
                subject.statistics or watched(subject, "measuring the images", told),
                _reference(reference, asked, told),
                features,
                asked,
                seed=seed,
                bootstrap=bootstrap,
                subject_labels=_labels(subject, classes, asked),
                reference_labels=_labels(reference, classes, asked) if reference else None,
            )
        values, reasons = found.values, found.reasons
        protocol |= found.protocol
        warnings += found.warnings
        if keep is not None and found.subject is not None:
            keep(replace(found.subject, protocol=subject.protocol | found.subject.protocol))
    if PAIRS in metrics:
        equal: list[int] = []
        values |= _pairs(subject, reference, told, equal.append)
        if sum(equal):
            reasons["psnr"] = f"infinite: {sum(equal):,} of {subject.count:,} pairs are equal"
    protocol |= {"gancli": version("gancli"), "torch": torch.__version__}
    return records.of(values, warnings, protocol, reasons)


def score_each(
    comparisons: Mapping[str, tuple[Subject, Subject | None]],
    features: Features | None,
    metrics: Sequence[str],
    *,
    seed: int = 0,
    bootstrap: int = 0,
    told: Told | None = None,
    keep: Callable[[Statistics], None] | None = None,
    ready: Callable[[], None] | None = None,
) -> Record:
    """Measure several subjects, by name, as `score` does each: the mean of each value, and the values by name.

    What is done by reference has a mean of its own. What cannot be read on any side is found before any is measured;
    then `ready` is called.

    Raises:
        UserError: something given cannot serve a metric.
    """
    check(comparisons, metrics, bootstrap)
    for subject, reference in comparisons.values():
        subject.prepare(told)
        if reference is not None and not workload.is_kept(reference, features, metrics):
            reference.prepare(told)
        _check_classes(subject, reference, features, metrics)
    if ready is not None:
        ready()
    found = {
        name: score(
            subject, reference, features, metrics, seed=seed, bootstrap=bootstrap, told=_of(name, told), keep=keep
        )
        for name, (subject, reference) in comparisons.items()
    }
    return next(iter(found.values())) if len(found) == 1 else records.together(found, [subjects.BY_REFERENCE])


def statistics(
    subject: Subject, features: Features, told: Told | None = None, ready: Callable[[], None] | None = None
) -> Statistics:
    """The statistics of a subject's features, with what is said of its images, to be compared with later.

    Args:
        subject: images.
        features: the network.
        told: called as images are read.
        ready: called when all images could be read, before they are measured.

    Raises:
        UserError: they are statistics already, or images that cannot be measured.
    """
    subject.prepare(told)
    if ready is not None:
        ready()
    found = fid.statistics(watched(subject, "measuring the images", told), features)
    return replace(found, protocol=subject.protocol | found.protocol)


def watched(side: Subject, what: str, told: Told | None) -> Iterator[Tensor]:
    """The images of a side; reports how many were used."""
    done = 0
    for batch in side.batches():
        yield batch
        done += len(batch)
        if told is not None:
            told(what, done, max(done, side.count))


def of_points(word: str, seed: int) -> Record | None:
    """The exact measures of a run that learnt a distribution whose density is known; None of anything else.

    Raises:
        UserError: the run has no weights, or damaged ones.
    """
    path = Path(word).expanduser()
    if not (path.suffix == ".safetensors" or (path / "recipe.yaml").is_file()):
        return None
    if opening.open_model(path).recipe.data.points is None:
        return None
    found = theory.evaluate(path, seed)
    beside = {name: found.pop(name) for name in ("believed", "floor")}
    values = {name: found.pop(name) for name in beside["floor"]}
    protocol = {f"{group}_{name}": value for group, measures in beside.items() for name, value in measures.items()}
    return records.of(values, [], found | protocol)


def _reference(reference: Subject | None, asked: Sequence[Metric], told: Told | None) -> Source | None:
    """Batches, or statistics where they do."""
    if reference is None or not names.NEED_REFERENCE & {*asked}:
        return None
    if reference.statistics is not None:
        return reference.statistics
    if reference.key is not None:
        return Kept(reference.key, lambda: watched(reference, "measuring the reference", told))
    return watched(reference, "measuring the reference", told)


def _of(name: str, told: Told | None) -> Told | None:
    """Name the comparison, of several, that a text is about."""
    if told is None or not name:
        return told
    return lambda what, done, total: told(f"{name}: {what}", done, total)


def _turned(subject: Subject, reference: Subject) -> list[str]:
    """A warning where photographs were turned upright on one side alone."""
    one, other = (side.protocol.get("exif_orientation") for side in (subject, reference))
    if None in (one, other) or one == other:
        return []
    return [
        f"EXIF orientation was {one} for the images and {other} for the reference: photographs may lie on their side"
    ]


def _classes(features: Features | None, subject: Subject, reference: Subject | None) -> tuple[str, ...]:
    """The names of the classes in the order in which labels count them."""
    named = next((side.recipe for side in (subject, reference) if side is not None and side.recipe), None)
    if isinstance(features, Classifier) and named is not None:
        return subjects.labelled(named, "train").classes
    return reference.classes if reference is not None and reference.classes else subject.classes


def _check_classes(
    subject: Subject, reference: Subject | None, features: Features | None, metrics: Sequence[str]
) -> None:
    """Refuse a class of too few images for the distance within it, before any is measured."""
    if "intra-fid" not in metrics or reference is None:
        return
    classes = _classes(features, subject, reference)
    fakes, reals = (_labels(side, classes, ["intra-fid"]) for side in (subject, reference))
    if fakes is None or reals is None:
        return
    for label in torch.unique(reals).tolist():
        few = int((reals == label).sum()), int((fakes == label).sum())
        if min(few) < 2:
            raise UserError(
                f"intra-fid needs at least 2 images of each class on both sides: of {classes[label]} there are "
                f"{few[0]:,} real ones and {few[1]:,} measured ones: give more, or leave intra-fid out"
            )


def _labels(side: Subject, classes: tuple[str, ...], asked: Sequence[Metric]) -> Tensor | None:
    """The class of each image, counted in the order of `classes`."""
    if not names.NEED_LABELS & {*asked} or not side.classes:
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


def _pairs(subject: Subject, reference: Subject | None, told: Told | None, equal: Callable[[int], None]) -> Scores:
    assert reference is not None
    sides = (watched(subject, "comparing pairs", told), reference.batches())
    both = zip(*map(itertools.chain.from_iterable, sides), strict=True)
    try:
        return pairs.pairs(_alike(both), equal)
    except ValueError as error:
        raise UserError(f"{PAIRS}: the two sides have different numbers of images: give one target for each") from error


def _alike(both: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of images, C×H×W, as batches of neighbours of the same sizes."""
    for _, group in itertools.groupby(both, lambda pair: (pair[0].shape, pair[1].shape)):
        while some := list(itertools.islice(group, BATCH)):
            one, other = zip(*some, strict=True)
            yield torch.stack(one), torch.stack(other)


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
