"""What a stranger supplies (a run, weights, an archive, a folder of images) touches nothing outside the output named.

Names that become paths have a campaign of their own in test_outputs.py. Here files stand where they should not: links,
pipes, devices and folders; and whatever can be printed holds terminal escapes.
"""

import contextlib
import hashlib
import json
import os
import resource
import shutil
import signal
import socket
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from commands import Done, run_gancli
from PIL import Image

SECONDS = 60
"""After which a command counts as hanging."""
MEMORY = 3 * 2**30
"""Bytes that a command may take; a device that is read without end takes any number."""
RED = "\x1b[31mred\u202e\u2028"
DOCUMENT = "precious\n"


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Fail where something is waited for that never comes, as the other end of a pipe, or never ends, as a device."""

    def ring(*_: object) -> None:
        raise AssertionError(f"still running after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def snapshot(folder: Path, *, but: Path) -> dict[str, str]:
    """Everything below a folder except in `but`: kinds, contents and times of what stands there."""
    found = {}
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if Path(here, name) != but]
        for path in (Path(here, name) for name in [*folders, *names]):
            facts = path.lstat()
            if stat.S_ISREG(facts.st_mode):
                said = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                said = str(path.readlink()) if path.is_symlink() else ""
            times = "" if stat.S_ISDIR(facts.st_mode) else str(facts.st_mtime_ns)
            found[str(path)] = f"{stat.S_IFMT(facts.st_mode)} {said} {times}"
    return found


def contained(gancli: Callable[..., Done], out: Path, *words: object) -> Done:
    """Run a command that may write in `out` alone; it ends, in words, and prints nothing that drives a terminal."""
    before = snapshot(out.parent, but=out)
    with limited():
        done = gancli(*words)
    assert snapshot(out.parent, but=out) == before
    assert done.status in (0, 1, 2) and "Traceback" not in done.err, done
    assert all(c.isprintable() or c == "\n" for c in done.out + done.err), done
    return done


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with everything that a run can hold."""
    folder = tmp_path_factory.mktemp("sound")
    recipe = tiny.write("gan", folder)
    assert run_gancli("train", recipe, "--out", folder / "run", "-q") == 0
    shutil.copy(folder / "run" / "model.safetensors", folder / "run" / "best.safetensors")
    (folder / "run" / "evaluations.jsonl").write_text(json.dumps({"training": False, "values": {}}) + "\n")
    return folder / "run"


def precious(tmp_path: Path) -> Path:
    """A folder of the user's, with what a hostile run might point to."""
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("document", "step-00000099.png", "last.ckpt", "progress.gif"):
        (mine / name).write_text(DOCUMENT)
    return mine


# What stands in the place of a file or a folder of the run: (its place, the user's folder) -> None.
ODD: dict[str, Callable[[Path, Path], object]] = {
    "link to a document": lambda place, mine: place.symlink_to(mine / "document"),
    "link to a folder": lambda place, mine: place.symlink_to(mine),
    "link to nothing": lambda place, mine: place.symlink_to(mine / "new"),
    "hard way up": lambda place, mine: place.symlink_to(f"../../{'../' * 20}{mine / 'document'}"),
    "pipe": lambda place, mine: os.mkfifo(place),
    "device": lambda place, mine: place.symlink_to("/dev/zero"),
    "folder": lambda place, mine: place.mkdir(),
}
ENTRIES = [
    *(".lock", "recipe.yaml", "run.json", "metrics.csv", "evaluations.jsonl", "curves.png", "model.safetensors"),
    *("best.safetensors", "samples", "samples/progress.gif", "samples/step-00000012.png", "checkpoints"),
    *("checkpoints/last.ckpt", "checkpoints/previous.ckpt", "checkpoints/next.ckpt"),
]
CASES = [(entry, kind) for entry in ENTRIES for kind in ODD]


def hostile(sound: Path, tmp_path: Path, entry: str, kind: str) -> Path:
    """A copy of a sound run in which something odd stands in the place of one entry."""
    run = shutil.copytree(sound, tmp_path / "run")
    place = run / entry
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    ODD[kind](place, precious(tmp_path))
    return run


@pytest.mark.slow
@pytest.mark.parametrize(("entry", "kind"), CASES)
def test_a_hostile_run_reaches_nothing_outside_itself(entry: str, kind: str, sound, gancli, tmp_path: Path) -> None:
    run = hostile(sound, tmp_path, entry, kind)
    contained(gancli, run, "train", "--resume", run, "-q", "--set", "train.steps=14")
    shutil.rmtree(run)
    shutil.rmtree(tmp_path / "mine")

    run = hostile(sound, tmp_path, entry, kind)
    contained(gancli, run, "train", tiny.write("gan", tmp_path), "--out", run, "--force", "-q")
    shutil.rmtree(run)
    shutil.rmtree(tmp_path / "mine")

    run = hostile(sound, tmp_path, entry, kind)
    if entry in ("recipe.yaml", "model.safetensors"):
        contained(gancli, tmp_path / "out", "sample", run, "--count", 2, "--out", tmp_path / "out")
    if entry in ("evaluations.jsonl", "run.json", ".lock"):
        contained(gancli, run, "eval-fid", run, "--against", "shapes:8", "--count", 4, "--features", "classifier")


