"""What surrounds a training, its streams, its environment and its signals, changes neither its end nor its weights."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
import types
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from PIL import Image
from processes import (
    Command,
    ignore_hangups,
    redirect,
    set_variables,
    signal_itself,
    surround,
    wait_for_a_file,
)

from gancli import weights
from gancli.errors import UserError
from gancli.metrics import evaluate, names
from gancli.runs.run import Run
from gancli.score import scoring

Words = tuple[object, ...]

STREAMS: dict[str, dict[int, str]] = {
    "stderr closed": {2: "closed"},
    "stderr full": {2: "/dev/full"},
    "stderr without a reader": {2: "dead"},
    "stderr stuck": {2: "stuck"},
    "stdout without a reader": {1: "dead"},
    "no reader at all": {1: "dead", 2: "dead"},
    "all closed": {0: "closed", 1: "closed", 2: "closed"},
}
VARIABLES: dict[str, dict[str, str]] = {
    **{
        f"PL_TRAINER_{name}": {f"PL_TRAINER_{name}": value}
        for name, value in {
            "LIMIT_TRAIN_BATCHES": "3",
            "MAX_STEPS": "5",
            "MAX_TIME": "00:00:00:01",
            "MAX_EPOCHS": "0",
            "FAST_DEV_RUN": "1",
            "NUM_NODES": "2",
            "DEVICES": "3",
            "ACCELERATOR": "tpu",
            "STRATEGY": "ddp",
            "PRECISION": "16-mixed",
            "GRADIENT_CLIP_VAL": "1.0",
            "OVERFIT_BATCHES": "1",
            "BAREBONES": "1",
            "PROFILER": "simple",
            "DETECT_ANOMALY": "True",
            "DETERMINISTIC": "nonsense",
        }.items()
    },
    "SLURM_NTASKS": {"SLURM_NTASKS": "4"},
    "srun": {
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_JOB_ID": "x",
        "SLURM_JOB_NAME": "train",
        "SLURM_PROCID": "1",
        "SLURM_LOCALID": "1",
        "SLURM_NODEID": "0",
        "SLURM_NODELIST": "a[1-2]",
    },
    "torchrun": {
        "RANK": "1",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "192.0.2.1",
        "MASTER_PORT": "1",
        "GROUP_RANK": "0",
        "LOCAL_WORLD_SIZE": "2",
        "TORCHELASTIC_RUN_ID": "x",
    },
    "ranks of nonsense": {"RANK": "x", "LOCAL_RANK": "", "WORLD_SIZE": "many"},
    "LSF": {"LSB_JOBID": "1", "LSB_DJOB_RANKFILE": "x", "JSM_NAMESPACE_SIZE": "2", "JSM_NAMESPACE_LOCAL_RANK": "1"},
    "CUDA_VISIBLE_DEVICES": {"CUDA_VISIBLE_DEVICES": "7,x"},
}


RC: tuple[dict[str, Any], ...] = (
    {},
    {"text.usetex": True},
    {"font.family": "none", "savefig.format": "svg"},
    {"savefig.dpi": 1.0, "figure.constrained_layout.use": True},
)
WRITES = 18
"""Files that a training of the tiny GAN writes, the decoded images aside."""


def start(
    out: Path, before: Callable[..., object] | None = None, *arguments: Any, words: tuple[str, ...] = ()
) -> Command:
    """Start the training of a tiny recipe with its progress shown."""
    out.parent.mkdir(exist_ok=True, parents=True)
    train = ("train", tiny.write("gan", out.parent), "--out", out, *words)
    return Command(train, out.with_suffix(".log"), before, *arguments)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the weights of a training that nothing disturbed."""
    out = tmp_path_factory.mktemp("plain") / "run"
    assert start(out).end().status == 0
    return digest(out)


