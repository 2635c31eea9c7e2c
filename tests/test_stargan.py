"""StarGAN and StarGAN v2: the papers' networks, turns and weights; what a target means; styles."""

import json

import pytest
import tiny
import torch
from commands import run_gancli
from torch import nn

from gancli import models
from gancli.data.batches import Batches
from gancli.data.dataset import load
from gancli.data.prepare import prepare
from gancli.errors import UserError
from gancli.gan import losses
from gancli.models.stargan2 import model as stargan2
from gancli.recipe import reading
from gancli.runs.run import Run
from gancli.training.train import build

COLOURS = ("blue", "green", "red", "yellow")
ATTRIBUTES = ["Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young"]
SMALL = {
    "stargan": {"width": 4, "blocks": 1},
    "stargan2": {"width": 4, "largest_width": 8, "style_dim": 4, "latent_dim": 4, "mapping_width": 8},
}


def settings(family: str, size: int = 32, **more):
    values = {"model": family, "data": {"source": "shapes:40", "image_size": size}, "train": {"batch_size": 8}}
    return models.validate(reading.parse(json.dumps(values | more), "here")).resolved(COLOURS)


def small(family: str, **more):
    return build(settings(family, **SMALL[family], **more))


def with_attributes(**more):
    data = {"source": "shapes:40", "image_size": 32, "attributes": ATTRIBUTES}
    return build(
        models.validate(reading.parse(json.dumps({"model": "stargan", "data": data, **SMALL["stargan"]}), "x"))
    )


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def test_the_networks_are_the_papers() -> None:
    """Of the sizes that the official models have: at 128 pixels with 5 attributes, at 256 pixels with 2 domains."""
    with torch.device("meta"):
        data = {"source": "x", "image_size": 128, "attributes": ATTRIBUTES}
        first = models.load("stargan").Model(
            models.validate(reading.parse(json.dumps({"model": "stargan", "data": data}), "x"))
        )
        values = {"model": "stargan2", "data": {"source": "x", "image_size": 256}}
        second = stargan2.Model(models.validate(reading.parse(json.dumps(values), "x")).resolved(("cat", "dog")))
    assert (count(first.generator), count(first.discriminator)) == (8_430_528, 44_762_048)
    players = second.generator
    assert count(players.generator) == 33_892_995
    assert count(players.mapping) == 2_438_272
    assert count(players.encoder) == 20_916_928
    assert count(second.discriminator) == 20_852_290


def test_the_defaults_are_the_papers() -> None:
    first, second = settings("stargan", 128), settings("stargan2", 256, train={})
    assert (first.learning_rate, first.betas, first.critic_steps) == (1e-4, (0.5, 0.999), 5)
    assert (first.gradient_penalty, first.lambda_classification, first.lambda_reconstruction) == (10, 1, 10)
    assert (first.train.steps, first.train.decay_steps, first.train.ema) == (200_000, 100_000, None)
    assert models.schema("stargan").model_fields["train"].default.batch_size == 16
    assert (second.learning_rate, second.mapping_learning_rate, second.betas) == (1e-4, 1e-6, (0, 0.99))
    assert (second.weight_decay, second.r1) == (1e-4, 1)
    assert (second.lambda_style, second.lambda_diversity, second.lambda_cycle) == (1, 1, 1)
    # Two steps are one of the paper's 100,000 iterations, in each of which the average decays by .999.
    assert (second.train.steps, second.diversity_steps, second.train.decay_steps) == (200_000, 200_000, 0)
    assert second.train.batch_size == 8 and second.train.ema**2 == pytest.approx(0.999)


@pytest.mark.parametrize("size", [32, 48, 64, 128, 256, [32, 64]])
@pytest.mark.parametrize("family", ["stargan", "stargan2"])
def test_any_size_keeps_its_shape(family, size) -> None:
    height, width = size if isinstance(size, list) else (size, size)
    data = {"source": "x", "image_size": size}
    model = build(settings(family, **SMALL[family], data=data)).eval()
    images, domains = torch.rand(2, 3, height, width), torch.tensor([1, 3])
    made = model.translate(images, "red", [0, 1])
    assert made.shape == images.shape and made.abs().max() <= 1
    if family == "stargan":
        patches, logits = model.discriminator(images)
        assert logits.shape == (2, 4) and 2 <= patches.shape[-2] <= 4
    else:
        assert model.discriminator(images, domains).shape == (2,)
        assert model.styles_of(images, "red").shape == (2, 4)


@pytest.mark.parametrize(("family", "size"), [("stargan", 14), ("stargan", 100), ("stargan2", 16), ("stargan2", 100)])
def test_sizes_that_cannot_be_built_are_refused(family, size) -> None:
    with pytest.raises(UserError, match=r"data\.image_size: "):
        settings(family, size)


