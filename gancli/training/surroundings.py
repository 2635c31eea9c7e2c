"""The machine around a training: its processor, its memory and its disk, and libraries that talk too much."""

import contextlib
import ctypes
import logging
import os
import platform
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gancli.errors import UserError
from gancli.recipe.sections import Recipe
from gancli.runs.run import Run

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""glibc's names of what `mallopt` sets."""
SWITCHES = (
    *("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_CPU_ISA_HINTS", "DNNL_CPU_ISA_HINTS"),
    *("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR", "MKL_DYNAMIC"),
    *("OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES"),
    *("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG", "CUDNN_DETERMINISTIC"),
)
"""Environment variables by which libraries choose other instructions, and so other roundings."""
VECTORS = ("avx", "amx", "fma", "f16c", "sse4", "asimd", "sve", "bf16", "i8mm", "neon")
OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED", "size calculation")


def machine_facts(device: torch.device) -> dict[str, Any]:
    """What the last bits of the weights depend on beside the recipe and the data."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "machine": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def environment(device: torch.device) -> dict[str, str]:
    """All that the last bits of the weights depend on beside the recipe and the data, by name."""
    facts = machine_facts(device) | {"processor": _processor(), "numpy": np.__version__, "gancli": version("gancli")}
    if device.type == "cuda":
        facts |= {"cuda": getattr(torch.version, "cuda", None), "cudnn": torch.backends.cudnn.version()}  # type: ignore[no-untyped-call]
    facts |= {name: os.environ[name] for name in SWITCHES if os.environ.get(name)}
    return {name: str(value) for name, value in facts.items()}


def _processor() -> str:
    """The processor's name and model, and the instructions for vectors that it knows."""
    try:
        first = Path("/proc/cpuinfo").read_text(errors="replace").partition("\n\n")[0]
    except OSError:
        return platform.processor() or platform.machine()
    lines = dict(line.replace("\t", "").partition(":")[::2] for line in first.splitlines())
    said = [lines.get(name, "").strip() for name in ("model name", "cpu family", "model", "stepping")]
    flags = lines.get("flags", lines.get("Features", "")).split()
    return " ".join([*filter(None, said), *sorted(flag for flag in flags if flag.startswith(VECTORS))])


@contextlib.contextmanager
def disk_in_words(run: Run) -> Iterator[None]:
    """Turn an error of the disk into a message that says how to continue the run."""
    try:
        yield
    except OSError as error:
        run.prove()  # where the directory is gone, no disk is to blame
        what = f"{error.filename or run.path}: {error.strerror or error}"
        raise UserError(f"{what}: make room or repair it, then gancli train --resume {run.path}", 1) from error


@contextlib.contextmanager
def memory_in_words(recipe: Recipe) -> Iterator[None]:
    """Turn a lack of memory into a message that says what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in OUT_OF_MEMORY):
            raise
        shape = "×".join(map(str, recipe.data.shape))
        raise UserError(
            f"out of memory with batches of {recipe.train.batch_size} images of {shape}: "
            "lower train.batch_size, data.image_size or the networks' widths",
            status=1,
        ) from error


def keep_memory() -> None:
    """Let the C library keep freed memory for the next tensor.

    glibc gives large blocks back to the system, which zeroes their pages anew at the next allocation: that was a third
    of StarGAN's time.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, 2**26)):
            mallopt(parameter, value)


def quieten() -> None:
    """Silence Lightning, which writes to stdout and to loggers about things that the user did not ask."""
    for name in ("pytorch_lightning", "lightning", "lightning_fabric", "torch.distributed"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", module="lightning_fabric")
    warnings.filterwarnings("ignore", message=".*deterministic")
