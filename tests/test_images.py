"""Tensors to pictures, pixel by pixel."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from gancli.make import images
from gancli.make.sampling import slerp, walk


def test_every_level_survives_the_way_there_and_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert (images.pixels((levels.float() - 127.5) / 127.5)[0, ..., 0] == levels[0, 0].numpy()).all()


def test_what_is_out_of_range_is_clipped() -> None:
    found = images.pixels(torch.tensor([-3.0, -1, 0, 1, 3]).reshape(1, 1, 1, 5))
    assert found.ravel().tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize(("count", "columns", "shape"), [(4, None, (2, 2)), (5, None, (2, 3)), (6, 6, (1, 6))])
def test_a_grid_holds_every_image_in_order(count, columns, shape) -> None:
    pixels = np.full((count, 64, 64, 3), 0, np.uint8) + np.arange(count, dtype=np.uint8)[:, None, None, None]
    sheet = images.grid(pixels, columns, gap=2)
    rows, across = shape
    assert sheet.shape == (rows * 66 + 2, across * 66 + 2, 3)
    for n in range(count):
        assert (sheet[2 + n // across * 66 + 5, 2 + n % across * 66 + 5] == n).all()


def test_small_images_are_enlarged_by_a_whole_factor() -> None:
    checker = (np.indices((8, 8)).sum(0) % 2 * 255).astype(np.uint8)[None, ..., None]
    sheet = images.grid(checker, gap=0)
    assert sheet.shape == (64, 64, 1) and (sheet[::8, ::8] == checker[0]).all()


def test_png_files_are_lossless_and_in_order() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (images.AHEAD + 50, 5, 7, 3), np.uint8)
    encoded = list(images.encode_all(enumerate(pixels)))
    assert [number for number, _ in encoded] == list(range(len(pixels)))
    for (_, content), image in zip(encoded, pixels, strict=True):
        assert (np.asarray(Image.open(io.BytesIO(content))) == image).all()


def test_a_walk_goes_along_the_sphere_through_every_station() -> None:
    stations = [torch.nn.functional.normalize(torch.randn(16), dim=0) for _ in range(3)]
    steps = walk(stations, 21)
    assert len(steps) == 21
    for place, station in zip((0, 10, 20), stations, strict=True):
        assert torch.allclose(steps[place], station, atol=1e-5)
    assert all(torch.isclose(step.norm(), torch.tensor(1.0), atol=1e-4) for step in steps)
    assert torch.allclose(slerp(stations[0], stations[0], 0.3), stations[0])
