"""What a recipe of the StarGAN v2 family may say."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from gancli.models.dcgan.recipe import base_grid
from gancli.recipe.data import Domains, ImageSize, sides
from gancli.recipe.sections import Count, NonNegative, Positive, RecipeOfDomains, Share, TrainFromImages


class DoubledDomains(Domains):
    """Images of a size that StarGAN v2's networks halve down to a small grid."""

    @field_validator("image_size")
    @classmethod
    def _can_be_halved(cls, image_size: ImageSize) -> ImageSize:
        if min(sides(image_size)) < 32:
            raise ValueError("expected 32 pixels or more")
        base_grid(*sides(image_size))
        return image_size


class Train(TrainFromImages):
    """How long to train, and how."""

    steps: Count = 200_000
    """Length in steps, of which two make one of the paper's iterations: one with styles of noise, one with styles of
    references."""
    batch_size: Count = 8
    """Images in a batch."""
    decay_steps: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """Steps at the end over which the learning rates fall linearly to 0."""
    ema: Share | None = 0.9995
    """Decay per step of the averaged networks that are sampled and scored, .999 for each of the paper's iterations;
    null samples the networks themselves."""


def _all_steps(known: dict[str, Any]) -> int:
    """The length of the training, once it is known."""
    return known["train"].steps if "train" in known else 0


class Recipe(RecipeOfDomains):
    """A translation between many domains, in many styles."""

    model: Literal["stargan2"] = "stargan2"
    """The family: stargan2, Choi et al. 2020."""
    data: DoubledDomains
    """The images with their domains."""
    width: Count | None = None
    """Channels of the layers next to the image, which each halving doubles; 16384 / image_size where left out: the
    paper's 64 at 256 pixels."""
    largest_width: Count = 512
    """Channels that no layer exceeds."""
    style_dim: Count = 64
    """Numbers that a style consists of."""
    latent_dim: Count = 16
    """Numbers of noise that a style is made from."""
    mapping_width: Count = 512
    """Width of the mapping network's hidden layers."""
    learning_rate: Positive = 1e-4
    """Step size of the optimizers of generator, style encoder and discriminator."""
    mapping_learning_rate: Positive = 1e-6
    """Step size of the mapping network's optimizer."""
    betas: tuple[Share, Share] = (0.0, 0.99)
    """Adam's decay rates of the first and second moments."""
    weight_decay: NonNegative = 1e-4
    """Adam's weight decay, an L2 penalty, for all networks."""
    r1: NonNegative = 1
    """Weight of the penalty on the discriminator's gradient at reals (Mescheder et al. 2018)."""
    lambda_style: NonNegative = 1
    """Weight of the style reconstruction: the style encoder is to find in an image the style that it was given."""
    lambda_diversity: NonNegative = 1
    """Weight, at first, of the diversity: two styles are to make an image differ (2 for the paper's AFHQ)."""
    diversity_steps: Annotated[int, Field(ge=0, le=1_000_000_000)] = Field(default_factory=_all_steps)
    """Steps over which the weight of the diversity falls linearly to 0; by default all of train.steps, as in the
    paper."""
    lambda_cycle: NonNegative = 1
    """Weight of the mean absolute difference between an image and its translation, translated back in its own style."""
    train: Train = Train()
    """How long to train, and how."""
