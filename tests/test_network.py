"""The network is closed: no command but `gancli fetch` opens a socket."""

import ast
import socket
import urllib.request
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "gancli"
NETWORK = {"socket", "http", "urllib", "requests", "ftplib", "smtplib", "ssl", "asyncio", "aiohttp", "huggingface_hub"}


def test_the_test_suite_refuses_sockets() -> None:
    with pytest.raises(RuntimeError, match="asked the network"):
        urllib.request.urlopen("http://192.0.2.1/", timeout=1)
    with pytest.raises(RuntimeError, match="asked the network"):
        socket.getaddrinfo("example.org", 80)


def test_only_fetch_imports_what_opens_sockets() -> None:
    """`socket.gethostname` is the one exception: it names the holder of a run."""
    found = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            found |= {(file.stem, name.split(".")[0]) for name in names if name.split(".")[0] in NETWORK}
    assert found <= {("fetch", "urllib"), ("fetch", "http"), ("fetch", "ssl"), ("lock", "socket")}
    assert "socket.gethostname()" in (PACKAGE / "runs" / "lock.py").read_text()
    assert (PACKAGE / "runs" / "lock.py").read_text().count("socket.") == 1
