"""Files of weights and checkpoints from strangers: nothing in them is executed, and damage is always seen."""

import gzip
import hashlib
import io
import json
import os
import pickle
import random
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from commands import run_gancli
from processes import Command

from gancli import weights
from gancli.errors import UserError
from gancli.runs.opening import open_model
from gancli.runs.run import Run

GROWTH = 200_000_000


class Payload:
    """Pickled, it is a command that makes a file."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.sentinel}",)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run."""
    folder = tmp_path_factory.mktemp("sound")
    assert run_gancli("train", tiny.write("gan", folder), "--out", folder / "run", "-q") == 0
    return folder / "run"


def forged(sound: Path, target: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """A sound file changed in its tensors and metadata, with the right checksum: a stranger can compute one too."""
    tensors, metadata = weights.read(sound, 2**30)
    change(tensors, metadata)
    weights.write(target, tensors, metadata)


def with_header(target: Path, header: bytes, data: bytes = b"", length: int | None = None) -> None:
    """A file of this header, and a right checksum if it has the place for one."""
    content = bytearray(struct.pack("<Q", len(header) if length is None else length) + header + data)
    place = weights._PLACE
    if content[8 : place.start] == weights._BEGIN:
        content[place] = b"0" * 64
        content[place] = hashlib.sha256(content).hexdigest().encode()
    target.write_bytes(content)


def header(entries: str = "", metadata: str = "") -> bytes:
    return weights._BEGIN + b"0" * 64 + b'"' + metadata.encode() + b"}" + entries.encode() + b"}"


def one(name: str, dtype: str, shape: str, offsets: str) -> str:
    return f',"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}'


def zipped(target: Path, names: list[str], content: bytes = b"") -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, content)


def tarred(target: Path, name: str) -> None:
    with tarfile.open(target, "w") as archive:
        info = tarfile.TarInfo(name)
        archive.addfile(info, io.BytesIO())


def sparse(target: Path, size: int, beginning: bytes = b"") -> None:
    with target.open("wb") as file:
        file.write(beginning)
        file.truncate(size)


def numpy_objects(target: Path, sentinel: Path) -> None:
    with target.open("wb") as file:
        np.save(file, np.array([Payload(sentinel)], dtype=object), allow_pickle=True)


def anonymous(target: Path, make: Callable[[], object]) -> None:
    target.unlink(missing_ok=True)
    make()


# What stands in the place of a file: (target, sentinel) -> None.
FOREIGN: dict[str, Callable[[Path, Path], object]] = {
    "pickle of a zip": lambda t, s: torch.save(Payload(s), t),
    "pickle of a zip in a state": lambda t, s: torch.save({"step": 1, "model": Payload(s)}, t),
    "pickle in the legacy form": lambda t, s: torch.save([Payload(s)], t, _use_new_zipfile_serialization=False),
    "pickle, protocol 0": lambda t, s: t.write_bytes(pickle.dumps(Payload(s), 0)),
    "pickle, protocol 2": lambda t, s: t.write_bytes(pickle.dumps(Payload(s), 2)),
    "pickle, protocol 5": lambda t, s: t.write_bytes(pickle.dumps(Payload(s), 5)),
    "pickle in an npy": numpy_objects,
    "pickle in an npz": lambda t, s: shutil.move(
        (np.savez(f"{t}.npz", x=np.array([Payload(s)], dtype=object)), f"{t}.npz")[1], t
    ),
    "pickle after a header's length": lambda t, s: t.write_bytes(
        struct.pack("<Q", 200) + pickle.dumps(Payload(s)) + bytes(300)
    ),
    "script module": lambda t, s: torch.jit.script(torch.nn.Linear(2, 2)).save(str(t)),
    "deflate bomb": lambda t, s: zipped(t, ["archive/data.pkl", "archive/data/0"], bytes(2**28)),
    "gzip bomb": lambda t, s: t.write_bytes(gzip.compress(bytes(2**28))),
    "zip of path names": lambda t, s: zipped(t, [f"../../../../..{s}", str(s)]),
    "tar of path names": lambda t, s: tarred(t, str(s)),
    "header of 2^63 bytes": lambda t, s: with_header(t, header(), length=2**63),
    "header of 90 MB": lambda t, s: sparse(t, 100_000_000, struct.pack("<Q", 90_000_000) + weights._BEGIN),
    "header nested 100,000 deep": lambda t, s: with_header(t, header(',"x":' + "[" * 100_000)),
    "header of a million objects": lambda t, s: with_header(t, header(',"x":[' + "{}," * 1_000_000 + "{}]")),
    "header in Latin-1": lambda t, s: with_header(t, header(metadata=',"recipe":"').replace(b"}", b"\xe9\xff\xfe}")),
    "header that is a list": lambda t, s: with_header(t, b"[1, 2, 3]" + b" " * 200),
    "no checksum": lambda t, s: with_header(t, b'{"__metadata__":{"recipe":"model: gan"}}' + b" " * 200),
    "overlapping tensors": lambda t, s: with_header(
        t, header(one("a", "F32", "[2]", "[0,8]") + one("b", "F32", "[2]", "[4,12]")), bytes(12)
    ),
    "tensor beyond the end": lambda t, s: with_header(t, header(one("a", "F32", "[9]", "[0,36]")), bytes(4)),
    "tensor of 2^62 numbers": lambda t, s: with_header(
        t, header(one("a", "F32", f"[{2**31},{2**31}]", f"[0,{2**64 - 1}]")), bytes(4)
    ),
    "tensor of a negative size": lambda t, s: with_header(t, header(one("a", "F32", "[-1]", "[0,-4]"))),
    "tensor of an unknown type": lambda t, s: with_header(t, header(one("a", "OBJ", "[1]", "[0,8]")), bytes(8)),
    "10 GB of nothing": lambda t, s: sparse(t, 10**10, struct.pack("<Q", 200) + header()),
    "10 GB in one tensor": lambda t, s: sparse(
        t, 10**10 + 8 + 224, struct.pack("<Q", 224) + header(one("a", "U8", f"[{10**10}]", f"[0,{10**10}]")).ljust(224)
    ),
    "nothing": lambda t, s: t.write_bytes(b""),
    "a text": lambda t, s: t.write_text("import os\n" * 100),
    "a folder": lambda t, s: anonymous(t, t.mkdir),
    "a pipe": lambda t, s: anonymous(t, lambda: os.mkfifo(t)),
    "a link to itself": lambda t, s: anonymous(t, lambda: t.symlink_to(t)),
    "a device": lambda t, s: anonymous(t, lambda: t.symlink_to("/dev/zero")),
}

