"""What a recipe of the GAN family may say."""

from typing import Literal

from gancli.recipe.data import ImagesOrPoints
from gancli.recipe.sections import Count, NonNegative, RecipeFromNoise, Share


class Recipe(RecipeFromNoise):
    """A GAN of multilayer perceptrons."""

    model: Literal["gan"] = "gan"
    """The family: gan, Goodfellow et al. 2014."""
    data: ImagesOrPoints
    """The images, or the points of a known distribution, to learn."""
    loss: Literal["non-saturating", "minimax"] = "non-saturating"
    """What the generator minimises: -log D(G(z)), or the paper's log(1 - D(G(z)))."""
    generator_hidden: tuple[Count, ...] = (128, 256, 512, 1024)
    """Widths of the generator's hidden layers."""
    discriminator_hidden: tuple[Count, ...] = (512, 256)
    """Widths of the discriminator's hidden layers."""
    discriminator_dropout: Share = 0
    """Share of each hidden layer of the discriminator that is dropped while training (the paper's kept .5 and .8)."""
    r1: NonNegative = 0
    """Weight of the penalty on the discriminator's gradient at reals (Mescheder et al. 2018), 0 for none."""
    penalty_every: Count = 1
    """Steps between penalties; each then counts this many times (lazy regularisation, Karras et al. 2020: 16)."""
