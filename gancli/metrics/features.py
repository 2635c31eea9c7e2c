"""What every feature network promises: images in, features out, and a protocol that makes them comparable."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from gancli.errors import UserError

ProtocolEntries = dict[str, str | int | float]
"""What a number needs beside it to be repeated: network, the weights' hash, resize, images, seed…"""

Scores = dict[str, float]
"""Values under the names they are printed and stored by."""

COMPARED = ("network", "weights", "resize", "precision", "dimensions")
"""The entries that must agree before two sets of features may be compared."""

Progress = Callable[[int, int, float], None]
"""Called with the steps done, the steps in all, and the latest loss."""


@runtime_checkable
class Features(Protocol):
    """A feature network: uint8 N×C×H×W (C 1 or 3, values 0..255) to float32 N×D on the CPU."""

    name: str
    dimensions: int

    @property
    def protocol(self) -> ProtocolEntries:
        """The network, its weights' hash, resize, precision and dimensions."""

    def __call__(self, images: Tensor) -> Tensor:
        """The features of these images, float32 N×D on the CPU."""


@runtime_checkable
class Classifying(Features, Protocol):
    """A feature network with a classifier's head, as the Inception Score and class shares need it."""

    def logits(self, features: Tensor) -> Tensor:
        """From this network's features, float32 N×D, the class scores before the softmax, float32 N×K."""


class Sizes:
    """Counts the sizes of images, height×width, as they pass, for the protocol."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()

    def add(self, images: Tensor) -> None:
        """Note the size of a batch N×C×H×W."""
        self._seen.add((images.shape[2], images.shape[3]))

    def __str__(self) -> str:
        first, *others = [f"{height}×{width}" for height, width in sorted(self._seen)] or ["none"]
        return f"{first} to {others[-1]}, {len(self._seen)} sizes, each image resized by itself" if others else first


def check_images(images: Tensor) -> None:
    """Refuse what is not a batch of 8-bit gray or RGB images; rounding is the caller's, as a PNG's would be."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        raise UserError(
            f"images for a feature network must be uint8 N×1×H×W or N×3×H×W, not {images.dtype} "
            f"{'×'.join(map(str, images.shape))}; give 8-bit gray or RGB images"
        )


def check_comparable(one: ProtocolEntries, other: ProtocolEntries) -> None:
    """Refuse to compare features of two networks, weights, resizes or precisions; entries only one side has pass."""
    for key in COMPARED:
        if key in one and key in other and one[key] != other[key]:
            raise UserError(
                f"the two sides were measured differently: {key} {one[key]} against {other[key]}; "
                "compute both with the same network and resize"
            )


def check_counts(reals: Tensor, fakes: Tensor, name: str, least: int = 2) -> None:
    """Refuse to compare sets of features with fewer than `least` images on a side."""
    if min(len(reals), len(fakes)) < least:
        raise UserError(
            f"{name} needs at least {least} images on each side, there are {len(reals)} and {len(fakes)}; give more"
        )
