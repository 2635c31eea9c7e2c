"""What a recipe of the DCGAN family may say."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, ValidationInfo, field_validator

from gancli.recipe.data import Images, ImageSize, no_boolean, sides
from gancli.recipe.sections import Count, NonNegative, RecipeFromNoise


def base_grid(height: int, width: int, fewest: int = 4) -> tuple[int, int, int]:
    """Rows and columns of the grid that grows to this size in pixels by doubling, and how often it doubles.

    The shorter side of the grid has 4 to 7 cells: 64×64 is 4×4 doubled four times, 28×28 is 7×7 doubled twice. With
    another number of fewest cells it has from that to less than twice as many.

    Raises:
        ValueError: no such grid grows to this size; the nearest sizes that one does grow to are named.
    """
    doublings = max(1, (min(height, width) // fewest).bit_length() - 1)
    factor, smallest = 2**doublings, 2 * fewest
    if height % factor == 0 and width % factor == 0 and min(height, width) >= smallest:
        return height // factor, width // factor, doublings
    below, above = (
        "×".join(str(max(smallest, (side + more) // factor * factor)) for side in (height, width))
        for more in (0, factor - 1)
    )
    nearest = below if below == above else f"{below} or {above}"
    cells = range(fewest, 2 * fewest)
    grid = f"a grid of {fewest} to {cells[-1]} cells" if fewest > 1 else "a single cell"
    sizes = sorted(count * 2**often for count in cells for often in range(1, 11))[:10]
    raise ValueError(
        f"{grid} doubles to {', '.join(map(str, sizes))}, … pixels, not to "
        f"{height}×{width}: the nearest it can build is {nearest}"
    )


class GrownImages(Images):
    """Images of a size that convolutions reach by doubling a small grid."""

    @field_validator("image_size")
    @classmethod
    def _can_be_reached(cls, image_size: ImageSize) -> ImageSize:
        base_grid(*sides(image_size))
        return image_size


class RecipeOnGrid(RecipeFromNoise):
    """Fields of families whose convolutions grow images from a small grid."""

    width: Count = 64
    """Channels of the layers next to the image; each halving of the size doubles them, up to 8 times this."""
    grid: Annotated[Literal[1, 2, 4], BeforeValidator(no_boolean)] = 4
    """Fewest cells along a side of the grid that the generator grows from and the discriminator shrinks to. Each
    halving is a layer more for both: small images are then judged as wholes, and not by their parts."""

    @field_validator("grid")
    @classmethod
    def _grows_to_the_images(cls, grid: int, info: ValidationInfo) -> int:
        data = info.data.get("data")
        if isinstance(data, Images):
            base_grid(*data.size, grid)
        return grid


class Recipe(RecipeOnGrid):
    """A GAN of convolutions, without pooling and without hidden dense layers."""

    model: Literal["dcgan"] = "dcgan"
    """The family: dcgan, Radford et al. 2015."""
    data: GrownImages
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
