"""Watched: running means of what a training watches between two rows of metrics.csv."""

from collections.abc import Mapping

import torch
from torch import Tensor


class Watched:
    """Sums and counts by name, so that memory stays the same however long the interval is.

    Each observation counts once, whatever its shape: what is summed is its mean. Sums are in float64, so that no row
    depends on how many observations came before.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, name: str, observation: Tensor) -> None:
        """Add the mean of a tensor of any shape."""
        mean = observation.detach().float()
        if mean.ndim:
            mean = mean.mean()
        if name not in self._sums:
            # Not every device has float64.
            self._sums[name] = torch.zeros((), dtype=_wide(mean.device), device=mean.device)
            self._counts[name] = 0
        self._sums[name].add_(mean)
        self._counts[name] += 1

    def take(self) -> dict[str, float]:
        """The mean of each since the last call, in the order in which they came first."""
        sums, counts = self._read(), self._counts
        self._sums, self._counts = {}, {}
        return {name: total / counts[name] for name, total in sums.items()}

    def state(self) -> dict[str, Tensor]:
        """Each name's sum and count, two numbers in float64."""
        return {
            name: torch.tensor([total, self._counts[name]], dtype=torch.float64) for name, total in self._read().items()
        }

    def restore(self, saved: Mapping[str, Tensor], device: torch.device) -> None:
        """Go on from `state()`, or from version 0.1.0's: the means of all observations one by one, in float32.

        Raises:
            ValueError: it is neither; nothing is changed.
        """
        found = {}
        for name, tensor in saved.items():
            if tensor.dtype == torch.float64 and tensor.shape == (2,) and tensor[1] >= 1 and tensor[1] % 1 == 0:
                found[name] = float(tensor[0]), int(tensor[1])
            elif tensor.dtype == torch.float32 and tensor.ndim == 1 and len(tensor):
                found[name] = float(tensor.double().sum()), len(tensor)
            else:
                raise ValueError("what was watched is no list of numbers")
        self._sums = {n: torch.tensor(total, dtype=_wide(device), device=device) for n, (total, _) in found.items()}
        self._counts = {name: count for name, (_, count) in found.items()}

    def _read(self) -> dict[str, float]:
        """The sums; the device is waited for once, not once for each."""
        sums = torch.stack(list(self._sums.values())).tolist() if self._sums else []
        return dict(zip(self._sums, sums, strict=True))


def _wide(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64
