"""The lock of a run directory: one process writes there."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from gancli.errors import UserError


class Lock:
    """The file that whoever writes into a directory holds; the system lets go of it however the process ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / ".lock"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the directory, making it if need be.

        Raises:
            UserError: another process holds it, or it cannot be written.
        """
        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        try:
            lock = self._lock()
        except OSError as error:
            raise UserError(f"{self.path}: {error.strerror}: give a place that can be written with --out") from error
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                self.file.unlink()  # while it is held, so that nobody holds another in between
                for empty in made:
                    empty.rmdir()  # nothing came of it
            os.close(lock)

    def _lock(self) -> int:
        for _ in range(10):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.file, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(lock), self.file.stat()):
                    os.ftruncate(lock, 0)
                    os.write(lock, f"process {os.getpid()} on {socket.gethostname()}".encode())
                    return lock
            except (BlockingIOError, FileNotFoundError):
                pass  # held; or held until now by someone who removed it
            os.close(lock)
            time.sleep(0.05)  # someone may only have looked whether it is held
        raise UserError(f"{self.path}: in use by {self._holder()}: wait for it, or give another --out")

    def _holder(self) -> str:
        with contextlib.suppress(OSError, UnicodeError):
            return self.file.read_text() or "another process"
        return "another process"

    def is_held(self) -> bool:
        """Whether a process holds the directory for writing."""
        try:
            with self.file.open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False
