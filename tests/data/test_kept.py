"""The cache's pixels and lists are compared with checksums; a data set has a digest to bind checkpoints to."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gancli.data import kept, store
from gancli.data.batches import Batches
from gancli.data.dataset import Dataset, load, load_domain
from gancli.errors import UserError
from gancli.recipe.data import Images, Labelled, Pairs, Unpaired

pytestmark = pytest.mark.usefixtures("cache")


def image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def classes(folder: Path) -> Path:
    for number in range(12):
        image(folder / "train" / "ab"[number % 2] / f"{number}.png", number)
    return folder


def of(folder: Path | str, **options) -> Dataset:
    return load(Images(source=str(folder), image_size=8, **options))


def swap(one: Path, other: Path) -> None:
    """Exchange the contents of two files, keeping sizes (padded) and times."""
    first, second = one.read_bytes(), other.read_bytes()
    longest = max(len(first), len(second))
    for path, content in ((one, second), (other, first)):
        times = path.stat()
        path.write_bytes(content.ljust(longest, b"\0"))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "edited": lambda folder: image(folder / "train/a/0.png", 100),
    "all replaced": lambda folder: [image(path, 200 + n) for n, path in enumerate(sorted(folder.rglob("*.png")))],
    "added": lambda folder: image(folder / "train/a/20.png", 100),
    "removed": lambda folder: (folder / "train/a/0.png").unlink(),
    "one removed, one added": lambda folder: (
        (folder / "train/a/0.png").unlink(),
        image(folder / "train/a/30.png", 100),
    ),
    "renamed": lambda folder: (folder / "train/a/0.png").rename(folder / "train/a/21.png"),
    "relabelled": lambda folder: (folder / "train/a/0.png").rename(folder / "train/b/0.png"),
    "two exchanged": lambda folder: swap(folder / "train/a/0.png", folder / "train/a/2.png"),
    "a class renamed": lambda folder: (folder / "train/a").rename(folder / "train/c"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("limit", [20, 0], ids=["kept", "streamed"])
def test_the_digest_changes_with_the_data(tmp_path, change, limit):
    folder = classes(tmp_path / "set")
    before = of(folder, cache_limit=limit).digest
    CHANGES[change](folder)
    assert of(folder, cache_limit=limit).digest != before


def test_the_digest_does_not_depend_on_place_time_or_the_cache(tmp_path, cache, monkeypatch):
    folder = classes(tmp_path / "set")
    before = of(folder).digest
    assert of(folder).digest == before and len(before) == 64
    assert of(folder, cache_limit=0).digest == before
    shutil.copytree(folder, tmp_path / "elsewhere" / "copy")
    assert of(tmp_path / "elsewhere" / "copy").digest == before
    for path in folder.rglob("*.png"):
        os.utime(path, (1, 1))
    store.clear()
    monkeypatch.chdir(tmp_path)
    assert of("set").digest == before


def test_the_digest_knows_the_sides_of_pairs_and_domains(tmp_path):
    for side in "AB":
        for number in range(3):
            image(tmp_path / f"train{side}" / f"{number}.png", number + 10 * (side == "B"))
    options = {"source": str(tmp_path), "image_size": 8}
    pairs = Pairs(layout="folders", **options)
    digests = [
        load(pairs).digest,
        load(pairs.model_copy(update={"direction": "b-to-a"})).digest,
        load(Unpaired(**options)).digest,
        load_domain(pairs, "a", "train").digest,
        load_domain(pairs, "b", "train").digest,
    ]
    assert len(set(digests)) == len(digests)
    labelled = Labelled(source=str(classes(tmp_path / "classes")), image_size=8)
    assert load_domain(labelled, "a", "train").digest != load_domain(labelled, "b", "train").digest


def test_the_digest_knows_attributes(tmp_path):
    for number in range(3):
        image(tmp_path / f"{number}.png", number)
    table = tmp_path / "table.csv"
    digests = set()
    for value in (1, -1):
        table.write_text(f"name,Old,Young\n0.png,{value},1\n1.png,1,1\n2.png,1,1\n")
        settings = Labelled(source=str(tmp_path), attributes=("Old", "Young"), image_size=8, holdout=0)
        digests.add(load(settings).digest)
    assert len(digests) == 2


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def lie(path: Path) -> None:
    """Say that an image is bad that is not."""
    entry = json.loads(path.read_text())
    entry["bad"] = [[0, "damaged"]]
    path.write_text(json.dumps(entry))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "first pixel": lambda entry: flip(entry / "image.pixels", 0),
    "last pixel": lambda entry: flip(entry / "image.pixels", -1),
    "a checksum": lambda entry: flip(entry / "image.sums", 5),
    "no checksums": lambda entry: (entry / "image.sums").unlink(),
    "no pixels": lambda entry: (entry / "image.pixels").unlink(),
    "pixels cut": lambda entry: os.truncate(entry / "image.pixels", 100),
    "pixels longer": lambda entry: os.truncate(entry / "image.pixels", 10_000),
    "a false list": lambda entry: lie(entry / "entry.json"),
    **{
        f"entry {text[:12]!r}": lambda entry, text=text: (entry / "entry.json").write_text(text)
        for text in ("", "[]", "null", "3", "{}", '{"bad": 1}', '{"checksum": null}', "[" * 100_000, "\ud800\udfff" * 2)
        if text.isprintable()
    },
    "entry binary": lambda entry: (entry / "entry.json").write_bytes(b"\xff\xfe\0"),
    "entry a folder": lambda entry: ((entry / "entry.json").unlink(), (entry / "entry.json").mkdir()),
    "entry of version 0.1.0": lambda entry: (entry / "entry.json").write_text('{"bad": [], "sizes": {}}'),
    "a file in its place": lambda entry: (shutil.rmtree(entry), entry.write_text("")),
}


def test_damage_to_the_cache_is_noticed_and_decoded_anew(tmp_path, cache, monkeypatch, capsys):
    folder = classes(tmp_path / "set")
    sound = of(folder)
    noticed, decoded = 0, []
    build = store._build
    monkeypatch.setattr(store, "_build", lambda *given: (decoded.append(1), build(*given)))
    for damage in DAMAGES.values():
        damage(next(cache.rglob("entry.json")).parent)
        decoded.clear()
        again = of(folder)
        assert (np.asarray(again.images["image"]) == sound.images["image"]).all() and again.digest == sound.digest
        noticed += bool(decoded)
    with capsys.disabled():
        print(f"\ndamages to the cache noticed: {noticed} of {len(DAMAGES)}")
    assert noticed == len(DAMAGES)


def test_large_sets_are_compared_image_by_image(tmp_path, cache, monkeypatch):
    folder = classes(tmp_path / "set")
    small = of(folder)
    monkeypatch.setattr(kept, "IN_MEMORY", 0)
    large = of(folder)
    array = large.images["image"]
    assert isinstance(array, kept.Kept) and large.digest == small.digest
    assert array.nbytes == small.images["image"].nbytes and array.shape == small.images["image"].shape
    for indices in (3, -1, slice(2, 9, 3), [4, 4, 0], np.arange(len(array)) % 2 == 0):
        assert (array[indices] == small.images["image"][indices]).all()
    assert (np.asarray(array) == small.images["image"]).all()
    for one, other in zip(Batches(large, 4, 1, 0, 6), Batches(small, 4, 1, 0, 6), strict=True):
        assert all((one[key] == other[key]).all() for key in one)
    flip(next(cache.rglob("image.pixels")), 3 * 8 * 8 * 3)
    assert array[2].shape == (8, 8, 3)
    with pytest.raises(UserError, match=r"image\.pixels: was changed.*start again or resume") as error:
        array[3]
    assert error.value.status == 1
    assert (np.asarray(of(folder).images["image"]) == small.images["image"]).all()  # decoded anew


def test_a_set_cut_short_while_it_is_used_is_a_message(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(kept, "IN_MEMORY", 0)
    data = of(classes(tmp_path / "set"))
    os.truncate(next(cache.rglob("image.pixels")), 100)
    with pytest.raises(UserError, match="was cut short"):
        list(Batches(data, 8, 0, 0, 10))
