"""How close each translation is to its own target: PSNR, SSIM and L1, by torchmetrics."""

from collections.abc import Callable, Iterable
from typing import cast

import torch
from torch import Tensor
from torchmetrics import MeanAbsoluteError
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from gancli.errors import UserError
from gancli.metrics.features import Scores, check_images


@torch.inference_mode()
def pairs(batches: Iterable[tuple[Tensor, Tensor]], equal: Callable[[int], None] | None = None) -> Scores:
    """The means over all pairs; under torch.distributed each process gives its own pairs.

    Args:
        batches: fakes and their targets, both uint8 N×C×H×W.
        equal: told how many pairs of each batch are exact.

    Returns:
        psnr, in dB, the mean over images (infinite where one is exact); ssim, at most 1 (Gaussian window of 11 pixels,
        σ 1.5); l1, the mean absolute difference of values scaled to 0..1.

    Raises:
        UserError: no pairs, or fakes and targets of different sizes.
    """
    psnr = PeakSignalNoiseRatio(data_range=1.0, dim=(1, 2, 3), reduction="elementwise_mean")
    ssim = StructuralSimilarityIndexMeasure(data_range=1.0)
    l1 = MeanAbsoluteError()
    count = 0
    for fakes, targets in batches:
        check_images(fakes)
        check_images(targets)
        if fakes.shape != targets.shape:
            raise UserError(
                f"fakes {tuple(fakes.shape)} and targets {tuple(targets.shape)} differ in shape; give pairs of one size"
            )
        # torchmetrics views the images as one row, which those whose channels come last in memory are not.
        scaled, wanted = ((side.float() / 255).contiguous() for side in (fakes, targets))
        for metric in (psnr, ssim, l1):
            metric.update(scaled, wanted)
        count += len(fakes)
        if equal is not None:
            equal(int((fakes == targets).flatten(1).all(1).sum()))
    if not count:
        raise UserError("there are no pairs to compare; give at least one fake with its target")
    return {"psnr": float(psnr.compute()), "ssim": float(cast(Tensor, ssim.compute())), "l1": float(l1.compute())}
