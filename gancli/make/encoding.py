"""Translated images to files: the formats, and what a file keeps of the original beside its colours."""

import math
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np
from PIL import Image, features

from gancli.data.pixels import Form, fit
from gancli.make import images
from gancli.make.images import Pixels

JPEG_QUALITY = 95
_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": JPEG_QUALITY, "subsampling": 0},
    "PNG": {"compress_level": 1},
    "TIFF": {"compression": "tiff_lzw"},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
}
ENDINGS = frozenset((".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif"))
ENDINGS |= {".avif"} if features.check("avif") else set()
"""Endings of files that can be written; images of other formats become PNG."""
_ALPHA = ("PNG", "WEBP", "TIFF", "GIF", "AVIF")
"""Formats that hold alpha."""
_KEEPS = {
    "JPEG": ("exif", "icc_profile", "dpi"),
    "PNG": ("exif", "icc_profile", "dpi"),
    "TIFF": ("exif", "icc_profile", "dpi"),
    "WEBP": ("exif", "icc_profile"),
    "AVIF": ("exif", "icc_profile"),
    "BMP": ("dpi",),
}
"""What each format holds of an original."""
_STORAGE = {*range(254, 269), 273, 274, *range(277, 285), *range(290, 294), 296, 297, 301, *range(317, 348)}
_STORAGE |= {*range(512, 533), 559, 700, 33723, 34377, 34675, 37724, *range(50706, 51200)}
"""TIFF's tags for how pixels are stored, the orientation among them, which the image's own file says anew."""
_EXIF, _GPS, _INTEROPERABILITY = 0x8769, 0x8825, 0xA005
_MAKER_NOTE, _WIDTH, _HEIGHT = 0x927C, 0xA002, 0xA003
_LONGEST_IN_JPEG = 65_000
"""Bytes of EXIF that a JPEG file holds."""


@dataclass(frozen=True)
class Kept:
    """What a translation keeps of its original beside the colours, which are made anew.

    Args:
        alpha: H×W; None where the original is opaque.
        options: of Pillow's `save`: exif, icc_profile, dpi, as far as the original has them.
    """

    alpha: Pixels | None
    options: dict[str, Any]


NOTHING = Kept(None, {})


def read(image: Image.Image, form: Form) -> tuple[Pixels, Kept]:
    """The colours of an image in a form, H×W×C, and what is kept beside them.

    Colours behind alpha are those that the file has; where nothing of them shows, they are the background's.

    Raises:
        BadImage: as `fit` does.
    """
    options = _described(image, form)
    if form.channels != 4 and image.has_transparency_data:
        whole = fit(image, replace(form, channels=4))
        colours, alpha = whole[..., :3], whole[..., 3]
        if alpha.min() < 255:
            if form.channels == 1:
                colours = np.array(Image.fromarray(colours).convert("L"))[..., None]
            return np.ascontiguousarray(colours), Kept(alpha, options)
    return fit(image, form), Kept(None, options)


def encode(image: Pixels, file: IO[bytes], ending: str, kept: Kept = NOTHING) -> None:
    """One H×W×C image in the format of a file's ending: JPEG at quality 95, WebP lossless, GIF with 256 colours.

    Raises:
        OSError: the format cannot hold such an image, or the disk does not take it.
    """
    form = Image.registered_extensions()[ending.lower()]
    if kept.alpha is not None and form in _ALPHA:
        image = np.concatenate([image, kept.alpha[..., None]], axis=2)
    picture = images.picture(image)
    if form == "GIF" and picture.mode == "LA":
        picture = picture.convert("RGBA")
    options = {name: kept.options[name] for name in _KEEPS.get(form, ()) if name in kept.options}
    if form == "JPEG" and len(options.get("exif", b"")) > _LONGEST_IN_JPEG:
        del options["exif"]
    options |= _OPTIONS.get(form, {})
    if form == "TIFF" and "exif" in options:
        tags = Image.Exif()
        tags.load(options["exif"])
        if _EXIF in tags or _GPS in tags:
            options["compression"] = "raw"  # Pillow's compressing writer knows no such tables
    picture.save(file, format=form, **options)


def _described(image: Image.Image, form: Form) -> dict[str, Any]:
    """EXIF, colour profile and resolution of an image. Where they are damaged, viewers ignore them, and so do we."""
    options: dict[str, Any] = {}
    with suppress(Exception):
        if exif := _exif(image, form):
            options["exif"] = exif
    profile = image.info.get("icc_profile")
    if isinstance(profile, bytes) and profile[16:20] == (b"GRAY" if form.channels == 1 else b"RGB "):
        options["icc_profile"] = profile
    with suppress(Exception):
        across, down = (float(value) for value in image.info["dpi"])
        if all(math.isfinite(value) and 0 < value < 2**16 for value in (across, down)):
            options["dpi"] = (across, down)
    return options


def _exif(image: Image.Image, form: Form) -> bytes:
    """The EXIF of an image that stands upright now, without what describes its old pixels; empty without any."""
    found = image.getexif()
    made = Image.Exif()
    for tag, value in found.items():
        if tag not in _STORAGE and tag not in (_EXIF, _GPS):
            made[tag] = value
    for place in (_EXIF, _GPS):
        if values := dict(found.get_ifd(place)):
            values.pop(_INTEROPERABILITY, None)
            values |= {tag: side for tag, side in ((_WIDTH, form.width), (_HEIGHT, form.height)) if tag in values}
            made.get_ifd(place).update(values)
            made[place] = made.get_ifd(place)
    if not len(made):
        return b""
    whole = made.tobytes()
    if len(whole) > _LONGEST_IN_JPEG:
        made.get_ifd(_EXIF).pop(_MAKER_NOTE, None)
        whole = made.tobytes()
    return whole
