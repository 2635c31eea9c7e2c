"""What the command line asks of runs of many domains: domains, attributes, styles and references, by name."""

import csv
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from commands import run_gancli
from PIL import Image

from gancli.data.shapes import COLOURS, colour_of, draw, shape
from gancli.make import images as pictures
from gancli.make import inputs
from gancli.runs.opening import open_model
from gancli.score import scoring, subjects

FACES = """
model: stargan
width: 2
blocks: 1
data: {{source: {source}, attributes: [Black_Hair, Blond_Hair, Male], image_size: 16}}
train: {{steps: 4, batch_size: 4, log_every: 2, samples_every: 4, checkpoint_every: 2}}
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """A run of each family, and one of attributes."""
    folder = tmp_path_factory.mktemp("runs")
    for family in ("stargan", "stargan2"):
        assert run_gancli("train", tiny.write(family, folder), "--out", folder / family, "-q") == 0
    faces = folder / "photographs"
    faces.mkdir()
    rows = [["name", "Male", "Black_Hair", "Blond_Hair"]]
    for n in range(24):
        Image.fromarray(draw(shape(0, n), 16, 16)).save(faces / f"{n}.png")
        rows.append([f"{n}.png", n % 2, n % 3 == 0, n % 3 == 1])
    with (faces / "attributes.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [[str(int(cell)) if isinstance(cell, bool) else cell for cell in row] for row in rows]
        )
    (folder / "faces.yaml").write_text(FACES.format(source=faces))
    assert run_gancli("train", folder / "faces.yaml", "--out", folder / "faces", "-q") == 0
    return {name: folder / name for name in ("stargan", "stargan2", "faces")}


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for n, path in enumerate((folder / "a.jpg", folder / "deep" / "b.png")):
        Image.fromarray(draw(shape(1, n), 40, 33)).save(path)
    return folder


def written(done, out: Path) -> set[str]:
    assert done.status == 0, done.err
    return {str(Path(line).relative_to(out)) for line in done.out.splitlines()}


@pytest.mark.parametrize(
    ("run", "words", "folders"),
    [
        ("stargan", ["--domain", "red"], [""]),
        ("stargan", ["--domain", "red", "--domain", "blue"], ["red/", "blue/"]),
        ("stargan", [], [f"{colour}/" for colour in COLOURS]),
        ("stargan2", ["--domain", "red", "--seed", "3", "--styles", "2"], ["style-3/", "style-4/"]),
        ("stargan2", ["--styles", "2"], [f"{colour}/style-{n}/" for colour in COLOURS for n in range(2)]),
        ("faces", ["--domain", "Blond_Hair,Male=0"], [""]),
        ("faces", [], ["Black_Hair/", "Blond_Hair/", "Male=flip/"]),
    ],
)
def test_every_wish_has_its_folder(run, words, folders, runs, photos, tmp_path, gancli) -> None:
    done = gancli("sample", runs[run], "--input", photos, "--out", tmp_path / "out", *words)
    assert written(done, tmp_path / "out") == {folder + name for folder in folders for name in ("a.jpg", "deep/b.png")}
    assert Image.open(tmp_path / "out" / folders[0] / "a.jpg").size == (33, 40)


def test_styles_are_those_of_the_references(runs, photos, tmp_path, gancli) -> None:
    references = tmp_path / "references"
    for n, name in enumerate(("red/x.png", "red/y.png", "blue/z.png")):
        (references / name).parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(draw(shape(2, n), 50, 50)).save(references / name)
    words = ("sample", runs["stargan2"], "--input", photos)
    by_folder = gancli(*words, "--reference", references, "--out", tmp_path / "one")
    by_name = gancli(*words, "--reference", references / "red", "--domain", "red", "--out", tmp_path / "two")
    names = ("a.jpg", "deep/b.png")
    assert written(by_folder, tmp_path / "one") == {f"{r}/{n}" for r in ("red/x", "red/y", "blue/z") for n in names}
    assert written(by_name, tmp_path / "two") == {f"{r}/{n}" for r in "xy" for n in names}
    made = [np.array(Image.open(tmp_path / path / "deep/b.png")) for path in ("one/red/x", "two/x", "two/y")]
    assert (made[0] == made[1]).all() and (made[1] != made[2]).any()


def test_sheets_show_sources_down_and_references_across(runs, photos, tmp_path, gancli) -> None:
    words = ("sample", runs["stargan2"], "--input", photos, "--domain", "red", "--grid")
    assert gancli(*words, "--reference", photos, "--out", tmp_path / "one.png").status == 0
    assert gancli(*words, "--styles", "4", "--out", tmp_path / "two.png").status == 0
    one, two = (Image.open(tmp_path / name).size for name in ("one.png", "two.png"))
    assert one == (2 + 3 * 66, 2 + 3 * 66) and two == (2 + 5 * 66, 2 + 2 * 66)


def test_the_test_split_shows_all_domains_in_turn(runs) -> None:
    model = open_model(runs["stargan"])
    data = model.recipe.data.model_copy(update={"source": "shapes:200"})
    model.recipe = model.recipe.model_copy(update={"data": data})
    source, aims = inputs.test_split(model, "red")
    domains = [Path(name).parent.name for name in source.names]
    assert len(source.names) == 20 and set(domains[:4]) == set(COLOURS) and aims is None
    pixels = np.stack([np.array(source.open(n)) for n in range(20)])
    assert [list(COLOURS)[n] for n in colour_of(pixels)] == domains


def test_what_is_left_open_comes_from_the_run_s_discriminator(runs, tmp_path, photos, gancli) -> None:
    model = open_model(runs["faces"])
    assert model.asks_discriminator and not hasattr(open_model(runs["stargan"]), "discriminator")
    lone = tmp_path / "lone.safetensors"
    lone.write_bytes((runs["faces"] / "model.safetensors").read_bytes())
    assert not hasattr(open_model(lone), "discriminator")
    done = gancli("sample", lone, "--input", photos, "--domain", "Male", "--out", tmp_path / "out")
    assert done.status == 2 and done.err.count("\n") == 1
    assert "name the run, or every attribute, as in Black_Hair=0,Blond_Hair=0,Male=1" in done.err
    done = gancli("sample", lone, "--input", photos, "--domain", "Blond_Hair,Male=0", "--out", tmp_path / "out")
    assert done.status == 0, "hair colours exclude each other, so nothing is left open"
    with torch.inference_mode():
        images = torch.rand(2, 3, 16, 16) * 2 - 1
        seen = model.attributes_of(images)
        expected = model.generator(images, model.changed(seen, {"Male": "flip"}))
        assert torch.equal(model.translate(images, "Male=flip", [0, 0]), expected)


@pytest.mark.parametrize(
    ("run", "words", "said"),
    [
        ("stargan", ["--domain", "rde"], "--domain rde: the model knows no 'rde': did you mean red?"),
        ("faces", ["--domain", "Blond_Hair,Black_Hair"], "an image is Blond_Hair or Black_Hair, not both"),
        ("stargan", ["--styles", "2"], "--styles 2: stargan has one style of each domain"),
        ("stargan", ["--reference", "shapes:2"], "--reference: stargan takes no styles from images"),
        ("stargan", ["--direction", "a-to-b"], "--direction: is for runs of two domains"),
        ("stargan2", ["--reference", "EMPTY"], "--reference: EMPTY holds no images"),
        ("stargan2", ["--reference", "missing"], "--reference: there is no missing"),
        ("stargan2", ["--reference", "PHOTOS"], "a.jpg: of which domain? give --domain, or a folder for each of blue,"),
        ("stargan2", ["--reference", "PHOTOS", "--styles", "2"], "--styles: is for styles of seeds"),
        ("stargan2", ["--reference", "PHOTOS", "--domain", "red", "--domain", "blue"], "works with one domain"),
        ("stargan2", ["--styles", "26"], "more than 100 targets, styles or references at once"),
    ],
)
def test_what_makes_no_sense_is_one_line(run, words, said, runs, photos, tmp_path, gancli) -> None:
    (tmp_path / "empty").mkdir()
    places = {"PHOTOS": str(photos), "EMPTY": str(tmp_path / "empty")}
    words = [places.get(word, word) for word in words]
    done = gancli("sample", runs[run], "--input", photos, "--out", tmp_path / "out", *words)
    assert done.status == 2 and done.err.count("\n") == 1 and not (tmp_path / "out").exists()
    assert said.replace("EMPTY", places["EMPTY"]) in done.err


@pytest.mark.parametrize("words", [["--domain", "b"], ["--styles", "2"], ["--reference", "x"]])
def test_two_domains_and_noise_know_no_domains(words, digits_run, tmp_path, gancli) -> None:
    assert run_gancli("train", tiny.write("pix2pix", tmp_path), "--out", tmp_path / "run", "-q") == 0
    for run in (tmp_path / "run", digits_run):
        done = gancli("sample", run, *words)
        assert done.status == 2 and done.err.startswith(f"Error: {words[0]}: is for ")


def test_a_domain_without_training_images_is_named(tmp_path, gancli) -> None:
    for n in range(8):
        for place in (f"train/{'ab'[n % 2]}", "test/a", "test/c"):
            (tmp_path / "data" / place).mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw(shape(1, n), 16, 16)).save(tmp_path / "data" / place / f"{n}.png")
    recipe = FACES.format(source=tmp_path / "data").replace("attributes: [Black_Hair, Blond_Hair, Male], ", "")
    (tmp_path / "r.yaml").write_text(recipe)
    done = gancli("train", tmp_path / "r.yaml", "--out", tmp_path / "run")
    assert done.status == 2 and "no training image is of c: give some, or leave it out" in done.err
    (tmp_path / "data" / "train" / "d").mkdir()
    done = gancli("train", tmp_path / "r.yaml", "--out", tmp_path / "run")
    assert done.status == 2 and "train/d is empty: put images of the domain there, or remove it" in done.err


def pixels_of(subject) -> np.ndarray:
    return np.concatenate([batch.numpy() for batch in subject.batches()])


def with_data(run: Path, source: str):
    model = open_model(run)
    data = model.recipe.data.model_copy(update={"source": source})
    model.recipe = model.recipe.model_copy(update={"data": data})
    return model


def test_every_pair_of_domains_is_scored(runs) -> None:
    """Those of the origin in the test split, as the target; with styles, by seed and by the target's test images."""
    for family in ("stargan", "stargan2"):
        model = with_data(runs[family], "shapes:200")
        sides = subjects.comparisons(model, 7, "test")
        pairs = {f"{a}-to-{b}" for a in COLOURS for b in COLOURS if a != b}
        styled = {name + subjects.BY_REFERENCE for name in pairs} if family == "stargan2" else set()
        assert set(sides) == pairs | styled
        for name in ("red-to-blue", "red-to-blue by reference")[: 1 + (family == "stargan2")]:
            fakes, reals = sides[name]
            sources, references = (subjects.of_domain(model.recipe, colour, "test") for colour in ("red", "blue"))
            images = (torch.from_numpy(pixels_of(sources)) - 127.5) / 127.5
            if "reference" in name:
                shown = (torch.from_numpy(np.resize(pixels_of(references), images.shape)) - 127.5) / 127.5
                made = model.styled(images, model.styles_of(shown, "blue"))
            else:
                made = model.translate(images, "blue", range(7, 7 + len(images)))
            assert np.array_equal(pixels_of(fakes), pictures.pixels(made).transpose(0, 3, 1, 2))
            assert np.array_equal(pixels_of(reals), pixels_of(references))
            assert fakes.classes == tuple(COLOURS) and (fakes.labels() == 0).all()


