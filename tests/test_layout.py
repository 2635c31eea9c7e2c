"""Features stay channels last from the first convolution to the last, as convolutions are fastest.

All but StarGAN's discriminator, which says why.
"""

import pytest
import tiny
import torch
from commands import run_gancli
from torch import nn

from gancli import models
from gancli.gan.adversarial import Adversarial
from gancli.gan.layers import InstanceNorm
from gancli.recipe.sections import Recipe
from gancli.training import train as training

CONVOLUTIONS = nn.Conv2d | nn.ConvTranspose2d


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("family", [name for name in models.names() if name != "gan"])
def test_convolutions_are_given_features_channels_last(family, precision, tmp_path, monkeypatch) -> None:
    seen: dict[int, str] = {}
    wrong: set[str] = set()

    def look(layer: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        if isinstance(layer, CONVOLUTIONS) and layer.training and layer not in exempt:
            seen[id(layer)] = str(layer)
            if not given[0].is_contiguous(memory_format=torch.channels_last):
                wrong.add(f"{layer} of {tuple(given[0].shape)}")
            assert layer.weight.is_contiguous(memory_format=torch.channels_last)

    exempt: set[nn.Module] = set()
    build = training.build

    def build_and_exempt(recipe: Recipe) -> Adversarial:
        model = build(recipe)
        exempt.update(model.discriminator.modules() if family == "stargan" else ())
        return model

    monkeypatch.setattr(training, "build", build_and_exempt)
    handle = nn.modules.module.register_module_forward_pre_hook(look)
    try:
        # A single channel has no layout.
        words = ("-q", "--set", "train.steps=3", "--set", "width=4", "--set", f"train.precision={precision}")
        assert run_gancli("train", tiny.write(family, tmp_path), "--out", tmp_path / "run", *words) == 0
    finally:
        handle.remove()
    assert seen and not wrong


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("count", [1, 3])
def test_instance_norm_is_torch_s(count, affine) -> None:
    ours, theirs = InstanceNorm(5, affine=affine), nn.InstanceNorm2d(5, affine=affine)
    results = []
    for norm in (ours, theirs):
        for parameter in norm.parameters():
            parameter.data.copy_(torch.linspace(1, 2, 5))
        given = torch.randn(count, 5, 6, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
        made = norm(given.contiguous(memory_format=torch.channels_last))
        made.pow(3).sum().backward()
        results.append([made, given.grad, *(p.grad for p in norm.parameters())])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
