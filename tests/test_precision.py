"""The arithmetic that a training chooses, what stays in float32 whatever it is, and that it is kept to the end."""

import pytest
import tiny
import torch
from commands import run_gancli
from torch import Tensor, nn

from gancli import catalogue, models, precision, recipe
from gancli.adversarial import Adversarial
from gancli.runs import Run
from gancli.training import build

FAMILIES = models.names()


def chosen(settings: models.Recipe) -> str:
    return build(settings).recipe.train.precision


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("hardware", [False, True])
def test_auto_is_bf16_where_the_hardware_has_it_and_the_networks_convolve(family, hardware, monkeypatch) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda: hardware)
    settings = tiny.settings(family)
    assert settings.train.precision == "auto"
    convolves = any(isinstance(layer, nn.Conv2d) for layer in build(settings).modules())
    assert convolves == (family != "gan")
    assert chosen(settings) == ("bf16" if hardware and convolves else "float32")


@pytest.mark.parametrize("asked", ["float32", "bf16"])
def test_what_is_asked_for_is_taken(asked, monkeypatch) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda: asked == "float32")
    found = recipe.read(catalogue.find("gan-digits"), [f"train.precision={asked}"])
    assert chosen(models.validate(found)) == asked


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


def test_a_run_is_continued_in_the_precision_that_it_began_with(tmp_path, monkeypatch) -> None:
    file, out = tiny.write("dcgan", tmp_path), tmp_path / "run"
    monkeypatch.setattr(precision, "has_bf16", lambda: True)
    assert run_gancli("train", file, "--out", out, "-q") == 0
    monkeypatch.setattr(precision, "has_bf16", lambda: False)
    for steps, words in enumerate([("train",), ("train", file)], tiny.TRAIN["steps"] + 1):
        assert run_gancli(*words, "--resume", out, "-q", "--set", f"train.steps={steps}") == 0
        assert Run(out).recipe().train.precision == "bf16"


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
