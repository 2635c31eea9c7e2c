import gzip
import io
import os
import pickle
import stat
import struct
import tarfile
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gancli.data.dataset import load, splits_of
from gancli.data.inventory import take_inventory
from gancli.errors import UserError
from gancli.recipe.data import Images, Labelled, Pairs, Unpaired


def save(path: Path, colour: tuple[int, int, int] = (0, 0, 0), size: tuple[int, int] = (8, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def tree(root: Path, *names: str) -> Path:
    """Images of different colours under these names."""
    for number, name in enumerate(names):
        save(root / name, (number * 7 % 256, number // 36, 128))
    return root


def zipped(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder).as_posix())
    return path


def images(source, **options) -> Images:
    return Images(source=str(source), image_size=8, **options)


def names(settings, split="train", key="image") -> list[str]:
    return load(settings, split).names[key]


# Folders.


def test_folder_takes_every_format_any_case_and_unicode(tmp_path):
    every = ["a.png", "B.JPG", "c.jpeg", "d.webp", "e.BMP", "f.tiff", "g.tif", "h.gif", "deep/er/ünï 日本.png"]
    tree(tmp_path, *every)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_bytes(b"no image")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "a.png").write_bytes(b"no image")
    assert sorted(names(images(tmp_path, holdout=0))) == sorted(every)


def test_links_are_followed_but_never_in_a_circle(tmp_path):
    tree(tmp_path / "real", "1.png", "2.png")
    (tmp_path / "set" / "x").mkdir(parents=True)
    (tmp_path / "set" / "x" / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "set" / "x" / "back").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "3.png").symlink_to(tmp_path / "real" / "1.png")
    assert names(images(tmp_path / "set", holdout=0)) == ["3.png", "x/linked/1.png", "x/linked/2.png"]


def test_a_link_to_nothing_is_named(tmp_path):
    tree(tmp_path, "1.png")
    (tmp_path / "2.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(UserError, match=r"2\.png \(no such file or directory\)"):
        load(images(tmp_path, holdout=0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "there is no"),
        (lambda path: path.mkdir(), "holds no images"),
        (lambda path: path.write_text("x"), "expected a folder"),
        (lambda path: tree(path, "test/1.png"), "no images to train on"),
    ],
)
def test_nothing_to_train_on(tmp_path, make, message):
    make(tmp_path / "set")
    with pytest.raises(UserError, match=message):
        load(images(tmp_path / "set"))


# Splits.


def test_split_folders_are_found(tmp_path):
    tree(tmp_path, "Train/a/1.png", "Train/b/1.png", "valid/a/2.png", "test/b/3.png", "other/4.png")
    settings = images(tmp_path)
    assert splits_of(settings) == {"train": 2, "validation": 1, "test": 1}
    assert names(settings, "validation") == ["valid/a/2.png"]
    assert load(settings).classes == ("a", "b") and load(settings, "test").labels.tolist() == [1]
    assert take_inventory(settings).ignored == ["other/4.png"]


def test_a_split_that_is_not_there_says_which_are(tmp_path):
    tree(tmp_path, "train/1.png", "test/2.png")
    with pytest.raises(UserError, match=r"no validation split \(there are: train, test\)"):
        load(images(tmp_path), "validation")


def test_validation_stands_for_a_missing_test_split(tmp_path):
    tree(tmp_path, "train/1.png", "val/2.png")
    assert names(images(tmp_path), "test") == ["val/2.png"]


def test_holdout_moves_no_image_when_others_are_added(tmp_path):
    tree(tmp_path, *(f"{n}.png" for n in range(100)))
    before = set(names(images(tmp_path, holdout=0.3), "test"))
    tree(tmp_path, *(f"{n}.png" for n in range(100, 200)))
    after = set(names(images(tmp_path, holdout=0.3), "test"))
    assert 15 < len(before) < 45 and before == {name for name in after if int(name[:-4]) < 100}
    assert after.isdisjoint(names(images(tmp_path, holdout=0.3)))


def test_holdout_does_not_depend_on_the_unicode_form(tmp_path):
    letters = [f"é{n}" for n in range(40)]
    for form in ("NFC", "NFD"):
        tree(tmp_path / form, *(unicodedata.normalize(form, f"{letter}.png") for letter in letters))
    held = [
        {unicodedata.normalize("NFC", name) for name in names(images(tmp_path / form, holdout=0.3), "test")}
        for form in ("NFC", "NFD")
    ]
    assert held[0] == held[1]


# Zips.


@pytest.mark.parametrize("inside", ["", "set/"])
def test_zip_is_the_folder_it_holds(tmp_path, inside):
    tree(
        tmp_path / "set",
        *(f"{inside}{split}/{c}/{n}.png" for split in ("train", "test") for c in "ab" for n in range(3)),
    )
    folder, archive = load(images(tmp_path / "set")), load(images(zipped(tmp_path / "set")))
    assert folder.names == archive.names and folder.classes == archive.classes == ("a", "b")
    assert (np.asarray(folder.images["image"]) == archive.images["image"]).all()


def hostile(name: str = "x.png", content: bytes = b"", **attributes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good.png", b"")
        entry = zipfile.ZipInfo(name)
        entry.compress_type = attributes.pop("compress_type", zipfile.ZIP_DEFLATED)
        for attribute, value in attributes.items():
            setattr(entry, attribute, value)
        archive.writestr(entry, content)
    return file.getvalue()


def encrypted() -> bytes:
    content = bytearray(hostile(content=b"secret"))
    place = content.rindex(b"PK\x01\x02")
    content[place + 8] |= 1
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (hostile("../../evil.png"), "leads out"),
        (hostile("a/../../evil.png"), "leads out"),
        (hostile("..\\evil.png"), "leads out"),
        (hostile("/etc/evil.png"), "absolute"),
        (hostile("C:/evil.png"), "absolute"),
        (hostile("link.png", b"/etc/passwd", external_attr=(stat.S_IFLNK | 0o777) << 16), "is a link"),
        (hostile("inner.zip", hostile()), "archive inside"),
        (encrypted(), "encrypted"),
        (hostile(content=bytes(50_000_000), compress_type=zipfile.ZIP_BZIP2), "expands from"),
        (hostile(content=bytes(20_000_000)), "expands from"),
        (b"PK\x05\x06" + b"no zip at all", "no zip file"),
        (b"", "no zip file"),
    ],
)
def test_hostile_zips_are_refused_and_write_nothing(tmp_path, cache, content, fault):
    path = tmp_path / "set" / "x.zip"
    path.parent.mkdir()
    path.write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=fault):
        load(images(path))
    assert sorted(tmp_path.rglob("*")) == before and not [file for file in cache.rglob("*") if file.is_file()]


