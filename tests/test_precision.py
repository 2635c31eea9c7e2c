"""The arithmetic that a training chooses, what stays in float32 whatever it is, and that it is kept to the end."""

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from commands import run_gancli
from torch import Tensor, nn

from gancli import models
from gancli.data.batches import Batches
from gancli.data.dataset import load
from gancli.gan.adversarial import Adversarial
from gancli.recipe import catalogue, reading
from gancli.runs.run import Run
from gancli.training import precision, trial
from gancli.training.train import build

FAMILIES = models.names()


RUN = ("-q", "--set", "train.decay_steps=0")


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch, cache: Path) -> list[str]:
    """A machine with bfloat16, trainings that are long enough to measure, and the steps that were timed."""
    steps: list[str] = []
    seconds = trial._seconds

    def counted(model: Adversarial, batch: object, arithmetic: str, device: torch.device) -> float:
        steps.append(arithmetic)
        seconds(model, batch, arithmetic, device)
        return SPEEDS[arithmetic]

    monkeypatch.setattr(trial, "_seconds", counted)
    monkeypatch.setattr(trial, "SHARE", 10)
    monkeypatch.setattr(precision, "has_bf16", lambda: True)
    return steps


SPEEDS = {"float32": 1.0, "bf16": 1.0}


@pytest.mark.parametrize(("ratio", "choice"), [(0.5, "float32"), (1.05, "float32"), (1.2, "bf16")])
def test_auto_takes_what_was_measured_to_be_faster(ratio, choice, timed, tmp_path, monkeypatch, gancli) -> None:
    monkeypatch.setitem(SPEEDS, "float32", ratio)
    file = tiny.write("dcgan", tmp_path)
    done = gancli("train", file, "--out", tmp_path / "run")
    said = f"precision: {choice}: bf16 takes a step {ratio:.2f} times as fast as float32, measured"
    assert done.status == 0 and done.err.count(said + " now\n") == 1
    assert Run(tmp_path / "run").recipe().train.precision == choice
    assert timed.count("float32") == timed.count("bf16") > trial.FEWEST

    # The finding is kept, but not for other shapes; and a run that is continued asks nothing.
    timed.clear()
    monkeypatch.setitem(SPEEDS, "float32", 100.0)
    again = gancli("train", file, "--out", tmp_path / "again", "--set", "learning_rate=1e-3", "--set", "train.seed=1")
    assert again.err.count(said + " before\n") == 1 and not timed
    longer = gancli("train", "--resume", tmp_path / "run", "--set", f"train.steps={tiny.TRAIN['steps'] + 1}")
    assert longer.status == 0 and "precision" not in longer.err and not timed
    assert Run(tmp_path / "run").recipe().train.precision == choice
    for place in ("train.batch_size=5", "width=3", "data.image_size=16"):
        other = gancli("train", file, "--out", tmp_path / place, "--set", place)
        assert "precision: bf16: " in other.err and timed, place
        timed.clear()


@pytest.mark.parametrize("family", ["gan", "cyclegan", "stargan2"])
def test_measuring_changes_no_bit_of_the_training(family, timed, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(SPEEDS, "float32", 2.0)
    file = tiny.write(family, tmp_path)
    assert run_gancli("train", file, "--out", tmp_path / "auto", *RUN) == 0 and timed
    assert run_gancli("train", file, "--out", tmp_path / "bf16", *RUN, "--set", "train.precision=bf16") == 0
    ends = [Run(tmp_path / name).load_checkpoint(2**30)[0].tensors for name in ("auto", "bf16")]
    assert ends[0].keys() == ends[1].keys() and all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_measuring_leaves_the_model_and_the_random_numbers(family, timed) -> None:
    settings = tiny.settings(family)
    model = build(settings)
    dataset = load(settings.data, "train")
    place = (settings.train.batch_size, 0, 0)
    before, drawn = copy.deepcopy(model.state_dict()), torch.get_rng_state()

    def batches(count: int) -> Any:
        return itertools.islice(Batches(dataset, *place, referenced=model.referenced), count)

    assert trial.settled(model, batches, lambda _: None).train.precision == "float32" and timed
    assert torch.equal(torch.get_rng_state(), drawn) and model.step == 0 and not model.means()
    after = model.state_dict()
    assert [*before] == [*after] and all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"float32": 1}', '{"float32": NaN, "bf16": 1}', '{"float32": 1, "bf16": 0}']
)
def test_a_damaged_finding_is_measured_again(damage, timed, cache, tmp_path) -> None:
    file = tiny.write("dcgan", tmp_path)
    assert run_gancli("train", file, "--out", tmp_path / "one", *RUN) == 0
    (finding,) = (cache / "precision").iterdir()
    finding.write_text(damage)
    timed.clear()
    assert run_gancli("train", file, "--out", tmp_path / "two", *RUN) == 0 and timed


