"""What a check and a training say of a source, and that their advice works."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
import yaml
from PIL import Image, features

from gancli.data import pixels, preview
from gancli.data.check import check, guess
from gancli.data.dataset import load
from gancli.errors import UserError
from gancli.recipe.data import Images, Pairs, Unpaired

pytestmark = pytest.mark.usefixtures("cache")


def image(path: Path, seed: int = 0, size: tuple[int, int] = (16, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def photographs(folder: Path, count: int = 6) -> Path:
    for number in range(count):
        image(folder / f"{number}.png", number)
    return folder


# The preview never costs a file.


def test_a_preview_replaces_only_what_it_is_told_to(tmp_path, gancli):
    source, out = photographs(tmp_path / "set"), tmp_path / "sheet.png"
    assert gancli("data", "check", source, "--preview", out).status == 0 and Image.open(out).width > 100
    out.write_text("mine")
    done = gancli("data", "check", source, "--preview", out)
    assert done.status == 2 and "exists already: --force replaces it" in done.err and out.read_text() == "mine"
    assert gancli("data", "check", source, "--preview", out, "--force").status == 0 and Image.open(out).width > 100
    for extension in (".jpg", ".JPEG", ".webp"):
        assert gancli("data", "check", source, "--preview", out.with_suffix(extension)).status == 0


def linked(path: Path, target: Path) -> Path:
    path.symlink_to(target)
    return path


def piped(path: Path) -> Path:
    os.mkfifo(path)
    return path


def hard(path: Path, target: Path) -> Path:
    path.hardlink_to(target)
    return path


REFUSED = {
    "x.foo": lambda root: root / "x.foo",
    "no extension": lambda root: root / "x",
    "stdout": lambda root: Path("-"),
    "a device": lambda root: Path("/dev/null"),
    "no folder": lambda root: root / "nowhere" / "x.png",
    "a folder": lambda root: (root / "x.png").mkdir() or root / "x.png",
    "an input": lambda root: root / "set" / "1.png",
    "a new file among the inputs": lambda root: root / "set" / "new.png",
    "a folder below the inputs": lambda root: (root / "set" / "sub").mkdir() or root / "set" / "sub" / "x.png",
    "an input by another way": lambda root: root / "set" / ".." / "set" / "1.png",
    "an input by a link to its folder": lambda root: linked(root / "way", root / "set") / "1.png",
    "a link to an input": lambda root: linked(root / "x.png", root / "set" / "1.png"),
    "a link to nothing": lambda root: linked(root / "x.png", root / "nothing.png"),
    "a second name of an input": lambda root: hard(root / "x.png", root / "set" / "1.png"),
    "what an input is a link to": lambda root: (
        linked(root / "set" / "9.png", image(root / "x.png", 9)) and root / "x.png"
    ),
    "a pipe": lambda root: piped(root / "x.png"),
}


@pytest.mark.parametrize("place", REFUSED)
def test_no_place_among_the_images_is_written(tmp_path, gancli, place):
    source = photographs(tmp_path / "set")
    out = REFUSED[place](tmp_path)
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*.png")) if path.is_file()}
    for force in ((), ("--force",)):
        done = gancli("data", "check", source, "--preview", out, *force)
        assert done.status == 2 and not done.out and len(done.err.splitlines()) == 1, done
        assert f"--preview {out}" in done.err
        assert before == {path: path.read_bytes() for path in sorted(tmp_path.rglob("*.png")) if path.is_file()}


def test_an_unknown_extension_is_refused_before_the_work(tmp_path, monkeypatch, gancli):
    monkeypatch.setattr("gancli.data.check.check", lambda *_: pytest.fail("it worked"))
    assert gancli("data", "check", photographs(tmp_path / "set"), "--preview", tmp_path / "x.foo").status == 2
    done = gancli("data", "check", tmp_path / "set", "--preview", tmp_path / "x.png", "--split", "none")
    assert done.status == 2 and "--split none" in done.err and "choose one of train" in done.err
    with pytest.raises(UserError, match="expected a name that ends with"):
        preview.check_place(tmp_path / "x.gif", Images(source="digits"), force=True)


# Formats.


def test_jfif_is_read(tmp_path):
    shutil.copy(image(tmp_path / "1.jpg"), tmp_path / "2.jfif")
    shutil.copy(tmp_path / "1.jpg", tmp_path / "3.JPE")
    assert load(Images(source=str(tmp_path), image_size=8, holdout=0)).names["image"] == ["1.jpg", "2.jfif", "3.JPE"]


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_is_read(tmp_path):
    Image.new("RGB", (32, 16), (200, 30, 40)).save(tmp_path / "1.avif", quality=90)
    found = load(Images(source=str(tmp_path), image_size=8, holdout=0))
    assert np.abs(np.asarray(found.images["image"][0], np.int16) - (200, 30, 40)).max() < 12
    (tmp_path / "1.avif").write_bytes((tmp_path / "1.avif").read_bytes()[:100])
    with pytest.raises(UserError, match=r"1\.avif"):
        load(Images(source=str(tmp_path), image_size=8, holdout=0))


def test_heic_is_read_where_it_can_be(tmp_path):
    pytest.importorskip("pillow_heif")
    Image.new("RGB", (64, 32), (200, 30, 40)).save(tmp_path / "1.heic", "HEIF", quality=95)
    found = load(Images(source=str(tmp_path), image_size=8, holdout=0))
    assert np.abs(np.asarray(found.images["image"][0], np.int16) - (200, 30, 40)).max() < 12


def test_a_broken_optional_package_ends_nothing(monkeypatch):
    def broken(name: str) -> None:
        raise RuntimeError("libheif.so: cannot open shared object file")

    monkeypatch.setattr(pixels.importlib, "import_module", broken)
    extensions, formats, _ = pixels._formats()
    assert ".heic" not in extensions and "HEIF" not in formats and ".png" in extensions


# What is passed over is said.


@pytest.fixture
def raws(tmp_path):
    folder = photographs(tmp_path / "set")
    for name in ("a.heiq", "b.CR2", "c.cr2", "notes.txt", "deep/d.cr2", "none"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    (folder / ".hidden.cr2").write_bytes(b"x")
    return folder


def test_ignored_files_are_listed_by_extension_in_the_check(raws, gancli):
    done = gancli("data", "check", raws)
    assert done.status == 0
    assert "6 files are not used: 3 .cr2, 1 .heiq, 1 without extension, 1 .txt" in done.out.replace("\n", " ")
    found = json.loads(gancli("data", "check", raws, "--json").out)
    assert found["ignored"] == ["a.heiq", "b.CR2", "c.cr2", "deep/d.cr2", "none", "notes.txt"]
    assert found["ignored_by_extension"] == {".cr2": 3, ".heiq": 1, "without extension": 1, ".txt": 1}


def test_ignored_files_of_every_kind_are_listed(raws, tmp_path):
    shutil.make_archive(str(tmp_path / "set"), "zip", raws)
    assert len(check(Images(source=str(tmp_path / "set.zip"), image_size=8)).ignored) == 6
    for side in "AB":
        shutil.copytree(raws, tmp_path / "two" / side)
    for kind, options in ((Unpaired, {}), (Pairs, {"layout": "folders"})):
        report = check(kind(source=str(tmp_path / "two"), image_size=8, **options))
        assert sorted(report.ignored) == sorted(
            f"{side}/{name}"
            for side in "AB"
            for name in ("a.heiq", "b.CR2", "c.cr2", "deep/d.cr2", "none", "notes.txt")
        )


def test_a_folder_of_others_alone_says_what_they_are(tmp_path):
    (tmp_path / "1.heic2").write_bytes(b"")
    with pytest.raises(UserError, match=r"holds no images .*; 1 file is not used: 1 \.heic2"):
        load(Images(source=str(tmp_path)))


def recipe(folder: Path, **data: object) -> Path:
    values = yaml.safe_load(tiny.text("gan"))
    values["data"] |= {"holdout": 0, **data}
    values["train"] |= {"steps": 3}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_a_training_says_what_it_leaves_out(raws, tmp_path, gancli):
    (raws / "3.png").write_bytes(b"")
    for options in (("--dry-run",), ("--out", tmp_path / "run")):
        done = gancli("train", recipe(tmp_path, source=str(raws), on_bad_image="skip"), *options)
        assert done.status == 0
        assert "6 files are not used: 3 .cr2" in done.err
        assert "1 image of the train split is left out: 3.png (empty file)" in done.err
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["skipped"] == [{"name": "3.png", "reason": "empty file"}]


def test_a_translation_says_what_it_leaves_out(raws, tmp_path, gancli):
    path = tiny.write("pix2pix", tmp_path)
    assert gancli("train", path, "--out", tmp_path / "run", "-q", "--set", "train.steps=1").status == 0
    done = gancli("sample", tmp_path / "run", "--input", raws, "--out", tmp_path / "out", "--json")
    assert done.status == 0 and len(json.loads(done.out)["files"]) == 6
    assert f"{raws}: 6 files are not used: 3 .cr2" in done.err


# Advice works as it is written.


def test_the_advice_for_bad_images_works(tmp_path, gancli):
    source = photographs(tmp_path / "set")
    (source / "3.png").write_bytes(b"")
    done = gancli("data", "check", source)
    assert done.status == 2 and "--set data.on_bad_image=skip, here and in gancli train" in done.err
    for spelling in ("on_bad_image=skip", "data.on_bad_image=skip"):
        done = gancli("data", "check", source, "--set", spelling)
        assert done.status == 0 and "3.png (empty file)" in done.out and not done.err.count("Error")
        found = json.loads(gancli("data", "check", source, "--set", spelling, "--json").out)
        assert found["sound"] is False and found["usable"] is True
    done = gancli("train", recipe(tmp_path, source=str(source)), "--out", tmp_path / "run", "-q")
    assert done.status == 2 and "--set data.on_bad_image=skip" in done.err
    skipping = ("--set", "data.on_bad_image=skip")
    assert gancli("train", recipe(tmp_path, source=str(source)), "--out", tmp_path / "run", "-q", *skipping).status == 0
    for path in source.iterdir():
        path.write_bytes(b"")
    done = gancli("data", "check", source, "--set", "on_bad_image=skip")
    assert done.status == 2 and "fix or remove them" in done.err and "on_bad_image" not in done.err


@pytest.mark.parametrize("names", [("A", "B"), ("trainA", "trainB"), ("photo", "label")])
def test_two_folders_are_no_pairs_side_by_side(tmp_path, gancli, names):
    for name in names:
        photographs(tmp_path / "set" / name)
    source = str(tmp_path / "set")
    values = yaml.safe_load(tiny.text("pix2pix"))
    values["data"] |= {"source": source, "holdout": 0}
    values["train"] |= {"steps": 2}
    (tmp_path / "pairs.yaml").write_text(yaml.safe_dump(values))
    done = gancli("train", tmp_path / "pairs.yaml", "--out", tmp_path / "run")
    assert done.status == 2 and "cuts every image in half" in done.err and not (tmp_path / "run").exists()
    assert gancli("data", "check", source, "--kind", "pairs").status == 2
    # The options that the message names.
    words = done.err.split()
    advised = [word for n, word in enumerate(words) if words[n - 1] == "--set"]
    options = [part for word in advised for part in ("--set", word)]
    assert "data.layout=folders" in advised
    assert gancli("train", tmp_path / "pairs.yaml", "--out", tmp_path / "run", "-q", *options).status == 0
    for command in (("--kind", "pairs"), ()):
        done = gancli("data", "check", source, *command, *options)
        assert done.status == 0 and "pairs" in done.out, done


def test_pairs_side_by_side_in_folders_are_fine(tmp_path):
    for folder in ("train", "test"):
        for number in range(2):
            image(tmp_path / folder / f"{number}.png", number, (32, 16))
    assert load(Pairs(source=str(tmp_path), image_size=8)).notes == []


def test_upright_images_are_told_before_training_on_halves(tmp_path):
    (note,) = load(Pairs(source=str(photographs(tmp_path)), image_size=8, holdout=0)).notes
    assert "no image is wider than high" in note and "data.layout=folders" in note


def test_the_kind_follows_from_what_is_set(tmp_path):
    photographs(tmp_path)
    assert guess(str(tmp_path)) == guess(str(tmp_path), ["image_size"]) == "images"
    assert guess(str(tmp_path), ["layout"]) == "pairs"
    assert guess(str(tmp_path), ["domains"]) == "unpaired"
    assert guess(str(tmp_path), ["attributes"]) == "labelled"
    assert guess(str(tmp_path), ["nonsense"]) == "images"


def test_sizes_are_height_by_width_everywhere(tmp_path, gancli):
    image(tmp_path / "set" / "1.png", 0, (40, 10))
    done = gancli("data", "check", tmp_path / "set", "--set", "image_size=[20,60]")
    assert "10×40 (1) (height×width)" in done.out and "smaller than image_size (20×60)" in done.out
    with pytest.raises(UserError, match=r"10 × 40 pixels: smaller than the crop of 30"):
        load(Images(source=str(tmp_path / "set"), crop=30, image_size=8, holdout=0))
