"""Which arithmetic a training computes in, where its recipe leaves that to the machine."""

import torch
from torch import nn

from gancli.schema import Recipe

LIGHTNING = {"float32": "32-true", "bf16": "bf16-mixed"}
"""What Lightning calls each. Mixed keeps weights, their updates and averages, and statistics of a batch in float32."""


def settled(recipe: Recipe, model: nn.Module) -> Recipe:
    """The recipe with its precision chosen: for auto bf16 where the hardware has it and the networks convolve.

    Multilayer perceptrons as small as a GAN's gain less from bfloat16 than the conversions cost.
    """
    if recipe.train.precision != "auto":
        return recipe
    convolves = any(isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) for layer in model.modules())
    return recipe.with_precision("bf16" if convolves and has_bf16() else "float32")


def has_bf16() -> bool:
    """Whether the device that trains multiplies in bfloat16 itself; emulated, it would be slower than float32."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def allow_tf32(allowed: bool) -> None:
    """Whether CUDA may round what it multiplies in float32 to 10 bits of mantissa: where bf16 may keep 7, it may."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