def digest(out: Path) -> str:
    """The digest of the weights alone, whatever the recipe in their file says."""
    assert Run(out).status() == "finished"
    tensors, _ = weights.read(Run(out).weights_file, 2**30)
    content = b"".join(name.encode() + tensors[name].numpy().tobytes() for name in sorted(tensors))
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("kind", STREAMS)
def test_streams(kind: str, plain: str, tmp_path: Path) -> None:
    ended = start(tmp_path / "run", redirect, STREAMS[kind]).end()
    assert ended.status == 0 and "Traceback" not in ended.said, ended.said
    assert digest(tmp_path / "run") == plain


@pytest.mark.parametrize("name", VARIABLES)
def test_variables(name: str, plain: str, tmp_path: Path) -> None:
    ended = start(tmp_path / "run", set_variables, VARIABLES[name]).end()
    assert ended.status == 0 and ended.said.endswith(f"{tmp_path / 'run'}\n"), ended.said
    assert digest(tmp_path / "run") == plain


IMPORTED_UNTIL = """
import os, signal, sys

# Whoever runs the tests may ignore the signal, as nohup does.
signal.signal({number}, signal.default_int_handler if {number} == signal.SIGINT else signal.SIG_DFL)

class Send:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Send())
sys.argv = {words!r}
from gancli.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("words", "module", "number"),
    [
        (("recipes",), "typer", signal.SIGINT),
        (("recipes",), "pydantic", signal.SIGHUP),
        (("train", "gan-digits"), "torch", signal.SIGTERM),
        (("train", "gan-digits"), "torch.nn.functional", signal.SIGINT),
        (("train", "gan-digits"), "matplotlib.pyplot", signal.SIGINT),
        (("train", "gan-digits"), "pytorch_lightning.callbacks", signal.SIGHUP),
        (("data", "check", "shapes:9"), "gancli.data.check", signal.SIGINT),
        (("eval-fid", "digits"), "torchmetrics.image.fid", signal.SIGTERM),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_signal_while_imports_run_is_one_line(
    words: Words, module: str, number: signal.Signals, tmp_path: Path
) -> None:
    code = IMPORTED_UNTIL.format(module=module, number=int(number), words=["gancli", *words])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", f"{number.name}: stopped\n")
    assert list(tmp_path.iterdir()) == []


def test_a_thread_that_waits_for_a_file_does_not_hold_up_a_signal(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    command = start(tmp_path / "run", wait_for_a_file, str(tmp_path / "fifo"))
    command.until((tmp_path / "run" / ".lock").exists)
    time.sleep(0.2)
    command.send(signal.SIGTERM)
    ended = command.end()
    assert ended.status == 143 and ended.said == "SIGTERM: stopped\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_second_signal_does_not_lose_the_checkpoint_of_the_first(number: signal.Signals, tmp_path: Path) -> None:
    out = tmp_path / "run"
    ended = start(out, signal_itself, number, 5).end()
    assert ended.status == 128 + number
    checkpoint, _ = Run(out).load_checkpoint(2**30)
    assert checkpoint is not None and checkpoint.step == 3 and Run(out).status() == "interrupted"
    *_, again, last = ended.said.splitlines()
    assert again.startswith(f"{number.name}: the step is completed and saved first; ")
    assert last == f"{number.name} at step {checkpoint.step}: saved; continue with gancli train --resume {out}"


def test_nohup_holds(plain: str, tmp_path: Path) -> None:
    command = start(tmp_path / "run", ignore_hangups)
    command.until((tmp_path / "run" / "metrics.csv").exists)
    command.send(signal.SIGHUP)
    assert command.end().status == 0
    assert digest(tmp_path / "run") == plain


EVALUATED = ("evaluate.every=4", "evaluate.images=8", "evaluate.features=classifier")


@pytest.mark.slow
def test_campaign(tmp_path: Path) -> None:
    """60 trainings in drawn surroundings: to the end with the same weights, or a checkpoint and a clear message."""

    def train(out: Path, family: str, before: Any = None, *arguments: Any) -> Command:
        sets = [word for some in EVALUATED for word in ("--set", some)] if family == "cyclegan" else []
        recipe = tiny.write(family, out.parent)
        words = ("--resume", out) if (out / "recipe.yaml").exists() else (recipe, "--out", out, *sets)
        return Command(("train", *words, "-q"), out.with_suffix(f".{time.monotonic_ns()}.log"), before, *arguments)

    plain = {}
    for family in ("gan", "cyclegan"):
        (tmp_path / family).mkdir()
        assert train(tmp_path / family / "run", family).end().status == 0
        plain[family] = digest(tmp_path / family / "run")

    draw, counts = random.Random(0), Counter[str]()
    kinds = [*STREAMS.values(), {}, {}, {}]
    for n in range(60):
        kind = "full disk" if n < WRITES else ("signal", "evaluation", "nothing")[n % 3]
        family, out = "cyclegan" if kind == "evaluation" else "gan", tmp_path / str(n) / "run"
        out.parent.mkdir()
        streams = draw.choice(kinds)
        room = n if kind == "full disk" else None
        evaluations = draw.randrange(3) if kind == "evaluation" else None
        variables = {**draw.choice([*VARIABLES.values()]), **draw.choice([*VARIABLES.values()])}
        command = train(out, family, surround, streams, variables, draw.choice(RC), room, evaluations)
        number = draw.choice((signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
        if kind == "signal":
            command.until((out / "checkpoints" / "previous.ckpt").exists)
            for _ in range(draw.randrange(1, 4)):
                command.send(number)
        ended = command.end()

        assert "Traceback" not in ended.said, (n, ended.said)
        heard = 2 not in streams
        if ended.status == 0:
            assert kind != "evaluation" or not heard or "the evaluation failed, the training goes on" in ended.said
        else:
            assert ended.status == {"full disk": 1, "signal": 128 + number}[kind], (n, ended)
            said = "No space left" if kind == "full disk" else f"{number.name} at step "
            assert not heard or said in ended.said.splitlines()[-1], (n, ended.said)
            assert train(out, family).end().status == 0, n
        assert digest(out) == plain[family], n
        counts[f"{kind}: {'to the end' if ended.status == 0 else 'a checkpoint and a message'}"] += 1
    print(f"surroundings: {counts.total()} of 60: {dict(sorted(counts.items()))}")
    assert counts.total() == 60


def test_a_failed_evaluation_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gancli: Any) -> None:
    """The second of three; the others are kept, and the weights are those of a training without any."""
    recipe, calls = tiny.write("cyclegan", tmp_path), []
    sets = [word for some in EVALUATED for word in ("--set", some)]
    score = scoring.score_each

    def failing(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("the network fell over")
        return score(*arguments, **named)

    assert gancli("train", recipe, "--out", tmp_path / "plain", "-q").status == 0
    monkeypatch.setattr(scoring, "score_each", failing)
    done = gancli("train", recipe, "--out", tmp_path / "run", "-q", *sets)
    assert done.status == 0
    assert done.err == "step 8: the evaluation failed, the training goes on: the network fell over\n"
    assert [row["step"] for row in Run(tmp_path / "run").metrics() if "fid" in row] == [4, 12]
    assert digest(tmp_path / "run") == digest(tmp_path / "plain")


def test_what_evaluation_finds_is_shown(tmp_path: Path, gancli: Any, cache: Path) -> None:
    sets = ("--set", "evaluate.every=6", "--set", "evaluate.images=8", "--set", "evaluate.features=classifier")
    done = gancli("train", tiny.write("cyclegan", tmp_path), "--out", tmp_path / "run", *sets)
    lines = done.err.splitlines()
    assert any(line.startswith("fitting the classifier of evaluate.features 1 of ") for line in lines)
    values = [row["fid"] for row in Run(tmp_path / "run").metrics() if "fid" in row]
    shown = [line for line in lines if " fid " in line]
    assert shown[0] == f"step 6: fid {values[0]:.4g}  (the best so far)"
    assert shown[1].startswith(f"step 12: fid {values[1]:.4g}")


MATPLOTLIBRC = {
    "usetex": b"text.usetex: True\n",
    "unknown keys": b"foo: bar\nbaz\n",
    "not UTF-8": b"\xff\xfe",
    "a pipe": None,
}


@pytest.mark.parametrize("where", ["here", "variable", "home"])
@pytest.mark.parametrize("kind", MATPLOTLIBRC)
def test_matplotlib_reads_no_settings_of_the_user(kind: str, where: str, tmp_path: Path) -> None:
    folder = tmp_path / ".config" / "matplotlib" if where == "home" else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    content = MATPLOTLIBRC[kind]
    if content is None:
        os.mkfifo(folder / "matplotlibrc")
    else:
        (folder / "matplotlibrc").write_bytes(content)
    code = """
