"""What a recipe of the WGAN family may say."""

from typing import Annotated, Literal, Self

from pydantic import Discriminator, Tag, ValidationInfo, field_validator, model_validator

from gancli.models.dcgan.recipe import GrownImages, RecipeOnGrid
from gancli.recipe.data import Points, kind
from gancli.recipe.sections import Count, NonNegative, Positive, Share

GrownImagesOrPoints = Annotated[Annotated[GrownImages, Tag("images")] | Points, Discriminator(kind)]


class Recipe(RecipeOnGrid):
    """A WGAN of DCGAN's networks."""

    model: Literal["wgan"] = "wgan"
    """The family: wgan, Arjovsky et al. 2017, or WGAN-GP, Gulrajani et al. 2017, where gradient_penalty is set."""
    data: GrownImagesOrPoints
    """The images, or the points of a known distribution, to learn."""
    learning_rate: Positive = 5e-5
    """Step size of both players' optimizers; 1e-4 where left out with a gradient penalty."""
    betas: tuple[Share, Share] = (0.5, 0.999)
    """Adam's decay rates of the first and second moments, used with a gradient penalty, and (0, .9) where left out
    with it; RMSprop, which goes with clipping, has none."""
    critic_steps: Count = 5
    """Turns of the critic for each turn of the generator: the paper's n_critic."""
    warm_up: Count | None = 100
    """Turns of the critic for each of the generator's first 25 turns and every 500th after; null for critic_steps
    always, which it is where left out with a gradient penalty."""
    clip: Positive = 0.01
    """Largest size of the critic's weights, where there is no gradient penalty."""
    gradient_penalty: NonNegative = 0
    """Weight of the gradient penalty, 10 in its paper; 0 clips weights instead."""
    discriminator_norm: Literal["batch", "spectral", "none"] = "batch"
    """BatchNorm in the critic, spectral normalisation of its weights, or nothing, which it is where left out with a
    gradient penalty."""
    hidden: tuple[Count, ...] = (512, 512, 512)
    """Widths of both players' hidden layers where the data are points, not images."""

    @field_validator("discriminator_norm")
    @classmethod
    def _penalised_one_by_one(cls, norm: str, info: ValidationInfo) -> str:
        if norm == "batch" and info.data.get("gradient_penalty"):
            raise ValueError("BatchNorm mixes the images whose gradients are penalised: expected spectral or none")
        return norm

    @model_validator(mode="after")
    def _penalty_has_its_own_defaults(self) -> Self:
        own = {"learning_rate": 1e-4, "betas": (0.0, 0.9), "warm_up": None, "discriminator_norm": "none"}
        missing = own.keys() - self.model_fields_set if self.gradient_penalty else set()
        return self.model_copy(update={name: own[name] for name in missing}) if missing else self
