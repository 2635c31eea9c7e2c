"""What a recipe of the StarGAN family may say."""

from typing import Literal

from pydantic import field_validator

from gancli.recipe.data import ImageSize, Labelled, sides
from gancli.recipe.sections import Count, NonNegative, Positive, RecipeOfDomains, TrainFromImages


def star_halvings(height: int, width: int) -> int:
    """How often StarGAN's discriminator halves this size in pixels: the paper's 6 times from 128 on, else to 2 or 3.

    Raises:
        ValueError: it cannot be halved so often.
    """
    halvings = min(6, min(height, width).bit_length() - 2)
    if halvings < 2 or height % 2**halvings or width % 2**halvings:
        raise ValueError("expected sides that halve again and again, as 16, 24, 32, 48, 64, 96, 128, … pixels do")
    return halvings


class HalvedLabelled(Labelled):
    """Images of a size that StarGAN's discriminator can halve."""

    @field_validator("image_size")
    @classmethod
    def _can_be_halved(cls, image_size: ImageSize) -> ImageSize:
        star_halvings(*sides(image_size))
        return image_size


class Train(TrainFromImages):
    """How long to train, and how."""

    steps: Count = 200_000
    """Length in steps: one batch of real images, one turn of the discriminator."""
    batch_size: Count = 16
    """Images in a batch."""


class Recipe(RecipeOfDomains):
    """A translation between many domains, or of many attributes."""

    model: Literal["stargan"] = "stargan"
    """The family: stargan, Choi et al. 2018."""
    data: HalvedLabelled
    """The images with their domains or attributes."""
    width: Count = 64
    """Channels of the layers next to the image, in both players; each halving doubles them."""
    blocks: Count = 6
    """Residual blocks in the middle of the generator."""
    learning_rate: Positive = 1e-4
    """Step size of both players' optimizers."""
    critic_steps: Count = 5
    """Turns of the discriminator for each turn of the generator: the paper's n_critic."""
    gradient_penalty: NonNegative = 10
    """Weight of WGAN-GP's gradient penalty."""
    lambda_classification: NonNegative = 1
    """Weight of both players' classification losses: reals by the discriminator, fakes for the generator."""
    lambda_reconstruction: NonNegative = 10
    """Weight of the mean absolute difference between an image and its translation, translated back."""
    exclusive: tuple[str, ...] = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")
    """Attributes of which an image has one at most: to ask for one is to ask for none of the others."""
    train: Train = Train()
    """How long to train, and how."""