from gancli import process
process.prepare()
import matplotlib
assert matplotlib.rcParams["text.usetex"] is False and matplotlib.rcParams["backend"] == "agg"
"""
    here = tmp_path if where == "here" else "/"
    variables = {"HOME": str(tmp_path), "MPLBACKEND": "nonsense", "GANCLI_CACHE": str(tmp_path / "cache")}
    variables |= {"MATPLOTLIBRC": str(folder)} if where == "variable" else {}
    root = str(Path(__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=here,
        env={"PYTHONPATH": root, "PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("recipe", "sets", "said"),
    [
        (
            "cyclegan",
            ["data.source=few"],
            "fid needs at least 2 images on a side, there is 1",
        ),
        ("gan", ["evaluate.metrics=[prdc]", "evaluate.images=5"], "prdc needs at least 6 images on a side, there is 5"),
        (
            "gan",
            ["evaluate.metrics=[is]", "evaluate.features=net.safetensors"],
            "is needs a network that knows classes",
        ),
        ("stargan", ["evaluate.metrics=[fid-infinity]"], "fid-infinity needs at least 20 images on a side, there is"),
    ],
)
def test_an_evaluation_that_cannot_run_is_refused_before_the_training(
    recipe: str, sets: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gancli: Any
) -> None:
    """It was found at the first evaluation, and the run could not even be continued."""
    monkeypatch.chdir(tmp_path)
    for folder, count in (("trainA", 5), ("trainB", 5), ("testA", 1), ("testB", 2)):
        (tmp_path / "few" / folder).mkdir(parents=True)
        for n in range(count):
            Image.new("RGB", (8, 8), (40 * n, 0, 0)).save(tmp_path / "few" / folder / f"{n}.png")
    monkeypatch.setattr("gancli.metrics.networks.load", lambda *_, **__: types.SimpleNamespace(dimensions=2))
    words = [word for some in ("evaluate.every=4", *sets) for word in ("--set", some)]
    done = gancli("train", tiny.write(recipe, tmp_path), "--out", "run", "-q", *words)
    assert done.status == 2 and done.err.count("\n") == 1 and said in done.err, done.err
    assert not (tmp_path / "run").exists()


class Network:
    """Three pixels as features, two of them as classes."""

    name, dimensions, protocol = "network", 3, {"network": "pixels"}

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, :3].float()

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        return features[:, :2]


@pytest.mark.parametrize("metric", names.METRICS)
def test_the_least_number_of_images_is_the_least_that_can_be_measured(metric: names.Metric) -> None:
    least = names.LEAST.get(metric, 1)

    def measure(count: int) -> None:
        images = torch.randint(0, 255, (count, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
        labels = torch.zeros(count, dtype=torch.long)
        evaluate.evaluate([images], [images], Network(), [metric], subject_labels=labels, reference_labels=labels)

    measure(least)
    if least > 1:
        with pytest.raises((UserError, KeyError)):  # which `check_served` comes before
            measure(least - 1)
