"""Safetensors files with a checksum: models and checkpoints that hold no code, and whose damage is always seen.

The SHA-256 covers every byte of the file, its own place counted as zeros. It stands at the beginning of the header, so
that any reader of safetensors can open the file and this one finds it where it must be.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load
from torch import Tensor

from gancli import files
from gancli.errors import UserError

MAX_HEADER = 4 * 2**20
"""Bytes that a header may have: names and a recipe need thousands."""

_BEGIN = b'{"__metadata__":{"sha256":"'
_PLACE = slice(8 + len(_BEGIN), 8 + len(_BEGIN) + 64)
_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}

Metadata = dict[str, str]


class Form(NamedTuple):
    """What a tensor is, its numbers aside."""

    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> "Form":
        """The form of a tensor."""
        return cls(_TYPES[tensor.dtype], tuple(tensor.shape))

    def __str__(self) -> str:
        return f"{self.dtype} {'×'.join(map(str, self.shape)) or 'scalar'}"


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Metadata) -> None:
    """Write tensors and metadata; equal ones make equal files.

    Raises:
        OSError: the disk is full, or the folder is not writable; an older file is untouched.
    """
    # Larger numbers first, so that each begins at a multiple of its size.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in ordered}
    header: dict[str, object] = {"__metadata__": {"sha256": "0" * 64, **dict(sorted(metadata.items()))}}
    end = 0
    for name, tensor in whole.items():
        start, end = end, end + tensor.nbytes
        header[name] = {**Form.of(tensor)._asdict(), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = bytearray(struct.pack("<Q", len(text)) + text)

    digest = hashlib.sha256(head)
    for tensor in whole.values():
        digest.update(_bytes(tensor))
    head[_PLACE] = digest.hexdigest().encode()
    with files.writing(path, len(head) + end) as file:
        file.write(head)
        for tensor in whole.values():
            file.write(_bytes(tensor))


def describe(path: Path) -> tuple[Metadata, dict[str, Form]]:
    """The metadata of a file and the forms of its tensors, none of which is read.

    Raises:
        UserError: the file is missing, is no such file, or is cut short.
    """
    if not path.is_file():
        what = "not a file" if path.exists() else "No such file or directory"
        raise UserError(f"{path}: {what}: give a run or its model.safetensors")
    try:
        with path.open("rb") as file:
            start = file.read(_PLACE.stop)
        if len(start) < _PLACE.stop or struct.unpack("<Q", start[:8])[0] > MAX_HEADER:
            raise UserError(f"{path}: not a safetensors file, or cut short: copy it again")
        if start[8 : _PLACE.start] != _BEGIN:
            raise UserError(f"{path}: carries no checksum: not a file that gancli wrote")
        with path.open("rb") as file, safe_open(_readable(path, file.fileno()), "pt") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118  it is no mapping
            forms = {name: Form(piece.get_dtype(), tuple(piece.get_shape())) for name, piece in slices.items()}
            return {name: text for name, text in opened.metadata().items() if name != "sha256"}, forms
    except (SafetensorError, UnicodeError) as error:
        raise UserError(f"{path}: not a safetensors file, or cut short: {_plain(error)}: copy it again") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}: check the file and its disk", status=1) from error


def read(path: Path, most: int) -> tuple[dict[str, Tensor], Metadata]:
    """The tensors and metadata of a file that `write` made.

    Args:
        path: of the file.
        most: bytes that its tensors may have; a larger file is not read.

    Raises:
        UserError: the file is missing, is no such file, too large, damaged, or holds numbers that are not finite.
    """
    metadata, _ = describe(path)
    size = path.stat().st_size
    if size > MAX_HEADER + most:
        raise UserError(f"{path}: {size:,} bytes, more than its recipe can need: not a file that gancli wrote")
    content = path.read_bytes()
    if content[_PLACE] != _digest(content):
        raise UserError(f"{path}: damaged (its SHA-256 does not match): copy it again")
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise UserError(f"{path}: not a safetensors file: {_plain(error)}") from error
    if (name := not_finite(tensors)) is not None:
        raise UserError(f"{path}: {name!r} holds numbers that are not finite: not a file that gancli wrote")
    return tensors, metadata


def misfit(found: Mapping[str, Form], expected: Mapping[str, Form]) -> str | None:
    """How the tensors of a file differ from what a model has; None if they do not."""
    for name in sorted(found.keys() | expected.keys()):
        if name not in found:
            return f"{name!r} is missing"
        if name not in expected:
            return f"{name!r} is not in the model"
        if found[name] != expected[name]:
            return f"{name!r} is {found[name]}, in the model {expected[name]}"
    return None


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that holds a NaN or an infinity; None if there is none."""
    return next((n for n, t in tensors.items() if t.is_floating_point() and not bool(t.isfinite().all())), None)


def _digest(content: bytes) -> bytes:
    view = memoryview(content)
    digest = hashlib.sha256(view[: _PLACE.start])
    digest.update(b"0" * 64)
    digest.update(view[_PLACE.stop :])
    return digest.hexdigest().encode()


def _readable(path: Path, descriptor: int) -> Path:
    """A path that safetensors can open: it knows none that is not UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return Path(f"/proc/self/fd/{descriptor}")
    return path


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _plain(error: Exception) -> str:
    """An error's text in one line of printable characters; a hostile file may have put anything into it."""
    text = "".join(c if c.isprintable() else " " for c in str(error))
    return text if len(text) <= 200 else text[:200] + "…"
