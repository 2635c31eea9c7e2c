import io

import numpy as np
import pytest
from PIL import Image

from gancli.data.pixels import BadImage, Form, decode, fit, halves


def encode(image: Image.Image, format: str = "PNG", **options) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, format, **options)
    file.seek(0)
    return file


def pixels(image: Image.Image, format: str = "PNG", channels=3, background="white", **options) -> np.ndarray:
    decoded = decode(encode(image, format, **options))
    return fit(decoded, Form(decoded.height, decoded.width, channels, background=background))


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bits_are_scaled_not_saturated(format):
    deep = np.array([[0, 128, 257], [32896, 65278, 65535]], np.uint16)
    assert pixels(Image.fromarray(deep), format, channels=1)[..., 0].tolist() == [[0, 0, 1], [128, 254, 255]]


def test_16_bit_transparency_is_composited():
    deep = Image.fromarray(np.array([[0, 65535]], np.uint16))
    assert pixels(deep, transparency=0, channels=1, background="#808080")[..., 0].tolist() == [[128, 255]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_mode_becomes_every_number_of_channels(mode, channels):
    gray = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8))
    image = Image.fromarray(np.array(gray).astype(np.uint16) * 257) if mode == "I;16" else gray.convert(mode)
    got = pixels(image, "TIFF" if mode == "CMYK" else "PNG", channels)
    assert got.shape == (2, 2, channels)
    assert (got[..., 0] == np.array(gray)).all()
    assert channels != 4 or (got[..., 3] == 255).all()


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA"])
def test_transparency_shows_the_background_and_never_the_hidden_colour(mode):
    image = Image.new("RGBA", (4, 4), (200, 200, 200, 255))
    image.paste((9, 9, 9, 0), (0, 0, 2, 4))
    image = image.convert("LA") if mode == "LA" else image.quantize(4) if mode == "P" else image
    got = pixels(image, background="#ff0000")
    assert got[0, 0].tolist() == [255, 0, 0] and got[0, 3].tolist() == [200, 200, 200]
    clear = pixels(image, channels=4, background="#00ff00")
    assert clear[0, 0].tolist() == [0, 255, 0, 0] and clear[0, 3].tolist() == [200, 200, 200, 255]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(format, orientation):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :8] = 255  # only the top left corner is white
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if format in ("JPEG", "WEBP") else {}
    got = pixels(Image.fromarray(np.ascontiguousarray(undo(upright))), format, exif=exif, **options)
    assert got.shape == (16, 32, 3)
    assert np.abs(got.astype(int) - upright).mean() < 8


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    assert pixels(frames[0], "GIF", save_all=True, append_images=frames[1:])[0, 0].tolist() == [255, 0, 0]


def striped(height: int, width: int) -> Image.Image:
    """Red left third, green middle, blue right."""
    image = np.zeros((height, width, 3), np.uint8)
    for third in range(3):
        image[:, third * width // 3 : (third + 1) * width // 3, third] = 255
    return Image.fromarray(image)


@pytest.mark.parametrize(
    ("resize", "left", "top"),
    [("cover", [0, 255, 0], [0, 255, 0]), ("contain", [255, 0, 0], [1, 2, 3]), ("stretch", [255, 0, 0], [0, 255, 0])],
)
def test_resize_meets_another_aspect(resize, left, top):
    got = fit(striped(30, 90), Form(30, 30, resize=resize, background="#010203"))
    assert got.shape == (30, 30, 3)
    assert got[15, 0].tolist() == left and got[0, 15].tolist() == top


def test_crop_takes_the_central_square_and_refuses_less():
    got = fit(striped(60, 90), Form(30, 30, crop=30))
    assert (got == [0, 255, 0]).all()
    with pytest.raises(BadImage, match="60 × 20 pixels: smaller than the crop of 30"):
        fit(striped(60, 20), Form(30, 30, crop=30))


def test_reducing_averages():
    checks = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert np.abs(fit(Image.fromarray(checks), Form(32, 32, 1)).astype(int) - 127).max() <= 2


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("resize", ["cover", "contain", "stretch"])
def test_any_size_fits_any_other(seed, resize):
    width, height, form_height, form_width = np.random.default_rng(seed).integers(1, 700, 4).tolist()
    assert fit(Image.new("L", (width, height)), Form(form_height, form_width, 3, None, resize)).shape == (
        form_height,
        form_width,
        3,
    )


def test_numbers_without_a_range_are_refused():
    with pytest.raises(BadImage, match="unknown range"):
        pixels(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")


def test_halves():
    left, right = halves(striped(4, 6))
    assert left.size == right.size == (3, 4)
    with pytest.raises(BadImage, match="7 pixels wide"):
        halves(striped(4, 7))
