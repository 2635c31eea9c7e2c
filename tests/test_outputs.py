"""Names made from data: whatever a stranger calls things, results stay inside --out, and no two share a file."""

import json
import os
import string
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from commands import Done, run_gancli
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gancli import outputs, weights
from gancli.errors import UserError
from gancli.make import inputs, sampling
from gancli.recipe import reading
from gancli.runs.opening import open_model

OUTSIDE = "/tmp/gancli-outside"
HOSTILE = {
    "absolute": f"{OUTSIDE}/x",
    "above": "../../y",
    "above alone": "..",
    "here": ".",
    "nothing": "",
    "only dots": "...",
    "a slash": "a/b",
    "slashes": "//",
    "NUL": "a\0b",
    "a new line": "a\nb",
    "terminal escape": "\x1b[31mred",
    "C1 control": "a\x9bb",
    "DEL": "a\x7f",
    "writing direction": "a\u202egnp.exe",
    "line separator": "a\u2028b",
    "Windows path": "C:\\Windows\\x",
    "Windows above": "..\\..\\x",
    "drive": "C:x",
    "stream": "x:y",
    "device": "CON",
    "device with an ending": "nul.txt",
    "reserved": '<>"|?*',
    "trailing dot": "x.",
    "trailing space": "x ",
    "300 letters": "a" * 300,
    "300 letters, another end": "a" * 299 + "b",
    "255 letters": "a" * 255,
    "100 emoji": "😀" * 100,
    "half a character": "\ud800",
    "half characters": "\udcc3\udca9",
    "a name like a mark": "x~0123456789ab",
    "the mark of another": outputs.label("a/b"),
    "home": "~",
    "an option": "-rf",
    "a template": "{seed}$HOME`id`",
    "hidden": ".ssh",
    "upper": "É",
    "composed": "é",
    "decomposed": "e\u0301",
}
SOUND = ["cat", "Blond_Hair,Male=0", "ünï cödé", "3", "red.and.blue", "white space", "日本語", "…", "x" * 255]


def inside(path: str) -> None:
    """The relative path is one that only a file below can have."""
    assert path and not path.startswith("/") and "\0" not in path and "\\" not in path
    parts = path.split("/")
    assert all(part not in ("", ".", "..") and len(os.fsencode(part)) <= outputs.LONGEST for part in parts)
    assert all(ord(c) >= 32 and not 0x7F <= ord(c) < 0xA0 and c not in "\u2028\u2029\u202e" for c in path)


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_name_stays_as_it_is(name) -> None:
    assert outputs.label(name) == name
    assert outputs.path(f"{name[:200]}/{name[:200]}.png") == f"{name[:200]}/{name[:200]}.png"


@pytest.mark.parametrize("name", ["12:30.jpg", "what?.png", "a<b>.png", "x" * 251 + ".png", "caf\udce9.png"])
def test_an_image_keeps_a_name_that_this_system_takes(name) -> None:
    assert outputs.path(name) == name


def test_every_hostile_name_becomes_one_of_its_own() -> None:
    for function in (outputs.label, outputs.path):
        made = {name: function(name) for name in [*HOSTILE.values(), *SOUND]}
        for path in made.values():
            inside(path)
        assert len(set(made.values())) == len(made)
    assert not any("/" in outputs.label(name) for name in HOSTILE.values())
    assert len(set(outputs.labels(["a", "a", "b", "a", "", ""]))) == 6
    print(f"{len(HOSTILE)} hostile names as labels and as paths: {2 * len(HOSTILE)} contained, none shared")


@given(st.lists(st.text(st.characters() | st.sampled_from("/\\.~\0" + string.hexdigits), max_size=300), unique=True))
def test_no_two_names_become_one(names) -> None:
    for function in (outputs.label, outputs.path):
        made = [function(name) for name in names]
        for path in made:
            inside(path)
        assert len(set(made)) == len(made)


def test_a_long_path_is_shortened_as_a_whole() -> None:
    long, other = "/".join(["x" * 200] * 30 + ["a.png"]), "/".join(["x" * 200] * 31 + ["a.png"])
    assert len({outputs.path(long), outputs.path(other)}) == 2
    assert outputs.path(long).endswith("/a.png") and len(outputs.path(long)) < 2048
    assert outputs.path("y" * 300 + ".png").endswith(".png")


@pytest.mark.parametrize(
    "made", [[("1.jpg", "1.png"), ("1.png", "1.png")], [("a", "a.png"), ("b", "a.png/b.png")]], ids=["file", "folder"]
)
def test_two_inputs_of_one_output_are_both_named(made) -> None:
    with pytest.raises(UserError) as caught:
        outputs.check_distinct(made)
    assert all(repr(origin) in str(caught.value) for origin, _ in made)


