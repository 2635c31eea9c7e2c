"""Images that are skipped are counted nowhere."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gancli import models
from gancli.recipe import reading
from gancli.recipe.sections import Recipe
from gancli.score import subjects

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
    return models.validate(reading.parse(json.dumps(values), "here"))


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
