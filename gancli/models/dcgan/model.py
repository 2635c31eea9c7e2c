"""DCGAN: a generator of fractionally strided and a discriminator of strided convolutions, at any doubled size.

Alec Radford, Luke Metz and Soumith Chintala, Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks, 2015, https://arxiv.org/abs/1511.06434.
"""

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gancli.gan import losses
from gancli.gan.adversarial import Batch, FromNoise, Terms
from gancli.gan.layers import halving, initialise, initialise_he, prepared
from gancli.models.dcgan.recipe import Recipe, base_grid


class Generator(nn.Module):
    """N×latent_dim noise, and the classes' N indices where there are any, to N×C×H×W images in [-1, 1].

    Classes enter through conditional BatchNorm; only noise enters at the bottom, so that no class can drown it.
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
        maps: Tensor = self.project(noise[:, :, None, None])
        for doubling in self.grow:
            maps = doubling(maps, labels)
        return maps.tanh()


class Discriminator(nn.Module):
    """N×C×H×W images, and the classes' N indices where there are any, to N outputs.

    Classes enter by projection: to what all images are judged by, the inner product of the last feature map with a
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
        layers: list[nn.Module] = [halving(channels, width, bias=bias), nn.LeakyReLU(0.2, inplace=True)]
        for before, after in pairwise(widths):
            layers.append(halving(before, after, bias=bias))
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
        maps = self.norm(maps)
        if self.gain is not None and self.bias is not None:
            maps = maps * self.gain(labels)[:, :, None, None] + self.bias(labels)[:, :, None, None]
        doubled: Tensor = self.enlarge(maps.relu_())
        return doubled