def test_so_many_hostile_runs_are_contained() -> None:
    print(f"{len(CASES)} odd entries of a run, each resumed and replaced: contained")
    assert len(CASES) >= 60


def images(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for n in range(12):
        Image.new("RGB", (8, 8), (n * 20, 0, 0)).save(folder / f"{n}.png")
    return folder


def odd_zip(place: Path, names: list[str], *, linked: str | None = None) -> None:
    """A zip of ten images and some whose entries have these names; perhaps one that says it is a link."""
    images(place.parent / "made")
    with zipfile.ZipFile(place.with_suffix(".zip"), "w") as archive:
        for n, name in enumerate([*(f"{n}.png" for n in range(10)), *names]):
            archive.write(place.parent / "made" / f"{n % 12}.png", name)
        if linked is not None:
            entry = zipfile.ZipInfo("link.png")
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, linked)
    shutil.rmtree(place.parent / "made")


def odd_npz(place: Path, labels: list[str]) -> None:
    np.savez(place, images=np.zeros((len(labels), 8, 8, 3), np.uint8), labels=np.array(labels))


def with_socket(folder: Path) -> None:
    here = Path.cwd()
    os.chdir(folder)  # the name of a socket is short
    try:
        socket.socket(socket.AF_UNIX).bind("socket.png")
    finally:
        os.chdir(here)


# Data of a stranger's: (its place, the user's folder) -> None.
DATA: dict[str, Callable[[Path, Path], object]] = {
    "a zip that goes up": lambda at, mine: odd_zip(at, ["../../x.png", "a/../../y.png"]),
    "a zip of absolute names": lambda at, mine: odd_zip(at, [f"{mine}/z.png", "//x.png"]),
    "a zip of escapes": lambda at, mine: odd_zip(at, [f"{RED}.png", f"{RED}/x.png"]),
    "a zip with a link": lambda at, mine: odd_zip(at, [], linked=str(mine / "document")),
    "a zip of long names": lambda at, mine: odd_zip(at, ["x" * 5000 + ".png"]),
    "a zip of one name": lambda at, mine: odd_zip(at, ["0.png", "0.png"]),
    "an npz that goes up": lambda at, mine: odd_npz(at.with_suffix(".npz"), ["..", "../../x", "/abs", "."] * 6),
    "an npz of escapes": lambda at, mine: odd_npz(at.with_suffix(".npz"), [RED, "\x07", "a\nb"] * 8),
    "an npz of long labels": lambda at, mine: odd_npz(at.with_suffix(".npz"), ["x" * 5000, "y"] * 12),
    "a folder with a pipe": lambda at, mine: os.mkfifo(images(at) / "pipe.png"),
    "a folder with a device": lambda at, mine: (images(at) / "zero.png").symlink_to("/dev/zero"),
    "a folder with a terminal": lambda at, mine: (images(at) / "tty.png").symlink_to("/dev/tty"),
    "a folder with a socket": lambda at, mine: with_socket(images(at)),
    "a folder with a loop": lambda at, mine: (images(at) / "loop").symlink_to(at),
    "a folder with a link to itself": lambda at, mine: (images(at) / "self.png").symlink_to("self.png"),
    "a folder with a link to a document": lambda at, mine: (images(at) / "d.png").symlink_to(mine / "document"),
    "a folder with a link to nothing": lambda at, mine: (images(at) / "n.png").symlink_to(mine / "new"),
    "a folder of escapes": lambda at, mine: shutil.copy(images(at) / "0.png", at / f"{RED}.png"),
    "a folder of escapes that cannot be read": lambda at, mine: (images(at) / f"{RED}.png").write_text("no image"),
    "a folder of bytes": lambda at, mine: shutil.copy(images(at) / "0.png", at / os.fsdecode(b"\xff\x9b.png")),
    "classes of escapes": lambda at, mine: (images(at / f"{RED}1"), images(at / f"{RED}2")),
    "an attribute file of escapes": lambda at, mine: (images(at) / "list_attr_celeba.txt").write_text(f"1\n{RED}\n"),
    "a pipe": lambda at, mine: os.mkfifo(at),
    "a device": lambda at, mine: at.symlink_to("/dev/zero"),
    "a pipe as an archive": lambda at, mine: os.mkfifo(at.with_suffix(".zip")),
    "a device as an array": lambda at, mine: at.with_suffix(".npz").symlink_to("/dev/zero"),
}  # fmt: skip