Change = Callable[[dict[str, Any], dict[str, Any]], object]


def first(tensors: dict[str, Any]) -> str:
    return next(name for name, tensor in tensors.items() if tensor.ndim == 2)


def set_nan(tensors: dict[str, Any], value: float) -> None:
    tensors[first(tensors)].view(-1)[0] = value


FORGED: dict[str, Change] = {
    "a tensor is missing": lambda t, m: t.pop(first(t)),
    "a tensor too many": lambda t, m: t.update({"weights.evil\n\x1b[31m": torch.zeros(3)}),
    "a tensor of another shape": lambda t, m: t.update({first(t): torch.zeros(3, 3)}),
    "a tensor of another type": lambda t, m: t.update({first(t): t[first(t)].half()}),
    "a NaN": lambda t, m: set_nan(t, float("nan")),
    "an infinity": lambda t, m: set_nan(t, float("-inf")),
    "no tensors": lambda t, m: t.clear(),
}

# Only weights carry a recipe, only checkpoints carry a step that counts and an optimizer.
FORGED_WEIGHTS: dict[str, Change] = {
    "a recipe that is no text": lambda t, m: m.update(recipe="- - -"),
    "a YAML bomb": lambda t, m: m.update(
        recipe="a0: &a0 [x,x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1},*a{n - 1},*a{n - 1}]\n" for n in range(1, 40))
    ),
    "YAML that calls Python": lambda t, m: m.update(recipe="model: !!python/object/apply:os.system ['true']"),
    "a family that is a path": lambda t, m: m.update(recipe="model: ../../evil\ndata: {source: digits}"),
    "a recipe that extends": lambda t, m: m.update(recipe="extends: /etc/passwd\n" + m["recipe"]),
    "a recipe of a giant": lambda t, m: m.update(
        recipe=m["recipe"]
        .replace("discriminator_hidden:\n- 8", "discriminator_hidden: [900000000, 900000000]")
        .replace("latent_dim: 4", "latent_dim: 900000000")
    ),
    "a recipe beyond all sizes": lambda t, m: m.update(
        recipe=m["recipe"].replace("latent_dim: 4", f"latent_dim: {10**18}")
    ),
    "another recipe": lambda t, m: m.update(recipe=m["recipe"].replace("image_size: 8", "image_size: 16")),
}
FORGED_CHECKPOINTS: dict[str, Change] = {
    "no step": lambda t, m: m.pop("step"),
    "a step that is no number": lambda t, m: m.update(step="__import__('os')"),
    "a step before the first": lambda t, m: m.update(step="-5"),
    "a step beyond the last": lambda t, m: m.update(step="999999999999"),
    "a step of 5,000 digits": lambda t, m: m.update(step="9" * 5000),
    "an endless time": lambda t, m: m.update(seconds="nan"),
    "an optimizer without moments": lambda t, m: [t.pop(name) for name in list(t) if "exp_avg" in name],
    "an optimizer of another shape": lambda t, m: t.update({"generator.0.exp_avg": torch.zeros(7)}),
    "an optimizer of more": lambda t, m: t.update({"generator.99.exp_avg": torch.zeros(7)}),
    "an observation of another shape": lambda t, m: t.update({"watched.generator_gan": torch.zeros(2, 2)}),
}