# Arrays.


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def mnist(folder: Path, packed: bool = True) -> Path:
    folder.mkdir(exist_ok=True)
    for split, count in (("train", 30), ("t10k", 10)):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 8, 8), dtype=np.uint8)
        for what, array in (("images-idx3", pixels), ("labels-idx1", np.arange(count, dtype=np.uint8) % 10)):
            content = idx(array)
            name = f"{split}-{what}-ubyte" + (".gz" if packed else "")
            (folder / name).write_bytes(gzip.compress(content) if packed else content)
    return folder


@pytest.mark.parametrize("packed", [True, False])
def test_idx_files(tmp_path, packed):
    data = load(images(mnist(tmp_path / "set", packed), channels=1), "train")
    assert len(data) == 30 and data.classes == tuple("0123456789") and data.labels.tolist() == [*range(10)] * 3
    expected = np.random.default_rng(30).integers(0, 256, (30, 8, 8), dtype=np.uint8)
    assert (np.asarray(data.images["image"])[..., 0] == expected).all()
    assert len(load(images(tmp_path / "set", channels=1), "test")) == 10
    one = next((tmp_path / "set").glob("train-images*"))
    alone = load(images(one, channels=1, holdout=0))
    assert alone.labels.tolist() == data.labels.tolist() and "test" not in splits_of(images(one, holdout=0))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-5],
        lambda content: content[:6],
        lambda content: b"",
        lambda content: gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 2**31, 28, 28)),
        lambda content: gzip.compress(struct.pack(">HBB3I", 0, 13, 3, 30, 8, 8)),
        lambda content: content[:40] + b"\xff\xff\xff\xff" + content[44:],
    ],
)
def test_damaged_idx_is_named(tmp_path, damage):
    path = mnist(tmp_path / "set") / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="train-images-idx3"):
        load(images(tmp_path / "set"))


