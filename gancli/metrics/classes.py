"""What a classifier says of a set of images: the Inception Score, the share of each class, confidence, accuracy."""

import itertools
import math

import torch
from torch import Tensor

from gancli.errors import UserError
from gancli.metrics.features import Scores

SPLITS = 10


def inception_score(logits: Tensor, *, seed: int, splits: int = SPLITS) -> Scores:
    """exp E KL(p(y|x) ‖ p(y)) (Salimans et al. 2016, arXiv 1606.03498), its mean over equal parts of the set.

    The images are shuffled first: data that comes sorted by class would otherwise score 1.

    The score of n images is too low by a share that falls as 1/n: the difference between the parts' and the whole
    set's tells how much.

    Args:
        logits: N×K.
        seed: of the shuffling.
        splits: parts, at most N; from i·N // splits on, as the authors and others cut them.

    Returns:
        is; is_deviation over the parts; is_bias, by how much the value differs from that of unboundedly many
        images, where there is more than one part.
    """
    count = len(logits)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    log_p = logits[order].double().log_softmax(1)
    ends = [part * count // splits for part in range(splits + 1)]
    scores = torch.stack([_score(log_p[start:end]) for start, end in itertools.pairwise(ends)])
    value = scores.mean().item()
    found = {"is": value, "is_deviation": scores.std(correction=0).item()}
    if splits > 1:
        whole = _score(log_p).item()
        found["is_bias"] = value - value * (whole / value) ** (splits / (splits - 1))
    return found


def _score(log_p: Tensor) -> Tensor:
    log_mean = log_p.logsumexp(0) - math.log(len(log_p))
    return (log_p.exp() * (log_p - log_mean)).sum(1).mean().exp()


def class_shares(logits: Tensor) -> Scores:
    """The share of the images that is called each class, and the mean of the largest probability.

    Args:
        logits: N×K.

    Returns:
        share_0 … share_(K−1), in 0..1, and confidence, in 0..1.
    """
    confidence, called = logits.double().softmax(1).max(1)
    shares = called.bincount(minlength=logits.shape[1]) / len(called)
    return {f"share_{index}": share for index, share in enumerate(shares.tolist())} | {
        "confidence": confidence.mean().item()
    }


def accuracy(logits: Tensor, labels: Tensor) -> Scores:
    """The share of the images that the classifier calls what they were meant to be.

    Args:
        logits: N×K.
        labels: integers N: of a class-conditional sample or of a translation's target domain.

    Returns:
        accuracy, in 0..1.

    Raises:
        UserError: not one label for each image.
    """
    if len(labels) != len(logits):
        raise UserError(f"{len(logits)} images came with {len(labels)} labels; give one label for each image")
    return {"accuracy": (logits.argmax(1) == labels).double().mean().item()}
