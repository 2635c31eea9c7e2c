"""What every recipe may say, whatever its family: the sections train and evaluate (this file imports no torch)."""

from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field, field_validator, model_validator

from gancli.errors import UserError
from gancli.recipe.data import Data, Distribution, Domains
from gancli.recipe.places import placed
from gancli.recipe.reading import Settings

Count = Annotated[int, Field(gt=0, le=1_000_000_000)]
Share = Annotated[float, Field(ge=0, lt=1)]
# At most what float32, in which networks compute, can hold.
Positive = Annotated[float, Field(gt=0, le=1e38)]
NonNegative = Annotated[float, Field(ge=0, le=1e38)]
R = TypeVar("R", bound="Recipe")
Metric = Literal["fid", "kid", "is", "prdc", "fid-infinity", "classes", "accuracy", "intra-fid"]


class Train(Settings):
    """How long to train, and how."""

    steps: Count = 10_000
    """Length in steps: one batch of real images, one turn of the discriminator."""
    batch_size: Count = 64
    """Images in a batch."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """The same recipe with the same seed gives the same weights."""
    decay_steps: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """Steps at the end over which the learning rates fall linearly to 0; all steps where the training is shorter."""
    ema: Share | None = None
    """Decay of the averaged generator that is sampled and scored, in each of the generator's turns; it grows to this
    value over the first turns, as (1 + n) / (10 + n). null samples the generator itself."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """Arithmetic of the networks: float32; bf16, bfloat16 where it is safe; or auto, the faster of the two, as measured
    before the training starts (float32 for points, and where the training is too short to measure). The run's recipe
    says which it became."""
    log_every: Count = 100
    """Steps between rows of metrics.csv."""
    samples_every: Count = 500
    """Steps between pictures in samples/."""
    checkpoint_every: Count = 1000
    """Steps between checkpoints."""


class TrainFromNoise(Train):
    """How long to train, and how, for families that start from noise."""

    ema: Share | None = 0.999
    """Decay of the averaged generator that is sampled and scored, in each of the generator's turns; it grows to this
    value over the first turns, as (1 + n) / (10 + n). null samples the generator itself."""

    @field_validator("batch_size")
    @classmethod
    def _can_be_normalised(cls, batch_size: int) -> int:
        if batch_size < 2:
            raise ValueError("BatchNorm compares the images of a batch: expected at least 2")
        return batch_size


class TrainFromImages(Train):
    """How long to train, and how, for families that turn images into images."""

    batch_size: Count = 1
    """Images in a batch."""
    decay_steps: Annotated[int, Field(ge=0, le=1_000_000_000)] = Field(
        default_factory=lambda known: known.get("steps", 0) // 2
    )
    """Steps at the end over which the learning rates fall linearly to 0; by default half of all steps, as in the
    papers."""


class Evaluate(Settings):
    """What is scored."""

    every: Count | None = None
    """Steps between evaluations during the training, after each of which the best weights so far are kept as
    best.safetensors; null for none."""
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)] = ("fid",)
    """What is measured; the first decides which weights are the best."""
    patience: Count | None = None
    """Evaluations without a better value after which the training ends; null trains to the last step."""
    features: str = "inception"
    """Network whose features are compared: inception (the published weights), classifier (trained on the data's own
    labels), or the .safetensors file of `gancli fit-features`."""
    images: Annotated[int, Field(ge=2, le=1_000_000_000)] = 10_000
    """Generated images to score."""


class Recipe(Settings):
    """The fields that every family shares."""

    translates: ClassVar[bool] = False
    """Whether the family turns images into images; else it makes them from noise."""
    model: str
    """The family: the name of a file in gancli/models."""
    data: Data | Distribution
    """What comes in."""
    learning_rate: Positive = 2e-4
    """Step size of both players' optimizers."""
    betas: tuple[Share, Share] = (0.5, 0.999)
    """Adam's decay rates of the first and second moments."""
    critic_steps: Count = 1
    """Turns of the discriminator for each turn of the generator: the k of Goodfellow et al., WGAN's n_critic."""
    train: Train = Train()
    """How long to train, and how."""
    evaluate: Evaluate = Evaluate()
    """What is scored."""

    def resolved(self, classes: tuple[str, ...]) -> Self:
        """The recipe with what only the data can say: here nothing.

        Args:
            classes: the names of the data's classes, in the order of its labels; empty where it has none.
        """
        return self

    def placed(self) -> Self:
        """The recipe with absolute paths of its data, so that a run means the same images from everywhere."""
        return self.model_copy(update={"data": placed(self.data)}) if isinstance(self.data, Data) else self

    def with_precision(self, precision: str) -> Self:
        """The recipe with its arithmetic chosen: float32 or bf16."""
        return self.model_copy(update={"train": self.train.model_copy(update={"precision": precision})})


class RecipeFromNoise(Recipe):
    """The fields that families from noise share."""

    latent_dim: Count = 100
    """Numbers of noise that an image is made from."""
    noise: Literal["normal", "uniform"] = "normal"
    """Distribution of the noise: normal(0, 1), or uniform on [-1, 1]."""
    conditional: bool = False
    """Whether both players are given the class of each image, so that `gancli sample --class` can ask for one."""
    augment: tuple[Literal["colour", "translation", "cutout"], ...] = ()
    """Random changes, in this order, to every image that the discriminator sees, real or fake: DiffAugment, for
    learning from few images."""
    train: TrainFromNoise = TrainFromNoise()
    """How long to train, and how."""

    @model_validator(mode="after")
    def _augments_images(self) -> Self:
        if self.augment and self.data.points:
            raise ValueError("augment: is for images, and this data is points: leave it out")
        return self

    def resolved(self, classes: tuple[str, ...]) -> Self:
        """The recipe with the names of the classes, where the players are given them.

        Raises:
            UserError: the data has no classes, or others than the recipe names.
        """
        if not self.conditional:
            return self
        if not classes:
            raise UserError(
                f"conditional: data.source: {self.data.source} has no classes: give one with a folder for each class, "
                "or set conditional=false"
            )
        return _with_classes(self, classes)


class RecipeFromImages(Recipe):
    """The fields that image-to-image families share."""

    translates = True
    train: TrainFromImages = TrainFromImages()
    """How long to train, and how."""


class RecipeOfDomains(RecipeFromImages):
    """The fields that families of many domains share."""

    data: Domains
    """The images with their domains."""

    def resolved(self, classes: tuple[str, ...]) -> Self:
        """The recipe with the names of the domains.

        Raises:
            UserError: the data has others than the recipe names.
        """
        return self if self.data.domains == classes else _with_classes(self, classes)


def _with_classes(settings: R, classes: tuple[str, ...]) -> R:
    """The recipe with the names of the data's classes.

    Raises:
        UserError: it names others.
    """
    given: Any = getattr(settings.data, "classes", ())
    if given not in ((), classes):
        raise UserError(
            f"data.classes: {', '.join(given)}: {settings.data.source} has {', '.join(classes)}: leave data.classes out"
        )
    return settings.model_copy(update={"data": settings.data.model_copy(update={"classes": classes})})
