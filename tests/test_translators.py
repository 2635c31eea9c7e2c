"""Pix2Pix and CycleGAN: their networks are the papers', their pools fill and swap, their translations stand alone."""

from typing import Any

import pytest
import tiny
import torch
import yaml
from torch import Tensor, nn

from gancli import models
from gancli.gan.image_to_image import FromImages
from gancli.models.cyclegan import model as cyclegan
from gancli.models.pix2pix import model as pix2pix
from gancli.recipe import reading
from gancli.training.train import build

SMALL = {"source": "shapes:24", "image_size": 24}
SIXTEEN = {"source": "shapes:24", "image_size": 16}
TRANSLATORS = [name for name in models.names() if issubclass(models.load(name).Model, FromImages)]


def settings(**values: Any) -> Any:
    return models.validate(reading.parse(yaml.safe_dump({"data": {"source": "shapes:24"}} | values), "here"))


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def images(count: int, size: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (lambda: pix2pix.Generator(3, 64, 8, "batch", 0.5), 54_413_955),
        (lambda: pix2pix.Discriminator(6, 64, 3, "batch"), 2_768_705),
        (lambda: cyclegan.Generator(3, 64, 9), 11_378_179),
        (lambda: cyclegan.Generator(3, 64, 6), 7_837_699),
        (lambda: cyclegan.Discriminator((3, 256, 256), 64, 3, 50), 2_764_737),
    ],
)
def test_the_networks_have_as_many_parameters_as_the_authors(network, count) -> None:
    with torch.device("meta"):
        assert parameters(network()) == count


@pytest.mark.parametrize(("size", "blocks"), [(128, 6), (256, 9)])
def test_defaults_at_the_papers_sizes(size, blocks) -> None:
    with torch.device("meta"):
        cycle = models.load("cyclegan").Model(settings(model="cyclegan", data={"source": "shapes", "image_size": size}))
        pixels = models.load("pix2pix").Model(settings(model="pix2pix", data={"source": "shapes", "image_size": size}))
    assert sum(isinstance(layer, cyclegan.Residual) for layer in cycle.generator["a"].layers) == blocks
    assert pixels.multiple == size
    dropouts = [layer for layer in pixels.generator.modules() if isinstance(layer, nn.Dropout)]
    assert len(dropouts) == {128: 2, 256: 3}[size]
    for model in (cycle, pixels):
        assert (model.recipe.learning_rate, model.recipe.betas) == (2e-4, (0.5, 0.999))
        assert (model.recipe.train.batch_size, model.recipe.train.ema) == (1, None)
        assert model.recipe.train.decay_steps == model.recipe.train.steps // 2
    assert pixels.recipe.lambda_l1 == 100
    weights = cycle.recipe
    assert (weights.lambda_a, weights.lambda_b, weights.lambda_identity, weights.pool_size) == (10, 10, 0.5, 50)


def test_a_patch_is_70_pixels_wide() -> None:
    discriminator = pix2pix.Discriminator(3, 4, 3, "instance")
    for layer in list(discriminator.judge):
        if isinstance(layer, nn.InstanceNorm2d):
            layer.forward = lambda features: features  # else every pixel has a part in the mean
    seen = images(1, 128).requires_grad_()
    logits = discriminator(seen)
    logits[0, 0, 7, 7].backward()
    rows = seen.grad.abs().sum((0, 1, 3)).nonzero()
    assert logits.shape == (1, 1, 14, 14) and rows.max() - rows.min() + 1 == 70


def test_the_losses_are_the_papers() -> None:
    """Of the terms, weighted, from what the networks say; computed here in another way."""
    model = build(settings(model="cyclegan", width=2, blocks=1, lambda_a=3, lambda_b=5, data=SMALL))
    batch = {"a": images(1, 24), "b": images(1, 24, seed=1)}
    fakes = model.generate(batch)
    terms = model.generator_loss(batch, fakes)
    assert torch.allclose(fakes["cycle_a"], model.generator["a"](model.generator["b"](batch["a"])))
    assert torch.isclose(terms["gan_b"], (model.discriminator["b"](fakes["b"]) - 1).square().mean())
    assert torch.isclose(terms["cycle_a"], 3 * (fakes["cycle_a"] - batch["a"]).abs().mean())
    assert torch.isclose(terms["identity_b"], 2.5 * (model.generator["b"](batch["b"]) - batch["b"]).abs().mean())
    judged = {name: (model.discriminator["a"](batch["a"]), model.discriminator["a"](fakes["a"])) for name in "a"}["a"]
    expected = ((judged[0] - 1).square().mean() + judged[1].square().mean()) / 2
    assert torch.isclose(model.discriminator_loss(batch, fakes)["a"], expected)

    paired = build(settings(model="pix2pix", width=2, data=SMALL)).train(False)
    fakes = paired.generate(batch)
    real, fake = (paired.discriminator(torch.cat([batch["a"], x], 1)).sigmoid() for x in (batch["b"], fakes))
    terms = paired.discriminator_loss(batch, fakes)
    assert torch.isclose(sum(terms.values()), -(real.log().mean() + (1 - fake).log().mean()) / 2)
    assert torch.isclose(paired.generator_loss(batch, fakes)["l1"], 100 * (fakes - batch["b"]).abs().mean())


