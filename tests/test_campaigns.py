"""Many kills and power failures at random moments: each training goes on to the very files it would have had."""

import itertools
import json
import math
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import outcome
import pytest
from commands import run_gancli
from outcome import EVALUATED, differences, result, start
from processes import die_in_a_save, linger_in_saves

from gancli import models, weights
from gancli.runs.run import Run

FAMILIES = (EVALUATED, *models.names())
KILLS, MOST_A_RUN = 200, 5
CUTS = 50


def train_whole(family: str, folder: Path) -> dict[str, Any]:
    ended = start(family, folder / family).end(120)
    assert ended.status == 0, (family, ended.said)
    return result(folder / family)


class Killed(NamedTuple):
    """What became of a run that was killed."""

    family: str
    kills: int
    inside: int
    differing: list[str]


def kill_and_resume(number: int, out: Path, whole: dict[str, dict[str, Any]]) -> Killed:
    """Kill a run up to so many times: at a stage of writing a file, or whenever the kill comes."""
    draw, family = random.Random(number), FAMILIES[number % len(FAMILIES)]
    wanted, kills, inside = draw.randint(1, MOST_A_RUN), 0, 0
    while kills < wanted:
        if draw.random() < 0.3:
            command = start(family, out, before=die_in_a_save, arguments=(draw.randrange(60),))
        else:
            command = start(family, out, before=linger_in_saves, arguments=(draw.choice((0.002, 0.01)),))
            command.until((out / ".lock").exists)
            command.outlive(draw.uniform(0, 1))
            command.send(signal.SIGKILL)
        ended = command.end()
        assert ended.status in (-signal.SIGKILL, 0), ended.said
        kills += ended.status != 0
        inside += bool([*out.rglob("*.part")])
        if ended.status == 0:
            break
    ended = start(family, out).end(120)
    assert ended.status == 0, ended.said
    return Killed(family, kills, inside, differences(result(out), whole[family]))


