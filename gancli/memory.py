"""How much memory there is, what is refused because it cannot fit, and what is said when it did not."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gancli.errors import UserError

SIGNS = ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED", "size calculation")
"""Parts of what torch says when memory runs out."""
_CGROUP = Path("/sys/fs/cgroup")


def available() -> int:
    """Bytes that this process may still take: of the machine, of its container, and of its own limit."""
    found = [2**62]
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(sum(int(line.split()[1]) for line in lines if line.startswith(("MemAvailable:", "SwapFree:"))))
        found[-1] *= 1024
    with suppress(OSError, ValueError):
        # What the container has cached of files is given back when it is needed.
        kept = sum(
            int(line.split()[1]) for line in (_CGROUP / "memory.stat").read_text().splitlines() if "_file" in line
        )
        used = int((_CGROUP / "memory.current").read_text())
        found.append(int((_CGROUP / "memory.max").read_text()) - max(0, used - kept))
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        with suppress(OSError, ValueError):
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            found.append(limit - pages * resource.getpagesize())
    return max(0, min(found))


def check(needed: int, what: str, advice: str) -> None:
    """Refuse work that cannot fit into memory.

    Args:
        needed: bytes, estimated.
        what: needs it.
        advice: what the user can ask for instead.

    Raises:
        UserError: there is less, with both figures.
    """
    if needed > (free := available()):
        raise UserError(f"{what} needs about {size(needed)} of memory, and {size(free)} are free: {advice}")


def size(number: float) -> str:
    """Bytes in words, as in 3.2 GB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:,.1f} TB"


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)
    )


@contextmanager
def in_words(message: str) -> Iterator[None]:
    """Turn the errors of torch and numpy when memory runs out into a message.

    Raises:
        UserError: memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        raise UserError(f"out of memory {message}", status=1) from error
