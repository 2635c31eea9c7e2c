"""What a recipe of the Pix2Pix family may say."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from gancli.recipe.data import Data, ImageSize, Pairs, multiple_of
from gancli.recipe.sections import Count, NonNegative, RecipeFromImages, Share


def halvings(height: int, width: int) -> int:
    """How often this size in pixels can be halved without a rest, up to 8 times: 256×256 down to 1×1."""
    return next(count for count in range(8, -1, -1) if height % 2**count == width % 2**count == 0)


class HalvedPairs(Pairs):
    """Pairs of a size that a U-Net can halve again and again."""

    @field_validator("image_size")
    @classmethod
    def _can_be_halved(cls, image_size: ImageSize) -> ImageSize:
        return multiple_of(image_size, 8)


class RecipeOfPatches(RecipeFromImages):
    """Fields of families whose discriminators judge patches."""

    discriminator_layers: Count = Field(default_factory=lambda known: _halvings_of(known.get("data")))
    """Halvings in a discriminator; 3 judge patches of 70×70 pixels. By default 3, or fewer where images are small."""

    @field_validator("discriminator_layers")
    @classmethod
    def _leaves_a_patch(cls, layers: int, info: ValidationInfo) -> int:
        data = info.data.get("data")
        if data is not None and layers > (most := _most_halvings(data)):
            raise ValueError(f"expected at most {most} for images of {min(data.size)} pixels")
        return layers


class Recipe(RecipeOfPatches):
    """A translation learnt from pairs of images."""

    model: Literal["pix2pix"] = "pix2pix"
    """The family: pix2pix, Isola et al. 2016."""
    data: HalvedPairs
    """The pairs to learn from."""
    width: Count = 64
    """Channels of the layers next to the image, in both players; each halving doubles them, up to 8 times this."""
    norm: Literal["batch", "instance"] = "batch"
    """BatchNorm, or InstanceNorm, by which each image is normalised by itself in training too."""
    dropout: Share = 0.5
    """Share dropped out in the three innermost decoder blocks after the bottleneck: the only noise there is; 0 for
    none."""
    lambda_l1: NonNegative = 100
    """Weight of the mean absolute difference from the target."""


def _most_halvings(data: Data) -> int:
    """As many as leave a PatchGAN, whose last two convolutions take a pixel each, a patch to judge."""
    return max(count for count in range(12) if count == 0 or min(data.size) >> count >= 3)


def _halvings_of(data: Data | None) -> int:
    """The paper's three, or as many as the images allow."""
    return min(3, _most_halvings(data)) if data else 3
