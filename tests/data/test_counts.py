"""Images that are skipped are counted nowhere, and a test split that is too small is found before a training."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gancli import models, recipe, subjects
from gancli.data.enough import need_tested
from gancli.data.settings import Images, Labelled, Pairs, Unpaired
from gancli.errors import UserError
from gancli.schema import Recipe

pytestmark = pytest.mark.usefixtures("cache")


def image(path: Path, seed: int, width: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def domains(folder: Path, count: int, damaged: str | None = None, names: str = "ab") -> Path:
    """A folder of two domains, `count` test images of each, one of which may be damaged."""
    for split, images in (("train", 4), ("test", count)):
        for domain in names:
            for number in range(images):
                image(folder / split / domain / f"{number}.png", number)
    if damaged:
        (folder / "test" / damaged / "0.png").write_bytes(b"damaged")
    return folder


def of(family: str, **data: object) -> Recipe:
    values = {"model": family, "data": {**data, "on_bad_image": "skip"}}
    return models.validate(recipe.parse(json.dumps(values), "here"))


def counted(subject: subjects.Subject) -> tuple[int, int, int]:
    """Its count, its labels, and the images it gives."""
    labels = subject.labels()
    return subject.count, -1 if labels is None else len(labels), sum(len(batch) for batch in subject.batches())


def test_images_of_a_domain_are_counted_after_decoding(tmp_path):
    found = of("stargan", source=str(domains(tmp_path, 4, damaged="a")), image_size=16)
    assert counted(subjects.of_domain(found, "a", "test")) == (3, 3, 3)
    assert counted(subjects.of_domain(found, "b", "test")) == (4, 4, 4)
    assert counted(subjects.of_data(found, "test")) == (7, 7, 7)
    assert counted(subjects.labelled(found, "test")) == (7, 7, 7)


def test_images_of_two_sides_are_counted_after_decoding(tmp_path):
    found = of("cyclegan", source=str(domains(tmp_path, 4, damaged="A", names="AB")), image_size=32)
    assert counted(subjects.of_domain(found, "a", "test")) == (3, 3, 3)
    assert counted(subjects.labelled(found, "test")) == (7, 7, 7)
    for number in range(3):
        image(tmp_path / "pairs" / "test" / f"{number}.png", number, 16)
        image(tmp_path / "pairs" / "train" / f"{number}.png", number, 16)
    (tmp_path / "pairs" / "test" / "1.png").write_bytes(b"")
    found = of("pix2pix", source=str(tmp_path / "pairs"), image_size=32)
    for domain in "ab":
        assert counted(subjects.of_domain(found, domain, "test")) == (2, 2, 2)
    assert counted(subjects.of_data(found, "test")) == (2, -1, 2)


@pytest.mark.parametrize("kind", [Images, Labelled, Unpaired, Pairs])
@pytest.mark.parametrize("skip", [False, True])
def test_a_test_split_of_one_image_is_a_mistake(tmp_path, kind, skip):
    paired = kind in (Unpaired, Pairs)
    domain = "a" if not paired else "A"
    folder = domains(tmp_path, 2 if skip else 1, damaged=domain if skip else None, names="AB" if paired else "ab")
    options = {"layout": "folders"} if kind is Pairs else {}
    data = kind(source=str(folder), image_size=8, on_bad_image="skip" if skip else "stop", **options)
    if kind is not Images:
        with pytest.raises(
            UserError, match=r"has 1 test image of a, and evaluations need 2 or more: add some"
        ) as error:
            need_tested(data, ("a",))
        assert error.value.status == 2
    if kind in (Images, Labelled):
        need_tested(data)
    with pytest.raises(UserError, match=r"need 9 or more"):
        need_tested(data, fewest=9)
    shutil.rmtree(folder / "test")
    with pytest.raises(UserError, match="has no test split, which evaluations need"):
        need_tested(data.model_copy(update={"holdout": 0}), ("a",))