def test_means_by_seed_and_by_reference_are_apart(monkeypatch) -> None:
    values = {"x": 1.0, "y": 3.0, "x by reference": 10.0}
    named = iter(values.values())
    few = (["2 images are few", "dark"], ["1,300 images are few"], ["7 images are few"])
    warned = iter(few)
    monkeypatch.setattr(scoring, "score", lambda *_, **__: {"values": {"fid": next(named)}, "warnings": next(warned)})
    shapes = subjects.of_source("shapes:20", None)
    sides = dict.fromkeys(values, (shapes, shapes))
    record = scoring.score_each(sides, None, ["fid"])
    means = {"fid": 2, "fid by reference": 10}
    assert record["values"] == means | {f"fid {name}": value for name, value in values.items()}
    assert record["warnings"] == ["x: 2 images are few (and 2 more like this)", "x: dark"], "each kind once"


def test_attributes_are_scored_against_images_that_have_them(runs) -> None:
    """Hair of one colour becomes another's; where nothing is excluded, images without become images with."""
    model = open_model(runs["faces"])
    directions = {"Blond_Hair-to-Black_Hair", "Black_Hair-to-Blond_Hair", "no Male-to-Male"}
    assert set(model.directions) == directions
    train = subjects.of_data(model.recipe, "train")
    labels = train.labels()
    for name, place, value in (("Male", 2, 1), ("no Male", 2, 0), ("Black_Hair", 0, 1)):
        found = subjects.of_domain(model.recipe, name, "train")
        assert found.count == (labels[:, place] == value).sum() > 0
        assert np.array_equal(pixels_of(found), pixels_of(train)[labels[:, place] == value])
