import json

import numpy as np
import pytest
from PIL import Image

from gancli.data.check import KINDS, check, guess
from gancli.data.preview import preview
from gancli.errors import UserError
from gancli.recipe.data import Images, Labelled, Pairs, Unpaired


@pytest.fixture
def mixed(tmp_path):
    """Two classes, sizes and modes; one image twice, one damaged, one outside, two classes out of balance."""
    rng = np.random.default_rng(0)
    for split, label, count in (("train", "cat", 8), ("train", "dog", 2), ("test", "cat", 1), ("test", "dog", 1)):
        folder = tmp_path / "set" / split / label
        folder.mkdir(parents=True)
        for number in range(count):
            image = Image.fromarray(rng.integers(0, 256, (20, 30 + number % 2, 3), dtype=np.uint8))
            image.save(folder / f"{number}.png")
    root = tmp_path / "set"
    Image.open(root / "train/cat/0.png").save(root / "test/cat/again.bmp")
    Image.new("L", (9, 9)).save(root / "train/dog/small.png")
    (root / "train/cat/bad.jpg").write_bytes(b"")
    Image.new("L", (9, 9)).save(root / "outside.png")
    return root


def test_report_counts_names_and_says_what_to_do(mixed):
    report = check(Labelled(source=str(mixed), image_size=16, channels=3))
    assert report.splits["train"].classes == {"cat": 8, "dog": 3} and report.splits["test"].images == {"image": 3}
    assert report.splits["train"].skipped == [("train/cat/bad.jpg", "empty file")] and not report.sound
    assert report.sizes == {"20×30": 8, "20×31": 5, "9×9": 1} or report.sizes["9×9"] == 1
    assert report.modes == {"RGB": 13, "L": 1}
    assert [set(group) for group in report.duplicates] == [{"train/cat/0.png", "test/cat/again.bmp"}]
    assert report.ignored == ["outside.png"]
    text = report.text()
    for words in ("cat (8), dog (3)", "bad.jpg (empty file)", "outside.png", "1 image is in train and outside it"):
        assert words in text
    assert "1 image is much smaller than image_size" in text
    values = json.loads(json.dumps(report.as_json()))
    assert values["sound"] is False and values["splits"]["train"]["skipped"][0]["reason"] == "empty file"


def test_balance_is_worth_a_word(mixed):
    (mixed / "train/dog/small.png").unlink()
    assert any("unbalanced: 8 of cat and 2 of dog" in note for note in check(Labelled(source=str(mixed))).notes)


def test_the_unmatched_are_in_the_report(tmp_path):
    for name in ("trainA/1.png", "trainB/1.png", "trainB/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    report = check(Pairs(source=str(tmp_path), layout="folders", holdout=0))
    assert report.splits["train"].images == {"pairs": 1} and report.splits["train"].skipped[0].name == "trainB/2.png"


def test_squares_are_no_pairs(mixed):
    for path in mixed.rglob("*.*"):
        Image.new("RGB", (16, 16), len(path.name)).save(path)
    assert any("data.layout=folders" in note for note in check(Pairs(source=str(mixed), image_size=8)).notes)


def test_preview_shows_what_the_network_sees(mixed):
    sheet = preview(Labelled(source=str(mixed), image_size=16))
    # Two classes, enlarged eight times from 16 pixels.
    assert sheet.height == 2 * 130 and sheet.width > 8 * 130


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_shapes_pass_as_every_kind(kind, channels):
    settings = KINDS[kind](source="shapes:40", image_size=16, enlarge=18, channels=channels, flip=True)
    report = check(settings)
    assert report.kind == kind and report.sound and not report.ignored and set(report.splits) == {"train", "test"}
    assert preview(settings).size[0] > 8 * 130


KIND_OF = {
    "mnist": Labelled(source="mnist", image_size=28, channels=1),
    "fruits": Labelled(source="fruits"),
    "clothing": Labelled(source="clothing"),
    "facades": Pairs(source="facades", image_size=64, direction="b-to-a"),
    "summer2winter": Unpaired(source="summer2winter"),
    "cifar10": Images(source="cifar10", image_size=32),
}
COUNTS = {
    "mnist": ({"image": 60_000}, {"image": 10_000}),
    "fruits": ({"image": 800}, {"image": 200}),
    "clothing": ({"image": 200}, {"image": 40}),
    "facades": ({"pairs": 160}, {"pairs": 40}),
    "summer2winter": ({"a": 60, "b": 60}, {"a": 15, "b": 15}),
    "cifar10": ({"image": 1500}, {"image": 500}),
}


@pytest.mark.parametrize("name", KIND_OF)
def test_real_data_pass(data_folder, name):
    settings = KIND_OF[name].model_copy(update={"source": str(data_folder / name)})
    report = check(settings)
    assert report.sound and not report.duplicates and not report.notes
    assert (report.splits["train"].images, report.splits["test"].images) == COUNTS[name]
    assert guess(settings.source) == ("unpaired" if name == "summer2winter" else "images")


def test_guess_of_nothing(tmp_path):
    with pytest.raises(UserError, match="there is no"):
        guess(str(tmp_path / "nowhere"))