def test_images_that_lose_their_formats_keep_apart() -> None:
    source = inputs.Decoded("here", ["1.jpg", "1.png", "2.jpg", "3"], np.zeros((4, 8, 8, 3), np.uint8))
    assert source.names == ["1.jpg.png", "1.png", "2.png", "3.png"]


# Where the names come from: a run or a source of images made with them -> the words of a command.


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """A run with classes, and translators of two domains, of many, and with styles."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "classes.yaml").write_text(
        "model: gan\nconditional: true\nlatent_dim: 4\ngenerator_hidden: [8]\ndiscriminator_hidden: [8]\n"
        "data: {source: digits, image_size: 8, channels: 1}\ntrain: {steps: 4, log_every: 4, checkpoint_every: 4}\n"
    )
    assert run_gancli("train", folder / "classes.yaml", "--out", folder / "classes", "-q") == 0
    for family in ("cyclegan", "stargan"):
        assert run_gancli("train", tiny.write(family, folder), "--out", folder / family, "-q") == 0
    return {name: folder / name for name in ("classes", "cyclegan", "stargan")}


def forged(run: Path, target: Path, name: str) -> Path | None:
    """The weights of a run whose first class has this name; None where no header can say so."""
    tensors, metadata = weights.read(run / "model.safetensors", 2**30)
    model = open_model(run)
    data: Any = model.recipe.data
    named = model.recipe.model_copy(update={"data": data.model_copy(update={"classes": (name, *data.classes[1:])})})
    try:
        weights.write(target, tensors, metadata | {"recipe": reading.dump(named)})
    except ValueError:
        return None
    return target


def of_weights(form: str) -> Callable[[dict[str, Path], Path, str], list[object] | None]:
    def words(runs: dict[str, Path], folder: Path, name: str) -> list[object] | None:
        if (run := forged(runs["classes"], folder / "evil.safetensors", name)) is None:
            return None
        return ["sample", run, "--count", 2, "--class", "0", "--out", folder / f"out{form}"]

    return words


def of_domains(runs: dict[str, Path], folder: Path, name: str) -> list[object] | None:
    if (run := forged(runs["stargan"], folder / "evil.safetensors", name)) is None:
        return None
    Image.new("RGB", (8, 8)).save(folder / "one.png")
    return ["sample", run, "--input", folder / "one.png", "--out", folder / "out"]


def of_zip(runs: dict[str, Path], folder: Path, name: str) -> list[object] | None:
    Image.new("RGB", (8, 8)).save(folder / "one.png")
    try:
        with zipfile.ZipFile(folder / "in.zip", "w") as archive:
            archive.write(folder / "one.png", f"{name}.png")
    except UnicodeEncodeError:
        return None
    return ["sample", runs["cyclegan"], "--input", folder / "in.zip", "--out", folder / "out"]


def of_npz(runs: dict[str, Path], folder: Path, name: str) -> list[object] | None:
    images, labels = np.zeros((2, 8, 8, 3), np.uint8), np.array([name, "other"])
    np.savez(folder / "in.npz", images=images, labels=labels)
    return ["sample", runs["cyclegan"], "--input", folder / "in.npz", "--out", folder / "out"]


def of_folder(runs: dict[str, Path], folder: Path, name: str) -> list[object] | None:
    (folder / "in").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "one.png")
    if "/" in name:
        return None
    try:
        (folder / "in" / f"{name}.png").write_bytes((folder / "one.png").read_bytes())
    except (OSError, ValueError):
        return None
    return ["sample", runs["cyclegan"], "--input", folder / "in", "--out", folder / "out"]


PLACES = {
    "classes": of_weights(""),
    "classes in a zip": of_weights(".zip"),
    "classes in an npz": of_weights(".npz"),
    "domains": of_domains,
    "a zip's entries": of_zip,
    "an npz's labels": of_npz,
    "a folder's files": of_folder,
}


def everything(folder: Path) -> set[str]:
    return {os.path.join(here, name) for here, _, names in os.walk(folder) for name in names}  # noqa: PTH118


@pytest.mark.parametrize("place", PLACES)
def test_nothing_named_by_a_stranger_leaves_the_output(place, runs, tmp_path, gancli: Callable[..., Done]) -> None:
    made = refused = 0
    for n, (kind, name) in enumerate(HOSTILE.items()):
        folder = tmp_path / str(n) / "deep"
        folder.mkdir(parents=True)
        if (words := PLACES[place](runs, folder, name)) is None:
            continue  # nobody can call anything so there
        before = everything(tmp_path)
        done = gancli(*words)
        assert done.status in (0, 2), (kind, done.err)
        assert "Traceback" not in done.err and "\x1b" not in done.out + done.err, kind
        new = everything(tmp_path) - before
        assert all(path.startswith(f"{words[-1]}") for path in new), (kind, new)
        assert not Path(OUTSIDE).exists()
        if done.status == 0:
            assert new, kind
            made += 1
        else:
            assert not new and done.err.count("\n") == 1, (kind, done.err)
            refused += 1
        if str(words[-1]).endswith(".zip") and new:
            with zipfile.ZipFile(str(words[-1])) as archive:
                for entry in archive.namelist():
                    inside(entry)
    print(f"{place}: {made} hostile names contained, {refused} refused")
    assert made + refused >= 25


@pytest.mark.parametrize("kind", ["folder", "file", "dangling", "class"])
@pytest.mark.parametrize("family", ["classes", "cyclegan"])
def test_nothing_is_written_through_links(kind, family, runs, tmp_path, gancli) -> None:
    """Links that stand inside --out; that --out is a link itself is the user's own wish."""
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    elsewhere.mkdir()
    out.mkdir()
    precious = elsewhere / "precious"
    precious.write_text("mine")
    first = out / ("0" if family == "classes" else "deep")
    if kind in ("folder", "class"):
        first.symlink_to(elsewhere if kind == "folder" else precious)
    else:
        first.mkdir()
        link = first / ("000000.png" if family == "classes" else "one.png")
        link.symlink_to(precious if kind == "file" else elsewhere / "new")
    (tmp_path / "in" / "deep").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "in" / "deep" / "one.png")
    words = ["sample", runs[family], "--out", out]
    words += ["--count", "2"] if family == "classes" else ["--input", tmp_path / "in"]
    for force in ([], ["--force"]):
        done = gancli(*words, *force)
        assert precious.read_text() == "mine" and list(elsewhere.iterdir()) == [precious]
        if kind in ("folder", "class") or not force:
            assert done.status == 2 and done.err.count("\n") == 1 and str(first) in done.err
    (tmp_path / "link").symlink_to(elsewhere)
    assert gancli(*words[:-4], *words[-2:], "--out", tmp_path / "link").status == 0


