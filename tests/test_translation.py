"""Translating files: what comes out has the name, the format and the size of what went in, whatever went in."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from commands import run_gancli
from PIL import Image

from gancli.make import inputs, translation
from gancli.runs.opening import open_model

FORMATS = {
    ".jpg": "JPEG",
    ".JPEG": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".gif": "GIF",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("trained")
    for family in ("pix2pix", "cyclegan"):
        assert run_gancli("train", tiny.write(family, folder), "--out", folder / family, "-q") == 0
    return {family: folder / family for family in ("pix2pix", "cyclegan")}


def picture(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def fill(folder: Path, count: int = 21) -> list[Path]:
    """Images of all formats, of several sizes and depths of folder."""
    paths = []
    for n in range(count):
        ending = list(FORMATS)[n % len(FORMATS)]
        path = folder / ("", "deep/er", "white space", "ünï")[n % 4] / f"{n}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = "L" if n % 5 == 0 else "RGB"
        picture(*((8, 8), (13, 30), (30, 13), (1, 9))[n % 4], mode, n).save(path)
        paths.append(path)
    (folder / "notes.txt").write_text("no image")
    return paths


@pytest.mark.parametrize("family", ["pix2pix", "cyclegan"])
def test_names_formats_and_sizes_are_kept(family, trained, tmp_path, gancli) -> None:
    inputs = fill(tmp_path / "in")
    done = gancli("sample", trained[family], "--input", tmp_path / "in", "--out", tmp_path / "out")
    assert done.status == 0, done.err
    expected = {tmp_path / "out" / path.relative_to(tmp_path / "in"): path for path in inputs}
    assert {Path(line) for line in done.out.splitlines()} == set(expected)
    assert {path for path in (tmp_path / "out").rglob("*") if path.is_file()} == set(expected)
    for made, given in expected.items():
        with Image.open(made) as one, Image.open(given) as other:
            assert (one.format, one.size) == (FORMATS[given.suffix], other.size)


def test_an_image_comes_out_alike_whatever_it_goes_in_with(trained, tmp_path, gancli) -> None:
    inputs = [path for path in fill(tmp_path / "in") if path.suffix == ".png"]
    assert gancli("sample", trained["cyclegan"], "--input", tmp_path / "in", "--out", tmp_path / "all").status == 0
    for given in inputs:
        assert gancli("sample", trained["cyclegan"], "--input", given, "--out", tmp_path / "one").status == 0
        alone = np.array(Image.open(tmp_path / "one" / given.name), np.int16)
        among = np.array(Image.open(tmp_path / "all" / given.relative_to(tmp_path / "in")), np.int16)
        assert alone.shape == among.shape and np.abs(alone - among).max() <= 1


def test_what_fails_is_named_and_the_rest_goes_on(trained, tmp_path, gancli) -> None:
    fill(tmp_path / "in", 7)
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    Image.new("I", (8, 8)).save(tmp_path / "in" / "deep.tif")
    done = gancli("sample", trained["cyclegan"], "--input", tmp_path / "in", "--out", tmp_path / "out", "--json")
    assert done.status == 1
    found = json.loads(done.out)
    assert len(found["files"]) == 7 and {failure["input"] for failure in found["failed"]} == {"broken.png", "deep.tif"}
    assert "2 of 9 images failed: " in done.err and "broken.png" in done.err
    assert not (tmp_path / "out" / "broken.png").exists()


def test_alpha_depth_and_orientation_are_taken_as_in_training(trained, tmp_path, gancli) -> None:
    """The same picture saved in four ways is the same to the network."""
    folder = tmp_path / "in"
    folder.mkdir()
    gray = picture(24, 16, "L")
    gray.save(folder / "plain.png")
    gray.convert("RGBA").save(folder / "alpha.png")
    deep = np.asarray(gray).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "deep.png")
    turned = gray.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(folder / "turned.png", exif=exif)
    assert gancli("sample", trained["cyclegan"], "--input", folder, "--out", tmp_path / "out").status == 0
    made = {path.stem: np.array(Image.open(path)) for path in (tmp_path / "out").iterdir()}
    for name in ("alpha", "deep", "turned"):
        assert np.array_equal(made[name], made["plain"]), name


def test_through_a_pipe(trained, tmp_path) -> None:
    png = io.BytesIO()
    picture(20, 12).save(png, "PNG")
    words = [sys.executable, "-m", "gancli", "sample", str(trained["cyclegan"]), "--input", "-"]
    done = subprocess.run(words, input=png.getvalue(), capture_output=True, check=True)
    with Image.open(io.BytesIO(done.stdout)) as made:
        assert (made.format, made.size) == ("PNG", (20, 12))


def test_one_image_may_change_its_format(trained, tmp_path, gancli) -> None:
    picture(20, 12).save(tmp_path / "one.png")
    done = gancli("sample", trained["pix2pix"], "--input", tmp_path / "one.png", "--out", tmp_path / "other.webp")
    assert done.out == f"{tmp_path / 'other.webp'}\n"
    assert Image.open(tmp_path / "other.webp").size == (20, 12)


def test_without_input_the_test_split_is_translated(trained, tmp_path, gancli) -> None:
    """Of 24 shapes a tenth is the test split; a sheet of pairs has three columns, of others two."""
    assert len(gancli("sample", trained["pix2pix"], "--out", tmp_path / "out").out.splitlines()) == 2
    for family, columns in (("pix2pix", 3), ("cyclegan", 2)):
        sheet = tmp_path / f"{family}.png"
        assert gancli("sample", trained[family], "--grid", "--out", sheet).status == 0
        width = Image.open(sheet).width
        assert width == 2 + columns * 66


def test_a_sheet_shows_input_and_output_of_any_size(trained, tmp_path, gancli) -> None:
    fill(tmp_path / "in", 6)
    words = ("sample", trained["cyclegan"], "--input", tmp_path / "in", "--grid", "--out", tmp_path / "sheet.png")
    assert gancli(*words).status == 0
    assert Image.open(tmp_path / "sheet.png").size == (2 + 2 * 66, 2 + 6 * 66)


def test_directions(trained, tmp_path, gancli) -> None:
    picture(16, 16).save(tmp_path / "one.png")
    words = ("sample", trained["cyclegan"], "--input", tmp_path / "one.png")
    for direction in ("a-to-b", "b-to-a"):
        assert gancli(*words, "--direction", direction, "--out", tmp_path / f"{direction}.png").status == 0
    assert gancli(*words, "--out", tmp_path / "default.png").status == 0
    there, back, default = (np.array(Image.open(tmp_path / f"{name}.png")) for name in ("a-to-b", "b-to-a", "default"))
    assert np.array_equal(there, default) and not np.array_equal(there, back)


@pytest.mark.parametrize(("size", "expected"), [("24", (24, 24)), ("16x40", (40, 16))])
def test_a_size_can_be_forced(size, expected, trained, tmp_path, gancli) -> None:
    fill(tmp_path / "in", 5)
    words = ("sample", trained["cyclegan"], "--input", tmp_path / "in", "--out", tmp_path / "out", "--size", size)
    assert {Image.open(line).size for line in gancli(*words).out.splitlines()} == {expected}


def test_tiles_make_the_whole(trained) -> None:
    """A turn that looks at single pixels gives the same in tiles of any size; the weights of overlaps add up to 1."""
    model = open_model(trained["cyclegan"])
    image = np.random.default_rng(0).integers(0, 256, (90, 61, 3), np.uint8)
    source = inputs.Decoded("here", ["one"], image[None])
    seen = []

    def negative(images: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(images.shape[2:]))
        return -images

    for tile in (16, 32, 40, 1000):
        seen.clear()
        (made,) = translation.Job(model, source, {"": negative}, tile=tile).stream()
        assert np.array_equal(made.images[""], 255 - image)
        assert set(seen) == {(min(tile, 92), min(tile, 64))}


def test_large_images_share_no_batch_beyond_its_size(trained) -> None:
    """However many images there are, a batch and what waits for one are bounded."""
    model = open_model(trained["cyclegan"])
    small = np.zeros((300, 64, 64, 3), np.uint8)
    sizes = []

    def same(images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return images

    source = inputs.Decoded("here", map(str, range(300)), small)
    assert sum(1 for _ in translation.Job(model, source, {"": same}).stream()) == 300
    assert max(sizes) * 64 * 64 == translation.BATCH_PIXELS


@pytest.mark.parametrize(
    ("family", "words", "said"),
    [
        ("pix2pix", ["--direction", "b-to-a"], "--direction b-to-a: this run learnt a-to-b"),
        ("pix2pix", ["--class", "3"], "--class: is for runs that make images from noise"),
        ("cyclegan", ["--seeds", "3"], "--seeds: is for runs that make images from noise"),
        ("cyclegan", ["--dropout", "off"], "--dropout: cyclegan has none"),
        ("pix2pix", ["--dropout", "maybe"], "--dropout maybe: expected on or off"),
        ("cyclegan", ["--input", "nowhere"], "--input: there is no nowhere"),
        ("cyclegan", ["--size", "12y3"], "--size 12y3: expected pixels"),
        ("cyclegan", ["--out", "one.jpg"], "--out one.jpg: is one image, and 2 are made"),
        ("cyclegan", ["--out", "-"], "--out -: takes one image"),
        ("cyclegan", ["--grid", "--out", "sheets"], "--out sheets: a grid is one .png file"),
    ],
)
def test_what_does_not_fit_is_one_line(family, words, said, trained, gancli) -> None:
    done = gancli("sample", trained[family], *words)
    assert done.status == 2 and done.out == ""
    assert done.err.count("\n") == 1 and said in done.err


@pytest.mark.parametrize("words", [["--input", "x"], ["--size", "8"], ["--direction", "a-to-b"], ["--tile", "64"]])
def test_noise_is_not_translated(words, digits_run, gancli) -> None:
    done = gancli("sample", digits_run, *words)
    assert done.status == 2 and done.err.startswith(f"Error: {words[0]}: is for runs that translate images")


def test_nothing_is_overwritten_unasked(trained, tmp_path, gancli) -> None:
    fill(tmp_path / "in", 3)
    words = ("sample", trained["cyclegan"], "--input", tmp_path / "in", "--out")
    assert gancli(*words, tmp_path / "out").status == 0
    assert gancli(*words, tmp_path / "out").status == 2
    assert gancli(*words, tmp_path / "out", "--force").status == 0
    done = gancli(*words, tmp_path / "in", "--force")
    assert done.status == 2 and "is an input" in done.err


def test_what_needs_too_much_memory_is_named(trained) -> None:
    def greedy(images: torch.Tensor) -> torch.Tensor:
        if images.shape[-1] > 16:
            raise torch.OutOfMemoryError("out of memory")
        return images

    model = open_model(trained["cyclegan"])
    folder = inputs.Decoded("here", ["large"], np.zeros((1, 40, 40, 3), np.uint8))
    (failed,) = translation.Job(model, folder, {"": greedy}).stream()
    assert failed == ("large.png", "out of memory: lower --tile, or --size")
    (made,) = translation.Job(model, folder, {"": greedy}, tile=16).stream()
    assert made.images[""].shape == (40, 40, 3)