def test_the_pool_fills_then_swaps_half() -> None:
    """The first 50 are shown as they come and stored; after that every other one is swapped for an older one."""
    torch.manual_seed(0)
    pool = cyclegan.Pool(50, (1, 1, 1))
    numbers = torch.arange(2000.0).reshape(-1, 1, 1, 1)
    first = torch.cat([pool(numbers[n : n + 7]) for n in range(0, 49, 7)] + [pool(numbers[49:50])])
    assert torch.equal(first, numbers[:50]) and torch.equal(pool.images, numbers[:50]) and pool.count == 50
    kept, swapped = [*range(50)], 0
    for n in range(50, 2000):
        shown = int(pool(numbers[n : n + 1]))
        if shown != n:
            kept.remove(shown)  # raises where it was not in the pool
            kept.append(n)
            swapped += 1
        assert sorted(kept) == sorted(int(x) for x in pool.images.flatten())
    assert swapped / 1950 == pytest.approx(0.5, abs=0.04)
    assert pool.count == 50


def test_without_a_pool_new_ones_are_shown() -> None:
    fakes = images(5, 8)
    assert torch.equal(cyclegan.Pool(0, (3, 8, 8))(fakes), fakes)


@pytest.mark.parametrize("family", TRANSLATORS)
def test_a_translation_does_not_depend_on_its_neighbours(family) -> None:
    model = build(tiny.settings(family)).eval()
    side = model.padded(3 * model.multiple)
    several = images(4, side)
    for target in model.targets:
        together = model.translate(several, target, [5, 6, 7, 8])
        assert together.shape == several.shape and together.abs().max() <= 1
        for n in range(4):
            alone = model.translate(several[n : n + 1], target, [5 + n])
            assert torch.allclose(alone[0], together[n], atol=1e-5)
    assert not model.generator.training


def test_dropout_is_the_seed_s_and_can_be_off() -> None:
    model = build(settings(model="pix2pix", width=2, data={"source": "shapes:24", "image_size": 128})).eval()
    one = images(1, 128)
    first, again, other = (model.translate(one, "b", [seed]) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.allclose(first, other, atol=1e-3)
    model.dropout = False
    assert torch.equal(model.translate(one, "b", [3]), model.translate(one, "b", [4]))


def test_on_is_what_training_does_to_a_batch_of_one() -> None:
    """The image's own statistics: the network in training mode, but for the noise."""
    model = build(settings(model="pix2pix", width=2, dropout=0, data=SMALL))
    one = images(1, 24)
    with torch.no_grad():
        assert torch.allclose(model.generator.train()(one), model.translate(one, "b", [0]), atol=1e-5)


@pytest.mark.parametrize("direction", ["a-to-b", "b-to-a"])
def test_a_direction_is_a_target(direction) -> None:
    model = build(settings(model="pix2pix", width=2, data=SMALL | {"direction": direction}))
    assert (model.origins(model.targets[0])[0], model.targets[0]) == tuple(direction.split("-to-"))


@pytest.mark.parametrize("family", TRANSLATORS)
@pytest.mark.parametrize("side", [1, 7, 8, 9, 100])
def test_a_side_is_padded_to_what_the_network_takes(family, side) -> None:
    model = build(tiny.settings(family)).eval()
    padded = model.padded(side)
    assert padded >= side and padded % model.multiple == 0 and padded - side < max(model.multiple, model.smallest)
    assert model.translate(images(1, padded), model.targets[0], [0]).shape[-1] == padded


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model": "pix2pix", "data": SMALL | {"image_size": 100}}, "data.image_size: expected multiples of 8"),
        ({"model": "cyclegan", "data": SMALL | {"image_size": 30}}, "the nearest is 28×28 or 32×32, not 30"),
        ({"model": "cyclegan", "discriminator_layers": 3, "data": SIXTEEN}, "discriminator_layers: expected at most 2"),
        ({"model": "pix2pix", "data": SMALL | {"source": "ring-2d"}}, "gives points"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_at_their_line(values, said) -> None:
    with pytest.raises(reading.RecipeError, match=said):
        settings(**values)
