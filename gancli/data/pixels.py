"""From an encoded image file to the uint8 pixels that a network sees: decoding, orientation, colour, size."""

import importlib
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import IO, Literal

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, ImageColor, UnidentifiedImageError, features


def _formats() -> tuple[frozenset[str], tuple[str, ...], tuple[str, ...]]:
    """The formats that can be read here: AVIF where Pillow was built with it, HEIC where pillow-heif is installed."""
    extensions = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
    formats, decoders = ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"], [PIL.__version__]
    if features.check("avif"):
        extensions |= {".avif"}
        formats.append("AVIF")
    try:
        pillow_heif = importlib.import_module("pillow_heif")
        pillow_heif.register_heif_opener()
        extensions |= {".heic", ".heif"}
        formats.append("HEIF")
        decoders.append(str(pillow_heif.__version__))
    except Exception:
        pass  # absent, or broken: whatever an optional package raises must not end the program
    return frozenset(extensions), tuple(formats), tuple(decoders)


HEIC_HINT = "pip install 'gancli[heif]' reads .heic"
EXTENSIONS, FORMATS, DECODERS = _formats()
"""What a file's name may end with, Pillow's names of the formats, and the versions of what decodes them."""
MAX_PIXELS = 80_000_000
"""Larger than the cameras training images come from; an image of this size takes 240 MB to decode."""

DEEP = "gancli: 16 bits a channel"
"""Marks, in an image's `info`, pixels that had 16 bits and have 8 now: Pillow says so itself of gray ones alone."""

ANIMATED = "gancli: first of several frames"
"""Marks, in an image's `info`, that its file holds more frames or pages."""

# Pillow warns of damage that it then raises for or gets over, and of sizes that are refused below.
warnings.filterwarnings("ignore", module=r"PIL\.")

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadImage(Exception):
    """Why one image cannot be used: a few words, without its name."""


