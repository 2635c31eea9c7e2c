"""DCGAN: a generator of fractionally strided and a discriminator of strided convolutions, at any doubled size.

Alec Radford, Luke Metz and Soumith Chintala, Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks, 2015, https://arxiv.org/abs/1511.06434.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from pydantic import ValidationInfo, field_validator
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gancli import losses
from gancli.adversarial import Batch, FromNoise, Terms
from gancli.data.settings import DoubledImages, base_grid
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
    """N×latent_dim noise, and the classes' N indices where there are any, to N×C×H×W images in [-1, 1].

    Classes are told by conditional BatchNorm: noise alone is what enters, so that no class can drown it.
    """

    def __init__(self, latent_dim: int, width: int, shape: tuple[int, ...], classes: int = 0, grid: int = 4) -> None:
        super().__init__()
        channels, height, pixels = shape
        rows, columns, doublings = base_grid(height, pixels, grid)
        widths = [width * min(2**level, 8) for level in reversed(range(doublings))]
        self.project = nn.ConvTranspose2d(latent_dim, widths[0], (rows, columns), bias=False)
        self.grow = nn.ModuleList(_Doubling(before, after, classes) for before, after in pairwise([*widths, channels]))
        prepared(self, initialise)

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """The images."""
        maps: Tensor = self.project(noise[:, :, None, None])
        for doubling in self.grow:
            maps = doubling(maps, labels)
        return maps.tanh()


class Discriminator(nn.Module):
    """N×C×H×W images, and the classes' N indices where there are any, to N outputs.

    Classes are told by projection: to what all images are judged by, the inner product of the last feature map with a
    vector of the class is added (Miyato and Koyama, cGANs with Projection Discriminator, 2018, arXiv:1802.05637).
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int,
        norm: Literal["batch", "spectral", "none"],
        classes: int = 0,
        grid: int = 4,
    ) -> None:
        super().__init__()
        channels, height, pixels = shape
        rows, columns, doublings = base_grid(height, pixels, grid)
        widths = [width * min(2**level, 8) for level in range(doublings)]
        # BatchNorm has biases of its own. With none anywhere, an image half as bright would get half the output, and
        # a gray one 0 whatever the weights: the generator would hide there.
        bias = norm != "batch"
        layers: list[nn.Module] = [_halving(channels, width, bias=bias), nn.LeakyReLU(0.2, inplace=True)]
        for before, after in pairwise(widths):
            layers.append(_halving(before, after, bias=bias))
            if norm == "batch":
                layers.append(nn.BatchNorm2d(after))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
        self.shrink = nn.Sequential(*layers)
        # One vector for all images, and after it one for each class.
        self.judge = nn.Conv2d(widths[-1], 1 + classes, (rows, columns), bias=bias)
        prepared(self, initialise if norm == "batch" else initialise_he)
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
        self.generator = Generator(recipe.latent_dim, recipe.width, shape, classes, recipe.grid)
        self.discriminator = Discriminator(shape, recipe.width, recipe.discriminator_norm, classes, recipe.grid)

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
    elif isinstance(module, nn.BatchNorm2d) and module.affine:
        nn.init.normal_(module.weight, 1, 0.02)


def initialise_he(module: nn.Module) -> None:
    """Weights as large as keeps the variance from layer to layer, biases 0: He et al. 2015, arXiv:1502.01852.

    For networks without normalisation: DCGAN's N(0, .02) would let the signal fade there, to a hundredth in D.
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class _Doubling(nn.Module):
    """BatchNorm, ReLU and a fractionally strided convolution: N×before×h×w to N×after×2h×2w.

    Each class has gains and biases of its own: de Vries et al. 2017, arXiv:1707.00683, section 3.
    """

    def __init__(self, before: int, after: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(before, affine=not classes)
        self.gain = nn.Embedding(classes, before) if classes else None
        self.bias = nn.Embedding(classes, before) if classes else None
        if self.gain is not None and self.bias is not None:
            nn.init.normal_(self.gain.weight, 1, 0.02)
            nn.init.zeros_(self.bias.weight)
        self.enlarge = nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False)

    def forward(self, maps: Tensor, labels: Tensor | None) -> Tensor:
        """The larger maps."""
        maps = self.norm(maps)
        if self.gain is not None and self.bias is not None:
            maps = maps * self.gain(labels)[:, :, None, None] + self.bias(labels)[:, :, None, None]
        doubled: Tensor = self.enlarge(maps.relu_())
        return doubled


def prepared(network: nn.Module, begin: Callable[[nn.Module], None]) -> None:
    """Let each module begin with its initial weights, and take the memory format that convolutions are fastest in."""
    network.apply(begin)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _halving(before: int, after: int, *, bias: bool) -> nn.Module:
    return nn.Conv2d(before, after, 4, stride=2, padding=1, bias=bias)
