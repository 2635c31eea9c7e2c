"""The lock of a run directory: one process writes there, and knows when the directory is no longer its own."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from gancli import files
from gancli.errors import UserError


class Lost(UserError):
    """The directory is no longer this process's: it was removed or replaced."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: was removed or replaced while this process trained there: it writes nothing more", 1)


class Lock:
    """Holds a directory for the one process that writes there; the system lets go of it however the process ends.

    The directory itself is locked, which nobody can remove without a trace, and a file `.lock` in it, which says who
    holds it, and serves alone where the disk locks no directories (NFS).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / ".lock"
        self._held: tuple[int, int] | None = None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the directory, making it if need be.

        Raises:
            UserError: another process holds it, or it cannot be written.
        """
        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        try:
            self._held = self._take()
        except OSError as error:
            raise UserError(f"{self.path}: {error.strerror}: give a place that can be written with --out") from error
        try:
            yield
        finally:
            try:
                with contextlib.suppress(OSError, Lost):
                    self.prove()
                    self.file.unlink()  # while it is held, so that nobody holds another in between
                    for empty in made:
                        empty.rmdir()  # nothing came of it
            finally:
                for descriptor in self._held:
                    os.close(descriptor)
                self._held = None

    def prove(self) -> None:
        """See that the directory is still this process's own; nothing where it is not held.

        Raises:
            Lost: it is not.
        """
        if self._held is None:
            return
        folder, lock = self._held
        if not _same(folder, self.path, follow=True):
            raise Lost(self.path)
        if _same(lock, self.file):
            return
        # Somebody removed the file. As the directory is locked as well, nobody can have begun to write since.
        with contextlib.suppress(OSError, UserError):
            if (new := self._take_file(os.O_EXCL)) is not None:
                self._held = (folder, new)
                os.close(lock)
                return
        raise Lost(self.path)

    def is_held(self) -> bool:
        """Whether a process holds the directory for writing."""
        with contextlib.suppress(OSError):
            for path, flags in ((self.path, os.O_DIRECTORY), (self.file, os.O_NOFOLLOW | os.O_NONBLOCK)):
                descriptor = os.open(path, os.O_RDONLY | flags)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return True
                finally:
                    os.close(descriptor)
        return False

    def _take(self) -> tuple[int, int]:
        for _ in range(10):
            files.make_folder(self.path)
            folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                if (
                    _lock_folder(folder)
                    and _same(folder, self.path, follow=True)
                    and (lock := self._take_file()) is not None
                ):
                    return folder, lock
            except BaseException:
                os.close(folder)
                raise
            os.close(folder)
            time.sleep(0.05)  # someone may only have looked whether it is held
        raise UserError(f"{self.path}: in use by {self._holder()}: wait for it, or give another --out")

    def _take_file(self, flags: int = 0) -> int | None:
        """A descriptor of the file, locked and with this process's name in it; None where another process has it."""
        lock = files.open_own(self.file, os.O_RDWR | os.O_CREAT | flags)
        if _lock(lock) and _same(lock, self.file):
            if os.fstat(lock).st_nlink == 1:
                os.ftruncate(lock, 0)
                os.write(lock, f"process {os.getpid()} on {socket.gethostname()}".encode())
                return lock
            self.file.unlink()  # a document that has another name elsewhere: leave it as it is, and make a file
        os.close(lock)
        return None

    def _holder(self) -> str:
        with contextlib.suppress(OSError, UserError):
            said = files.read(self.file)[:300].decode(errors="replace")
            return "".join(c for c in said if c.isprintable()) or "another process"
        return "another process"


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_folder(descriptor: int) -> bool:
    try:
        return _lock(descriptor)
    except OSError:
        return True  # this disk locks no directories: the file alone must do


def _same(descriptor: int, path: Path, *, follow: bool = False) -> bool:
    """Whether the file that is open is the one of this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=follow))
    except FileNotFoundError:
        return False