def rgb(count: int = 20) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "convert",
    [
        lambda array: array,
        lambda array: array.astype(np.uint16) * 257,
        lambda array: array / 255,
        lambda array: (array / 255).astype(np.float32),
        lambda array: array.transpose(0, 3, 1, 2),
    ],
)
def test_arrays_of_any_type_and_layout(tmp_path, convert):
    np.save(tmp_path / "x.npy", np.ascontiguousarray(convert(rgb())))
    np.savez_compressed(tmp_path / "x.npz", images=np.ascontiguousarray(convert(rgb())), labels=np.arange(20) % 12)
    plain = load(images(tmp_path / "x.npy", holdout=0))
    labelled = load(images(tmp_path / "x.npz", holdout=0))
    assert (np.asarray(plain.images["image"]) == rgb()).all() and plain.labels is None
    assert (np.asarray(labelled.images["image"]) == rgb()).all()
    # Classes are in the order of numbers: 10 comes after 9.
    assert labelled.labels.tolist() == (np.arange(20) % 12).tolist()


def test_npz_with_splits(tmp_path):
    np.savez(tmp_path / "x.npz", x_train=rgb(), y_train=np.arange(20) % 2, x_test=rgb(4), y_test=np.arange(4) % 2)
    assert splits_of(images(tmp_path / "x.npz")) == {"train": 20, "test": 4}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.array([{}, {}])}, "pickled"),
        ({"images": rgb(), "labels": np.array([None] * 20)}, "pickled"),
        ({"images": rgb(), "labels": np.arange(3)}, "no list of 20 labels"),
        ({"images": rgb().astype(np.int64)}, "is int64"),
        ({"images": rgb() * 1.5}, "outside 0 to 1"),
        ({"images": np.full((2, 4, 4), np.nan)}, "outside 0 to 1"),
        ({"images": rgb()[:, :, :, :2]}, "expected images × height"),
        ({"first": rgb(), "second": rgb()}, "name the array of images"),
    ],
)
def test_arrays_that_are_no_images(tmp_path, arrays, message):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(UserError, match=message):
        load(images(tmp_path / "x.npz"))


def test_damaged_npz(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", images=rgb())
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[2000:2100] = bytes(100)
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        load(images(tmp_path / "x.npz"))


# CIFAR-10.


def cifar_batch(count: int, seed: int) -> tuple[np.ndarray, list[int]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 3072), dtype=np.uint8), rng.integers(0, 10, count).tolist()