@pytest.mark.parametrize("labels", [torch.tensor([2, 0, 1, 1]), torch.eye(4, 3, dtype=torch.uint8)])
def test_the_classification_is_the_chance_of_the_labels(labels) -> None:
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    if labels.ndim == 1:
        chance = logits.softmax(1)[range(4), labels].log()
    else:
        chance = torch.where(labels.bool(), logits.sigmoid(), 1 - logits.sigmoid()).log().sum(1)
    assert torch.isclose(losses.classification(logits, labels), -chance.mean())
    assert torch.autograd.gradcheck(lambda x: losses.classification(x, labels), (logits,))


@pytest.mark.parametrize("network", ["Generator", "Mapping", "StyleEncoder", "Discriminator"])
def test_gradients_of_the_styled_networks_agree_with_finite_differences(network) -> None:
    """Of the styles and the noise too; through R1, the second derivatives of the discriminator."""
    domains = torch.tensor([1, 0])
    images = torch.randn(2, 1, 16, 16, dtype=torch.float64)
    if network == "Generator":
        made = stargan2.Generator(1, (2, 3), 3).double()
        styles = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda s: made(images, s).mean((1, 2, 3)), (styles,))
    elif network == "Mapping":
        mapping = stargan2.Mapping(3, 4, 2, 2).double()
        assert torch.autograd.gradcheck(
            lambda z: mapping(z, domains), (torch.randn(2, 3, requires_grad=True).double(),)
        )
    elif network == "StyleEncoder":
        encoder = stargan2.StyleEncoder((1, 16, 16), (2, 3, 3), 2, 2).double()
        weight = encoder.shrink[0].weight
        assert torch.autograd.gradcheck(
            lambda w: torch.func.functional_call(encoder, {"shrink.0.weight": w}, (images, domains)),
            (weight.detach().requires_grad_(),),
        )
    else:
        judge = stargan2.Discriminator((1, 16, 16), (2, 3, 3), 2).double()

        def penalty(weight: torch.Tensor) -> torch.Tensor:
            return losses.zero_centred_penalty(
                lambda x: torch.func.functional_call(judge, {"shrink.0.weight": weight}, (x, domains)), images
            )

        assert torch.autograd.gradcheck(penalty, (judge.shrink[0].weight.detach().requires_grad_(),))


def first_batch(model, **more):
    dataset = load(model.recipe.data)
    batch = next(iter(Batches(dataset, 8, 0, referenced=model.referenced)))
    return prepare(batch, model.recipe.data, training=False)


def test_targets_are_a_permutation_of_the_batch_s_labels() -> None:
    model = small("stargan")
    batch = first_batch(model)
    orders = set()
    for _ in range(20):
        fakes = model.generate(batch)
        assert torch.equal(fakes["target"].sort().values, batch["label"].sort().values)
        assert torch.equal(fakes["image"], model.generator(batch["image"], model.told(fakes["target"])))
        orders.add(tuple(fakes["target"].tolist()))
    assert len(orders) > 10


def test_styles_come_from_noise_and_from_references_in_turn() -> None:
    """With references only the generator is updated: the other two get no gradient at all."""
    model = small("stargan2", critic_steps=2)
    batch = first_batch(model)
    told = []
    for model.step in range(8):
        model.zero_grad()
        fakes = model.generate(batch)
        model.generator_loss(batch, fakes)["style"].backward()
        players = model.generator
        given = [any(p.grad is not None for p in net.parameters()) for net in (players.mapping, players.encoder)]
        assert given == [not model.with_references] * 2
        assert all(p.grad is not None for p in players.generator.parameters())
        told.append(model.with_references)
    assert told == [False, False, True, True, False, False, True, True], "a turn of the generator each"


def test_in_reference_steps_styles_are_those_of_the_references() -> None:
    model = small("stargan2")
    batch = first_batch(model)
    model.step = 1
    fakes, encoder = model.generate(batch), model.generator.encoder
    assert torch.equal(fakes.styles, encoder(batch["reference"], batch["reference_label"]))
    assert torch.equal(fakes.others, encoder(batch["other_reference"], batch["reference_label"]))


def test_the_diversity_fades_by_the_step() -> None:
    model = small("stargan2", lambda_diversity=2, diversity_steps=8, train={"steps": 16})
    weights = []
    for model.step in (0, 2, 4, 8, 12):
        weights.append(model.diversity_weight)
    assert weights == [2, 1.5, 1, 0, 0]
    assert small("stargan2", train={"steps": 16}).recipe.diversity_steps == 16


def test_the_mapping_network_learns_slower() -> None:
    model = small("stargan2")
    optimizer = model.optimizer("generator")
    fast, slow = optimizer.param_groups
    mapping = [*model.generator.mapping.parameters()]
    assert (fast["lr"], slow["lr"], fast["weight_decay"], slow["weight_decay"]) == (1e-4, 1e-6, 1e-4, 1e-4)
    assert [id(p) for p in slow["params"]] == [id(p) for p in mapping]
    assert len(fast["params"]) + len(mapping) == len([*model.generator.parameters()])


