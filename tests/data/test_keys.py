"""The cache's key covers all that the pixels depend on."""

import gzip
import itertools
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gancli.data import arrays, dataset
from gancli.data.inventory import take_inventory
from gancli.recipe.data import Data, Domains, Images, Pairs, Unpaired

BASE: dict[str, Any] = {"image_size": (8, 12)}
CHANGES: dict[str, list[Any]] = {
    "image_size": [8, (12, 8), 16],
    "enlarge": [16, (14, 18)],
    "channels": [1, 4],
    "crop": [6],
    "resize": ["contain", "stretch"],
    "background": ["black", "#123456"],
    "holdout": [0.5],
    "flip": [True],
    "zoom": [1.0],
    "on_bad_image": ["skip"],
}
BUILT_IN: list[tuple[type[Data], str]] = [
    (Images, "digits"),
    (Domains, "digits"),
    *((kind, source) for kind in (Images, Domains, Pairs, Unpaired) for source in ("shapes:6", "shapes:7")),
]


def variants(kind: type[Data], source: str) -> list[Data]:
    """The base, and whatever differs from it in one or two settings."""
    each = [(name, value) for name, values in CHANGES.items() for value in values]
    if kind is Pairs:
        each.append(("direction", "b-to-a"))
    found = [kind(source=source, **BASE)]
    for some in itertools.chain(((one,) for one in each), itertools.combinations(each, 2)):
        values = BASE | dict(some)
        if "enlarge" in values:
            values["image_size"] = 8 if isinstance(values["image_size"], int) else values["image_size"]
        found.append(kind(source=source, **values))
    return found


def test_settings_that_change_pixels_change_the_key(capsys):
    known: dict[str, tuple[bytes, Data, str]] = {}
    compared = 0
    for kind, source in BUILT_IN:
        for settings in variants(kind, source):
            inventory = take_inventory(settings)
            for split, groups in inventory.groups.items():
                form = dataset.form_of(settings, settings.training_size if split == "train" else settings.size)
                for rows in groups:
                    few = rows.__class__(rows.keys, rows.sources, rows.indices[:6])
                    try:
                        decoded = b"".join(
                            image.tobytes() for row in range(len(few)) for image in few.decode(row, form)
                        )
                    except dataset.store.BadImage as error:
                        decoded = str(error).encode()
                    before = known.setdefault(few.key(form), (decoded, settings, split))
                    assert before[0] == decoded, f"{settings!r} {split}\nhas the key of\n{before[1]!r} {before[2]}"
                    compared += 1
    with capsys.disabled():
        print(f"\nsettings of built-in sources: {compared} decoded, {len(known)} keys, no two pixels for one key")
    assert len(known) > 300


def noise(seed: int, count: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8), dtype=np.uint8)


def as_zip(path: Path, seed: int) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number, pixels in enumerate(noise(seed)):
            entry = zipfile.ZipInfo(f"{number}.bmp")
            with archive.open(entry, "w") as file:
                Image.fromarray(pixels).save(file, "BMP")


def as_folder(path: Path, seed: int) -> None:
    path.mkdir(exist_ok=True)
    for number, pixels in enumerate(noise(seed)):
        Image.fromarray(pixels).save(path / f"{number}.bmp")


def as_cifar(path: Path, seed: int) -> None:
    path.mkdir(exist_ok=True)
    records = np.random.default_rng(seed).integers(0, 256, (4, 3073), dtype=np.uint8)
    records[:, 0] = 3
    (path / "data_batch_1.bin").write_bytes(records.tobytes())


IDX = struct.pack(">HBB3I", 0, 8, 3, 4, 8, 8)
WRITERS: dict[str, Callable[[Path, int], object]] = {
    "set.npz": lambda path, seed: np.savez(path, images=noise(seed)),
    "set.npy": lambda path, seed: np.save(path, noise(seed)),
    "set.zip": as_zip,
    "folder": as_folder,
    "cifar": as_cifar,
    "train-images-idx3-ubyte": lambda path, seed: path.write_bytes(IDX + noise(seed).tobytes()),
    "train-images-idx3-ubyte.gz": lambda path, seed: path.write_bytes(gzip.compress(IDX + noise(seed).tobytes(), 0)),
}


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("way", ["in place", "another file"])
@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("digested", [2**26, 512], ids=["whole", "pieces"])
def test_what_is_replaced_at_equal_size_and_time_is_decoded_anew(tmp_path, monkeypatch, name, way, digested):
    monkeypatch.setattr(arrays, "DIGESTED", digested)
    place = tmp_path / name
    settings = Images(source=str(place), image_size=8, channels=1, holdout=0)
    WRITERS[name](place, 0)
    paths = sorted(place.iterdir()) if place.is_dir() else [place]
    before = [path.stat() for path in paths]
    first = np.array(dataset.load(settings).images["image"])
    if way == "another file":
        for path in paths:
            path.unlink()
    WRITERS[name](place, 1)
    for path, found in zip(paths, before, strict=True):
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (found.st_size, found.st_mtime_ns)
    assert (np.array(dataset.load(settings).images["image"]) != first).any()


def test_the_content_of_a_file_is_in_its_stamp_whatever_its_times_say(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(bytes(1000))
    times = path.stat()
    real = os.fstat
    monkeypatch.setattr(os, "fstat", lambda descriptor: times if real(descriptor).st_size == 1000 else real(descriptor))
    stamps = {arrays.stamp_of(path)}
    for place in (0, 500, 999):
        path.write_bytes(bytes(place) + b"x" + bytes(999 - place))
        stamps.add(arrays.stamp_of(path))
    assert len(stamps) == 4
