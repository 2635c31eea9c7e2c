"""A run directory: one writer, nothing outside it touched, and an old run that is kept until a new one stands."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
from commands import run_gancli
from processes import Command, give_up_privileges, limit_writes, linger_in_saves

from gancli.errors import UserError
from gancli.runs.lock import Lost
from gancli.runs.run import Run


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of 6 steps."""
    folder = tmp_path_factory.mktemp("sound")
    words = ("-q", "--set", "train.steps=6", "--set", "train.decay_steps=0")
    assert run_gancli("train", tiny.write("gan", folder), "--out", folder / "run", *words) == 0
    return folder / "run"


@pytest.fixture
def run(sound: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sound, tmp_path / "run")


def tree(path: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


# Something in a run that leads out of it, or that nobody should wait for: (run, a folder outside).


def link(name: str) -> Callable[[Path, Path], None]:
    def make(run: Path, outside: Path) -> None:
        target = outside / Path(name).name
        if (run / name).is_dir():
            (run / name).rename(target)
            target.joinpath("step-99999999.png").write_bytes(b"mine")
            target.joinpath(".mine.0123abcd.part").write_bytes(b"mine")
        elif (run / name).exists():
            (run / name).rename(target)
        else:
            target.write_bytes(b"mine\n")
        (run / name).symlink_to(target)

    return make


def hard_link(name: str) -> Callable[[Path, Path], None]:
    def make(run: Path, outside: Path) -> None:
        (outside / "document").write_bytes(b"mine\n")
        (run / name).unlink(missing_ok=True)
        os.link(outside / "document", run / name)

    return make


def pipe(name: str) -> Callable[[Path, Path], None]:
    def make(run: Path, _: Path) -> None:
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)

    return make


def device(name: str) -> Callable[[Path, Path], None]:
    def make(run: Path, _: Path) -> None:
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to("/dev/zero")

    return make


FILES = (
    *("recipe.yaml", "run.json", "metrics.csv", "evaluations.jsonl", "model.safetensors", ".lock", "curves.png"),
    *("checkpoints/last.ckpt", "checkpoints/next.ckpt", "samples/step-00000006.png", "samples/progress.gif"),
)
TRAPS = {
    **{f"{name} is a link": link(name) for name in (*FILES, "samples", "checkpoints", ".replaced")},
    **{f"{name} is a pipe": pipe(name) for name in FILES},
    **{f"{name} is a link to a device": device(name) for name in FILES},
    **{f"{name} is a document's second name": hard_link(name) for name in (".lock", "evaluations.jsonl")},
}


@pytest.mark.parametrize("name", TRAPS)
def test_nothing_outside_is_touched(name: str, run: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    TRAPS[name](run, outside)
    before = tree(outside)
    ended = Command(("train", "--resume", run, "-q", "--set", "train.steps=9"), tmp_path / "log").end(60)
    assert ended.status in (0, 2), ended.said
    assert "Traceback" not in ended.said and (ended.status == 0 or ended.said.count("\n") == 1), ended.said
    assert tree(outside) == before
    try:
        Run(run).append_evaluation({"values": {}})
    except UserError as error:
        assert "evaluations.jsonl" in str(error)
    assert tree(outside) == before
    print(f"{name}: {'refused' if ended.status else 'replaced or left alone'}")


def test_there_are_enough_traps() -> None:
    print(f"{len(TRAPS)} traps in a run directory")
    assert len(TRAPS) >= 35


def test_removing_the_lock_admits_no_second_writer(run: Path) -> None:
    first, second = Run(run), Run(run)
    with first.held():
        (run / ".lock").unlink()
        with pytest.raises(UserError, match="in use by"), second.held():
            pass
        assert second.status() == first.status()
        first.append_metrics({"step": 7})
        assert (run / ".lock").exists()
    with second.held():
        pass
    assert not (run / ".lock").exists()


def test_a_writer_knows_that_its_directory_was_replaced(run: Path, tmp_path: Path) -> None:
    first = Run(run)
    with first.held():
        run.rename(tmp_path / "moved")
        with pytest.raises(Lost):
            first.append_metrics({"step": 7})
        run.mkdir()
        with Run(run).held():
            for write in (
                lambda: first.append_metrics({"step": 7}),
                lambda: first.save_picture(7, b""),
                lambda: first.state_facts(step=7),
                lambda: first.append_evaluation({}, training=True),
            ):
                with pytest.raises(Lost):
                    write()
            assert [path.name for path in run.iterdir()] == [".lock"]


def test_a_suspended_writer_writes_nothing_into_another_run(tmp_path: Path) -> None:
    recipe, out = tiny.write("gan", tmp_path), tmp_path / "run"
    words = ("train", recipe, "--out", out, "-q")
    first = Command(words, tmp_path / "first", linger_in_saves, 0.02)
    first.until((out / "metrics.csv").exists)
    first.send(signal.SIGSTOP)
    shutil.rmtree(out)
    second = Command((*words, "--set", "train.seed=1"), tmp_path / "second").end()
    assert second.status == 0, second.said
    before = tree(out)
    first.send(signal.SIGCONT)
    ended = first.end()
    assert ended.status == 1 and "was removed or replaced while this process trained there" in ended.said, ended.said
    assert tree(out) == before


# train --force.

FORCE = ("--force", "-q", "--set", "train.seed=1", "--set", "train.steps=6", "--set", "train.decay_steps=0")


def test_without_room_the_old_run_stays(run: Path, tmp_path: Path, monkeypatch: Any, gancli: Any) -> None:
    before = tree(run)
    usage = shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000)
    monkeypatch.setattr("gancli.runs.run.shutil.disk_usage", lambda _: usage)
    done = gancli("train", tiny.write("gan", tmp_path), "--out", run, *FORCE)
    assert done.status == 1 and "1,000 bytes are free" in done.err
    assert tree(run) == before


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_start_that_fails_puts_the_old_run_back(count: int, run: Path, tmp_path: Path) -> None:
    before = tree(run)
    words = ("train", tiny.write("gan", tmp_path), "--out", run, *FORCE)
    ended = Command(words, tmp_path / "log", limit_writes, count).end()
    assert ended.status == 1 and "bytes needed" in ended.said, ended.said
    assert tree(run) == before


