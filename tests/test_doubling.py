"""DCGAN's and WGAN's networks: their sizes and parameters, their rules, and what cannot be built."""

import pytest
import torch
from torch import nn

from gancli import models
from gancli.models.dcgan import model as dcgan
from gancli.models.dcgan.recipe import RecipeOnGrid, base_grid
from gancli.recipe import reading
from gancli.recipe.sections import RecipeFromNoise
from gancli.training.train import build

FAMILIES = [name for name in models.names() if issubclass(models.schema(name), RecipeOnGrid)]


def settings(family: str, **values):
    document = reading.parse(f"model: {family}\ndata: {{source: digits}}", "here")
    over = reading.Document(values)
    document.update(over)
    return models.validate(document)


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("family", ["dcgan", "wgan"])
def test_parameters_are_the_reference_s(family) -> None:
    model = build(settings(family))
    assert parameters(model.generator) == 3_576_704
    assert parameters(model.discriminator) == 2_765_568


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        ((8, 8), (4, 4, 1)),
        ((28, 28), (7, 7, 2)),
        ((32, 32), (4, 4, 3)),
        ((64, 96), (4, 6, 4)),
        ((80, 40), (10, 5, 3)),
        ((256, 256), (4, 4, 6)),
    ],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_doubled_size_is_built(family, size, grid) -> None:
    assert base_grid(*size) == grid
    model = build(settings(family, width=2, data={"image_size": list(size), "channels": 1}))
    images = model.generator(torch.randn(3, 100))
    assert images.shape == (3, 1, *size) and images.abs().max() <= 1
    assert model.discriminator(images).shape == (3,)


