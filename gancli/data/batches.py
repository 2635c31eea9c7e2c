"""Batches by position: batch b is a function of (seed, b) alone, whatever came before it and however it is computed."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gancli.data.dataset import Dataset
from gancli.data.distributions import Known, points
from gancli.data.store import Pixels, Streamed, in_order

AHEAD = 4
"""Batches that are decoded while the network works, for sets that are not kept decoded."""


class Batches:
    """The batches `start` to `stop` of an endless sequence in which every epoch shows every image once, in a new order.

    Batches run across the ends of epochs and nothing is dropped. Images are uint8 N×C×H×W, channels last in memory;
    `label` is int64 N or uint8 N×K where there are labels.

    Args:
        dataset: what to gather from.
        batch_size: images in a batch.
        seed: of the order.
        start: the first batch.
        stop: the batch after the last; None for no end.
        balanced: every class is equally likely, however few images it has.
        referenced: balanced, and beside each `image` stand `reference` and `other_reference`, two images of one class,
            whose class is `reference_label` and owes nothing to the image's.
        device: where to keep all decoded images and gather from them; None gathers in memory.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        seed: int,
        start: int = 0,
        stop: int | None = None,
        balanced: bool = False,
        referenced: bool = False,
        device: torch.device | None = None,
    ) -> None:
        self._dataset, self._batch_size, self._start, self._stop = dataset, batch_size, start, stop
        self._orders: dict[str, Shuffled | Balanced]
        if balanced or referenced:
            if dataset.labels is None or dataset.labels.ndim != 1:
                raise ValueError("balanced batches need one class for each image")
            self._orders = {"image": Balanced(dataset.labels, seed)}
            if referenced:
                for members, key in enumerate(("reference", "other_reference"), 1):
                    self._orders[key] = Balanced(dataset.labels, seed, 1, members)
        elif dataset.matched:
            order = Shuffled(len(dataset), seed)
            self._orders = dict.fromkeys(dataset.images, order)
        else:
            self._orders = {
                key: Shuffled(len(array), seed, stream) for stream, (key, array) in enumerate(dataset.images.items())
            }
        self._streamed = any(isinstance(array, Streamed) for array in dataset.images.values())
        readers = {key: _Resident(array, device) if device else _Reader(array) for key, array in dataset.images.items()}
        self._readers = {key: readers[key if key in readers else "image"] for key in self._orders}

    def __len__(self) -> int:
        if self._stop is None:
            raise TypeError("these batches have no end")
        return max(0, self._stop - self._start)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        places = map(self._places, _numbers(self._start, self._stop))
        if self._streamed:
            yield from in_order(self._gather, places, AHEAD)
        else:
            yield from map(self._gather, places)

    def _places(self, batch: int) -> dict[str, NDArray[np.int64]]:
        first = batch * self._batch_size
        drawn = {id(order): order(first, first + self._batch_size) for order in self._orders.values()}
        return {key: drawn[id(order)] for key, order in self._orders.items()}

    def _gather(self, places: dict[str, NDArray[np.int64]]) -> dict[str, Tensor]:
        batch: dict[str, Tensor] = {}
        for key, read in self._readers.items():
            batch[key] = read(places[key]).permute(0, 3, 1, 2)
        if self._dataset.labels is not None:
            batch["label"] = torch.from_numpy(self._dataset.labels[places["image"]])
            if "reference" in places:
                batch["reference_label"] = torch.from_numpy(self._dataset.labels[places["reference"]])
        return batch


class Draws:
    """The batches `start` to `stop` of an endless sequence of fresh points: batch b is a function of (seed, b) alone.

    Args:
        known: what to draw from.
        batch_size: points in a batch.
        seed: of the draws.
        start: the first batch.
        stop: the batch after the last.
    """

    def __init__(self, known: Known, batch_size: int, seed: int, start: int, stop: int) -> None:
        self._known, self._batch_size, self._seed, self._numbers = known, batch_size, seed, range(start, stop)

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for number in self._numbers:
            drawn = points(self._known, self._batch_size, self._seed, number)
            yield {"image": torch.from_numpy(drawn.astype(np.float32))}


