"""The CIFAR-10 archives, python or binary, packed or unpacked; the pickles of the former are read but never run."""

import pickletools
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gancli.data import reading
from gancli.data.arrays import Arrays, Block, stamp_of, unpacked
from gancli.errors import UserError

CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MAX_BATCH = 64 * 2**20
MAX_UNPACKED = 2**30
"""Bytes of a batch, and of the whole archive: about 30 and 180 million."""
_BATCH = re.compile(r"(data_batch_[1-9]|test_batch)(\.bin)?")


def cifar_members(folder: Path) -> dict[str, Path]:
    """The CIFAR-10 batches of an unpacked archive, by name."""
    return {path.name: path for path in sorted(folder.iterdir()) if _BATCH.fullmatch(path.name) and path.is_file()}


def cifar(path: Path, members: Mapping[str, Path] | None) -> Arrays:
    """The source in CIFAR-10's archive, python or binary version, packed (members None) or unpacked.

    The python version is pickled: it is read as a list of instructions of which none is run.

    Raises:
        UserError: it holds no CIFAR-10 batches, or damaged ones.
    """
    packed = None if members else stamp_of(path)
    stamps = {name: stamp_of(file) for name, file in (members or {}).items()}
    contents = (
        {name: reading.content(file, MAX_BATCH) for name, file in members.items()} if members else _tar_members(path)
    )
    if not contents:
        raise UserError(f"data.source: {path} holds no CIFAR-10 batches: unpack other archives, and give the folder")
    blocks: list[Block] = []
    for name, content in sorted(contents.items()):
        split = "test" if name.startswith("test") else "train"
        try:
            images, labels = _cifar_binary(content) if name.endswith(".bin") else _cifar_pickle(content)
            classes = [CIFAR_CLASSES[label] for label in labels]
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise UserError(f"data.source: {path}: {name} is no CIFAR-10 batch ({error}): fetch it again") from error
        names = [f"{split}/{label}/{PurePosixPath(name).stem}-{n:05}" for n, label in enumerate(classes)]
        stamp = packed or stamps[name]
        blocks.append(Block(names, stamp, lambda images=images: images))  # type: ignore[misc]
    return Arrays(str(path), blocks)


def _tar_members(path: Path) -> dict[str, bytes]:
    """The batches in a tar file, by base name. Nothing is unpacked, and no other member is read."""
    contents = {}
    with (
        unpacked(path) as file,
        tarfile.open(fileobj=reading.Limited(file, MAX_UNPACKED, str(path)), mode="r|") as archive,
    ):
        for member in archive:
            name = PurePosixPath(member.name).name
            if not (member.isfile() and _BATCH.fullmatch(name)):
                continue
            if member.size > MAX_BATCH:
                raise UserError(f"data.source: {path}: {name} is larger than any CIFAR-10 batch: fetch it again")
            stream = archive.extractfile(member)
            assert stream is not None
            contents[name] = stream.read()
    return contents


def _cifar_binary(content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + 3072)
    return _planes(records[:, 1:]), records[:, 0]


def _cifar_pickle(content: bytes) -> tuple[NDArray[np.uint8], list[int]]:
    batch = _unpickle(content)
    labels = batch["labels"]
    _, shape, _, _, pixels = batch["data"].state
    pixels = np.frombuffer(pixels.encode("latin-1"), np.uint8)  # Python 2's bytes arrive as latin-1 text
    if shape != (len(labels), 3072):
        raise ValueError("its images and labels differ in number")
    return _planes(pixels.reshape(shape)), labels


def _planes(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


_PLAIN = ("BININT", "INT", "LONG", "BINSTRING", "STRING", "BINUNICODE", "UNICODE", "BINBYTES", "BINFLOAT", "FLOAT")


class _Inert:
    """Stands for whatever a pickle would have made by calling something; it only remembers the state it was given."""

    state: Any = None


def _unpickle(content: bytes) -> Any:
    """The value of a pickle made of plain containers and NumPy arrays. Nothing that it names is imported or called."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[Any, Any] = {}

    def since_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    for operation, argument, _ in pickletools.genops(content):
        match operation.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case "MARK":
                marks.append(len(stack))
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(operation.name == "NEWTRUE")
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                size = int(operation.name[-1])
                stack[-size:] = [tuple(stack[-size:])]
            case "LIST":
                stack.append(since_mark())
            case "APPEND":
                item = stack.pop()
                stack[-1].append(item)
            case "APPENDS":
                items = since_mark()
                stack[-1].extend(items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                stack[-1][key] = value
            case "SETITEMS":
                items = since_mark()
                stack[-1].update(zip(items[::2], items[1::2], strict=True))
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                stack.append(_Inert())
            case "REDUCE":
                stack[-2:] = [_Inert()]
            case "BUILD":
                state = stack.pop()
                stack[-1].state = state
            case name if argument is not None and name.removeprefix("SHORT_").startswith(_PLAIN):
                stack.append(argument)
            case name:
                raise ValueError(f"a pickle with the instruction {name}")
    raise ValueError("a pickle without an end")
