"""Every kind of data from every source it can come from, through to what a network is given."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gancli.data.batches import Batches
from gancli.data.check import KINDS
from gancli.data.dataset import load, load_domain
from gancli.data.prepare import prepare
from gancli.errors import UserError

FOLDERS = {
    "images": ("train", "test"),
    "labelled": ("train/x", "train/y", "test/x", "test/y"),
    "pairs": ("train", "test"),
    "unpaired": ("trainA", "trainB", "testA", "testB"),
}


def folder(root: Path, kind: str) -> dict[str, object]:
    rng = np.random.default_rng(0)
    for name in FOLDERS[kind]:
        (root / name).mkdir(parents=True)
        for number in range(6):
            shape = (12, 24 if kind == "pairs" else 12, 3)
            Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(root / name / f"{number}.png")
    return {"source": str(root)}


def archive(root: Path, kind: str) -> dict[str, object]:
    folder(root, kind)
    with zipfile.ZipFile(root.with_suffix(".zip"), "w") as made:
        for path in sorted(root.rglob("*.png")):
            made.write(path, path.relative_to(root).as_posix())
    return {"source": str(root.with_suffix(".zip"))}


def arrays(root: Path, kind: str) -> dict[str, object]:
    rng = np.random.default_rng(0)
    for side in "ab":
        images = rng.integers(0, 256, (40, 12, 24 if kind == "pairs" else 12, 3), dtype=np.uint8)
        np.savez(
            root.with_suffix(f".{side}.npz"),
            images=images,
            **({"labels": np.arange(40) % 2} if kind == "labelled" else {}),
        )
    both = {"source_b": str(root.with_suffix(".b.npz"))} if kind == "unpaired" else {}
    return {"source": str(root.with_suffix(".a.npz")), **both}


def folders(root: Path, kind: str) -> dict[str, object]:
    for side in "ab":
        folder(root / side, "images")
    return {
        "source": str(root / "a"),
        "source_b": str(root / "b"),
        **({"layout": "folders"} if kind == "pairs" else {}),
    }


SOURCES = {
    "folder": folder,
    "zip": archive,
    "npz": arrays,
    "built in": lambda root, kind: {"source": "shapes:20"},
    "two folders": folders,
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("kind", "source"),
    [
        (kind, source)
        for kind in KINDS
        for source in SOURCES
        if source != "two folders" or kind in ("pairs", "unpaired")
    ],
)
def test_every_kind_from_every_source(tmp_path, kind, source, channels, streamed):
    settings = KINDS[kind](
        **SOURCES[source](tmp_path / "set", kind),
        image_size=(8, 16),
        enlarge=(10, 20),
        channels=channels,
        flip=True,
        cache_limit=0 if streamed else 20,
    )
    for split in ("train", "test"):
        data = load(settings, split)
        keys = {"image"} if kind in ("images", "labelled") else {"a", "b"}
        assert set(data.images) == set(data.names) == keys and data.matched == (kind != "unpaired")
        assert all(len(data.names[key]) == len(array) for key, array in data.images.items())
        assert (data.labels is not None) == (kind == "labelled") == (len(data.classes) > 1)
        batch = prepare(next(iter(Batches(data, 5, 0))), settings, training=split == "train")
        for key in keys:
            assert batch[key].shape == (5, channels, 8, 16) and batch[key].dtype == torch.float32
            assert -1 <= batch[key].min() < batch[key].max() <= 1
        if kind == "labelled":
            assert batch["label"].dtype == torch.int64 and batch["label"].shape == (5,)


def test_class_folders_can_be_the_two_domains(tmp_path) -> None:
    """And a mistyped name is answered with the field."""
    folder(tmp_path, "labelled")
    settings = KINDS["unpaired"](source=str(tmp_path), image_size=12, domains=("y", "x"))
    for split in ("train", "test"):
        found = load(settings, split)
        assert [found.names[key][0].split("/")[:2] for key in "ab"] == [[split, "y"], [split, "x"]]
    with pytest.raises(UserError, match=r"holds no domain z: .*data.domains"):
        load(settings.model_copy(update={"domains": ("x", "z")}))
    with pytest.raises(ValueError, match="domains: expected two names, not twice x"):
        KINDS["unpaired"](source=str(tmp_path), domains=("x", "x"))


@pytest.mark.parametrize("direction", ["a-to-b", "b-to-a"])
def test_one_domain_of_pairs_is_itself_whatever_the_direction(direction, tmp_path) -> None:
    folder(tmp_path, "pairs")
    settings = KINDS["pairs"](source=str(tmp_path), image_size=12, enlarge=14, direction=direction)
    whole = np.array(Image.open(tmp_path / "train" / "0.png"))
    for name, half in (("a", whole[:, :12]), ("b", whole[:, 12:])):
        assert np.array_equal(load_domain(settings, name, "train").images["image"][0], half)


def test_one_domain_of_classes(tmp_path) -> None:
    folder(tmp_path, "labelled")
    settings = KINDS["labelled"](source=str(tmp_path), image_size=12)
    found = load_domain(settings, "y", "test")
    assert len(found) == 6 and all(name.startswith("test/y/") for name in found.names["image"])
    with pytest.raises(UserError, match="has no domain z: there are x, y"):
        load_domain(settings, "z", "test")
