"""Mean and covariance of features: all that the Fréchet distance reads, and the .npz files that hold them."""

import json
import math
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gancli import files
from gancli.errors import UserError
from gancli.metrics.features import ProtocolEntries

LARGEST_DIMENSIONS = 16_384
"""Four times as many as any feature network in use has; sigma then takes 2 GiB."""
LONGEST_TEXT = 1000
"""Characters of one entry of the protocol, or bytes of all of it times a hundred."""
NEGLIGIBLE = 1e-6
"""An eigenvalue of a covariance may be below zero by this share of the trace. Rounding to float32 moves eigenvalues by
at most ‖E‖ ≤ 6e-8 ‖Σ‖ ≤ 6e-8 tr Σ (Weyl); the rest is for sums that were taken in float32."""
NEGLIGIBLE_OF_MEAN = 1e-12
"""And by this share of ‖μ‖²: float64's rounding where a covariance is the small difference of large moments."""


@dataclass(frozen=True)
class Statistics:
    """Mean and covariance of one set's features.

    Attributes:
        mu: the mean, D.
        sigma: the unbiased covariance, D×D, in the precision that it was stored in.
        n: how many images; None where the file does not say (pytorch-fid's, clean-fid's).
        protocol: what was measured and how.
    """

    mu: Tensor
    sigma: Tensor
    n: int | None = None
    protocol: ProtocolEntries = field(default_factory=dict)

    @classmethod
    def of_sums(cls, n: int, total: Tensor, second: Tensor, protocol: ProtocolEntries) -> "Statistics":
        """Mean and covariance from the sums over `n` images of features and of their outer products.

        Raises:
            UserError: fewer than two images, which have no covariance, or features that are not finite.
        """
        if n < 2:
            raise UserError(f"a Fréchet distance needs at least 2 images, there is {n}; give more images")
        mu = total / n
        sigma = (second - n * torch.outer(mu, mu)) / (n - 1)
        if not (mu.isfinite().all() and sigma.isfinite().all()):
            raise UserError("the features hold NaN or infinity; check the weights of the feature network")
        return cls(mu, sigma, n, {**protocol, "images": n})

    def save(self, path: Path) -> None:
        """Write an .npz of mu, sigma, n and the protocol as JSON; pytorch-fid and clean-fid can read it."""
        arrays = {"mu": self.mu.numpy(), "sigma": self.sigma.numpy(), "protocol": np.array(json.dumps(self.protocol))}
        if self.n is not None:
            arrays["n"] = np.array(self.n)
        with files.writing(path) as file:
            np.savez(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> "Statistics":
        """Read mu, sigma, n and protocol of an .npz, and nothing else that it may hold.

        Files with mu and sigma alone, as pytorch-fid and clean-fid write, do as well.

        Raises:
            UserError: no such file, or not statistics.
        """
        refusal = f"{path}: not a readable statistics file; make one with `gancli eval-fid DATA --save-statistics FILE`"
        try:
            with zipfile.ZipFile(path) as archive:
                mu = _array(archive, "mu", 1, "fiu")
                dimensions = len(mu)
                sigma = _array(archive, "sigma", 2, "fiu")
                members = set(archive.namelist())
                n = int(_array(archive, "n", 0, "fiu")) if "n.npy" in members else None
                text = str(_array(archive, "protocol", 0, "U")) if "protocol.npy" in members else "{}"
            protocol = _protocol(json.loads(text))
        except OSError as error:
            raise UserError(f"{path}: {error.strerror or error}; name a readable statistics file") from error
        except Exception as error:  # a damaged archive can raise anything: zip, zlib, value, memory, recursion errors
            raise UserError(refusal) from error
        if sigma.shape != (dimensions, dimensions) or not dimensions or (n is not None and n < 2):
            raise UserError(refusal)
        found = cls(_tensor(mu), _tensor(sigma), n, protocol)
        if fault := found.fault():
            raise UserError(f"{path}: {fault}; make the file again")
        return found

    def fault(self) -> str | None:
        """Why these cannot be moments of features, or None."""
        if not (self.mu.isfinite().all() and self.sigma.isfinite().all()):
            return "mu or sigma holds NaN or infinity"
        mu, sigma = self.mu.double(), self.sigma.double()
        room = (
            NEGLIGIBLE * sigma.trace().clamp(min=0)
            + NEGLIGIBLE_OF_MEAN * mu.square().sum()
            + torch.finfo(torch.float64).tiny
        )
        if (sigma - sigma.T).abs().max() > room:
            return "sigma is not symmetric"
        if torch.linalg.cholesky_ex(sigma + room * torch.eye(len(mu), dtype=torch.float64)).info:
            return "sigma is no covariance (it is not positive semi-definite)"
        return None


def is_statistics(path: Path) -> bool:
    """Whether an .npz holds statistics rather than images; a damaged one is neither."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {"mu.npy", "sigma.npy"} <= {*archive.namelist()}
    except (zipfile.BadZipFile, OSError, ValueError):
        return False


def _array(archive: zipfile.ZipFile, name: str, axes: int, kinds: str) -> NDArray[Any]:
    """One array of an .npz, whose form is judged before anything is allocated for it."""
    with archive.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read_header(member)
    small = max(shape, default=0) <= LARGEST_DIMENSIONS and (dtype.kind != "U" or dtype.itemsize <= 100 * LONGEST_TEXT)
    if len(shape) != axes or dtype.kind not in kinds or not small:
        raise ValueError(f"{name} is {dtype} of shape {shape}")
    with archive.open(f"{name}.npy") as member:
        found: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
    return found


def _tensor(array: NDArray[Any]) -> Tensor:
    """float32 stays float32; any other number becomes float64."""
    return torch.from_numpy(np.ascontiguousarray(array, np.float32 if array.dtype == np.float32 else np.float64))


def _protocol(found: object) -> ProtocolEntries:
    """Plain entries of a file that may be anybody's: printable texts and finite numbers."""
    if not isinstance(found, dict):
        raise ValueError("the protocol is no object")
    for name, entry in found.items():
        for text in (name, entry):
            if not isinstance(text, str | int | float) or not str(text).isprintable() or len(str(text)) > LONGEST_TEXT:
                raise ValueError(f"the protocol's entry {name!r} is no plain text or number")
        if isinstance(entry, float) and not math.isfinite(entry):
            raise ValueError(f"the protocol's entry {name!r} is not finite")
    return dict(found)
