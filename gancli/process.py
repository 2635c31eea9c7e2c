"""The process that a command runs in: its streams and its environment, made so that neither can end the command."""

import contextlib
import importlib.util
import io
import os
import sys
import warnings
from pathlib import Path

LIGHTNING = ("PL_", "LT_", "SLURM_", "JSM_", "LSB_", "TORCHELASTIC_", "ROLE_")
"""How the variables begin by which Lightning takes settings and finds the processes of a cluster."""
TORCH = ("TORCH_LOGS", "TORCH_TRACE", "TORCH_COMPILE")
"""How the variables begin that concern the compiler of torch, and end its import where they hold nonsense."""
RANKS = (
    *("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"),
    *("MASTER_ADDR", "MASTER_PORT", "STANDALONE_PORT", "NUM_NODES"),
)


def prepare() -> None:
    """Make this process safe from its streams and its environment, before anything heavy is imported."""
    _fill_closed_descriptors()
    sys.stdin = sys.stdin or io.TextIOWrapper(io.FileIO(0, closefd=False))
    sys.stdout = sys.stdout or io.TextIOWrapper(io.FileIO(1, "w", closefd=False))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    encoding = sys.stderr.encoding if sys.stderr else "utf-8"
    sys.stderr = io.TextIOWrapper(io.BufferedWriter(_Lossy()), encoding, "backslashreplace", write_through=True)
    if any(option.startswith("error") for option in sys.warnoptions):
        warnings.simplefilter("default")  # a library's warning is no error of the command
    hide_variables()
    _hide_matplotlib_settings()


def discard_stdout() -> None:
    """Send stdout, whose reader is gone, nowhere, so that Python does not complain when it flushes it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def hide_variables() -> None:
    """Forget the variables of Lightning and of torch's compiler: a training is one process, set up by its recipe."""
    for name in [*os.environ]:
        if name.startswith((*LIGHTNING, *TORCH)) or name in RANKS:
            del os.environ[name]


class _Lossy(io.FileIO):
    """stderr, whose reader may be gone and whose disk may be full: what it cannot take is lost."""

    def __init__(self) -> None:
        super().__init__(2, "w", closefd=False)

    def write(self, data: "bytes | memoryview[int]", /) -> int:  # type: ignore[override]
        try:
            return super().write(data) or len(data)  # a pipe that is full and does not wait takes none
        except OSError:
            return len(data)


def _fill_closed_descriptors() -> None:
    """Open the null device in place of a closed stream; else the next file would take its number, and its output."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _hide_matplotlib_settings() -> None:
    """Let matplotlib, which Lightning imports, read the settings that it was shipped with and no others."""
    from gancli import files

    os.environ.pop("MATPLOTLIBRC", None)
    os.environ["MPLBACKEND"] = "agg"
    with contextlib.suppress(RuntimeError):  # there is no home
        os.environ["MPLCONFIGDIR"] = str(files.cache_root() / "matplotlib")
    if Path("matplotlibrc").exists():  # the one in the current directory comes first, and no variable hides it
        found = importlib.util.find_spec("matplotlib")
        here = os.open(".", os.O_RDONLY)
        os.chdir(Path(found.origin).parent if found and found.origin else "/")
        try:
            import matplotlib  # noqa: F401
        finally:
            os.fchdir(here)
            os.close(here)
