"""Folders and files that a stranger made: nothing hangs, no header makes the memory grow, nothing is a traceback."""

import gzip
import io
import os
import signal
import socket
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gancli.data import store
from gancli.data.dataset import load, splits_of
from gancli.errors import UserError
from gancli.recipe.data import Images, Labelled

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(autouse=True)
def _no_hanging() -> Iterator[None]:
    """What hangs is ended, and fails; what does not is never measured."""

    def hangs(*_: Any) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def image(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        os.chdir(path.parent)
        one.bind(path.name)
        os.chdir(here)


def sparse(path: Path, size: int, head: bytes = b"") -> None:
    path.write_bytes(head)
    os.truncate(path, size)


THINGS: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a socket": bind,
    "a folder": Path.mkdir,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to a pipe": lambda path: (os.mkfifo(path.with_name("pipe")), path.symlink_to("pipe")),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to a terminal": lambda path: path.symlink_to("/dev/tty"),
    "a huge sparse file": lambda path: sparse(path, 2**40, b"RIFF\xff\xff\xff\xffWEBPVP8 "),
}
PLACES = [
    "odd.png",
    "odd.webp",
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "data_batch_1",
    "test_batch.bin",
    "list_attr_celeba.txt",
    "table.csv",
]


def test_only_regular_files_are_read_from_folders(tmp_path, gancli, capfd):
    survived = 0
    for number, make in enumerate(THINGS.values()):
        for place in PLACES:
            folder = tmp_path / f"{number}" / place
            for seed in range(3):
                image(folder / f"{seed}.png", seed)
            if place == "train-labels-idx1-ubyte":
                (folder / "train-images-idx3-ubyte").write_bytes(struct.pack(">HBB3I", 0, 8, 3, 2, 8, 8) + bytes(128))
            make(folder / place)
            kind = Images
            options: dict[str, Any] = {}
            if place in ("list_attr_celeba.txt", "table.csv"):
                kind, options = Labelled, {"attributes": ("Old",), "attribute_file": place if number % 2 else None}
            settings = kind(source=str(folder), image_size=8, holdout=0, on_bad_image="skip", **options)
            try:
                found = load(settings)
                assert 2 <= len(found) <= 3
                assert place not in found.names["image"]
            except UserError as error:
                assert place not in ("odd.png", "odd.webp") and "\n" not in str(error) and error.status == 2
            done = gancli("data", "check", folder, "--json")
            assert done.status in (0, 2) and "Traceback" not in done.err
            survived += 1
    with capfd.disabled():
        print(f"\nodd things in folders: {survived} of {len(THINGS) * len(PLACES)} neither hang nor are read")
    assert survived == len(THINGS) * len(PLACES)


def test_a_pipe_is_named_as_an_unusable_image(tmp_path):
    image(tmp_path / "1.png")
    os.mkfifo(tmp_path / "2.png")
    with pytest.raises(UserError, match=r"2\.png \(is no regular file\)"):
        load(Images(source=str(tmp_path), image_size=8, holdout=0))


@pytest.mark.parametrize("name", ["x", "x.npy", "x.npz", "x.zip", "x.tar.gz", "train-images-idx3-ubyte"])
@pytest.mark.parametrize("thing", ["a pipe", "a link to a device", "a socket"])
def test_a_source_that_is_no_regular_file_is_refused(tmp_path, name, thing):
    THINGS[thing](tmp_path / name)
    with pytest.raises(UserError, match="is no regular file: give a folder or an archive"):
        load(Images(source=str(tmp_path / name)))


def test_a_file_that_becomes_a_pipe_does_not_hang(tmp_path, monkeypatch):
    for number in range(3):
        image(tmp_path / f"{number}.png", number)
    decode = store.Rows.decode

    def replaced(rows: store.Rows, *given: Any) -> Any:
        if not (tmp_path / "1.png").is_fifo():
            (tmp_path / "1.png").unlink()
            os.mkfifo(tmp_path / "1.png")
        return decode(rows, *given)

    monkeypatch.setattr(store.Rows, "decode", replaced)
    with pytest.raises(UserError, match=r"1\.png \(is no regular file"):
        load(Images(source=str(tmp_path), image_size=8, holdout=0))


def npy(shape: object, descr: str = "|u1", body: bytes = b"", order: bool = False) -> bytes:
    """An .npy file with any header."""
    header = f"{{'descr': {descr!r}, 'fortran_order': {order}, 'shape': {shape}}}"
    return raw_npy(header.encode() + b"\n", body)


