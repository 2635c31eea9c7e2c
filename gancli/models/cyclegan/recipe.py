"""What a recipe of the CycleGAN family may say."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from gancli.models.pix2pix.recipe import RecipeOfPatches
from gancli.recipe.data import ImageSize, Unpaired, multiple_of
from gancli.recipe.sections import Count, NonNegative


class HalvedUnpaired(Unpaired):
    """Two domains of a size that can be halved twice."""

    @field_validator("image_size")
    @classmethod
    def _can_be_halved(cls, image_size: ImageSize) -> ImageSize:
        return multiple_of(image_size, 4)


class Recipe(RecipeOfPatches):
    """Two translations, there and back, learnt from two domains of images."""

    model: Literal["cyclegan"] = "cyclegan"
    """The family: cyclegan, Zhu et al. 2017."""
    data: HalvedUnpaired
    """The two domains to learn from."""
    width: Count = 64
    """Channels of the layers next to the image, in all networks; halvings double them."""
    blocks: Count | None = None
    """Residual blocks of each generator; null for the paper's 9 from 256 pixels on, 6 below."""
    lambda_a: NonNegative = 10
    """Weight of the cycle from A to B and back to A."""
    lambda_b: NonNegative = 10
    """Weight of the cycle from B to A and back to B."""
    lambda_identity: NonNegative = 0.5
    """Weight of leaving images of the target domain as they are, as a share of that domain's cycle weight."""
    pool_size: Annotated[int, Field(ge=0, le=100_000)] = 50
    """Earlier translations kept of each domain, which the discriminators see as often as new ones; 0 for none."""