class Shuffled:
    """A permutation for each epoch, a function of (seed, epoch, stream); only the last one used is kept."""

    def __init__(self, count: int, seed: int, stream: int = 0) -> None:
        self._count, self._seed, self._stream = count, seed, stream
        self._epoch = -1
        self._permutation: NDArray[np.int64] = np.empty(0, np.int64)

    def __call__(self, first: int, last: int) -> NDArray[np.int64]:
        """The images at positions first to last - 1."""
        parts = []
        while first < last:
            epoch, inside = divmod(first, self._count)
            until = min(self._count, inside + last - first)
            parts.append(self._of(epoch)[inside:until])
            first += until - inside
        return np.concatenate(parts) if len(parts) != 1 else parts[0]

    def _of(self, epoch: int) -> NDArray[np.int64]:
        if epoch != self._epoch:
            # Sorting raw bits: NumPy promises these, but not `permutation`, to stay the same from version to version.
            bits = _bits(self._seed, self._stream, epoch).random_raw(self._count)
            self._permutation = np.argsort(bits, kind="stable")
            self._epoch = epoch
        return self._permutation


class Balanced:
    """Each block of as many positions as there are classes shows every class once, in an order of its own.

    Args:
        labels: the class of each image.
        seed: of the orders.
        classes: which of many orders of the classes; two of the same number show the same class at every position.
        members: which of many orders of the images of each class.
    """

    SEGMENT = 1024

    def __init__(self, labels: NDArray[np.int64], seed: int, classes: int = 0, members: int = 0) -> None:
        present = np.unique(labels)
        streams = 1 + len(present)
        self._members = [np.flatnonzero(labels == label) for label in present]
        self._orders = [Shuffled(len(m), seed, members * streams + 1 + n) for n, m in enumerate(self._members)]
        self._seed, self._stream = seed, classes * streams
        self._segment = -1
        self._classes: NDArray[np.int64] = np.empty((0, 0), np.int64)

    def __call__(self, first: int, last: int) -> NDArray[np.int64]:
        """The images at positions first to last - 1."""
        count = len(self._members)
        blocks, slots = np.divmod(np.arange(first, last), count)
        classes = np.array([self._of(int(block))[slot] for block, slot in zip(blocks, slots, strict=True)])
        places = np.empty(last - first, np.int64)
        for number, members in enumerate(self._members):
            here = np.flatnonzero(classes == number)
            if len(here):
                low, high = int(blocks[here[0]]), int(blocks[here[-1]]) + 1
                places[here] = members[self._orders[number](low, high)[blocks[here] - low]]
        return places

    def _of(self, block: int) -> NDArray[np.int64]:
        segment, inside = divmod(block, self.SEGMENT)
        if segment != self._segment:
            bits = _bits(self._seed, self._stream, segment).random_raw(self.SEGMENT * len(self._members))
            self._classes = np.argsort(bits.reshape(self.SEGMENT, -1), axis=1, kind="stable")
            self._segment = segment
        order: NDArray[np.int64] = self._classes[inside]
        return order


def _bits(*numbers: int) -> np.random.PCG64:
    return np.random.PCG64(np.random.SeedSequence(numbers))


def _numbers(start: int, stop: int | None) -> Iterator[int]:
    while stop is None or start < stop:
        yield start
        start += 1


class _Reader:
    """Gathers from one decoded array."""

    def __init__(self, array: Pixels) -> None:
        self._array = array

    def __call__(self, places: NDArray[np.int64]) -> Tensor:
        """The images at these places, N×H×W×C."""
        array = self._array
        return torch.from_numpy(array.take(places, axis=0) if isinstance(array, np.ndarray) else array[places])


class _Resident:
    """Gathers from one decoded array that is kept on a device."""

    def __init__(self, array: Pixels, device: torch.device) -> None:
        self._images = torch.tensor(np.asarray(array), device=device)

    def __call__(self, places: NDArray[np.int64]) -> Tensor:
        """The images at these places, N×H×W×C, on the device."""
        return self._images[torch.from_numpy(places).to(self._images.device)]
