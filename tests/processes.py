"""Commands in processes of their own that are born with everything imported, so that a hundred of them take seconds."""

import contextlib
import ctypes
import errno
import itertools
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["pytest", "gancli.cli.train", "gancli.training.train", "gancli.data.shapes", "processes"]
)


class Ended(NamedTuple):
    """How a process ended: its exit status (minus the signal that killed it), what it said, and how long it took."""

    status: int
    said: str
    seconds: float


class Command:
    """`gancli words…` in a process of its own.

    Args:
        words: of the command line.
        log: what it says goes to this file.
        before: called in the process before the command, with `arguments`; a function of a module. What it returns, if
            it can be called, is called in the end.
    """

    def __init__(
        self, words: tuple[object, ...], log: Path, before: Callable[..., object] | None = None, *arguments: Any
    ) -> None:
        self.log = log
        self.started = time.monotonic()
        self.process = CONTEXT.Process(target=_run, args=([str(w) for w in words], str(log), before, arguments))
        self.process.start()

    @property
    def running(self) -> bool:
        return self.process.is_alive()

    def send(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.process.pid is not None and self.running:
            os.kill(self.process.pid, number)

    def end(self, seconds: float = 300) -> Ended:
        """Wait for the end; a process that does not come to one is a failure."""
        self.process.join(seconds)
        if self.running:
            self.process.kill()
            self.process.join()
            raise AssertionError(f"still running after {seconds} s: {self.said()}")
        return Ended(self.process.exitcode or 0, self.said(), time.monotonic() - self.started)

    def said(self) -> str:
        """What it has said so far; names need not be UTF-8."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def outlive(self, seconds: float) -> None:
        """Wait so long, or until the process has ended."""
        self.process.join(seconds)

    def until(self, reached: Callable[[], object], seconds: float = 300) -> None:
        """Wait until something is so, or the process has ended."""
        while self.running and not reached() and seconds > 0:
            time.sleep(0.002)
            seconds -= 0.002


def _run(words: list[str], log: str, before: Callable[..., object] | None, arguments: tuple[Any, ...]) -> None:
    import sys

    import torch

    from gancli.__main__ import main

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    torch.set_num_threads(1)
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["gancli", *words]
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    after = before(*arguments) if before is not None else None
    try:
        main()
    finally:
        if callable(after):
            after()


def redirect(descriptors: dict[int, str]) -> None:
    """Close descriptors, or open them on a file, a pipe whose reader is gone, or one that is full and does not wait.

    Args:
        descriptors: by number: closed, dead, stuck, or a path.
    """
    import sys

    for number, kind in descriptors.items():
        if kind == "closed":
            os.close(number)
        elif kind in ("dead", "stuck"):
            reader, writer = os.pipe()
            if kind == "dead":
                os.close(reader)
            else:
                os.set_blocking(writer, False)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        os.write(writer, bytes(4096))
            os.dup2(writer, number)
            os.close(writer)
        else:
            opened = os.open(kind, os.O_WRONLY)
            os.dup2(opened, number)
            os.close(opened)
    for number, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):  # as at the start of an interpreter
        if number in descriptors:
            closed = descriptors[number] == "closed"
            setattr(sys, name, None if closed else open(number, "w", closefd=False))  # noqa: SIM115


def set_variables(variables: dict[str, str]) -> None:
    """Set variables of the environment."""
    os.environ.update(variables)


def surround(
    descriptors: dict[int, str],
    variables: dict[str, str],
    rc: dict[str, Any],
    writes: int | None,
    evaluations: int | None,
) -> None:
    """Put a command into surroundings: streams, variables, settings of matplotlib, a full disk, failing evaluations.

    Args:
        descriptors: as for `redirect`.
        variables: of the environment.
        rc: settings of matplotlib, as a matplotlibrc makes them.
        writes: files that the disk has room for; None has no end.
        evaluations: of them succeed, and one after them fails; None fails never.
    """
    import matplotlib

    from gancli.score import scoring

    matplotlib.rcParams.update(rc)
    set_variables(variables)
    if writes is not None:
        limit_writes(writes)
    score, done = scoring.score_each, []

    def failing(*arguments: Any, **named: Any) -> Any:
        done.append(1)
        if len(done) - 1 == evaluations:
            raise RuntimeError("the evaluation broke")
        return score(*arguments, **named)

    scoring.score_each = failing
    redirect(descriptors)


def wait_for_a_file(fifo: str) -> None:
    """Let the decoding of images wait in a thread for a file that nobody writes."""
    from gancli.training import train

    def load(*_: Any) -> Any:
        with ThreadPoolExecutor() as threads:
            return list(threads.map(Path.read_bytes, [Path(fifo)]))

    train.load = load  # type: ignore[assignment]


def ignore_hangups() -> None:
    """Ignore SIGHUP, as nohup does."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def limit_file_size(size: int) -> None:
    """No file of this process may grow beyond so many bytes: as on a full disk, a write that would fails."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def limit_writes(count: int) -> None:
    """The disk is full after so many files more."""
    reserve, made = os.posix_fallocate, []

    def full(descriptor: int, offset: int, size: int) -> None:
        made.append(size)
        if len(made) > count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        reserve(descriptor, offset, size)

    os.posix_fallocate = full


def limit_memory(size: int) -> None:
    """This process may take so many more bytes of memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + size
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def give_up_privileges() -> None:
    """Be stopped by permissions even as the superuser, who is not without his capabilities."""
    version, no_capabilities = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(version, no_capabilities) == 0


def linger_in_saves(seconds: float) -> None:
    """Sleep at each stage of writing a file, so that a signal at a random moment often falls inside a save."""
    _at_each_stage(lambda: time.sleep(seconds))


def die_in_a_save(stages: int) -> None:
    """Be killed at a stage of writing a file, after so many others."""
    passed = itertools.count()

    def reached() -> None:
        if next(passed) == stages:
            os.kill(os.getpid(), signal.SIGKILL)

    _at_each_stage(reached)


def _at_each_stage(reached: Callable[[], object]) -> None:
    """Call something before and after each stage of writing a file: its room, its content on the disk, its name."""
    from gancli import files

    for module, name in ((os, "fsync"), (files, "rename"), (os, "posix_fallocate")):
        setattr(module, name, _between(getattr(module, name), reached))


def _between(function: Callable[..., Any], reached: Callable[[], object]) -> Callable[..., Any]:
    def staged(*arguments: Any, **named: Any) -> Any:
        reached()
        done = function(*arguments, **named)
        reached()
        return done

    return staged


def signal_itself(number: int, count: int) -> None:
    """Get a signal so many times in the first save after a step."""
    from gancli.runs.run import Run

    save = Run.save_weights

    def signalled(*arguments: Any, **named: Any) -> None:
        Run.save_weights = save  # type: ignore[method-assign]
        for _ in range(count):
            os.kill(os.getpid(), number)
        save(*arguments, **named)

    Run.save_weights = signalled  # type: ignore[method-assign]
