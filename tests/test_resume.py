"""However a training ends, it continues to the very weights that it would have had."""

import json
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import tiny
from commands import run_gancli
from outcome import checkpoint_step, result, start
from processes import Command, give_up_privileges, limit_file_size, limit_memory, limit_writes, linger_in_saves

from gancli import models, weights
from gancli.runs.run import Run

FAMILIES = models.names()
LAST = tiny.TRAIN["steps"]


def state(path: Path) -> Any:
    """The tensors of the newest checkpoint, as digests."""
    return result(path)["checkpoints/last.ckpt"][0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The result of an uninterrupted training of every family, each in a process of its own."""
    folder = tmp_path_factory.mktemp("whole")
    commands = {family: start(family, folder / family) for family in FAMILIES}
    for family, command in commands.items():
        ended = command.end()
        assert ended.status == 0, (family, ended.said)
    return {family: result(folder / family) for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_from_every_checkpoint(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those inside an interval of metrics.csv, whose observations must not be lost."""
    snapshots = []
    save = Run.save_checkpoint

    def save_and_copy(run: Run, checkpoint: Any) -> None:
        save(run, checkpoint)
        if "snapshots" not in run.path.parts:
            snapshots.append(shutil.copytree(run.path, tmp_path / "snapshots" / str(checkpoint.step)))

    monkeypatch.setattr(Run, "save_checkpoint", save_and_copy)
    recipe = tiny.write(family, tmp_path)
    assert run_gancli("train", recipe, "--out", tmp_path / "whole", "-q") == 0
    expected = result(tmp_path / "whole")
    assert len(snapshots) == 1 + LAST // tiny.TRAIN["checkpoint_every"]
    for snapshot in snapshots:
        assert run_gancli("train", "--resume", snapshot, "-q") == 0
        assert result(snapshot) == expected, snapshot
    print(f"{family}: {len(snapshots)} checkpoints resumed, all equal")


@pytest.mark.parametrize("family", FAMILIES)
def test_cached_and_streamed_images_give_equal_weights(family: str, tmp_path: Path) -> None:
    recipe = tiny.write(family, tmp_path)
    for name, limit in (("cached", 20), ("streamed", 0)):
        assert run_gancli("train", recipe, "--out", tmp_path / name, "-q", "--set", f"data.cache_limit={limit}") == 0
    assert state(tmp_path / "cached") == state(tmp_path / "streamed")


def test_bf16_resumes_exactly(tmp_path: Path) -> None:
    recipe = tiny.write("gan", tmp_path)
    words = ("-q", "--set", "train.precision=bf16", "--set", "train.decay_steps=0")
    assert run_gancli("train", recipe, "--out", tmp_path / "whole", *words) == 0
    assert run_gancli("train", recipe, "--out", tmp_path / "parts", *words, "--set", "train.steps=7") == 0
    assert run_gancli("train", "--resume", tmp_path / "parts", "-q", "--set", f"train.steps={LAST}") == 0
    whole, parts = (tmp_path / "whole", tmp_path / "parts")
    assert state(parts) == state(whole) and len(Run(parts).metrics()) == len(Run(whole).metrics()) + 1


@pytest.mark.slow
def test_signals_at_random_moments(whole: dict[str, Any], tmp_path: Path) -> None:
    draw, before, slowest = random.Random(1), 0, 0.0
    for n in range(20):
        number = (signal.SIGTERM, signal.SIGINT)[n % 2]
        family, out = FAMILIES[n % len(FAMILIES)], tmp_path / str(n) / "run"
        command = start(family, out, before=linger_in_saves, arguments=(0.05,))  # 5 s at the least
        command.until((out / ".lock").exists)
        command.outlive(draw.uniform(0, 2))
        sent = time.monotonic()
        command.send(number)
        ended = command.end()
        slowest = max(slowest, time.monotonic() - sent)
        assert ended.status == 128 + number, ended.said
        assert ended.said.count("\n") == 1 and signal.Signals(number).name in ended.said
        if (out / "recipe.yaml").exists():
            assert Run(out).status() in ("interrupted", "finished")
            assert json.loads((out / "run.json").read_text())["step"] == checkpoint_step(out)
        else:
            before += 1
        ended = start(family, out).end()
        assert ended.status == 0, ended.said
        assert result(out) == whole[family]
    print(f"20 signals, {before} before the first step: 143 / 130 after at most {slowest:.1f} s, all resumed to equal")


def test_preemption_by_slurm(whole: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = start("gan", out, before=linger_in_saves, arguments=(0.05,))
    command.until((out / "metrics.csv").exists)
    command.send(signal.SIGUSR1)
    assert command.end().status == 128 + signal.SIGUSR1
    assert start("gan", out).end().status == 0
    assert result(out) == whole["gan"]


@pytest.mark.slow
def test_full_disks(whole: dict[str, Any], tmp_path: Path) -> None:
    """Files fail at random, by their number or their size; what was there before stays whole."""
    draw, failed_at = random.Random(2), []
    for n in range(20):
        family, out = FAMILIES[n % len(FAMILIES)], tmp_path / str(n) / "run"
        command = start(family, out, before=linger_in_saves, arguments=(0.05,))
        command.until((out / "checkpoints" / "previous.ckpt").exists)
        command.send(signal.SIGTERM)
        assert command.end().status == 143
        done = checkpoint_step(out)
        limit, amount = limit_writes, draw.randrange(2, 6)
        if n % 2:
            limit, amount = limit_file_size, draw.randrange(900, (out / "checkpoints" / "last.ckpt").stat().st_size)
        ended = start(family, out, before=limit, arguments=(amount,)).end()
        assert ended.status == 1, ended.said
        *others, last = ended.said.splitlines()
        assert all("could not be drawn" in line for line in others), ended.said
        assert str(out) in last and "bytes needed" in last
        failed_at.append(Path(last.removeprefix("Error: ").split(":")[0]).name[:4])
        assert not [*out.rglob("*.part")] and checkpoint_step(out) >= done
        assert start(family, out).end().status == 0
        assert result(out) == whole[family]
    met = {name: failed_at.count(name) for name in sorted(failed_at)}
    print(f"20 full disks, met in {met}: one line, exit 1, all resumed to equal")


def test_a_disk_without_room_is_found_before_the_first_step(tmp_path: Path, monkeypatch, gancli) -> None:
    monkeypatch.setattr(
        "gancli.runs.run.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000)
    )
    done = gancli("train", tiny.write("gan", tmp_path), "--out", tmp_path / "run", "-q")
    assert done.status == 1 and "1,000 bytes are free, checkpoints need" in done.err and done.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_no_permission_is_found_before_the_first_step(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    out = tmp_path / "locked" / "run"
    words = ("train", tiny.write("gan", tmp_path), "--out", out)
    ended = Command(words, tmp_path / "log", give_up_privileges).end()
    assert ended.status == 2 and ended.said.count("\n") == 1
    assert f"{out}: Permission denied: give a place that can be written with --out" in ended.said


def test_too_little_memory_is_one_line(tmp_path: Path) -> None:
    recipe = tiny.write("gan", tmp_path)
    words = ("train", recipe, "--out", tmp_path / "run", "-q", "--set", "generator_hidden=[20000, 20000]")
    ended = Command(words, tmp_path / "log", limit_memory, 500_000_000).end()
    assert ended.status == 1 and ended.said.count("\n") == 1
    assert "out of memory with batches of 4 images of 3×8×8: lower train.batch_size" in ended.said


def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(whole: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert start("gan", out).end().status == 0
    last = Run(out).last_checkpoint
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    ended = Command(("train", "--resume", out), tmp_path / "log").end()
    assert ended.status == 0 and "last.ckpt: damaged (its SHA-256 does not match): using previous.ckpt" in ended.said
    assert result(out) == whole["gan"]


def test_a_longer_training_and_no_other_is_resumed(tmp_path: Path, gancli) -> None:
    out = tmp_path / "run"
    assert gancli("train", tiny.write("gan", tmp_path), "--out", out, "-q").status == 0
    longer = gancli("train", "--resume", out, "-q", "--set", "train.steps=15")
    assert longer.status == 0 and Run(out).metrics()[-1]["step"] == 15
    shorter = gancli("train", "--resume", out, "-q", "--set", "train.steps=14")
    assert shorter.status == 2 and "has done 15 steps already" in shorter.err
    other = gancli("train", "--resume", out, "--set", "learning_rate=1e-3", "--set", "train.seed=1")
    assert other.status == 2
    assert "(learning_rate: 0.0002 -> 0.001, train.seed: 0 -> 1)" in other.err


def test_another_machine_is_said(tmp_path: Path, gancli) -> None:
    out = tmp_path / "run"
    assert gancli("train", tiny.write("gan", tmp_path), "--out", out, "-q").status == 0
    tensors, metadata = weights.read(Run(out).last_checkpoint, 2**30)
    elsewhere = json.loads(metadata["environment"]) | {"machine": "vax", "threads": "64", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    weights.write(Run(out).last_checkpoint, tensors, metadata | {"environment": json.dumps(elsewhere)})
    done = gancli("train", "--resume", out, "--set", "train.steps=13", "-q")
    decay, _ = done.err.splitlines()
    assert done.status == 0 and decay.startswith("train.steps: 12 -> 13: ")
    assert "machine: vax -> " in done.err and "threads: 64 -> " in done.err
    assert "ONEDNN_MAX_CPU_ISA: AVX2 -> not set" in done.err


@pytest.mark.slow
def test_races(tmp_path: Path) -> None:
    """Two at once on one directory: fresh starts, and continuations of a run that was killed."""
    slowest, named = 0.0, 0
    for n in range(50):
        out = tmp_path / str(n) / "run"
        if n % 2:
            first = start("gan", out, before=linger_in_saves, arguments=(0.02,))
            first.until((out / "metrics.csv").exists)
            first.send(signal.SIGKILL)
            first.end()
        ended = sorted(command.end() for command in [start("gan", out), start("gan", out)])
        said = ended[1].said
        assert [e.status for e in ended] == [0, 2] or (ended[1].status == 0 and n % 2), said
        if ended[1].status == 2:
            named += "in use by process " in said
            slowest = max(slowest, ended[1].seconds)
            assert "in use by " in said or "a run is there already" in said
        assert Run(out).metrics()[-1]["step"] == LAST and len(Run(out).metrics()) == 3
    print(f"50 races: one trains; {named} second ones named the holder, the slowest in {slowest:.1f} s")
