"""`gancli init` writes a recipe that fits the data: it validates, and it trains."""

import numpy as np
import pytest
import yaml
from PIL import Image

from gancli import models
from gancli.data import glance
from gancli.errors import UserError
from gancli.setup import estimate, suggest


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch) -> None:
    """What a step takes does not matter here."""
    monkeypatch.setattr(estimate, "MOST_STEPS", 2)


def photograph(seed, height=40, width=40):
    """Colours and detail everywhere."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def drawing(seed, height=40, width=40):
    """Two flat areas."""
    pixels = np.full((height, width, 3), 30 + seed, np.uint8)
    pixels[:, width // 2 :] = (200, 40, 90)
    return pixels


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def plain(folder):
    for n in range(12):
        save(folder / f"{n}.png", photograph(n))


def gray(folder):
    for n in range(12):
        save(folder / f"{n}.png", photograph(n)[..., 0])


def classes(folder):
    for n in range(24):
        save(folder / ("cat" if n % 2 else "dog") / f"{n}.png", photograph(n, 48, 36))


def side_by_side(folder):
    for n in range(12):
        save(folder / "train" / f"{n}.png", np.concatenate([photograph(n), drawing(n)], axis=1))
    save(folder / "test" / "0.png", np.concatenate([photograph(90), drawing(90)], axis=1))


def folders_of_pairs(folder):
    for n in range(12):
        save(folder / "A" / f"{n}.png", drawing(n))
        save(folder / "B" / f"{n}.jpg", photograph(n))


def train_a_and_train_b(folder):
    for n in range(12):
        save(folder / "trainA" / f"{n}.png", photograph(n))
        save(folder / "trainB" / f"{n}.png", photograph(n + 50))  # of equal names, but no pairs
    save(folder / "testA" / "x.png", photograph(98))
    save(folder / "testB" / "y.png", photograph(99))


def panoramas(folder):
    """Twice as wide as high, but one image each."""
    for n in range(12):
        smooth = Image.fromarray(photograph(n, 4, 8)).resize((80, 40), Image.Resampling.BICUBIC)
        save(folder / f"{n}.png", np.asarray(smooth))


KINDS = [
    (plain, "dcgan", {"data.image_size": 32, "data.channels": 3, "augment": ["colour", "translation", "cutout"]}),
    (gray, "dcgan", {"data.channels": 1, "data.flip": None, "augment": ["translation", "cutout"]}),
    (classes, "dcgan", {"conditional": True, "evaluate.features": "classifier", "train.batch_size": 16}),
    (side_by_side, "pix2pix", {"data.direction": "b-to-a", "data.layout": None, "data.image_size": 32}),
    (folders_of_pairs, "pix2pix", {"data.layout": "folders", "data.direction": "a-to-b"}),
    (train_a_and_train_b, "cyclegan", {"data.domains": None}),
    (panoramas, "dcgan", {"conditional": None}),
]


def value(values, key):
    for part in key.split("."):
        values = (values or {}).get(part)
    return values


@pytest.mark.parametrize(("make", "family", "expected"), KINDS, ids=[make.__name__ for make, *_ in KINDS])
def test_a_recipe_for_every_kind_of_data_validates_and_trains(make, family, expected, gancli, tmp_path) -> None:
    make(tmp_path / "images")
    done = gancli("init", tmp_path / "images")
    assert done.status == 0
    found = yaml.safe_load(done.out)
    assert found["model"] == family and found["data"]["source"] == str(tmp_path / "images")
    assert {key: value(found, key) for key in expected} == expected
    assert all(said in done.out for said in ("# Data: ", "# Family: ", "# Machine: ", "# Time: ", "# Memory: "))

    recipe = tmp_path / "my.yaml"
    recipe.write_text(done.out)
    assert gancli("validate", recipe).out == f"{recipe}: ok\n"
    assert gancli("train", recipe, "--out", tmp_path / "run", "-q", *short()).status == 0
    assert list((tmp_path / "run" / "samples").glob("step-*2.png"))


def short():
    return "--set", "train.steps=2", "--set", "train.decay_steps=0"


def test_without_data_the_digits_are_learnt_and_stdout_holds_the_recipe_alone(gancli, tmp_path) -> None:
    done = gancli("init")
    found = yaml.safe_load(done.out)
    assert found["model"] == "dcgan" and found["data"]["source"] == "digits" and found["conditional"] is True
    assert "measuring" in done.err and "measuring" not in done.out
    assert max(map(len, done.out.splitlines())) <= 100
    # Every value has its meaning above it, and nothing repeats a default that nobody needs to see.
    lines = done.out.splitlines()
    for number, line in enumerate(lines):
        if line and not line.lstrip().startswith("#") and not line.endswith(":"):
            assert lines[number - 1].lstrip().startswith("# "), line
    assert "latent_dim" not in found and "seed" not in found["train"]


@pytest.mark.parametrize("source", ["ring-2d", "gaussian-1d", "spiral-2d"])
def test_points_are_learnt_by_a_gan(source, gancli, tmp_path) -> None:
    done = gancli("init", source)
    assert done.status == 0 and yaml.safe_load(done.out)["model"] == "gan"
    (tmp_path / "my.yaml").write_text(done.out)
    assert gancli("train", tmp_path / "my.yaml", "--out", tmp_path / "run", "-q", *short()).status == 0


@pytest.mark.parametrize("family", models.names())
def test_shapes_suit_every_family(family, gancli, tmp_path) -> None:
    done = gancli("init", "shapes:40", "--family", family)
    assert done.status == 0 and yaml.safe_load(done.out)["model"] == family
    (tmp_path / "my.yaml").write_text(done.out)
    assert gancli("validate", tmp_path / "my.yaml").status == 0


@pytest.mark.parametrize(
    ("make", "family", "reason"),
    [
        (plain, "pix2pix", "holds no pairs"),
        (plain, "cyclegan", "no domain A"),
        (plain, "stargan", "outside class folders"),
        (plain, "stargan2", "families that suit: dcgan, gan, wgan"),
        (classes, "pix2pix", "holds no pairs"),
        (side_by_side, "dcgan", "holds a pair side by side"),
        (side_by_side, "stargan", "families that suit: pix2pix"),
        (plain, "dcgann", "no such family: take one of cyclegan, dcgan"),
    ],
)
def test_a_family_that_does_not_suit_the_data_is_refused(make, family, reason, gancli, tmp_path) -> None:
    make(tmp_path / "images")
    done = gancli("init", tmp_path / "images", "--family", family)
    assert done.status == 2 and not done.out
    assert done.err.count("\n") == 1 and f"--family {family}: " in done.err and reason in done.err


def test_points_suit_no_family_of_images(gancli) -> None:
    done = gancli("init", "ring-2d", "--family", "dcgan")
    assert done.status == 2 and not done.out and "gives points" in done.err and "gan, wgan" in done.err


@pytest.mark.parametrize("given", ["nowhere/at/all", "mnist", "empty", "file.txt", "line\nbreak"])
def test_data_that_is_not_there_is_one_line(given, gancli, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    plain(tmp_path / "line\nbreak")
    (tmp_path / "file.txt").write_text("x")
    done = gancli("init", given)
    assert done.status == 2 and not done.out and done.err.count("\n") == 1 and "data.source" not in done.err


def test_names_of_classes_cannot_leave_their_comment(gancli, tmp_path) -> None:
    for n in range(8):
        save(tmp_path / "images" / ("a\nmodel: evil" if n % 2 else "b\x1b[31m") / f"{n}.png", photograph(n))
    done = gancli("init", tmp_path / "images")
    assert done.status == 0 and yaml.safe_load(done.out)["model"] == "dcgan"
    assert "\x1b" not in done.out and "\nmodel: evil" not in done.out


def test_a_relative_folder_is_written_from_the_root(gancli, tmp_path, monkeypatch) -> None:
    plain(tmp_path / "my images")
    monkeypatch.chdir(tmp_path)
    assert yaml.safe_load(gancli("init", "my images").out)["data"]["source"] == str(tmp_path / "my images")


def test_images_that_cannot_be_used_are_noted(gancli, tmp_path) -> None:
    plain(tmp_path / "images" / "train")
    save(tmp_path / "images" / "test" / "0.png", photograph(50))
    (tmp_path / "images" / "train" / "11.png").write_bytes(b"no image")
    done = gancli("init", tmp_path / "images")
    assert done.status == 0 and yaml.safe_load(done.out)["model"] == "dcgan"
    assert "1 of the 12 images looked at cannot be used: train/11.png" in done.err and "gancli data check" in done.err


def test_a_training_that_cannot_be_measured_still_gets_its_recipe(gancli, monkeypatch) -> None:
    def fails(*_, **__):
        raise UserError("out of memory", 1)

    monkeypatch.setattr(estimate, "train", fails)
    done = gancli("init")
    assert done.status == 0 and yaml.safe_load(done.out)["train"]["steps"] > 0
    assert "# Time and memory could not be measured: out of memory." in done.out and "out of memory" in done.err


def test_the_length_fits_an_hour_of_a_cpu() -> None:
    found = suggest.suggest("shapes:40", None, gpu=False)
    assert found.lasting(1, hour=True).values["train"]["steps"] == 3000
    assert found.lasting(3600, hour=True).values["train"]["steps"] == suggest.LEAST_STEPS
    free = found.lasting(1, hour=False)
    assert free.values["train"]["steps"] == found.wanted
    assert free.values["train"]["decay_steps"] == round(0.9 * found.wanted)


def test_a_gpu_gets_the_papers_networks(tmp_path) -> None:
    for n in range(12):
        save(tmp_path / f"{n}.png", photograph(n, 300, 300))
    small, large = (suggest.suggest(str(tmp_path), None, gpu=gpu) for gpu in (False, True))
    assert small.values["width"] < 64 and "width" not in large.values
    assert small.values["data"]["image_size"] == 64 and large.values["data"]["image_size"] == 128
    assert large.base is None and small.base == "dcgan-mnist"


@pytest.mark.parametrize(
    ("number", "rounded"), [(0.2, 1), (1, 1), (17, 15), (1742, 1500), (2600, 2500), (99999, 90000)]
)
def test_lengths_are_round(number, rounded) -> None:
    assert suggest._round(number) == rounded


SETS = {
    "mnist": "dcgan",
    "fruits": "dcgan",
    "clothing": "dcgan",
    "facades": "pix2pix",
    "summer2winter": "cyclegan",
    "cifar10": "dcgan",
}


@pytest.mark.parametrize(("name", "family"), SETS.items())
def test_real_data_are_recognised(name, family, data_folder) -> None:
    found = suggest.suggest(str(data_folder / name), None, gpu=False)
    assert found.family == family
    if name == "facades":
        assert found.values["data"]["direction"] == "b-to-a", "the labels are on the right"


@pytest.mark.slow
@pytest.mark.parametrize("family", models.names())
@pytest.mark.parametrize("name", SETS)
def test_every_family_that_suits_real_data_trains_on_it(name, family, gancli, data_folder, tmp_path) -> None:
    suits = family in suggest.suited(str(data_folder / name))
    done = gancli("init", data_folder / name, "--family", family)
    if not suits:
        assert done.status == 2 and not done.out and "does not suit this data" in done.err
        return
    (tmp_path / "my.yaml").write_text(done.out)
    assert gancli("validate", tmp_path / "my.yaml").status == 0
    assert gancli("train", tmp_path / "my.yaml", "--out", tmp_path / "run", "-q", *short()).status == 0


def test_what_suits_is_what_the_kinds_say(data_folder) -> None:
    from_noise = ["dcgan", "gan", "wgan"]
    assert suggest.suited(str(data_folder / "facades")) == ["pix2pix"]
    assert suggest.suited(str(data_folder / "fruits")) == sorted([*from_noise, "cyclegan", "stargan", "stargan2"])
    assert suggest.suited("ring-2d") == ["gan", "wgan"]
    assert glance.kind_of(str(data_folder / "summer2winter")) == "unpaired"


@pytest.mark.parametrize(
    ("length", "ticks", "expected"),
    [(1, [1, 1, 9], 1), (2, [1, 3, 1, 3, 20, 20], 2), (5, [2, 4], 3)],
    ids=["a disturbance is left out", "whole rounds", "too slow for a round"],
)
def test_a_step_takes_the_median_of_whole_rounds(length, ticks, expected, monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr(estimate.time, "monotonic", lambda: now[0])
    clock = estimate._Clock(99, length)
    for step, tick in enumerate([7, 7, *ticks], 1):
        now[0] += tick / 100
        clock.advance(step, None)
    assert clock.seconds == pytest.approx(expected / 100) and clock.steps == len(ticks)
