"""The arithmetic of networks: what there is, and what the machine has; `trial` chooses."""

import torch

LIGHTNING = {"float32": "32-true", "bf16": "bf16-mixed"}
"""What Lightning calls each. Mixed keeps weights, their updates and averages, and statistics of a batch in float32."""


def has_bf16() -> bool:
    """Whether the device that trains multiplies in bfloat16 itself; emulated, it is slower than float32."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def allow_tf32(allowed: bool) -> None:
    """Whether CUDA may round what it multiplies in float32 to 10 bits of mantissa: where bf16 may keep 7, it may."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
