import numpy as np
import pytest
import torch
from PIL import Image

from gancli.metrics import resize

ROW = [0, 100]


def enlarged(way, row, side):
    """The first row of what comes out, back on the scale of 0..255."""
    images = torch.tensor([row] * len(row), dtype=torch.uint8)[None, None]
    out = way(images, side)[0, 0, 0]
    return ((out + 1) * 127.5 if way is resize.pytorch else out * 128 + 128).tolist()


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        # TensorFlow 1: output i reads at i/2: 0, ½, 1, 1½; past the last pixel it repeats.
        (resize.tf1, [0, 50, 100, 100]),
        # Half-pixel centres: output i reads at i/2 − ¼: −¼ (clamped), ¼, ¾, 1¼ (clamped).
        (resize.pytorch, [0, 25, 75, 100]),
        # Bicubic with a = −½ at distances ¼, ¾, 1¼: .8671875, .2265625, −.0703125, divided by what falls inside;
        # −8.82 is clipped to 0, 108.82 is not clipped to 100.
        (resize.clean, [0, 20.714286, 79.285714, 108.823529]),
        (resize.torchmetrics, [0, 25, 75, 100]),  # enlarging, antialiasing changes nothing
    ],
)
def test_two_pixels_become_four_as_computed_by_hand(way, expected):
    assert enlarged(way, ROW, 4) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        (resize.tf1, [10, 30]),  # reads at 0 and 2: two pixels of four
        (resize.pytorch, [15, 35]),  # reads at ½ and 2½
    ],
)
def test_four_pixels_become_two_without_antialiasing(way, expected):
    assert enlarged(way, [10, 20, 30, 40], 2) == pytest.approx(expected, abs=1e-4)


def test_torchmetrics_is_its_own_code_line_by_line():
    """Its extractor's lines, which need torch-fidelity to be imported; and, where it shrinks, Pillow's triangle."""
    images = torch.randint(0, 256, (2, 3, 400, 31), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(
        images.to(torch.float), size=(299, 299), mode="bilinear", align_corners=False, antialias=True
    )
    torch.testing.assert_close(resize.torchmetrics(images), (expected - 128) / 128, rtol=0, atol=0)
    plane = images[0, 0].numpy().astype(np.float32)
    pillow = np.asarray(Image.fromarray(plane).resize((299, 299), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(resize.torchmetrics(images)[0, 0].numpy() * 128 + 128, pillow, atol=0.01)


def test_clean_antialiases_when_shrinking():
    spike = enlarged(resize.clean, [0, 0, 0, 0, 0, 0, 0, 240], 2)
    assert 0 < spike[1] < 100, "an antialiasing filter spreads the last pixel; sampling gives 0 or 240"


@pytest.mark.parametrize("way", resize.WAYS.values())
@pytest.mark.parametrize("size", [(7, 12), (299, 299), (400, 31)])
def test_any_size_becomes_the_networks_input(way, size):
    images = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    out = way(images)
    assert out.shape == (2, 3, 299, 299)
    assert out.dtype == torch.float32
    assert -1 <= out.min() < -0.5 < 0.5 < out.max() <= 1
    if size == (299, 299):
        scaled = images.float() / 127.5 - 1 if way is resize.pytorch else (images.float() - 128) / 128
        torch.testing.assert_close(out, scaled, atol=1e-6, rtol=0)


def test_tf1_reads_each_place_as_the_kernel_does():
    """Pixel by pixel, from the kernel's definition, for a size whose ratio float32 cannot hold exactly."""
    source = np.random.default_rng(0).integers(0, 256, (13, 29)).astype(np.float32)
    rows, columns = (np.float32(size) / np.float32(299) for size in source.shape)
    out = resize.tf1(torch.from_numpy(source.astype(np.uint8))[None, None])[0, 0].numpy()
    for i, j in np.random.default_rng(1).integers(0, 299, (200, 2)):
        y, x = np.float32(i) * rows, np.float32(j) * columns
        top, left = int(y), int(x)
        bottom, right = min(top + 1, 12), min(left + 1, 28)
        dy, dx = y - np.float32(top), x - np.float32(left)
        upper = source[top, left] + (source[top, right] - source[top, left]) * dx
        lower = source[bottom, left] + (source[bottom, right] - source[bottom, left]) * dx
        assert out[i, j] == pytest.approx((upper + (lower - upper) * dy - 128) / 128, abs=1e-6)


def test_clean_is_pillows_bicubic_on_floats():
    source = np.random.default_rng(0).integers(0, 256, (20, 30)).astype(np.float32)
    expected = np.asarray(Image.fromarray(source).resize((299, 299), Image.Resampling.BICUBIC)).clip(0, 255)
    assert (expected != expected.round()).any(), "never rounded to 8 bits"
    out = resize.clean(torch.from_numpy(source.astype(np.uint8))[None, None])[0, 0].numpy()
    np.testing.assert_allclose(out, (expected - 128) / 128, atol=1e-6)