@pytest.mark.parametrize("name", DATA)
def test_hostile_data_touch_nothing(name: str, sound, cache, gancli, tmp_path: Path) -> None:
    mine = precious(tmp_path)
    DATA[name](tmp_path / "data", mine)
    (source,) = tmp_path.glob("data*")
    words = ("--set", "image_size=8")
    contained(gancli, tmp_path / "out", "data", "check", source, *words)
    contained(gancli, tmp_path / "out", "data", "check", source, *words, "--json")
    sets = [f"data.source={source}", "data.on_bad_image=skip", "train.steps=2", "train.batch_size=2"]
    out = tmp_path / "out"
    recipe = tiny.write("gan", tmp_path)
    contained(gancli, out, "train", recipe, "--out", out, "-q", *(word for text in sets for word in ("--set", text)))
    contained(gancli, tmp_path / "scores", "eval-fid", source, "--against", "shapes:8", "--features", "classifier")


def evaluations(run: Path, text: str) -> None:
    (run / "evaluations.jsonl").write_bytes(text.encode(errors="surrogateescape"))


# What a run says of itself, each with a terminal escape: (the run) -> None.
SAYS: dict[str, Callable[[Path], Any]] = {
    "status": lambda run: (run / "run.json").write_text(json.dumps({"status": RED})),
    "facts": lambda run: (run / "run.json").write_text(f'{{"{RED}": '),
    "recipe": lambda run: (run / "recipe.yaml").write_text(f'model: "{RED}"\n"{RED}": 1\n'),
    "columns": lambda run: (run / "metrics.csv").write_text(f"step,{RED}\n12,{RED}\n"),
    "numbers": lambda run: (run / "metrics.csv").write_text(f"step,images,seconds\n12,24,{RED}\n"),
    "bytes": lambda run: (run / "metrics.csv").write_bytes(bytes(range(256)) * 4),
    "evaluations": lambda run: evaluations(run, f'{RED}\n{{"training": true}}\n[]\n{{"{RED}": 1}}\n'),
    "endless evaluations": lambda run: evaluations(run, "[" * 100_000 + "\n"),
    "evaluations without values": lambda run: evaluations(run, '{"training": true, "step": "x"}\n'),
    "evaluations of another form": lambda run: evaluations(run, '{"training": true, "step": 12, "values": 3}\n'),
    "evaluations beyond numbers": lambda run: evaluations(run, '{"training": true, "step": 1e999, "values": {}}\n'),
    "evaluations in bytes": lambda run: evaluations(run, "\udcff\0\n"),
    "a picture's name": lambda run: (run / "samples" / "step-x.png").write_bytes(b""),
    "a picture's long name": lambda run: (run / "samples" / f"step-{'9' * 200}.png").write_bytes(b""),
    "a picture's red name": lambda run: (run / "samples" / f"step-{RED}.png").write_bytes(b""),
    "a picture in other digits": lambda run: (run / "samples" / "step-²٣.png").write_bytes(b""),
    "a part": lambda run: (run / ".x.12345678.part").mkdir(),
}  # fmt: skip


@pytest.mark.parametrize("name", SAYS)
def test_what_a_run_says_of_itself_drives_no_terminal(name: str, sound, gancli, tmp_path: Path) -> None:
    run = shutil.copytree(sound, tmp_path / "run")
    SAYS[name](run)
    contained(gancli, run, "train", "--resume", run, "-q", "--set", "train.steps=14")
    contained(gancli, tmp_path / "out", "sample", run, "--count", 2, "--out", tmp_path / "out")
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    contained(gancli, run, "train", run / "recipe.yaml", "--out", run, "-q", "--force")


def test_a_source_in_a_header_is_not_opened_to_sample(sound, gancli, tmp_path: Path) -> None:
    """Images from noise need no data: a pipe that a stranger's recipe names is not waited for."""
    from gancli import weights

    tensors, metadata = weights.read(sound / "model.safetensors", 2**30)
    os.mkfifo(tmp_path / "pipe")
    for source in (tmp_path / "pipe", tmp_path / "nothing", "/dev/zero"):
        said = metadata | {"recipe": metadata["recipe"].replace("source: shapes:24", f"source: {source}")}
        assert said != metadata
        weights.write(tmp_path / "evil.safetensors", tensors, said)
        out = tmp_path / "out"
        assert contained(gancli, out, "sample", tmp_path / "evil.safetensors", "--count", 2, "--out", out).status == 0
        shutil.rmtree(out)