def test_the_new_run_replaces_the_old_one(run: Path, tmp_path: Path, gancli: Any) -> None:
    (run / "notes.txt").write_text("mine")
    assert gancli("train", tiny.write("gan", tmp_path), "--out", run, *FORCE).status == 0
    assert Run(run).recipe().train.seed == 1 and (run / "notes.txt").read_text() == "mine"
    assert not (run / ".replaced").exists()


class Killed(BaseException):
    """The process ends here, without another word."""


def test_a_kill_at_every_rename_leaves_one_whole_run(
    sound: Path, tmp_path: Path, monkeypatch: Any, gancli: Any
) -> None:
    """Killed before the n-th change of a name or removal: the old run, byte for byte, or the new one goes on."""
    recipe, before, kept = tiny.write("gan", tmp_path), tree(sound), []
    for n in range(1, 100):
        out = shutil.copytree(sound, tmp_path / str(n))
        left = [n]

        def counted(function: Any, left: list[int] = left) -> Any:
            def call(*words: Any, **named: Any) -> Any:
                left[0] -= 1
                if left[0] <= 0:
                    raise Killed  # and everything after it too: nothing is tidied up
                return function(*words, **named)

            return call

        with monkeypatch.context() as patch:
            for name in ("rename", "replace", "unlink", "rmdir", "mkdir"):
                patch.setattr(os, name, counted(getattr(os, name)))
            try:
                assert run_gancli("train", recipe, "--out", out, *FORCE) == 0
            except Killed:
                pass
            else:
                break
        done = gancli("train", "--resume", out, "-q")
        assert done.status == 0, done.err
        old = Run(out).recipe().train.seed == 0
        kept.append(old)
        if old:
            same = {name: content for name, content in tree(out).items() if name not in ("run.json", "curves.png")}
            assert same.items() <= before.items(), f"kill {n}"
        else:
            assert Run(out).metrics()[-1]["step"] == 6
        assert not (out / ".replaced").exists()
    print(f"{len(kept)} kills of train --force: {sum(kept)} times the old run, then the new one")
    assert kept == sorted(kept, reverse=True) and any(kept) and not all(kept)


# What a run may suffer.

DAMAGE = {
    "binary": bytes(range(256)) * 4,
    "no object": b'[1, 2]\n7\nnull\n"x"\n',
    "wrong types": b'{"training": true, "step": "x", "values": 7}\n{"training": true, "step": true, "values": {}}\n',
    "missing keys": b'{"training": true}\n{"training": true, "step": 4}\n{"step": 4, "values": {}}\n',
    "no number": b'{"training": true, "step": 4, "values": {"fid": "x"}}\n',
    "deep": b"[" * 100_000 + b"\n",
    "cut short": b'{"training": true, "step": 4, "val',
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_evaluations_are_no_traceback(name: str, tmp_path: Path, gancli: Any) -> None:
    old = Path(__file__).parent / "runs-0.1.0" / "gan"
    run = shutil.copytree(old, tmp_path / "run")
    (run / "evaluations.jsonl").write_bytes(DAMAGE[name])
    done = gancli("train", "--resume", run, "-q", "--set", "train.steps=9")
    assert done.status == 0, done.err
    Run(run).append_evaluation({"values": {}, "step": 9})
    assert json.loads((run / "evaluations.jsonl").read_bytes().splitlines()[-1])["step"] == 9


def test_pictures_of_other_names_are_left_alone(run: Path, gancli: Any) -> None:
    for name in ("step-x.png", "step-.png", "step-00000007.png.png", "step-99.png"):
        (run / "samples" / name).write_bytes(b"mine")
    done = gancli("train", "--resume", run, "-q", "--set", "train.steps=7")
    assert done.status == 0, done.err
    assert len([*run.glob("samples/*x.png"), *run.glob("samples/step-.png"), *run.glob("samples/*.png.png")]) == 3


def test_a_read_only_run_is_sampled_and_evaluated(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "ring"
    words = ("--set", "train.steps=4", "--set", "generator_hidden=[4]", "--set", "discriminator_hidden=[4]", "-q")
    assert run_gancli("train", "gan-ring2d", "--out", out, *words) == 0
    for path in (*out.rglob("*"), out, *run.rglob("*"), run):
        path.chmod(path.stat().st_mode & ~0o222)
    before = tree(out)
    for n, command in enumerate((("evaluate", out), ("sample", run, "--out", tmp_path / "samples", "--count", 2))):
        ended = Command(command, tmp_path / f"log{n}", give_up_privileges).end()
        assert ended.status == 0 and "Traceback" not in ended.said, ended.said
    assert tree(out) == before


def test_a_path_that_is_not_utf_8(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))
    folder.mkdir()
    words = ("train", tiny.write("gan", tmp_path), "--out", folder / "run", "-q", "--set", "train.decay_steps=0")
    for n, command in enumerate((
        (*words, "--set", "train.steps=4"),
        ("train", "--resume", folder / "run", "-q", "--set", "train.steps=8"),
        ("sample", folder / "run", "--out", folder / "samples", "--count", 2),
    )):  # fmt: skip
        ended = Command(command, tmp_path / f"log{n}").end()
        assert ended.status == 0, ended.said
    assert Run(folder / "run").status() == "finished"