def python2_pickle(pixels: np.ndarray, labels: list[int]) -> bytes:
    """What Python 2 wrote: protocol 2 with byte strings, and an array through numpy's reconstruction."""

    def string(text: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(text)) + text

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02"
        + (number(0) + b"\x85" + string(b"b") + b"\x87R")
        + (b"(" + number(1) + number(len(labels)) + number(3072) + b"\x86")
        + (b"cnumpy\ndtype\n" + string(b"u1") + number(0) + number(1) + b"\x87R")
        + (b"(" + number(3) + string(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb")
        + (b"\x89" + string(pixels.tobytes()) + b"tb")
    )
    listed = b"](" + b"".join(map(number, labels)) + b"e"
    return b"\x80\x02}q\x00(" + string(b"data") + array + string(b"labels") + listed + b"u."


def cifar(path: Path, version: str) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, seed in (("data_batch_1", 1), ("data_batch_2", 2), ("test_batch", 3)):
            pixels, labels = cifar_batch(20, seed)
            if version == "py":
                content = python2_pickle(pixels, labels)
            else:
                content = np.hstack([np.array(labels, np.uint8)[:, None], pixels]).tobytes()
            info = tarfile.TarInfo(f"cifar-10-batches-{version}/{name}{'.bin' if version == 'bin' else ''}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("version", ["py", "bin"])
@pytest.mark.parametrize("unpacked", [True, False])
def test_cifar_archives(tmp_path, version, unpacked):
    path = cifar(tmp_path / "c.tar.gz", version)
    if unpacked:
        with tarfile.open(path) as archive:
            archive.extractall(tmp_path, filter="data")
        path = tmp_path / f"cifar-10-batches-{version}"
    data = load(Images(source=str(path), image_size=32))
    batches = [cifar_batch(20, seed) for seed in (1, 2)]
    expected = np.concatenate([pixels for pixels, _ in batches]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    assert (np.asarray(data.images["image"]) == expected).all()
    labels = [label for _, labels in batches for label in labels]
    assert [data.classes[n] for n in data.labels] == [CIFAR_CLASSES[label] for label in labels]
    assert splits_of(Images(source=str(path))) == {"train": 40, "test": 20}


CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Evil:
    def __reduce__(self):
        return os.system, ("touch ran-a-pickle",)


@pytest.mark.parametrize("content", [pickle.dumps({"data": Evil(), "labels": [0]}, protocol=p) for p in (0, 2, 4)])
def test_no_pickle_is_run(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "data_batch_1").write_bytes(content)
    with pytest.raises(UserError, match="data_batch_1 is no CIFAR-10 batch"):
        load(images(tmp_path / "set"))
    assert not (tmp_path / "ran-a-pickle").exists()


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@pytest.mark.parametrize("seed", range(30))
def test_damaged_cifar_pickles_are_named(tmp_path, seed):
    rng = np.random.default_rng(seed)
    content = bytearray(python2_pickle(*cifar_batch(4, 0)))
    for place in rng.integers(0, len(content), 3) if seed % 2 else rng.integers(0, 150, 3):
        content[place] = rng.integers(0, 256)
    (tmp_path / "data_batch_1").write_bytes(content[: len(content) - seed * 10])
    try:
        load(images(tmp_path, holdout=0))
    except UserError as error:
        assert "data_batch_1" in str(error)


# Kinds.


@pytest.mark.parametrize("direction", ["a-to-b", "b-to-a"])
def test_side_by_side_pairs(tmp_path, direction):
    image = np.zeros((8, 16, 3), np.uint8)
    image[:, 8:] = 255
    (tmp_path / "train").mkdir()
    Image.fromarray(image).save(tmp_path / "train" / "1.png")
    data = load(Pairs(source=str(tmp_path), image_size=8, direction=direction))
    # a is always the input.
    assert data.images["a"].max() == (0 if direction == "a-to-b" else 255)
    assert data.images["b"].min() == (255 if direction == "a-to-b" else 0)


@pytest.mark.parametrize("one_source", [True, False])
def test_pairs_of_folders_match_by_stem(tmp_path, one_source):
    a = tree(tmp_path / "A", "train/1.png", "train/x/2.jpg", "test/3.png")
    b = tree(tmp_path / "B", "train/x/2.png", "train/1.jpg", "test/3.png")
    if one_source:
        settings = Pairs(source=str(tmp_path), image_size=8, layout="folders")
    else:
        settings = Pairs(source=str(a), source_b=str(b), image_size=8, layout="folders")
    data = load(settings)
    stems = [
        [name.rpartition(".")[0].removeprefix("A/").removeprefix("B/") for name in data.names[key]] for key in "ab"
    ]
    assert stems[0] == stems[1] == ["train/1", "train/x/2"] and len(load(settings, "test")) == 1


def test_held_out_pairs_of_folders_stay_together(tmp_path):
    for side in "AB":
        tree(tmp_path / side, *(f"{n}.png" for n in range(60)))
    settings = Pairs(source=str(tmp_path), image_size=8, layout="folders", holdout=0.3)
    counts = splits_of(settings)
    assert counts["train"] + counts["test"] == 60 and counts["test"] > 5
    assert not load(settings).skipped


def test_the_unmatched_are_named_or_left_out(tmp_path):
    tree(tmp_path / "trainA", "1.png", "2.png", "2.jpg")
    tree(tmp_path / "trainB", "1.png", "2.png", "3.png")
    settings = Pairs(source=str(tmp_path), image_size=8, layout="folders", holdout=0)
    with pytest.raises(
        UserError, match=r"trainA/2\.png \(has the name of trainA/2\.jpg\); trainB/3\.png \(has no partner"
    ):
        load(settings)
    data = load(settings.model_copy(update={"on_bad_image": "skip"}))
    assert len(data) == 2 and len(data.skipped) == 2


def test_pairs_without_one_name_in_common(tmp_path):
    tree(tmp_path, "trainA/1.png", "trainB/2.png")
    with pytest.raises(UserError, match="no name on one side is found on the other"):
        load(Pairs(source=str(tmp_path), layout="folders"))


def test_unpaired_domains(tmp_path):
    tree(tmp_path / "set", "trainA/1.png", "trainA/2.png", "trainB/1.png", "testA/1.png", "testB/1.png")
    data = load(Unpaired(source=str(tmp_path / "set"), image_size=8))
    assert {key: len(array) for key, array in data.images.items()} == {"a": 2, "b": 1} and not data.matched
    assert load(Unpaired(source=str(zipped(tmp_path / "set")), image_size=8), "test").names["b"] == ["testB/1.png"]
    two = Unpaired(
        source=str(tmp_path / "set" / "trainA"), source_b=str(tmp_path / "set" / "trainB"), image_size=8, holdout=0
    )
    assert load(two).names == {"a": ["1.png", "2.png"], "b": ["1.png"]}


def test_unpaired_without_domains_says_how_to_name_them(tmp_path):
    tree(tmp_path, "summer/1.png", "winter/1.png")
    with pytest.raises(UserError, match="trainA, trainB, testA, testB"):
        load(Unpaired(source=str(tmp_path)))


@pytest.mark.parametrize(
    ("layout", "message"), [(["a/1.png"], "one class only"), (["1.png", "a/2.png"], "outside class")]
)
def test_labelled_needs_classes(tmp_path, layout, message):
    tree(tmp_path, *layout)
    with pytest.raises(UserError, match=message):
        load(Labelled(source=str(tmp_path), holdout=0))


CELEBA = "99\nBald Male Smiling \n1.png -1  1 -1\n2.png  1 -1  1\n"
CSV = "image_id,Bald,Male,Smiling\n1.png,0,1,0\n2.png,true,false,1\n"


@pytest.mark.parametrize(("name", "text"), [("list_attr_celeba.txt", CELEBA), ("any.csv", CSV)])
@pytest.mark.parametrize("given", [True, False])
def test_attributes(tmp_path, name, text, given):
    tree(tmp_path, "img/1.png", "img/2.png")
    (tmp_path / name).write_text(text)
    settings = Labelled(
        source=str(tmp_path),
        image_size=8,
        attributes=("Smiling", "Bald"),
        attribute_file=name if given else None,
        holdout=0,
    )
    data = load(settings)
    assert data.classes == ("Smiling", "Bald")
    assert data.labels.dtype == np.uint8 and data.labels.tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CELEBA.replace("2.png  1 -1  1", "2.png 1 -1"), ":4: expected a name and 3 values"),
        (CELEBA.replace("2.png  1 -1  1", "2.png 1 -1 7"), ":4: expected a name and 3 values"),
        (CELEBA.replace("Smiling", "Smile"), "has no Smiling: did you mean Smile"),
        (CELEBA.replace("2.png", "3.png"), r"2\.png \(not in list_attr_celeba\.txt\)"),
        ("", "is empty"),
    ],
)
def test_damaged_attributes_are_named(tmp_path, text, message):
    tree(tmp_path, "1.png", "2.png")
    (tmp_path / "list_attr_celeba.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        load(Labelled(source=str(tmp_path), attributes=("Smiling",), holdout=0))


def test_digits():
    data = load(Images(source="digits", image_size=8, channels=1, holdout=0))
    assert len(data) == 1797 and data.classes == tuple("0123456789") and data.images["image"].max() == 255
    assert load(Images(source="digits", image_size=32)).images["image"].shape[1:] == (32, 32, 3)


@pytest.mark.parametrize("values", [{"background": "no colour"}, {"enlarge": 4}, {"crop": 0}])
def test_settings_that_cannot_be(values):
    with pytest.raises(ValueError):
        Images(source="digits", image_size=8, **values)