@pytest.mark.parametrize("words", ["train.steps=5", "train.precision=float32", "train.precision=bf16"])
def test_what_needs_no_measuring_is_not_measured(words, timed, tmp_path, monkeypatch, gancli) -> None:
    monkeypatch.setattr(trial, "SHARE", 0.5)
    done = gancli("train", tiny.write("gan", tmp_path), "--out", tmp_path / "run", "--set", words)
    assert done.status == 0 and not timed and "precision" not in done.err
    assert Run(tmp_path / "run").recipe().train.precision == ("bf16" if "bf16" in words else "float32")


@pytest.mark.parametrize(("data", "hardware"), [("ring-2d", True), ("shapes:24", False)])
def test_points_and_machines_without_bf16_stay_in_float32(data, hardware, timed, tmp_path, monkeypatch, gancli) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda: hardware)
    size = [] if data == "ring-2d" else ["--set", "data.image_size=8"]
    (tmp_path / "r.yaml").write_text(f"model: gan\ndata: {{source: {data}}}\ntrain: {{steps: 12, batch_size: 4}}")
    done = gancli("train", tmp_path / "r.yaml", "--out", tmp_path / "run", *size)
    assert done.status == 0 and not timed and Run(tmp_path / "run").recipe().train.precision == "float32"


def test_a_training_that_diverges_at_once_is_not_stopped_by_measuring(timed, tmp_path, gancli) -> None:
    words = ("--set", "learning_rate=1e38", "--set", "train.decay_steps=0")
    done = gancli("train", tiny.write("gan", tmp_path), "--out", tmp_path / "run", *words)
    assert done.status == 3 and "precision: float32: the first steps diverge" in done.err


@pytest.mark.parametrize("name", catalogue.names())
def test_no_shipped_recipe_names_an_arithmetic(name) -> None:
    assert models.validate(reading.read(catalogue.find(name))).train.precision == "auto"
    assert "bf16" not in Path(catalogue.find(name)).read_text()


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_and_all_that_is_kept_are_float32(family, tmp_path, monkeypatch) -> None:
    found: dict[str, torch.dtype] = {}
    low: set[torch.dtype] = set()
    turn, state = Adversarial._turn, Adversarial.state

    def turn_and_look(model: Adversarial, player: str, terms: dict[str, Tensor]) -> None:
        found.update({f"{player}.{name}": term.dtype for name, term in terms.items()})
        low.update(layer.latest for layer in model.modules() if hasattr(layer, "latest"))
        turn(model, player, terms)

    def state_and_look(model: Adversarial) -> dict[str, Tensor]:
        tensors = state(model)
        found.update({name: tensor.dtype for name, tensor in tensors.items() if tensor.is_floating_point()})
        return tensors

    def note(layer: nn.Module, _: object, output: Tensor) -> None:
        layer.latest = output.dtype

    monkeypatch.setattr(Adversarial, "_turn", turn_and_look)
    monkeypatch.setattr(Adversarial, "state", state_and_look)
    handle = nn.modules.module.register_module_forward_hook(
        lambda layer, given, made: note(layer, given, made) if isinstance(layer, nn.Conv2d | nn.Linear) else None
    )
    try:
        words = ("-q", "--set", "train.precision=bf16", "--set", "train.steps=3")
        assert run_gancli("train", tiny.write(family, tmp_path), "--out", tmp_path / "run", *words) == 0
    finally:
        handle.remove()
    assert torch.bfloat16 in low
    assert {name: kind for name, kind in found.items() if kind != torch.float32} == {}
    assert {name.partition(".")[0] for name in found} >= {"generator", "discriminator", "weights"}


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_gives_gradients_to_every_weight_that_float32_does(family, tmp_path, monkeypatch) -> None:
    """Autocast keeps the weights that it has converted, and gradients once ended at such a copy."""
    found: list[set[str]] = []
    check = Adversarial._check

    def check_and_look(model: Adversarial, player: str, terms: dict[str, Tensor]) -> None:
        named = getattr(model, player).named_parameters()
        found[-1] |= {f"{player}.{name}" for name, p in named if p.grad is not None and p.grad.abs().sum() > 0}
        check(model, player, terms)

    monkeypatch.setattr(Adversarial, "_check", check_and_look)
    for arithmetic in ("float32", "bf16"):
        found.append(set())
        words = ("-q", "--set", f"train.precision={arithmetic}", "--set", "train.steps=4")
        assert run_gancli("train", tiny.write(family, tmp_path), "--out", tmp_path / arithmetic, *words) == 0
    assert found[0] == found[1]
