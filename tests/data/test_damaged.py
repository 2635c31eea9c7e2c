"""Six formats, each damaged in twenty ways: every file is decoded or named, and no header makes the memory grow."""

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gancli.data.dataset import load
from gancli.recipe.data import Images

FORMATS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "BMP": "bmp", "TIFF": "tiff", "GIF": "gif"}


def sound(format: str) -> bytes:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize((48, 40))
    file = io.BytesIO()
    image.save(file, format, **({"compression": "tiff_lzw"} if format == "TIFF" else {}))
    return file.getvalue()


def flip(content: bytes, start: float, count: int, seed: int) -> bytes:
    damaged = bytearray(content)
    rng = np.random.default_rng(seed)
    for place in rng.integers(int(start * len(content)), len(content), count):
        damaged[place] ^= int(rng.integers(1, 256))
    return bytes(damaged)


def huge(content: bytes, width: int, height: int) -> bytes:
    """The same file with another size in its header."""
    damaged = bytearray(content)
    if content.startswith(b"\x89PNG"):
        damaged[16:24] = struct.pack(">II", width, height)
        damaged[29:33] = struct.pack(">I", zlib.crc32(damaged[12:29]))
    elif content.startswith(b"\xff\xd8"):
        place = content.index(b"\xff\xc0") + 5
        damaged[place : place + 4] = struct.pack(">HH", min(height, 65535), min(width, 65535))
    elif content.startswith(b"RIFF"):
        place = content.index(b"\x9d\x01\x2a") + 3
        damaged[place : place + 4] = struct.pack("<HH", min(width, 16383), min(height, 16383))
    elif content.startswith(b"BM"):
        damaged[18:26] = struct.pack("<ii", width, height)
    elif content.startswith(b"GIF"):
        damaged[6:10] = struct.pack("<HH", min(width, 65535), min(height, 65535))
    else:
        (place,) = struct.unpack("<I", content[4:8])
        for entry in range(struct.unpack("<H", content[place : place + 2])[0]):
            start = place + 2 + 12 * entry
            tag = struct.unpack("<H", content[start : start + 2])[0]
            if tag in (256, 257):
                damaged[start + 2 : start + 12] = struct.pack("<HII", 4, 1, width if tag == 256 else height)
    return bytes(damaged)


WAYS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "one byte": lambda content: content[:1],
    "signature only": lambda content: content[:8],
    "header only": lambda content: content[:32],
    "first tenth": lambda content: content[: len(content) // 10],
    "first half": lambda content: content[: len(content) // 2],
    "last byte gone": lambda content: content[:-1],
    "last tenth gone": lambda content: content[: len(content) * 9 // 10],
    "first byte gone": lambda content: content[1:],
    "doubled": lambda content: content * 2,
    "zeros": lambda content: bytes(len(content)),
    "zeros in the middle": lambda content: content[: len(content) // 3] + bytes(60) + content[len(content) // 3 + 60 :],
    "text": lambda content: b"<html>404 Not Found</html>" * 20,
    "wrong extension": lambda content: sound("PNG" if content[:3] == b"\xff\xd8\xff" else "JPEG"),
    "a flipped byte": lambda content: flip(content, 0, 1, 1),
    "flipped header": lambda content: flip(content[:64], 0, 8, 2) + content[64:],
    "flipped bytes": lambda content: flip(content, 0, 40, 3),
    "flipped content": lambda content: flip(content, 0.3, 10, 4),
    "huge header": lambda content: huge(content, 2**31 - 1, 2**31 - 1),
    "bomb": lambda content: huge(content, 60_000, 60_000),
}


# pytest resets the filters that gancli.data.pixels sets.
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("format", FORMATS)
def test_every_damaged_file_is_decoded_or_named(tmp_path, format, way):
    (tmp_path / "good.png").write_bytes(sound("PNG"))
    (tmp_path / f"odd.{FORMATS[format]}").write_bytes(WAYS[way](sound(format)))
    data = load(Images(source=str(tmp_path), image_size=16, holdout=0, on_bad_image="skip"))
    named = dict(data.skipped)
    assert ("odd" in "".join(data.names["image"])) ^ any(name.startswith("odd") for name in named)
    assert all(reason and len(reason) < 130 and "\n" not in reason for reason in named.values())
    if way in ("empty", "one byte", "text", "zeros", "huge header", "bomb", "first tenth", "header only"):
        assert named
    if way == "wrong extension":
        assert not named


def test_a_sound_file_of_each_format_is_not_named(tmp_path):
    for format, extension in FORMATS.items():
        (tmp_path / f"1.{extension}").write_bytes(sound(format))
    assert len(load(Images(source=str(tmp_path), image_size=16, holdout=0))) == len(FORMATS)


def png_bomb() -> bytes:
    """A real PNG of 20,000 × 20,000 gray pixels: 400 MB in 400 kB."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(20_001)) for _ in range(20_000)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


LOAD = """
import resource, sys
from gancli.data.dataset import load
from gancli.recipe.data import Images
load(Images(source=sys.argv[1], image_size=16, holdout=0))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
data = load(Images(source=sys.argv[2], image_size=16, holdout=0, on_bad_image="skip"))
print(len(data.skipped), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_bombs_do_not_grow_the_memory(tmp_path):
    for folder in ("good", "bombs"):
        (tmp_path / folder).mkdir()
        for format, extension in FORMATS.items():
            (tmp_path / folder / f"1.{extension}").write_bytes(sound(format))
    (tmp_path / "bombs" / "real.png").write_bytes(png_bomb())
    for format, extension in FORMATS.items():
        (tmp_path / "bombs" / f"bomb.{extension}").write_bytes(WAYS["bomb"](sound(format)))
        (tmp_path / "bombs" / f"huge.{extension}").write_bytes(WAYS["huge header"](sound(format)))
    (tmp_path / "bombs" / "cut.tiff").write_bytes(sound("TIFF")[:-1])  # Pillow warns of this one
    command = [sys.executable, "-c", LOAD, str(tmp_path / "good"), str(tmp_path / "bombs")]
    root = Path(__file__).parents[2]
    out = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    skipped, grown = map(int, out.stdout.split())
    assert skipped in (2 * len(FORMATS) + 1, 2 * len(FORMATS) + 2) and grown <= 64, out.stdout
    assert not out.stderr
