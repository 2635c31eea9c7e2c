"""DCGAN: a generator of fractionally strided and a discriminator of strided convolutions, at any doubled size.

Alec Radford, Luke Metz and Soumith Chintala, Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks, 2015, https://arxiv.org/abs/1511.06434.
"""

from itertools import pairwise
from typing import Literal

import torch
from pydantic import ValidationInfo, field_validator
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gancli import losses
from gancli.adversarial import Batch, FromNoise, Terms
from gancli.data.settings import DoubledImages, base_grid
from gancli.models.gan import Tell
from gancli.schema import Count, NonNegative, RecipeOnGrid


class Recipe(RecipeOnGrid):
    """A GAN of convolutions, without pooling and without hidden dense layers."""

    model: Literal["dcgan"] = "dcgan"
    """The family: dcgan, Radford et al. 2015."""
    data: DoubledImages
    """The images to learn."""
    loss: Literal["non-saturating", "minimax", "hinge", "least-squares", "relativistic"] = "non-saturating"
    """What the players minimise: the GAN's losses (see gan), the hinge loss, least squares (Mao et al. 2017), or the
    relativistic pairing of each real with a fake (R3GAN, Huang et al. 2024)."""
    discriminator_norm: Literal["batch", "spectral", "none"] = "batch"
    """What keeps the discriminator in bounds: BatchNorm, spectral normalisation of its weights (Miyato et al. 2018),
    or nothing."""
    r1: NonNegative = 0
    """Weight of the penalty on the discriminator's gradient at reals (Mescheder et al. 2018), 0 for none."""
    r2: NonNegative = 0
    """Weight of the same penalty at fakes, 0 for none."""
    penalty_every: Count = 1
    """Steps between penalties; each then counts this many times (lazy regularisation, Karras et al. 2020: 16)."""

    @field_validator("r1", "r2")
    @classmethod
    def _penalised_one_by_one(cls, weight: float, info: ValidationInfo) -> float:
        if weight and info.data.get("discriminator_norm") == "batch":
            raise ValueError(
                "BatchNorm mixes the images whose gradients are penalised: set discriminator_norm to spectral or none"
            )
        return weight


class Generator(nn.Module):
    """N×latent_dim noise, and the classes' N indices where there are any, to N×C×H×W images in [-1, 1]."""

    def __init__(self, latent_dim: int, width: int, shape: tuple[int, ...], classes: int = 0) -> None:
        super().__init__()
        channels, height, pixels = shape
        rows, columns, doublings = base_grid(height, pixels)
        widths = [width * min(2**level, 8) for level in reversed(range(doublings))]
        self.tell = Tell(classes, latent_dim) if classes else None
        code = latent_dim * (2 if classes else 1)
        self.project = nn.ConvTranspose2d(code, widths[0], (rows, columns), bias=False)
        layers: list[nn.Module] = [nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)]
        for before, after in pairwise(widths):
            layers += [_doubling(before, after), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        self.grow = nn.Sequential(*layers, _doubling(widths[-1], channels), nn.Tanh())
        prepared(self)

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """The images."""
        code = noise if self.tell is None else self.tell(noise, labels)
        images: Tensor = self.grow(self.project(code[:, :, None, None]))
        return images


class Discriminator(nn.Module):
    """N×C×H×W images, and the classes' N indices where there are any, to N outputs.

    Classes are told by projection: to what all images are judged by, the inner product of the last feature map with a
    vector of the class is added (Miyato and Koyama, cGANs with Projection Discriminator, 2018, arXiv:1802.05637).
    """

    def __init__(
        self, shape: tuple[int, ...], width: int, norm: Literal["batch", "spectral", "none"], classes: int = 0
    ) -> None:
        super().__init__()
        channels, height, pixels = shape
        rows, columns, doublings = base_grid(height, pixels)
        widths = [width * min(2**level, 8) for level in range(doublings)]
        layers: list[nn.Module] = [_halving(channels, width), nn.LeakyReLU(0.2, inplace=True)]
        for before, after in pairwise(widths):
            layers.append(_halving(before, after))
            if norm == "batch":
                layers.append(nn.BatchNorm2d(after))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
        self.shrink = nn.Sequential(*layers)
        # One vector for all images, and after it one for each class.
        self.judge = nn.Conv2d(widths[-1], 1 + classes, (rows, columns), bias=False)
        prepared(self)
        if norm == "spectral":
            for layer in [*self.shrink, self.judge]:
                if isinstance(layer, nn.Conv2d):
                    spectral_norm(layer)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """The outputs: logits, or whatever the loss makes of them."""
        products: Tensor = self.judge(self.shrink(images)).flatten(1)
        outputs = products[:, 0]
        return outputs if labels is None else outputs + products.gather(1, 1 + labels[:, None]).squeeze(1)


class Model(FromNoise):
    """The two players of DCGAN."""

    recipe: Recipe

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        shape, classes = recipe.data.shape, len(self.classes)
        self.generator = Generator(recipe.latent_dim, recipe.width, shape, classes)
        self.discriminator = Discriminator(shape, recipe.width, recipe.discriminator_norm, classes)

    def discriminator_loss(self, batch: Batch, fakes: Tensor) -> Terms:
        """The chosen loss, and the penalties where it is their turn."""
        recipe, images, labels = self.recipe, batch["image"], self.told(batch)
        real, fake = self.judge(images, labels), self.judge(fakes, labels)
        self.watch_probabilities(losses.probability(recipe.loss, real), losses.probability(recipe.loss, fake))
        terms = losses.discriminator(recipe.loss, real, fake)
        return terms | self.penalties(recipe.penalty_every, labels, r1=(recipe.r1, images), r2=(recipe.r2, fakes))

    def generator_loss(self, batch: Batch, fakes: Tensor) -> Terms:
        """The chosen loss."""
        labels = self.told(batch)
        real = self.judge(batch["image"], labels) if self.recipe.loss == "relativistic" else None
        return {"gan": losses.generator(self.recipe.loss, self.judge(fakes, labels), real)}


def initialise(module: nn.Module) -> None:
    """Convolutions from N(0, .02), BatchNorm's gains from N(1, .02), biases 0: section 4 of the paper, and its code."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1, 0.02)


def prepared(network: nn.Module) -> None:
    """Initialise, and take the memory format that convolutions are fastest in."""
    network.apply(initialise)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _doubling(before: int, after: int) -> nn.Module:
    return nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False)


def _halving(before: int, after: int) -> nn.Module:
    return nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False)