CASES = [
    *(("weights", name, made, None) for name, made in FOREIGN.items()),
    *(("checkpoint", name, made, None) for name, made in FOREIGN.items() if "pickle" in name or "bomb" in name),
    *(("weights", name, None, made) for name, made in (FORGED | FORGED_WEIGHTS).items()),
    *(("checkpoint", name, None, made) for name, made in (FORGED | FORGED_CHECKPOINTS).items()),
]


def note_memory(file: str) -> Callable[[], object]:
    """Write in the end how far the memory of this process grew from now on."""

    def resident(what: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))

    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident("VmRSS")
    return lambda: Path(file).write_text(str(resident("VmHWM") - before))


def test_nothing_hostile_is_let_in(run: Path, tmp_path: Path) -> None:
    grown: dict[str, int] = {}
    for n, (kind, name, make, change) in enumerate(CASES):
        folder = tmp_path / str(n)
        copy = shutil.copytree(run, folder / "run")
        sentinel = folder / "executed"
        file = copy / ("model.safetensors" if kind == "weights" else "checkpoints/last.ckpt")
        if make is not None:
            make(file, sentinel)
        else:
            forged(run / file.relative_to(copy), file, change)
        (copy / "checkpoints" / "previous.ckpt").unlink()
        sample = ("sample", copy, "--out", folder / "samples")
        words = sample if kind == "weights" else ("train", "--resume", copy, "--set", "train.steps=13", "-q")
        ended = Command(words, folder / "log", note_memory, str(folder / "growth")).end()
        assert ended.status == 2, (kind, name, ended.said)
        # That another length moves the decay is a note of its own, before the refusal.
        lines = [line for line in ended.said.splitlines() if not line.startswith("train.steps: 12 -> 13: ")]
        assert len(lines) == 1 or "model.safetensors:" in lines[-1], (name, ended.said)
        assert "Traceback" not in ended.said and all(c.isprintable() for c in ended.said.replace("\n", "")), ended.said
        assert not sentinel.exists(), f"{name} was executed"
        grown[f"{kind}: {name}"] = int((folder / "growth").read_text())
        assert grown[f"{kind}: {name}"] < GROWTH, name
    worst = max(grown, key=grown.__getitem__)
    print(
        f"{len(CASES)} hostile files refused in a line, none executed, at most {grown[worst] >> 20} MiB more ({worst})"
    )
    assert len(CASES) >= 40


@pytest.mark.parametrize(("damage", "count"), [("flip", 1000), ("truncation", 500)])
def test_damage_is_always_seen(damage: str, count: int, run: Path, tmp_path: Path) -> None:
    draw = random.Random(damage)
    files = [run / "model.safetensors", run / "checkpoints" / "last.ckpt"]
    for n in range(count):
        content = bytearray(files[n % 2].read_bytes())
        if damage == "flip":
            # A third of them in the header, which is small.
            place = draw.randrange(600 if n % 3 == 0 else len(content))
            content[place] ^= 1 << draw.randrange(8)
        else:
            content = content[: draw.randrange(len(content))]
        damaged = tmp_path / "damaged.safetensors"
        damaged.write_bytes(content)
        with pytest.raises(UserError):
            weights.read(damaged, 2**30)
    print(f"{count} {damage}s, all detected")


def test_equal_weights_make_equal_files_that_others_can_read(run: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    tensors, metadata = weights.read(run / "model.safetensors", 2**30)
    for name in ("a", "b"):
        weights.write(tmp_path / name, dict(reversed(tensors.items())), metadata)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (run / "model.safetensors").read_bytes()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in load_file(tmp_path / "a").items())


def test_a_recipe_of_a_billion_layers_is_not_built(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gancli.runs.opening.MOST_PARAMETERS", 3)
    with pytest.raises(UserError, match="its recipe makes no model: more than 3 parameters"):
        open_model(run)


def test_a_model_is_opened_without_its_discriminator(run: Path) -> None:
    model = open_model(run)
    assert not hasattr(model, "discriminator")
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"cpu"}
    assert json.loads((run / "run.json").read_text())["step"] == model.step == Run(run).metrics()[-1]["step"]