@dataclass(frozen=True)
class Form:
    """What every image of a set is brought to.

    Args:
        height: in pixels.
        width: in pixels.
        channels: 1 gray, 3 RGB, 4 RGB with transparency.
        crop: side in pixels of the central square taken first.
        resize: how another aspect is met: cover cuts, contain pads with the background, stretch distorts.
        background: colour behind transparent pixels and in padding.
    """

    height: int
    width: int
    channels: Literal[1, 3, 4] = 3
    crop: int | None = None
    resize: Literal["cover", "contain", "stretch"] = "cover"
    background: str = "white"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image: height, width, channels."""
        return self.height, self.width, self.channels


def decode(file: IO[bytes], *, upright: bool = True) -> Image.Image:
    """The first frame of an encoded image, in whatever mode it was saved.

    The size is judged from the header, before anything is decoded.

    Args:
        file: its content.
        upright: whether it is turned as its EXIF orientation says.

    Raises:
        BadImage: it is no image, damaged, or larger than `MAX_PIXELS`.
        OSError: the file could not be read (Pillow's own errors become BadImage).
    """
    try:
        image = Image.open(file, formats=FORMATS)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise BadImage(f"{height:,} × {width:,} pixels (height × width): more than {MAX_PIXELS:,}, reduce it first")
        deep = any(";16" in str(tile.args) for tile in image.tile)
        animated = _is_animated(image)
        image.load()
        if deep:
            image.info[DEEP] = True
        if animated:
            image.info[ANIMATED] = True
        return _upright(image) if upright else image
    except BadImage:
        raise
    except Image.DecompressionBombError as error:
        raise BadImage(f"more than {MAX_PIXELS:,} pixels: reduce it first") from error
    except Exception as error:
        # A damaged file may raise almost anything in Pillow's parsers; only an operating system's error has a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise BadImage(_reason(file, error)) from error


def _is_animated(image: Image.Image) -> bool:
    """Whether the file holds more than one image; the previews that cameras put behind a photograph do not count."""
    try:
        return image.format in ("GIF", "PNG", "WEBP", "TIFF") and bool(getattr(image, "is_animated", False))
    except Exception:
        # The frame after the first one is damaged.
        return True


def fit(image: Image.Image, form: Form) -> NDArray[np.uint8]:
    """The image in `form`: uint8, height × width × channels.

    Resampling is Pillow's bicubic, which averages over the pixels it removes.

    Raises:
        BadImage: it is smaller than the crop, or its pixels have no known range.
    """
    image = _colour(image, form)
    left, top, width, height = 0.0, 0.0, float(image.width), float(image.height)
    if form.crop is not None:
        if min(image.size) < form.crop:
            raise BadImage(f"{image.height} × {image.width} pixels: smaller than the crop of {form.crop}")
        left, top, width, height = (width - form.crop) // 2, (height - form.crop) // 2, form.crop, form.crop

    target = (form.width, form.height)
    if form.resize == "cover":
        scale = max(form.width / width, form.height / height)
        inner_width, inner_height = form.width / scale, form.height / scale
        left, top = left + (width - inner_width) / 2, top + (height - inner_height) / 2
        width, height = inner_width, inner_height
    elif form.resize == "contain":
        scale = min(form.width / width, form.height / height)
        target = (max(1, round(width * scale)), max(1, round(height * scale)))

    # Rounding may put the box a hair outside the image, which Pillow refuses.
    left, top = max(left, 0.0), max(top, 0.0)
    box = (left, top, min(left + width, image.width), min(top + height, image.height))
    if image.size != target or box != (0, 0, *image.size):
        image = image.resize(target, Image.Resampling.BICUBIC, box)
    if target != (form.width, form.height):
        canvas = Image.new(image.mode, (form.width, form.height), _background(form))
        canvas.paste(image, ((form.width - target[0]) // 2, (form.height - target[1]) // 2))
        image = canvas

    pixels = np.array(image, dtype=np.uint8).reshape(form.shape)
    if form.channels == 4:
        # What was painted under full transparency is nobody's business, and would be learnt all the same.
        pixels[pixels[..., 3] == 0, :3] = ImageColor.getrgb(form.background)[:3]
    return pixels


def whole(image: Image.Image) -> NDArray[np.uint8]:
    """The image as it is: uint8, height × width × 1 (gray) or 3 (RGB).

    Raises:
        BadImage: what it looks like in 8 bits without transparency is a matter of choice.
    """
    if image.mode.startswith(("I", "F")) or DEEP in image.info:
        raise BadImage("more than 8 bits a channel: save it with 8")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            raise BadImage("transparent: save it over a background")
    try:
        image = image if image.mode == "L" else image.convert("L" if image.mode == "1" else "RGB")
    except ValueError as error:
        raise BadImage(f"colours of mode {image.mode}: save it as RGB") from error
    pixels = np.array(image, dtype=np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def halves(image: Image.Image) -> tuple[Image.Image, Image.Image]:
    """The left and the right half of a side-by-side image.

    Raises:
        BadImage: its width is odd, so that it is no pair.
    """
    if image.width % 2:
        raise BadImage(f"{image.width} pixels wide: two images side by side have an even width")
    middle = image.width // 2
    return image.crop((0, 0, middle, image.height)), image.crop((middle, 0, image.width, image.height))


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says. It is asked after decoding: Pillow turns TIFF by itself, then says so."""
    try:
        turn = _UPRIGHT.get(image.getexif().get(0x0112, 1))
    except Exception:
        # Damaged EXIF around sound pixels: cameras and editors write it, and viewers ignore it.
        turn = None
    return image if turn is None else image.transpose(turn)


def _colour(image: Image.Image, form: Form) -> Image.Image:
    """In the mode of `form.channels`, transparency resolved."""
    if image.mode.startswith("I;16"):
        image = _from_16_bit(image)
    if image.mode in ("I", "F"):
        raise BadImage("32-bit pixels of unknown range: save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if form.channels != 4:
            canvas = Image.new("RGBA", image.size, ImageColor.getrgb(form.background)[:3])
            image = Image.alpha_composite(canvas, image)
    try:
        return image if image.mode == _MODES[form.channels] else image.convert(_MODES[form.channels])
    except ValueError as error:
        raise BadImage(f"colours of mode {image.mode}: save it as RGB") from error


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Scaled to 8 bits; Pillow's own conversion saturates at 255."""
    deep = np.asarray(image).astype(np.uint32)
    gray = Image.fromarray(((deep * 255 + 32767) // 65535).astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        gray.putalpha(Image.fromarray(np.where(deep == transparent, 0, 255).astype(np.uint8)))
    return gray


def _background(form: Form) -> int | tuple[int, ...]:
    return ImageColor.getcolor(form.background, _MODES[form.channels])


def _reason(file: IO[bytes], error: Exception) -> str:
    """A few words for what Pillow said, in the user's terms."""
    file.seek(0)
    if not file.read(1):
        return "empty file"
    if isinstance(error, UnidentifiedImageError):
        return "not an image that can be read"
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    if "truncated" in str(error).lower() or isinstance(error, EOFError | struct.error | IndexError):
        return "truncated: the file ends too early"
    if isinstance(error, zlib.error | SyntaxError):
        return "damaged: its content does not decode"
    text = " ".join(str(error).split())[:100]
    return f"damaged: {text}" if text else f"damaged ({type(error).__name__})"
