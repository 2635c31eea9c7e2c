"""The distributions that are known exactly: their densities, the masses of their cells, and draws from them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtr, ndtri

from gancli.recipe import data as settings

Floats = NDArray[np.float64]
REACH = 6
"""Standard deviations around its centre in which all of a normal distribution is shown: but two in a billion."""


@dataclass(frozen=True)
class Gaussians:
    """A mixture of round normal distributions.

    Args:
        centres: K×D.
        deviations: K standard deviations, each the same in every direction.
        weights: K, summing to 1.
    """

    name: str
    centres: Floats
    deviations: Floats
    weights: Floats
    classes: tuple[str, ...] = ()
    """Points have no classes."""

    def __str__(self) -> str:
        return f"{self.name}: points of {self.dimensions} coordinates, drawn without end"

    @property
    def dimensions(self) -> int:
        """Coordinates of a point."""
        return int(self.centres.shape[1])

    @property
    def scale(self) -> float:
        """The length at which it varies: the smallest standard deviation."""
        return float(self.deviations.min())

    @property
    def extent(self) -> Floats:
        """The D×2 limits in which it lies, but for its outermost tails."""
        reach = REACH * self.deviations[:, None]
        return np.stack([(self.centres - reach).min(0), (self.centres + reach).max(0)], axis=1)

    def draw(self, uniform: Floats) -> Floats:
        """N×D points from N×(1 + D) numbers uniform on (0, 1): which normal distribution, and where in it."""
        chosen = np.searchsorted(np.cumsum(self.weights)[:-1], uniform[:, 0], side="right")
        points: Floats = self.centres[chosen] + self.deviations[chosen, None] * ndtri(uniform[:, 1:])
        return points

    def log_density(self, points: Floats) -> Floats:
        """N×D points to N natural logarithms of the density."""
        distance = np.square(points[:, None] - self.centres).sum(-1) / np.square(self.deviations)
        constant = np.log(self.weights) - self.dimensions * np.log(self.deviations * np.sqrt(2 * np.pi))
        log_density: Floats = logsumexp(constant - distance / 2, axis=1)
        return log_density

    def masses(self, edges: Sequence[Floats]) -> Floats:
        """The probability of every cell between the edges, given along each coordinate (they may be infinite)."""
        along = [
            np.diff(ndtr((edge[:, None] - centre) / self.deviations), axis=0)
            for edge, centre in zip(edges, self.centres.T, strict=True)
        ]
        masses: Floats = np.einsum("ak,k->a" if len(along) == 1 else "ak,bk,k->ab", *along, self.weights)
        return masses

    def quantiles(self, count: int) -> Floats:
        """For one coordinate: `count` numbers that cut the distribution in equal parts, each the middle of its own."""
        (low, high), lattice = self.extent[0], 100_000
        numbers = np.linspace(low, high, lattice)
        below = ndtr((numbers[:, None] - self.centres[:, 0]) / self.deviations) @ self.weights
        return np.interp((np.arange(count) + 0.5) / count, below, numbers)


@dataclass(frozen=True)
class Segment:
    """The points (theta, Z) with Z uniform on [0, 1]: on a line, so that there is no density in the plane."""

    name: str
    theta: float
    classes: tuple[str, ...] = ()
    """Points have no classes."""
    dimensions = 2
    scale = 0.05
    """The length at which it is looked at: a twentieth of its own."""

    def __str__(self) -> str:
        return f"{self.name}: points (θ, Z) for θ = {self.theta:g} and uniform Z, drawn without end"

    @property
    def extent(self) -> Floats:
        """The 2×2 limits around the segment and the place at the origin that it is compared with."""
        return np.array([[min(0, self.theta) - 1, max(0, self.theta) + 1], [-1, 2]], float)

    def draw(self, uniform: Floats) -> Floats:
        """N×2 points from N×3 numbers uniform on (0, 1), of which the last is used."""
        return np.stack([np.full(len(uniform), self.theta), uniform[:, 2]], axis=1)

    def masses(self, edges: Sequence[Floats]) -> Floats:
        """The probability of every cell between the edges, given along each coordinate (they may be infinite)."""
        across, along = edges
        here = (across[:-1] <= self.theta) & (self.theta < across[1:])
        return np.outer(here.astype(float), np.diff(along.clip(0, 1)))


Known = Gaussians | Segment


def of(data: settings.Distribution) -> Known:
    """The distribution that a recipe's data section asks for."""
    name = data.source
    match data:
        case settings.Gaussian():
            return _gaussians(name, np.array([[data.mean]]), data.deviation)
        case settings.Mixture():
            weights = np.array(data.weights, float)
            centres = np.array(data.means, float)[:, None]
            return Gaussians(name, centres, np.array(data.deviations, float), weights / weights.sum())
        case settings.Ring():
            turn = 2 * np.pi * np.arange(data.modes) / data.modes
            return _gaussians(name, data.radius * np.stack([np.cos(turn), np.sin(turn)], axis=1), data.deviation)
        case settings.Grid():
            line = (np.arange(data.side) - (data.side - 1) / 2) * data.spacing
            return _gaussians(name, np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2), data.deviation)
        case settings.Spiral():
            # The length of r = a·t grows nearly as t², so that roots of even steps stand evenly along it.
            way = np.sqrt((np.arange(100) + 0.5) / 100)
            turn = 2 * np.pi * data.turns * way
            return _gaussians(
                name, data.radius * way[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1), data.deviation
            )
        case settings.Lines():
            return Segment(name, float(data.theta))
        case _:
            raise TypeError(f"no distribution: {type(data).__name__}")


def _gaussians(name: str, centres: Floats, deviation: float) -> Gaussians:
    count = len(centres)
    return Gaussians(name, centres, np.full(count, float(deviation)), np.full(count, 1 / count))


def points(known: Known, count: int, *position: int) -> Floats:
    """`count` points, count×D, a function of the position alone."""
    # Raw bits: NumPy promises these, but not its normal numbers, to stay the same from version to version.
    bits = np.random.PCG64(np.random.SeedSequence(position)).random_raw(count * (1 + known.dimensions))
    uniform = np.asarray((bits >> np.uint64(11)) + 0.5, np.float64) / 2.0**53
    return known.draw(uniform.reshape(count, -1))
