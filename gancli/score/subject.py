"""Subject: images to measure, or statistics of images."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from gancli.make.images import Pixels
from gancli.metrics.features import ProtocolEntries
from gancli.metrics.moments import Statistics
from gancli.recipe.sections import Recipe
from gancli.runs.run import Run

BATCH = 64
Told = Callable[[str, int, int], None]
"""Called with what is being done, the images done, and the images in all."""


def _nothing(told: Told | None) -> None:
    """Nothing has to be read before the work."""


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
        prepare: reads each image that is there once, so that one that cannot be used is found before the work.
    """

    batches: Callable[[], Iterator[Tensor]]
    count: int
    protocol: ProtocolEntries
    labels: Callable[[], NDArray[Any] | None]
    classes: tuple[str, ...] = ()
    key: str | None = None
    recipe: Recipe | None = None
    run: Run | None = None
    statistics: Statistics | None = None
    prepare: Callable[[Told | None], object] = _nothing

    @property
    def generated(self) -> bool:
        """Whether a model makes these images."""
        return self.key is None and self.statistics is None


def tensor(pixels: Pixels) -> Tensor:
    """uint8 N×H×W×C as N×C×H×W."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)