@pytest.mark.parametrize(("fewest", "size", "layers"), [(4, 32, 3), (2, 32, 4), (1, 32, 5), (2, 24, 3)])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_smaller_grid_makes_both_players_deeper(family, fewest, size, layers) -> None:
    model = build(settings(family, width=2, grid=fewest, data={"image_size": size, "channels": 1}))
    images = model.generator(torch.randn(3, 100))
    assert images.shape == (3, 1, size, size) and model.discriminator(images).shape == (3,)
    halvings = [m for m in model.discriminator.modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
    assert len(halvings) == len(model.generator.grow) == layers


@pytest.mark.parametrize(("fewest", "nearest"), [(2, "24×24 or 32×32"), (1, "16×16 or 32×32")])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_grid_that_does_not_grow_to_the_images_is_one_mistake(family, fewest, nearest) -> None:
    with pytest.raises(reading.RecipeError) as caught:
        settings(family, grid=fewest, data={"image_size": 28})
    (mistake,) = caught.value.mistakes
    assert mistake.message.startswith("grid: ") and mistake.message.endswith(nearest)


@pytest.mark.parametrize(
    ("size", "nearest"),
    [(30, "28×28 or 32×32"), (100, "96×96 or 112×112"), ([64, 178], "64×176 or 64×192"), (7, "8×8"), (1, "8×8")],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_other_sizes_are_one_mistake_that_names_the_nearest(family, size, nearest) -> None:
    with pytest.raises(reading.RecipeError) as caught:
        settings(family, data={"image_size": size})
    (mistake,) = caught.value.mistakes
    assert mistake.message.startswith("data.image_size: ") and mistake.message.endswith(nearest)
    for name in nearest.split(" or "):
        base_grid(*map(int, name.split("×")))


def test_the_rules_of_the_paper() -> None:
    model = build(settings("dcgan"))
    kinds = [type(m) for m in model.modules() if not list(m.children())]
    assert not {nn.Linear, nn.MaxPool2d, nn.AvgPool2d} & set(kinds)
    leaves = [m for m in model.generator.modules() if not list(m.children())]
    assert isinstance(leaves[-1], nn.ConvTranspose2d) and not isinstance(model.discriminator.shrink[1], nn.BatchNorm2d)
    assert model.generator(1e3 * torch.randn(4, 100)).abs().max() <= 1
    weights = torch.cat([m.weight.flatten() for m in model.modules() if isinstance(m, nn.Conv2d)])
    assert weights.std().item() == pytest.approx(0.02, rel=0.01) and abs(weights.mean().item()) < 1e-4
    gains = torch.cat([m.weight for m in model.modules() if isinstance(m, nn.BatchNorm2d)])
    assert gains.mean().item() == pytest.approx(1, abs=0.005) and gains.std().item() == pytest.approx(0.02, rel=0.2)


def test_a_class_has_gains_and_biases_of_its_own_in_the_generator() -> None:
    network = dcgan.Generator(100, 4, (1, 8, 8), classes=3)
    noise, labels = torch.randn(6, 100), torch.tensor([0, 1, 2, 0, 1, 2])
    before = network(noise, labels)
    with torch.no_grad():
        network.grow[0].gain.weight[1] *= 2
        network.grow[0].bias.weight[2] += 1
    changed = (network(noise, labels) - before).abs().flatten(1).amax(1) > 1e-6
    assert changed.tolist() == [False, True, True, False, True, True]


def test_spectral_normalisation_bounds_every_layer() -> None:
    network = dcgan.Discriminator((1, 16, 16), 4, "spectral")
    for _ in range(30):  # its power iteration goes one step further each time
        network(torch.randn(4, 1, 16, 16))
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert len(layers) == 3 and not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, rel=1e-2)


def test_a_class_is_told_by_projection() -> None:
    """The outputs for two classes differ by the inner product of the features with the difference of their vectors."""
    network = dcgan.Discriminator((1, 8, 8), 4, "none", classes=3).eval()
    images = torch.randn(2, 1, 8, 8)
    one, two = network(images, torch.tensor([0, 0])), network(images, torch.tensor([2, 2]))
    vectors = network.judge.weight.flatten(1)
    expected = network.shrink(images).flatten(1) @ (vectors[3] - vectors[1])
    assert torch.allclose(two - one, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("family", "values", "said"),
    [
        ("dcgan", {"r1": 1}, "r1: BatchNorm mixes"),
        ("wgan", {"gradient_penalty": 10, "discriminator_norm": "batch"}, "discriminator_norm: BatchNorm mixes"),
        ("dcgan", {"loss": "hinged"}, "loss: expected"),
        ("wgan", {"augment": ["color"]}, "augment.0: expected"),
    ],
)
def test_what_does_not_go_together_is_refused(family, values, said) -> None:
    with pytest.raises(reading.RecipeError, match=said):
        settings(family, **values)


@pytest.mark.parametrize(
    "family", [name for name in models.names() if issubclass(models.schema(name), RecipeFromNoise)]
)
def test_a_batch_of_one_is_refused(family) -> None:
    with pytest.raises(reading.RecipeError, match=r"train\.batch_size: BatchNorm"):
        settings(family, train={"batch_size": 1})


# WGAN.


def authors_schedule(turns: int) -> list[int]:
    """The step of each turn of the generator, by the loop in the authors' code."""
    steps, found = 0, []
    for turn in range(turns):
        steps += 100 if turn < 25 or turn % 500 == 0 else 5
        found.append(steps)
    return found


def test_the_warm_up_is_the_authors() -> None:
    model = build(settings("wgan", width=1, data={"image_size": 8}))
    expected = authors_schedule(1200)
    assert [
        s for s in range(1, expected[-1] + 1) if model.generator_turns(s) > model.generator_turns(s - 1)
    ] == expected


@pytest.mark.parametrize("critic_steps", [1, 3])
def test_without_warm_up_the_generator_plays_on_every_kth_step(critic_steps) -> None:
    model = build(settings("wgan", width=1, warm_up=None, critic_steps=critic_steps, data={"image_size": 8}))
    assert [model.generator_turns(steps) for steps in range(50)] == [steps // critic_steps for steps in range(50)]


def test_a_gradient_penalty_brings_its_paper_s_defaults_but_overrides_nothing() -> None:
    keys = ("learning_rate", "betas", "warm_up", "discriminator_norm")
    plain, penalised = settings("wgan"), settings("wgan", gradient_penalty=10)
    assert [getattr(plain, key) for key in keys] == [5e-5, (0.5, 0.999), 100, "batch"]
    assert [getattr(penalised, key) for key in keys] == [1e-4, (0.0, 0.9), None, "none"]
    asked = settings("wgan", gradient_penalty=10, learning_rate=5e-5, betas=[0.5, 0.9], warm_up=100)
    assert [getattr(asked, key) for key in keys] == [5e-5, (0.5, 0.9), 100, "none"]
    again = models.validate(reading.parse(reading.dump(penalised), "again"))
    assert again.model_dump() == penalised.model_dump()


def test_clipping_goes_with_rmsprop_and_a_penalty_with_adam() -> None:
    small = {"width": 2, "data": {"image_size": 8}}
    clipped, penalised = build(settings("wgan", **small)), build(settings("wgan", gradient_penalty=10, **small))
    assert isinstance(clipped.optimizer("discriminator"), torch.optim.RMSprop)
    assert isinstance(penalised.optimizer("generator"), torch.optim.Adam)
    images = torch.rand(4, 3, 8, 8)
    before = [p.clone() for p in penalised.discriminator.parameters()]
    for model, terms in ((clipped, {"real", "fake"}), (penalised, {"real", "fake", "penalty"})):
        assert set(model.discriminator_loss({"image": images}, images)) == terms
    assert max(p.abs().max().item() for p in clipped.discriminator.parameters()) <= 0.01
    assert all(torch.equal(*pair) for pair in zip(before, penalised.discriminator.parameters(), strict=True))


@pytest.mark.parametrize("every", [1, 4])
def test_a_lazy_penalty_weighs_the_same_over_time(every) -> None:
    small = {"width": 2, "data": {"image_size": 8}, "discriminator_norm": "none"}
    model = build(settings("dcgan", r1=2, penalty_every=every, **small))
    images = torch.rand(4, 3, 8, 8)
    found = []
    for model.step in range(8):
        found.append(model.discriminator_loss({"image": images}, images).get("r1", torch.tensor(0.0)).item())
    assert sum(value > 0 for value in found) == 8 // every
    model.step = 0
    once = build(settings("dcgan", r1=2, **small)).discriminator_loss({"image": images}, images)["r1"].item()
    assert sum(found) == pytest.approx(8 * once, rel=1e-4)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_a_discriminator_s_signal_does_not_fade(norm) -> None:
    """Whether BatchNorm or the weights keep it: an untrained one answers two images differently."""
    torch.manual_seed(0)
    network = dcgan.Discriminator((3, 64, 64), 16, norm)
    outputs = network(torch.randn(64, 3, 64, 64))
    assert 0.1 < outputs.std() < 10
