"""The well-known files that can be downloaded: the only place that opens a connection, and nothing lands unverified."""

import functools
import hashlib
import http.client
import os
import queue
import stat
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gancli import files
from gancli.errors import UserError

Progress = Callable[[int, int], object]
TIMEOUT_SECONDS = 30
"""How long to wait for each answer of a server."""
SLOWEST = 20_000
"""Bytes a second below which a download is given up: CIFAR-10 may take 2 h 22 min."""


@dataclass(frozen=True)
class File:
    """One file to download.

    Args:
        name: what it is called in the cache.
        urls: where it is, tried in this order.
        bytes: its exact size.
        sha256: its digest, in hexadecimal.
    """

    name: str
    urls: tuple[str, ...]
    bytes: int
    sha256: str


def _idx(base: str, *files: tuple[str, int, str]) -> tuple[File, ...]:
    return tuple(File(name, (base + name,), bytes, sha256) for name, bytes, sha256 in files)


KNOWN: dict[str, tuple[File, ...]] = {
    "mnist": _idx(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        (
            "train-images-idx3-ubyte.gz",
            9_912_422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        ("train-labels-idx1-ubyte.gz", 28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        ("t10k-images-idx3-ubyte.gz", 1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        ("t10k-labels-idx1-ubyte.gz", 4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
    "fashion-mnist": _idx(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (
            "train-images-idx3-ubyte.gz",
            26_421_880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        ("train-labels-idx1-ubyte.gz", 29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        ("t10k-images-idx3-ubyte.gz", 4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        ("t10k-labels-idx1-ubyte.gz", 5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
    "cifar10": (
        File(
            "cifar-10-python.tar.gz",
            ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
            170_498_071,
            "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        ),
    ),
    "inception": (
        File(
            "pt_inception-2015-12-05-6726825d.pth",
            (
                "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
                "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
            ),
            95_628_359,
            "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        ),
    ),
}
"""By name: facts published by the sets' authors and quoted alike in many repositories."""
SETS = tuple(name for name in KNOWN if name != "inception")
"""The names that a recipe's `data.source` may give."""


def place(name: str) -> Path:
    """Where a well-known set lies once it is fetched: its folder, or its only file."""
    folder = files.cache("fetched") / name
    return folder / KNOWN[name][0].name if len(KNOWN[name]) == 1 else folder


def fetch(name: str, progress: Progress | None = None, url: str | None = None) -> Path:
    """Download a well-known set into the cache, unless it is there already.

    Args:
        name: one of `KNOWN`.
        progress: called with (bytes done, bytes in all).
        url: another place to download from: a folder if it ends with a slash, else the file itself.

    Returns:
        Its folder, or its only file.

    Raises:
        UserError: there is no such set, no connection, no room, or what came is not what was published.
    """
    if name not in KNOWN:
        raise UserError(f"there is no set {name} to fetch: choose one of {', '.join(KNOWN)}")
    target = place(name)
    folder = target if len(KNOWN[name]) > 1 else target.parent
    folder.mkdir(parents=True, exist_ok=True)
    total = sum(file.bytes for file in KNOWN[name])
    done = 0
    for file in KNOWN[name]:
        path = folder / file.name
        if not (path.is_file() and files.sha256(path) == file.sha256):
            _download(file, path, url, partial(_report, progress, done, total))
        done += file.bytes
        if progress:
            progress(done, total)
    return target


def _report(progress: Progress | None, before: int, total: int, here: int) -> None:
    if progress:
        progress(before + here, total)


def check(name: str) -> None:
    """Compare a set that was fetched with what was published; a file that did not change since is not read again.

    Raises:
        UserError: it is not here, or its files are not those that were published.
    """
    target = place(name)
    folder = target if len(KNOWN[name]) > 1 else target.parent
    for file in KNOWN[name]:
        path = folder / file.name
        try:
            found = path.stat()
            sound = stat.S_ISREG(found.st_mode) and found.st_size == file.bytes
            digest = _digest(path, found.st_mtime_ns, found.st_ctime_ns, found.st_ino) if sound else ""
        except OSError:
            here = f", or give ./{name} if you mean the one that is here" if os.path.lexists(name) else ""
            raise UserError(f"data.source: {name} is not in the cache: run `gancli fetch {name}`{here}") from None
        if digest != file.sha256:
            raise UserError(f"data.source: {path} is not what was published: run `gancli fetch {name}`")


@functools.cache
def _digest(path: Path, *_: int) -> str:
    return files.sha256(path)


def _download(file: File, path: Path, url: str | None, progress: Callable[[int], object]) -> None:
    """Fetch one file from the first place that has it."""
    places = file.urls if url is None else (url + file.name if url.endswith("/") else url,)
    faults = []
    for place in places:
        try:
            _in_time(partial(_receive, place, file, path), file.bytes, progress)
            return
        except _Wrong as error:
            faults.append(f"{place}: {error}")
        except OSError as error:
            if not isinstance(error, urllib.error.URLError) and error.filename is not None:
                message = f"{path}: {error.strerror or error}: make room, or set GANCLI_CACHE"
                raise UserError(message, status=1) from error
            faults.append(f"{place}: {str(getattr(error, 'reason', None) or error)[:200]}")
        except (http.client.HTTPException, ValueError) as error:
            faults.append(f"{place}: {str(error)[:200] or type(error).__name__}")
    raise UserError(f"{'; '.join(faults)}: try again, or put the file at {path} yourself", status=1)


class _Wrong(Exception):
    """What came is not what was published."""


def _in_time(
    receive: Callable[[Callable[[int], object], list[str]], None], size: int, progress: Callable[[int], object]
) -> None:
    """Receive a file on a thread of its own, which is given up when its time is over.

    A timeout of the connection begins anew with every byte, and looking up a name knows none.

    Raises:
        _Wrong: it took too long.
    """
    seconds = TIMEOUT_SECONDS + size / SLOWEST
    outcome: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    late = threading.Event()
    parts: list[str] = []

    def told(received: int) -> None:
        if late.is_set():
            raise _Wrong("it took too long")
        progress(received)

    def work() -> None:
        try:
            receive(told, parts)
            outcome.put(None)
        except BaseException as error:
            outcome.put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        if (error := outcome.get(timeout=seconds)) is not None:
            raise error
    except queue.Empty:
        raise _Wrong(f"it took more than {seconds:,.0f} s, as less than {SLOWEST:,} bytes a second came") from None
    finally:
        late.set()
        for part in parts:
            Path(part).unlink(missing_ok=True)


def _receive(url: str, file: File, path: Path, progress: Callable[[int], object], parts: list[str]) -> None:
    if not url.startswith(("https://", "http://")):
        raise _Wrong("expected an address that begins with https:// or http://")
    request = urllib.request.Request(url, headers={"User-Agent": "gancli"})
    digest = hashlib.sha256()
    received = 0
    with _opener().open(request, timeout=TIMEOUT_SECONDS) as answer, files.writing(path) as out:
        parts.append(out.name)
        # One byte more than was published tells that there are too many; nobody reads the rest.
        while received <= file.bytes and (piece := answer.read1(min(2**18, file.bytes + 1 - received))):
            received += len(piece)
            digest.update(piece)
            out.write(piece)
            progress(received)
        if received != file.bytes:
            raise _Wrong(
                f"{'more' if received > file.bytes else f'only {received:,}'} bytes came instead of {file.bytes:,}"
            )
        if digest.hexdigest() != file.sha256:
            raise _Wrong(f"its SHA-256 is {digest.hexdigest()}, not the published {file.sha256}")


def _opener() -> urllib.request.OpenerDirector:
    """Opens http and https alone, wherever a redirection leads."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener
