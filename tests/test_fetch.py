import contextlib
import hashlib
import http.server
import re
import threading
import urllib.parse

import numpy as np
import pytest

from gancli import fetch
from gancli.data.dataset import load
from gancli.errors import UserError
from gancli.recipe.data import Images

pytestmark = pytest.mark.usefixtures("cache")

CONTENT = {name: name.encode() * 50_000 for name in ("one.bin", "two.bin")}


sent: list[int] = []
"""Bytes that the server sent without end."""


@pytest.fixture
def server():
    """A server on this machine. It hands out CONTENT; the first part of the path says what goes wrong."""
    asked: list[str] = []
    stopped = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            _, fault, name = urllib.parse.unquote(self.path).split("/")
            content = CONTENT[name]
            if fault == "escapes":
                self.send_response(404, "\x1b[2J\x1b]0;owned\x07 \u202e".encode().decode("latin-1"))
                self.end_headers()
                return
            if fault in ("ftp", "file"):
                self.send_response(302)
                self.send_header("Location", f"{fault}://127.0.0.1/etc/hostname")
                self.end_headers()
                return
            if fault == "endless-redirections":
                self.send_response(302)
                self.send_header("Location", self.path)
                self.end_headers()
                return
            if fault == "no-http":
                self.wfile.write(b"\0\xff\x1b" * 1000)
                return
            if fault in ("drip", "dripping-header"):
                self.send_response(200)
                self.end_headers() if fault == "drip" else self.flush_headers()
                while not stopped.wait(0.01):
                    self.wfile.write(b"x" if fault == "drip" else b"X-More: 1\r\n"[:1])
                    self.wfile.flush()
                return
            if fault == "endless":
                self.send_response(200)
                self.end_headers()
                with contextlib.suppress(OSError):
                    while not stopped.is_set():
                        sent.append(self.wfile.write(bytes(2**16)))
                return
            if fault == "missing":
                self.send_error(404)
                return
            if fault == "wrong":
                content = content[:-1] + b"?"
            if fault == "long":
                content += b"more"
            self.send_response(200)
            if fault not in ("short", "long"):
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:1000] if fault in ("short", "cut") else content)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        stopped.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def known(monkeypatch, server):
    """Two sets that the server has: one of two files, one of a single file with a broken first address."""
    base, _ = server

    def file(name: str, *urls: str) -> fetch.File:
        return fetch.File(name, urls, len(CONTENT[name]), hashlib.sha256(CONTENT[name]).hexdigest())

    sets = {
        "two": (file("one.bin", f"{base}/ok/one.bin"), file("two.bin", f"{base}/ok/two.bin")),
        "one": (file("one.bin", f"{base}/missing/one.bin", f"{base}/ok/one.bin"),),
    }
    monkeypatch.setattr(fetch, "KNOWN", sets)
    return sets


def test_a_set_lands_whole_with_progress_and_only_once(server, known):
    seen: list[tuple[int, int]] = []
    folder = fetch.fetch("two", lambda done, total: seen.append((done, total)))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT
    total = sum(map(len, CONTENT.values()))
    assert seen == sorted(seen) and seen[-1] == (total, total) and len(seen) > 3
    asked = len(server[1])
    assert fetch.fetch("two") == folder and len(server[1]) == asked


def test_a_damaged_copy_is_fetched_again(known):
    folder = fetch.fetch("two")
    (folder / "one.bin").write_bytes(b"damaged")
    assert (fetch.fetch("two") / "one.bin").read_bytes() == CONTENT["one.bin"]


def test_the_next_address_is_tried(server, known):
    path = fetch.fetch("one")
    assert path.read_bytes() == CONTENT["one.bin"] and server[1] == ["/missing/one.bin", "/ok/one.bin"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("wrong", "its SHA-256 is"),
        ("long", "more bytes came"),
        ("short", "only 1,000 bytes came"),
        ("cut", "only 1,000 bytes came"),
        ("missing", "404|Not Found"),
    ],
)
def test_nothing_unverified_lands(server, known, fault, message):
    with pytest.raises(UserError, match=message) as error:
        fetch.fetch("one", url=f"{server[0]}/{fault}/")
    assert error.value.status == 1 and str(fetch.place("one")) in str(error.value)
    assert not list(fetch.place("one").parent.iterdir())


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://127.0.0.1:9/x"])
def test_no_other_kind_of_address(known, url):
    with pytest.raises(UserError, match=r"https://|refused"):
        fetch.fetch("one", url=url)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("ftp", "unknown url type|not allowed"),
        ("file", "unknown url type|not allowed"),
        ("endless-redirections", "infinite loop|redirect"),
        ("no-http", "one.bin"),
        ("escapes", r"\\x1b\[2J"),
    ],
)
def test_a_hostile_server_gets_one_line_without_escapes(server, known, fault, message):
    with pytest.raises(UserError) as error:
        fetch.fetch("one", url=f"{server[0]}/{fault}/")
    (line,) = error.value.lines
    assert re.search(message, line) and line.isprintable() and len(line) < 1000
    assert not list(fetch.place("one").parent.iterdir())


@pytest.mark.parametrize("fault", ["drip", "dripping-header"])
def test_a_server_that_drips_is_left(server, known, monkeypatch, fault):
    monkeypatch.setattr(fetch, "TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(fetch, "SLOWEST", 10_000_000)
    with pytest.raises(UserError, match="it took more than 0 s, as less than 10,000,000 bytes a second came"):
        fetch.fetch("one", url=f"{server[0]}/{fault}/")
    assert not list(fetch.place("one").parent.iterdir())


def test_no_more_is_read_than_was_published(server, known, monkeypatch):
    received = []
    monkeypatch.setattr(fetch, "_report", lambda progress, before, total, here: received.append(here))
    with pytest.raises(UserError, match="more bytes came instead of"):
        fetch.fetch("one", url=f"{server[0]}/endless/")
    assert max(received) == len(CONTENT["one.bin"]) + 1


def test_unknown_sets_are_named():
    with pytest.raises(UserError, match="choose one of mnist, fashion-mnist, cifar10"):
        fetch.fetch("imagenet")


@pytest.mark.parametrize("name", fetch.KNOWN)
def test_every_known_file_is_complete(name):
    for file in fetch.KNOWN[name]:
        assert file.urls and file.bytes > 0 and len(bytes.fromhex(file.sha256)) == 32


def test_mnist_by_name(data_folder, monkeypatch):
    settings = Images(source="mnist", image_size=28, channels=1)
    with pytest.raises(UserError, match="run `gancli fetch mnist`"):
        load(settings)
    # As if it had been fetched: the files are the published ones, byte for byte.
    folder = fetch.place("mnist")
    folder.mkdir(parents=True)
    for file in fetch.KNOWN["mnist"]:
        content = (data_folder / "mnist" / file.name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.bytes, file.sha256)
        (folder / file.name).write_bytes(content)
    assert fetch.fetch("mnist") == folder
    # What else lies there does not count, and a changed file is refused.
    (folder / "train-images-idx3-ubyte").write_bytes(b"")
    (folder / "1.png").write_bytes(b"")
    file = folder / "t10k-labels-idx1-ubyte.gz"
    content = file.read_bytes()
    for changed in (content[:-1] + b"?", content + b"?", b""):
        file.write_bytes(changed)
        with pytest.raises(UserError, match=r"t10k-labels.* is not what was published: run `gancli fetch mnist`"):
            load(settings, "test")
    file.write_bytes(content)
    data = load(settings, "test")
    assert len(data) == 10_000 and data.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.asarray(data.images["image"][:10]).mean() > 10
