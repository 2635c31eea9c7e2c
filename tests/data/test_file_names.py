"""Names that are not UTF-8, or hold anything else that a file name may hold: no traceback, nothing a terminal obeys."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tiny
import yaml
from PIL import Image

from gancli.data.dataset import load
from gancli.recipe.data import Images, Pairs, Unpaired

pytestmark = pytest.mark.usefixtures("cache")

NAMES = {
    "latin-1": b"caf\xe9",
    "no text": b"\xff\xfe\x80",
    "escapes": b"\x1b[2J\x1b]0;owned\x07",
    "lines": b"one\ntwo\rthree",
    "separators": "\u2028\u2029\x85".encode(),
    "direction": "\u202egnp.exe".encode(),
    "spaces": b" ",
    "dashes": b"--help",
    "markup": b"[red]x[bold]",
    "long": b"x" * 240,
    "astral": "\U0001f600".encode(),
}


def image(path: Path, seed: int, width: int = 8) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, width, 3), dtype=np.uint8)
    with path.open("wb") as file:
        Image.fromarray(pixels).save(file, "PNG")


def folder(root: Path, name: bytes) -> Path:
    """A class and images of this name, one image that is damaged, one file that is none."""
    said = os.fsdecode(name)
    for split in ("train", "test"):
        for label in (said, "other"):
            (root / split / label).mkdir(parents=True)
            for number in range(4):
                image(root / split / label / f"{said}{number}.png", number + 10 * (label == said))
    (root / "train" / said / f"{said}9.png").write_bytes(b"")
    (root / "train" / f"{said}.CR2").write_bytes(b"")
    return root


def plain(text: str) -> bool:
    return all(line.isprintable() for line in text.splitlines()) and "Traceback" not in text


@pytest.mark.parametrize("name", NAMES)
def test_every_command_on_data_takes_any_name(tmp_path, gancli, name):
    source = folder(tmp_path / "set", NAMES[name])
    skip = ("--set", "on_bad_image=skip", "--set", "image_size=8")
    for words in ((), ("--json",), skip, (*skip, "--kind", "labelled"), (*skip, "--preview", tmp_path / "x.png")):
        done = gancli("data", "check", source, *words)
        assert done.status == (0 if "on_bad_image=skip" in words else 2), done
        assert plain(done.out) and plain(done.err) and (len(done.err.splitlines()) <= 1 or done.status == 0)
        if words == ("--json",):
            assert len(json.loads(done.out)["splits"]["train"]["skipped"]) == 1
    values = yaml.safe_load(tiny.text("gan"))
    values["data"] = {"source": str(source), "image_size": 8}
    values["train"] |= {"steps": 1, "batch_size": 4}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    done = gancli("train", path, "--out", tmp_path / "run")
    assert done.status == 2 and plain(done.err) and len(done.err.splitlines()) == 1
    for more in (("--dry-run",), ("--out", tmp_path / "run")):
        done = gancli("train", path, "--set", "data.on_bad_image=skip", *more)
        assert done.status == 0 and plain(done.out) and plain(done.err), done
    assert json.loads((tmp_path / "run" / "run.json").read_text())["skipped"][0]["reason"] == "empty file"


@pytest.mark.parametrize("name", NAMES)
def test_data_of_any_name_have_a_digest_and_a_place_in_the_cache(tmp_path, name):
    source = folder(tmp_path / os.fsdecode(NAMES[name]), NAMES[name])
    options = {"source": str(source), "image_size": 8, "on_bad_image": "skip"}
    first = load(Images(**options))
    assert load(Images(**options)).digest == first.digest and len(first) == 8 and len(first.classes) == 2
    said = os.fsdecode(NAMES[name])
    unpaired = load(Unpaired(**options, domains=(said, "other")))
    assert len(unpaired.images["a"]) == 4 and unpaired.digest != first.digest
    for side in "AB":
        (tmp_path / "pairs" / side).mkdir(parents=True)
        image(tmp_path / "pairs" / side / f"{said}.png", ord(side))
    pairs = Pairs(source=str(tmp_path / "pairs"), layout="folders", image_size=8, holdout=0)
    assert len(load(pairs).digest) == 64


@pytest.mark.parametrize("name", NAMES)
def test_entries_of_zips_and_labels_of_arrays_are_printed_escaped(tmp_path, gancli, name):
    said = os.fsdecode(NAMES[name])
    text = NAMES[name].decode("latin-1")
    source = folder(tmp_path / "set", NAMES[name])
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for label in (text, "other"):
            for number in range(2):
                archive.write(source / "train" / said / f"{said}{number}.png", f"{label}/{text}{number}.png")
        archive.writestr(f"{text}.CR2", b"")
        archive.writestr(f"{text}/bad.png", b"")
    np.savez(tmp_path / "set.npz", images=np.zeros((4, 8, 8), np.uint8), labels=np.array([text, "x", text, "x"]))
    for path in (tmp_path / "set.zip", tmp_path / "set.npz"):
        for kind in ("images", "labelled"):
            done = gancli("data", "check", path, "--kind", kind, "--set", "on_bad_image=skip", "--set", "holdout=0")
            assert done.status in (0, 2) and plain(done.out) and plain(done.err), done
