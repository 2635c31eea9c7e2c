"""From two streams of images to every number that was asked for, with the protocol that makes it comparable."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gancli.errors import UserError
from gancli.metrics import classes, fid, kid, names, prdc, sides, trust
from gancli.metrics.features import Classifying, Features, ProtocolEntries, Scores
from gancli.metrics.moments import Statistics
from gancli.metrics.names import NEED_CLASSES, NEED_REFERENCE, NEED_REFERENCE_FEATURES, Given
from gancli.metrics.sides import Side, Source
from gancli.recipe.sections import Metric


@dataclass(frozen=True)
class Evaluation:
    """The numbers and what they mean.

    Attributes:
        values: each metric's values by name.
        protocol: of both sides' features and images, seed, and every metric's constants.
        warnings: a sentence for each reason to distrust a value.
        subject: its statistics where a Fréchet distance was asked for, worth keeping.
        reasons: why a value is not finite, by its name.
    """

    values: Scores
    protocol: ProtocolEntries
    warnings: list[str] = field(default_factory=list)
    subject: Statistics | None = None
    reasons: dict[str, str] = field(default_factory=dict)


def evaluate(
    subject: Source,
    reference: Source | None,
    features: Features | None,
    metrics: Iterable[Metric] = ("fid",),
    *,
    seed: int = 0,
    neighbours: int = prdc.NEIGHBOURS,
    bootstrap: int = 0,
    subject_labels: Tensor | None = None,
    reference_labels: Tensor | None = None,
) -> Evaluation:
    """Measure a set of images, against a reference where the metric needs one.

    The subject is read first, so that what is wrong with it is found before the reference, which is often larger.
    Under torch.distributed each process gives its own images (and their labels), and all get the values of all images.

    Args:
        subject: uint8 N×C×H×W batches; each image once, rounded as a PNG's would be; or statistics measured before,
            which do for fid.
        reference: batches like these, or statistics measured before, which do for fid and fid-infinity; None where no
            metric needs one.
        features: the feature network; None where both sides are statistics.
        metrics: of `names.METRICS`.
        seed: of the random subsets of kid, is, fid-infinity and bootstrap.
        neighbours: k of prdc.
        bootstrap: resamples for the deviation of fid; 0 leaves it out.
        subject_labels: integers N, the class or target domain of each subject image.
        reference_labels: integers N, the class of each reference image.

    Raises:
        UserError: a metric that the network, the labels or the reference cannot serve, features of another network,
            or too few images.
    """
    asked = tuple(dict.fromkeys(metrics))
    names.check_served(
        asked,
        _described(subject, subject_labels),
        _described(reference, reference_labels) if reference is not None else None,
        bootstrap,
    )
    for metric in asked:
        if metric in NEED_CLASSES and not isinstance(features, Classifying):
            raise UserError(f"{metric} needs a network that knows classes; use features: inception or classifier")
    for given in (subject, reference):
        if isinstance(given, Statistics) and features is not None:
            sides.check_network(features, given)
    needs = {*asked}
    moments = bool({"fid", "fid-infinity"} & needs)

    fakes = sides.measure(subject, features, moments=moments, hold=bool(needs - {"fid"}) or bootstrap > 0)
    reals = None
    if reference is not None and NEED_REFERENCE & needs:
        reals = sides.measure(reference, features, moments=moments, hold=bool(NEED_REFERENCE_FEATURES & needs))
    found = Evaluation({}, sides.described(fakes, reals) | {"seed": seed}, subject=fakes.statistics)
    for metric in asked:
        if reals is not None and metric in NEED_REFERENCE:
            _compare(found, metric, fakes, reals, seed, neighbours, bootstrap, reference_labels, subject_labels)
        elif isinstance(features, Classifying):
            _classify(found, metric, features, fakes, seed, subject_labels)
    return found


def _compare(
    found: Evaluation,
    metric: Metric,
    fakes: Side,
    reals: Side,
    seed: int,
    neighbours: int,
    bootstrap: int,
    real_labels: Tensor | None,
    fake_labels: Tensor | None,
) -> None:
    """Add one metric that compares two sides."""
    values, protocol = found.values, found.protocol
    match metric:
        case "fid":
            distance = fid.distance(reals.moments(), fakes.moments())
            values["fid"] = distance.value
            if fakes.count and reals.count:
                values["fid_bias"] = distance.bias
            found.warnings.extend(trust.fid(distance, fakes, reals))
            if bootstrap:
                resampled = fid.bootstrap(reals.moments(), fakes.held(), fakes.protocol, seed=seed, repeats=bootstrap)
                values.update(resampled)
                protocol["bootstrap"] = bootstrap
        case "fid-infinity":
            infinity = fid.fid_infinity(reals.moments(), fakes.held(), fakes.protocol, seed=seed)
            values.update({"fid_infinity": infinity.value, "fid_infinity_deviation": infinity.deviation})
            found.warnings.extend(trust.fid_infinity(infinity, fakes.held()))
        case "kid":
            values.update(kid.kid(reals.held(), fakes.held(), seed=seed))
            protocol.update(kid.protocol(len(reals.held()), len(fakes.held())))
            if math.isnan(values["kid_deviation"]):
                found.reasons["kid_deviation"] = "unknown: of two images one is left, which has no KID"
        case "prdc":
            values.update(prdc.prdc(reals.held(), fakes.held(), neighbours=neighbours))
            protocol["prdc_neighbours"] = neighbours
        case "intra-fid":
            _intra_fid(found, reals, fakes, real_labels, fake_labels)


def _classify(
    found: Evaluation, metric: Metric, features: Classifying, fakes: Side, seed: int, labels: Tensor | None
) -> None:
    """Add one metric of the subject alone."""
    logits = features.logits(fakes.held())
    match metric:
        case "is":
            splits = min(classes.SPLITS, len(logits))
            score = classes.inception_score(logits, seed=seed, splits=splits)
            found.values.update(score)
            found.protocol["is_splits"] = splits
            found.warnings.extend(trust.inception_score(score["is"], score["is_bias"], len(logits), splits))
        case "classes":
            found.values.update(classes.class_shares(logits))
        case "accuracy":
            found.values.update(classes.accuracy(logits, sides.gathered(labels)))


def _intra_fid(
    found: Evaluation, reals: Side, fakes: Side, real_labels: Tensor | None, fake_labels: Tensor | None
) -> None:
    """The FID within each class of the reference, and their mean (Miyato and Koyama 2018, arXiv 1802.05637)."""
    of_reals, of_fakes = sides.gathered(real_labels), sides.gathered(fake_labels)
    if len(of_reals) != reals.count or len(of_fakes) != fakes.count:
        raise UserError("intra-fid needs one label for each image on both sides; give labelled images")
    distances, fewest = {}, []
    for label in torch.unique(of_reals).tolist():
        one, other = reals.held()[of_reals == label], fakes.held()[of_fakes == label]
        if min(len(one), len(other)) < 2:
            raise UserError(f"class {label} has {len(one)} and {len(other)} images; intra-fid needs at least 2 of each")
        fewest.append(min(len(one), len(other)))
        distances[f"fid_{label}"] = fid.distance(
            fid.of_features(one, reals.protocol), fid.of_features(other, fakes.protocol)
        )
    found.values["intra_fid"] = sum(distance.value for distance in distances.values()) / len(distances)
    found.values["intra_fid_bias"] = sum(distance.bias for distance in distances.values()) / len(distances)
    found.values.update({name: distance.value for name, distance in distances.items()})
    found.warnings.extend(trust.intra_fid(distances.values(), fewest, fakes.held().shape[1]))


def _described(source: Source, labels: Tensor | None) -> Given:
    return Given(
        source.n if isinstance(source, Statistics) else None,
        isinstance(source, Statistics),
        labels is not None,
    )
