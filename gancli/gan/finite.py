"""Numbers that are not finite, and which was the first."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from gancli import weights
from gancli.errors import UserError

SQUARES = ("exp_avg_sq", "square_avg")
"""What Adam and RMSprop call their means of squared gradients."""


class Diverged(UserError):
    """A number is not finite: the training cannot go on as it is."""

    def __init__(self, step: int, what: str) -> None:
        super().__init__(f"diverged at step {step}: {what} is not finite", status=3)


class Part(NamedTuple):
    """Tensors by name, and what they are to a training."""

    what: str
    tensors: Iterable[tuple[str, Tensor]]


def check(step: int, *parts: Part) -> None:
    """Look at every number, part after part.

    Raises:
        Diverged: one is not finite.
    """
    for what, tensors in parts:
        if (name := weights.not_finite(dict(tensors))) is not None:
            raise Diverged(step, f"{what} '{name}'")


def squares(
    parameters: Mapping[str, nn.Parameter], kept: Mapping[Any, Mapping[str, Any]]
) -> Iterator[tuple[str, Tensor]]:
    """The means of squared gradients that an optimizer keeps of parameters, by the parameters' names."""
    for name, parameter in parameters.items():
        for key in SQUARES:
            if key in (state := kept.get(parameter, {})):
                yield name, state[key]
