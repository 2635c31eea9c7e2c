"""GAN: two multilayer perceptrons and the value function V(D, G).

Ian Goodfellow et al., Generative Adversarial Networks, 2014, https://arxiv.org/abs/1406.2661. The paper's players
were a ReLU generator and a maxout discriminator; the default here is the form in common use since: LeakyReLU,
BatchNorm in the generator, tanh, Adam.
"""

import math
from itertools import pairwise

from torch import Tensor, nn

from gancli.gan import losses
from gancli.gan.adversarial import Batch, FromNoise, Terms
from gancli.gan.layers import ClassEmbedding, dense
from gancli.models.gan.recipe import Recipe


class Generator(nn.Module):
    """N×latent_dim noise, and the classes' N indices where there are any, to N×C×H×W images in [-1, 1].

    For points, of shape (D,), nothing bounds the output and nothing is normalised: BatchNorm would make each point
    depend on the others of its batch, and their distribution on the batch's size.
    """

    def __init__(self, latent_dim: int, hidden: tuple[int, ...], shape: tuple[int, ...], classes: int = 0) -> None:
        super().__init__()
        self.shape = shape
        self.tell = ClassEmbedding(classes) if classes else None
        widths = (latent_dim + ClassEmbedding.width * bool(classes), *hidden)
        points = len(shape) == 1
        blocks = [dense(*pair, normalise=n > 0 and not points) for n, pair in enumerate(pairwise(widths))]
        last = nn.Linear(widths[-1], math.prod(shape))
        self.layers = nn.Sequential(*blocks, last) if points else nn.Sequential(*blocks, last, nn.Tanh())

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        flat: Tensor = self.layers(noise if self.tell is None else self.tell(noise, labels))
        return flat.reshape(-1, *self.shape)


class Discriminator(nn.Module):
    """N×C×H×W images or N×D points, and the classes' N indices where there are any, to N logits of D(x)."""

    def __init__(self, shape: tuple[int, ...], hidden: tuple[int, ...], dropout: float = 0, classes: int = 0) -> None:
        super().__init__()
        self.tell = ClassEmbedding(classes) if classes else None
        widths = (math.prod(shape) + ClassEmbedding.width * bool(classes), *hidden)
        blocks = [dense(*pair, dropout=dropout) for pair in pairwise(widths)]
        self.layers = nn.Sequential(*blocks, nn.Linear(widths[-1], 1))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        flat = images.flatten(1)
        logits: Tensor = self.layers(flat if self.tell is None else self.tell(flat, labels))
        return logits.squeeze(1)


class Model(FromNoise):
    """The two players of the 2014 GAN."""

    recipe: Recipe

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        shape, classes = recipe.data.shape, len(self.classes)
        self.generator = Generator(recipe.latent_dim, recipe.generator_hidden, shape, classes)
        self.discriminator = Discriminator(shape, recipe.discriminator_hidden, recipe.discriminator_dropout, classes)

    def discriminator_loss(self, batch: Batch, fakes: Tensor) -> Terms:
        """-V(D, G) in its two terms, and the penalty where it is its turn."""
        recipe, labels = self.recipe, self.told(batch)
        real, fake = self.judge(batch["image"], labels), self.judge(fakes, labels)
        terms = losses.discriminator(recipe.loss, real, fake)
        self.watch_logits(real, fake)
        self.watch(jensen_shannon=losses.jensen_shannon(**terms))
        return terms | self.penalties(recipe.penalty_every, labels, r1=(recipe.r1, batch["image"]))

    def generator_loss(self, batch: Batch, fakes: Tensor) -> Terms:
        """The generator's side of V(D, G)."""
        return {"gan": losses.generator(self.recipe.loss, self.judge(fakes, self.told(batch)))}