def test_a_full_disk_leaves_no_partial_image(runs, tmp_path, gancli, monkeypatch) -> None:
    """The disk is full in the middle of the fourth file."""
    from gancli import files

    real, opened = Path.open, []

    def full(self: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        file = real(self, mode, *rest, **named)
        if self.suffix == ".part":
            opened.append(self)
            if len(opened) == 4:
                file.write(b"\x89PNG")

                class Full:
                    def __enter__(self) -> "Full":
                        return self

                    def __exit__(self, *_: object) -> None:
                        file.close()

                    def write(self, _: bytes) -> None:
                        raise OSError(28, "No space left on device")

                return Full()
        return file

    monkeypatch.setattr(files.Path, "open", full)
    done = gancli("sample", runs["classes"], "--count", 9, "--class", "3", "--out", tmp_path / "out")
    assert done.status == 1 and done.err.count("\n") == 1 and "No space left on device" in done.err
    assert "000003.png" in done.err and done.out == ""
    assert sorted(path.name for path in (tmp_path / "out" / "3").iterdir()) == [f"00000{n}.png" for n in range(3)]
    for path in (tmp_path / "out" / "3").iterdir():
        Image.open(path).load()


def test_a_path_that_is_not_utf8_works(runs, tmp_path, gancli) -> None:
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    place.mkdir()
    Image.new("RGB", (8, 8)).save(place / os.fsdecode(b"\xff.png"))
    done = gancli("sample", runs["classes"], "--count", 1, "--out", place / "made", "--json")
    assert done.status == 0, done.err
    assert Path(json.loads(done.out)["files"][0]).is_file()
    done = gancli("sample", runs["cyclegan"], "--input", place, "--out", place / "translated")
    assert done.status == 0 and (place / "translated" / os.fsdecode(b"\xff.png")).is_file()


def test_samples_are_listed_lazily(runs) -> None:
    from gancli.seeds import following, parse

    model: Any = open_model(runs["classes"])
    chosen = sampling.samples(model, following(0, 10**15), "all")
    assert chosen.count == 10**16
    assert [sample.name for sample, _ in zip(chosen, range(2), strict=False)] == ["0/000000.png", "0/000001.png"]
    assert parse(f"5,0-{10**15}".replace("5,", f"{10**16},"), "--seeds").count == 10**15 + 2
    assert torch.equal(model.latent(2**63 - 1), model.latent(2**63 - 1))