@pytest.mark.slow
def test_kills_at_random_moments(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        wholes = pool.map(lambda family: train_whole(family, tmp_path / "whole"), FAMILIES)
        whole = dict(zip(FAMILIES, wholes, strict=True))
        done: list[Killed] = []
        numbers = itertools.count()
        while (count := sum(killed.kills for killed in done)) < KILLS:
            some = itertools.islice(numbers, max(2, (KILLS - count) // 4))
            done += pool.map(lambda n: kill_and_resume(n, tmp_path / str(n) / "run", whole), some)
    wrong = [(n, killed.family, killed.differing) for n, killed in enumerate(done) if killed.differing]
    inside = sum(killed.inside for killed in done)
    print(f"{count} kills in {len(done)} runs, {inside} inside a save: {len(done) - len(wrong)} directories equal")
    assert not wrong and inside


# Power failures. A disk keeps what was flushed; of what came after, anything may be there, torn or missing.


class Moment(NamedTuple):
    """A run directory at one moment: what is on the disk for certain, and what it may hold besides.

    Args:
        entries: by folder, the names and the files, by number, that it has held since it was flushed, oldest first.
        flushed: by file, the content that was flushed last.
        current: by file, the content that was written.
        saved: the step of the last checkpoint that was saved before.
    """

    entries: dict[str, list[dict[str, int]]]
    flushed: dict[int, bytes]
    current: dict[int, bytes]
    saved: int


class Disk:
    """Watches a run directory, and notes a moment before and after each flush, rename and removal in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.moments: list[Moment] = []
        self._entries: dict[str, list[dict[str, int]]] = {}
        self._flushed: dict[int, bytes] = {}
        self._saved = 0
        self._kept: list[int] = []

    def note(self) -> None:
        current: dict[int, bytes] = {}
        folders = [self.root, *(path for path in self.root.rglob("*") if path.is_dir())] if self.root.exists() else []
        for folder in folders:
            listing = {}
            for entry in os.scandir(folder):
                listing[entry.name] = entry.inode()
                if entry.is_file(follow_symlinks=False):
                    self._keep(entry.inode(), Path(entry.path))
                    current[entry.inode()] = Path(entry.path).read_bytes()
            history = self._entries.setdefault(str(folder.relative_to(self.root)), [{}])
            if history[-1] != listing:
                history.append(listing)
        entries = {name: list(history) for name, history in self._entries.items()}
        self.moments.append(Moment(entries, dict(self._flushed), current, self._saved))

    def _keep(self, inode: int, path: Path) -> None:
        """Hold a file open, so that its number is not given to another one."""
        if inode not in self._flushed:
            self._flushed[inode] = b""
            self._kept.append(os.open(path, os.O_RDONLY))

    def flushed(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path == self.root or self.root in path.parents:
            self.note()
            if path.is_dir():
                name = str(path.relative_to(self.root))
                self._entries[name] = self._entries[name][-1:]
            else:
                self._flushed[os.fstat(descriptor).st_ino] = path.read_bytes()
            self.note()

    def saved(self, step: int) -> None:
        self._saved = step
        self.note()

    def close(self) -> None:
        for descriptor in self._kept:
            os.close(descriptor)

    @contextmanager
    def watching(self, patch: pytest.MonkeyPatch) -> Iterator[None]:
        def around(name: str, flush: bool = False) -> None:
            function: Callable[..., Any] = getattr(os, name)

            def call(*words: Any, **named: Any) -> Any:
                done = function(*words, **named)
                self.flushed(words[0]) if flush else self.note()
                return done

            patch.setattr(os, name, call)

        save = Run.save_checkpoint

        def save_and_note(run: Run, checkpoint: Any) -> None:
            save(run, checkpoint)
            self.saved(checkpoint.step)

        around("fsync", flush=True)
        for name in ("replace", "rename", "unlink", "mkdir"):
            around(name)
        patch.setattr(Run, "save_checkpoint", save_and_note)
        try:
            yield
        finally:
            self.close()


def cut(moment: Moment, draw: random.Random, out: Path) -> None:
    """Write what a disk may hold after a power failure at this moment."""
    luck = draw.choice((0.0, 0.5, 1.0))  # what was not flushed is lost, is there by chance, or is all there

    def fill(folder: str, target: Path) -> None:
        target.mkdir()
        history = moment.entries.get(folder, [{}])
        listing = history[0] if draw.random() >= luck else history[draw.randrange(len(history))]
        for name, inode in listing.items():
            inner = str(Path(folder) / name)
            if inner in moment.entries:
                fill(inner, target / name)
                continue
            certain = moment.flushed.get(inode, b"")
            written = moment.current.get(inode, certain)
            content = certain if draw.random() >= luck else written
            if content != certain and written.startswith(certain) and draw.random() < 0.5:
                content = written[: draw.randint(len(certain), len(written))]  # torn
            (target / name).write_bytes(content)

    fill(".", out)


def best_value(path: Path) -> float:
    """The value of the best weights; infinite where there are none."""
    file = Run(path).best_file
    return float(weights.describe(file)[0]["best"]) if file.exists() else float("inf")


@pytest.mark.slow
def test_power_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, draw = tmp_path / "run", random.Random(0)
    disk = Disk(out)
    with monkeypatch.context() as patch, disk.watching(patch):
        assert run_gancli("train", outcome.write(EVALUATED, tmp_path), "--out", out, "-q") == 0
    whole, fell_back, never_began = result(out), 0, 0
    moments = draw.sample([moment for moment in disk.moments if moment.saved or draw.random() < 0.3], CUTS)
    for n, moment in enumerate(moments):
        copy = tmp_path / str(n)
        cut(moment, draw, copy)
        if not (copy / "recipe.yaml").exists():
            never_began += 1
            assert not moment.saved
            shutil.rmtree(copy)
        else:
            fell_back += not (copy / "checkpoints" / "last.ckpt").exists()
            checkpoint, _ = Run(copy).load_checkpoint(2**30, repair=False)
            step = checkpoint.step if checkpoint else 0
            assert step >= moment.saved, f"cut {n}: nothing older than the last checkpoint may be lost"
            known = json.loads(checkpoint.facts["evaluator"]).get("best", math.inf) if checkpoint else math.inf
            assert best_value(copy) <= known, f"cut {n}: the best weights are kept"
        ended = start(EVALUATED, copy).end(120)
        assert ended.status == 0, (n, ended.said)
        assert differences(result(copy), whole) == [], f"cut {n} after step {moment.saved}"
    print(
        f"{CUTS} power failures at {len(disk.moments)} moments: all go on to equal directories, none lost a checkpoint "
        f"({never_began} before the first, {fell_back} between two names)"
    )
