"""Signals that end a command: SIGINT, SIGTERM, SIGHUP, and SIGUSR1, by which SLURM announces that it will preempt."""

import atexit
import contextlib
import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
PATIENCE = 3.0
"""Seconds after which a command ends that cannot stop by itself: a thread of it waits for a file, say."""


class Stopped(SystemExit):
    """A signal came while nothing was under way that had to be saved.

    It is no Exception, so that no library swallows it that guards its imports with `except Exception`.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


class Signals:
    """Notices the signals within a `with`.

    Args:
        wait: whether a signal only sets `received`, so that what is under way can be completed; else the first raises
            Stopped where it comes, or ends the process if that would be inside an import, and the second ends it.
    """

    def __init__(self, *, wait: bool) -> None:
        self.received: int | None = None
        self._wait = wait
        self._repeated = self._ending = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self  # Python lets the main thread alone handle signals
        # nohup asks that SIGHUP be ignored.
        numbers = [n for n in STOPPING if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._notice) for number in numbers}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for number, handler in self._before.items():
            around = getattr(handler, "__self__", None)
            if self._wait and self.received is not None and isinstance(around, Signals):
                around._ending = True  # the command ends for this signal, and a further one changes nothing
            signal.signal(number, handler)

    def insist(self) -> None:
        """Notice the signals again, after a library has put its own handlers in the place."""
        for number in self._before:
            signal.signal(number, self._notice)

    def _notice(self, number: int, frame: FrameType | None) -> None:
        if self._ending:
            return
        first, self.received = self.received is None, self.received or number
        if self._wait:
            if not first and not self._repeated:
                self._repeated = True
                say(number, "the step is completed and saved first; SIGQUIT (Ctrl-\\) ends at once, without saving")
            return
        if not first or _importing(frame):
            end(number)
        signal.signal(signal.SIGALRM, lambda *_: end(number))
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
        raise Stopped(number)


def settle(code: object) -> None:
    """Let a signal change neither the status of a command that is done nor what it says."""
    status = code if isinstance(code, int) else int(code is not None)
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in STOPPING:
        signal.signal(number, lambda *_: os._exit(status))
    atexit.register(signal.pthread_sigmask, signal.SIG_BLOCK, STOPPING)  # for Python removes the handlers at its end


def end(number: int) -> None:
    """End the process at once, with a line and the status of the signal."""
    say(number, "stopped")
    os._exit(128 + number)


def say(number: int, text: str) -> None:
    """Write a line about a signal to stderr, from within its handler or where nothing else works any more."""
    with contextlib.suppress(OSError):  # perhaps nobody reads it
        os.write(2, f"{signal.Signals(number).name}: {text}\n".encode())


def _importing(frame: FrameType | None) -> bool:
    """Whether an import is under way, where an exception may be swallowed or leave a library half made."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
