"""CycleGAN: two translators that learn from images without partners, each the other's way back.

Jun-Yan Zhu, Taesung Park, Phillip Isola and Alexei A. Efros, Unpaired Image-to-Image Translation using Cycle-Consistent
Adversarial Networks, 2017, https://arxiv.org/abs/1703.10593. Sizes, biases and defaults are those of the authors'
PyTorch code. What belongs to the domain a, or leads to it, is called a.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from gancli.gan import losses
from gancli.gan.adversarial import Batch, Terms
from gancli.gan.image_to_image import FromImages
from gancli.gan.layers import InstanceNorm, Residual, initialise, prepared
from gancli.gan.pool import Pool
from gancli.models.cyclegan.recipe import Recipe
from gancli.models.pix2pix import model as pix2pix

DOMAINS = ("a", "b")


class Generator(nn.Module):
    """Convolutions around residual blocks: N×C×H×W in [-1, 1] to the same, H and W multiples of 4 from 8 on."""

    def __init__(self, channels: int, width: int, blocks: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(3),
            *normalised(nn.Conv2d(channels, width, 7), width),
            *normalised(nn.Conv2d(width, 2 * width, 3, 2, 1), 2 * width),
            *normalised(nn.Conv2d(2 * width, 4 * width, 3, 2, 1), 4 * width),
            *(_residual(4 * width) for _ in range(blocks)),
            *normalised(nn.ConvTranspose2d(4 * width, 2 * width, 3, 2, 1, output_padding=1), 2 * width),
            *normalised(nn.ConvTranspose2d(2 * width, width, 3, 2, 1, output_padding=1), width),
            nn.ReflectionPad2d(3),
            nn.Conv2d(width, channels, 7),
            nn.Tanh(),
        )
        prepared(self, initialise)

    def forward(self, images: Tensor) -> Tensor:
        translations: Tensor = self.layers(images)
        return translations


class Discriminator(pix2pix.Discriminator):
    """The PatchGAN of pix2pix with InstanceNorm, and the pool of the translations that it is shown.

    The pool belongs here because only this player's turn draws from it: what is sampled needs neither.
    """

    def __init__(self, shape: tuple[int, int, int], width: int, layers: int, pool_size: int) -> None:
        super().__init__(shape[0], width, layers, "instance")
        self.pool = Pool(pool_size, shape)


class Model(FromImages):
    """The players of CycleGAN: two generators on one side, two discriminators on the other."""

    recipe: Recipe
    generator: nn.ModuleDict
    discriminator: nn.ModuleDict
    generator_first = True
    multiple = 4
    smallest = 8

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        shape, width = recipe.data.shape, recipe.width
        blocks = recipe.blocks or (9 if min(recipe.data.size) >= 256 else 6)
        self.generator = nn.ModuleDict({name: Generator(shape[0], width, blocks) for name in DOMAINS})
        self.discriminator = nn.ModuleDict(
            {name: Discriminator(shape, width, recipe.discriminator_layers, recipe.pool_size) for name in DOMAINS}
        )

    @property
    def targets(self) -> tuple[str, ...]:
        """B and A."""
        return ("b", "a")

    def generate(self, batch: Batch) -> dict[str, Tensor]:
        """Translations by the domain they lead to, and what they become on the way back."""
        to_a, to_b = self.generator["a"], self.generator["b"]
        b, a = to_b(batch["a"]), to_a(batch["b"])
        return {"a": a, "b": b, "cycle_a": to_a(b), "cycle_b": to_b(a)}

    def generator_loss(self, batch: Batch, fakes: dict[str, Tensor]) -> Terms:
        """Equation 3 of the paper and the identity loss of section 5.2, in the authors' code's weights."""
        recipe, terms = self.recipe, Terms()
        for name, weight in (("a", recipe.lambda_a), ("b", recipe.lambda_b)):
            # The authors halve the discriminator's squares but not the generator's.
            judged = self.discriminator[name](fakes[name])
            terms[f"gan_{name}"] = 2 * losses.generator("least-squares", judged)
            terms[f"cycle_{name}"] = weight * l1_loss(fakes[f"cycle_{name}"], batch[name])
            if recipe.lambda_identity:
                kept = self.generator[name](batch[name])
                terms[f"identity_{name}"] = weight * recipe.lambda_identity * l1_loss(kept, batch[name])
        return terms

    def discriminator_loss(self, batch: Batch, fakes: dict[str, Tensor]) -> Terms:
        """Least squares on images of each domain and translations from its pool."""
        terms, reals, pooled = Terms(), [], []
        for name in DOMAINS:
            discriminator = self.discriminator[name]
            assert isinstance(discriminator, Discriminator)
            real = discriminator(batch[name])
            fake = discriminator(discriminator.pool(fakes[name]))
            both = losses.discriminator("least-squares", real, fake)
            terms[name] = both["real"] + both["fake"]
            reals.append(losses.probability("least-squares", real))
            pooled.append(losses.probability("least-squares", fake))
        self.watch_probabilities(torch.cat(reals), torch.cat(pooled))
        return terms

    def translated(self, images: Tensor, target: str, seeds: Sequence[int]) -> Tensor:
        """The translations; nothing is drawn."""
        assert isinstance(self.sampler, nn.ModuleDict)
        translations: Tensor = self.sampler[target](images)
        return translations

    def columns(self, inputs: Batch) -> Sequence[Tensor]:
        """A, A turned into B, and back; B, B turned into A, and back."""
        shown: list[Tensor] = []
        for here, there in (("a", "b"), ("b", "a")):
            seeds = range(len(inputs[here]))
            turned = self.translate(inputs[here], there, seeds)
            shown += [inputs[here], turned, self.translate(turned, here, seeds)]
        return shown


def normalised(convolution: nn.Module, channels: int) -> list[nn.Module]:
    """A convolution with InstanceNorm and ReLU."""
    return [convolution, InstanceNorm(channels), nn.ReLU(inplace=True)]


def _residual(channels: int) -> Residual:
    first = [nn.ReflectionPad2d(1), *normalised(nn.Conv2d(channels, channels, 3), channels)]
    return Residual(*first, nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), InstanceNorm(channels))
