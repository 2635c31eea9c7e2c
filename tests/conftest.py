"""What all tests share: the folder of real images, a cache of their own, the commands, a short training."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import ROOT, Done, run_gancli

# The last bits of results depend on the number of threads, and some tests compare those of several processes.
os.environ["OMP_NUM_THREADS"] = "1"


def _refuse_the_network(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook, which no library can go around: nothing is connected to, listened on or looked up elsewhere."""
    if event in ("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else "unix"  # a path: between processes of this machine
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if host not in ("unix", "127.0.0.1", "::1", "localhost"):
        raise RuntimeError(f"a test asked the network: {event} {host}")


sys.addaudithook(_refuse_the_network)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real images; tests that need it skip where there is none."""
    folder = Path(os.environ.get("GANCLI_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("no real images here: set GANCLI_DATA to their folder")
    return folder


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing is taken from, or left in, the cache of whoever runs the tests."""
    os.environ["GANCLI_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def gancli(capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run a command line in this process: `gancli("sample", run).out`."""

    def call(*words: object) -> Done:
        capfd.readouterr()
        status = run_gancli(*words)
        out, err = capfd.readouterr()
        return Done(status, out, err)

    return call


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short training of gan-digits: whole as a run, poor as a GAN."""
    path = tmp_path_factory.mktemp("runs") / "digits"
    sets = ("train.steps=60", "train.log_every=20", "train.samples_every=30", "train.checkpoint_every=30")
    assert run_gancli("train", "gan-digits", "--out", path, "-q", *(w for s in sets for w in ("--set", s))) == 0
    return path


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for one test alone."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("GANCLI_CACHE", str(folder))
    return folder