def raw_npy(header: bytes, body: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def npz(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def idx(*shape: int, body: bytes = b"") -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape) + body


def tar(name: str, size: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
        entry = tarfile.TarInfo(name)
        entry.size = size
        archive.addfile(entry, io.BytesIO(bytes(size)))
    return file.getvalue()


SHAPES = [
    "(1099511627776, 8, 8)",
    "(1099511627776, 1, 1)",
    "(1099511627776, 0, 0)",
    "(1000000000, 0, 8)",
    "(2, 1048576, 1048576)",
    "(-1, 8, 8)",
    "(2, -8, -8)",
    "(9223372036854775807, 9223372036854775807, 3)",
    "(10**9, 8, 8)",
    "(1e9, 8, 8)",
    "(8,)",
    "()",
    "'x'",
    "(0, 8, 8)",
]
HEADERS = [
    b"(" * 9000,
    b"[" * 9000 + b"]" * 9000,
    b"{'descr': '|O', 'fortran_order': False, 'shape': (2, 8, 8)}",
    b"{'descr': '|V4000000000', 'fortran_order': False, 'shape': (2, 8, 8)}",
    b"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 8, 8)}",
    b"{'descr': '<M8[s]', 'fortran_order': False, 'shape': (2, 8, 8)}",
    b"{'descr': 'zz', 'fortran_order': False, 'shape': (2, 8, 8)}",
    b"{'descr': 5, 'fortran_order': False, 'shape': (2, 8, 8)}",
    b"-" * 9000 + b"1",
    b"\xff\xfe\0",
    b"{}",
    b"",
]
ZEROS = bytes(2**20)
FILES: dict[str, tuple[str, Callable[[], bytes]]] = {
    **{f"npy {shape}": ("x.npy", lambda shape=shape: npy(shape, body=ZEROS)) for shape in SHAPES},
    **{f"npz {shape}": ("x.npz", lambda shape=shape: npz(images=npy(shape, body=ZEROS))) for shape in SHAPES},
    **{f"npy header {n}": ("x.npy", lambda header=header: raw_npy(header, ZEROS)) for n, header in enumerate(HEADERS)},
    **{
        f"npz header {n}": ("x.npz", lambda header=header: npz(images=raw_npy(header, ZEROS)))
        for n, header in enumerate(HEADERS)
    },
    "npy Fortran": ("x.npy", lambda: npy("(2, 8, 8)", order=True, body=ZEROS)),
    "npy cut": ("x.npy", lambda: npy("(200, 8, 8)", body=ZEROS[:100])),
    "npz labels of a million characters": (
        "x.npz",
        lambda: npz(images=npy("(2, 8, 8)", body=ZEROS[:128]), labels=npy("(2,)", "<U1000000", bytes(8_000_000))),
    ),
    "npz labels without end": (
        "x.npz",
        lambda: npz(images=npy("(2, 8, 8)", body=ZEROS[:128]), labels=npy("(1099511627776,)", "<i8", ZEROS)),
    ),
    "npz labels of no number": (
        "x.npz",
        lambda: npz(images=npy("(0, 8, 8)", body=b""), labels=npy("(0,)", "<i8", b"")),
    ),
    **{
        f"idx {shape}{suffix}": (
            f"train-images-idx3-ubyte{suffix}",
            lambda shape=shape, pack=pack: pack(idx(*shape, body=ZEROS)),
        )
        for suffix, pack in (("", bytes), (".gz", gzip.compress))
        for shape in [
            (2**32 - 1, 28, 28),
            (2**32 - 1, 0, 0),
            (2**32 - 1, 1, 1),
            (2, 2**31, 2**31),
            (0, 28, 28),
            (10, 28),
            (1, 16384, 16384),
        ]
    },
    "tar of zeros without end": ("x.tar.gz", lambda: tar("rest", 2**25)),
    "tar with a huge batch": ("x.tar.gz", lambda: tar("data_batch_1", 2**27)),
    "tar that is none": ("x.tar.gz", lambda: gzip.compress(bytes(2**22))),
}


@pytest.mark.filterwarnings("ignore")  # Python's of odd escapes in headers
def test_no_header_promises_more_than_is_believed(tmp_path, capfd, monkeypatch):
    import resource

    monkeypatch.setattr("gancli.data.cifar.MAX_UNPACKED", 2**24)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for number, (what, (name, content)) in enumerate(FILES.items()):
        path = tmp_path / str(number) / name
        path.parent.mkdir()
        path.write_bytes(content())
        with pytest.raises(UserError) as error:
            load(Images(source=str(path), image_size=8, holdout=0))
            pytest.fail(what)
        (line,) = error.value.lines
        assert error.value.status == 2 and len(line) < 1000, (what, line)
        path.unlink()
        refused += 1
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    with capfd.disabled():
        print(f"\nheaders that lie: {refused} of {len(FILES)} refused, memory grew by {grown / 2**20:.0f} MiB")
    assert refused == len(FILES) and grown < 2**30


def test_sparse_files_as_large_as_they_say_are_refused_by_memory(tmp_path):
    for name, head in (
        ("x.npy", npy("(1099511627776, 1, 1)")),
        ("train-images-idx3-ubyte", idx(2**32 - 1, 16, 16)),
    ):
        sparse(tmp_path / name, 2**40 + len(head), head)
        with pytest.raises(UserError, match=r"needs about .* of memory, and .* are free: give fewer"):
            load(Images(source=str(tmp_path / name)))


@pytest.mark.parametrize("count", ["0", "1000001", "9" * 5000, "00"])
def test_the_number_of_shapes_is_bounded(count):
    with pytest.raises(UserError, match="expected a number from 1 to 1,000,000"):
        load(Images(source=f"shapes:{count}"))


def test_a_holdout_that_leaves_nothing_is_refused(tmp_path):
    for number in range(20):
        image(tmp_path / f"{number}.png", number)
    with pytest.raises(UserError, match=r"data\.holdout: 0\.99999 leaves none of 20 images to train on: lower it"):
        splits_of(Images(source=str(tmp_path), holdout=0.99999))


def test_the_disk_is_asked_for_room_before_images_are_decoded(tmp_path, monkeypatch):
    image(tmp_path / "1.png")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: os.terminal_size((0, 0)) and type("", (), {"free": 100})())
    with pytest.raises(UserError, match=r"1 decoded images takes 192 bytes in .*, and 100 bytes are free: make room"):
        load(Images(source=str(tmp_path), image_size=8, holdout=0))