def test_styles_are_functions_of_their_seeds_and_domains() -> None:
    model = small("stargan2").eval()
    with torch.inference_mode():
        assert torch.equal(model.styles("red", [3, 5])[1], model.styles("red", [5])[0])
        assert not torch.equal(model.styles("red", [3]), model.styles("blue", [3]))
    images = torch.rand(2, 3, 32, 32)
    one, two = model.translate(images, "red", [1, 2]), model.translate(images, "red", [2, 2])
    assert torch.allclose(one[1], two[1], atol=1e-5) and not torch.allclose(one[0], two[0], atol=1e-5)


@pytest.mark.parametrize(
    ("target", "changes"),
    [
        ("Male", {"Male": "1"}),
        ("Male=0,Young=flip", {"Male": "0", "Young": "flip"}),
        ("Blond_Hair", {"Blond_Hair": "1", "Black_Hair": "0", "Brown_Hair": "0"}),
        ("Blond_Hair=0", {"Blond_Hair": "0"}),
    ],
)
def test_attributes_are_changed_by_name(target, changes) -> None:
    model = with_attributes()
    assert model.changes(target) == changes
    labels = torch.tensor([[1, 0, 0, 1, 1], [0, 0, 1, 0, 0]], dtype=torch.float32)
    changed = model.changed(labels, model.changes(target))
    for place, name in enumerate(ATTRIBUTES):
        expected = {"0": [0, 0], "1": [1, 1], "flip": (1 - labels[:, place]).tolist()}
        assert changed[:, place].tolist() == expected.get(changes.get(name), labels[:, place].tolist())


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("Blond", "knows no 'Blond': did you mean Blond_Hair?"),
        ("", "knows no '': there are Black_Hair, Blond_Hair, Brown_Hair, Male, Young"),
        ("Blond_Hair,Black_Hair", "an image is Blond_Hair or Black_Hair, not both"),
        ("Male,Male=0", "Male is asked for both ways"),
        ("Male=yes", "Male=yes: expected an attribute, or one with 0, 1 or flip"),
        ("Male=", "Male=: expected"),
    ],
)
def test_attributes_that_make_no_sense_are_one_line(target, message) -> None:
    with pytest.raises(UserError, match=r"^--domain") as raised:
        with_attributes().changes(target)
    assert message in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("rde", "knows no 'rde': did you mean red?"),
        ("red,blue", "an image is red or blue, not both"),
        ("red=0", "expected the name of a domain"),
    ],
)
def test_domains_that_make_no_sense_are_one_line(target, message) -> None:
    with pytest.raises(UserError, match=r"^--domain") as raised:
        small("stargan").changes(target)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_what_a_target_leaves_open_is_read_by_the_discriminator() -> None:
    model = with_attributes().eval()
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    model.discriminator.classify.weight.data.mul_(1000)
    seen = model.attributes_of(images)
    expected = model.changed(seen, {"Male": "1"})
    with torch.inference_mode():
        assert torch.equal(model.translate(images, "Male", [0] * 3), model.generator(images, expected))
    del model.discriminator
    with pytest.raises(
        UserError, match="name the run, or every attribute, as in Black_Hair=0,Blond_Hair=0,Brown_Hair=0,Male=1"
    ):
        model.translate(images, "Male", [0] * 3)
    named = "Black_Hair=0,Blond_Hair,Brown_Hair=0,Male=1,Young=0"
    labels = torch.tensor([[0, 1, 0, 1, 0]]).expand(3, -1).float()
    with torch.inference_mode():
        assert torch.equal(model.translate(images, named, [0] * 3), model.generator(images, labels))


def test_a_resume_does_not_restart_the_diversity(tmp_path) -> None:
    """Its weight is halved after half of the steps, whether the training was cut there or not."""
    options = (
        "diversity_steps=8",
        "train.log_every=1",
        "train.decay_steps=0",
        "critic_steps=1",
        "largest_width=8",
        "mapping_width=8",
        "style_dim=4",
    )
    words = [word for option in options for word in ("--set", option)]
    path = tiny.write("stargan2", tmp_path)
    for name, steps in (("whole", 8), ("cut", 4)):
        assert run_gancli("train", path, "--out", tmp_path / name, "-q", "--set", f"train.steps={steps}", *words) == 0
    assert run_gancli("train", "--resume", tmp_path / "cut", "-q", "--set", "train.steps=8") == 0
    whole, cut = (
        [
            {k: v for k, v in row.items() if k.startswith(("generator", "disc"))}
            for row in Run(tmp_path / name).metrics()
        ]
        for name in ("whole", "cut")
    )
    assert cut == whole and len(whole) == 8 and all(row["generator_diversity"] < 0 for row in whole)
    assert Run(tmp_path / "cut").recipe().diversity_steps == 8
