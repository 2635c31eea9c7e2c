"""FromImages: what families share that turn an image into another: targets, seeds, and the sheet of fixed inputs."""

import difflib
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from gancli.errors import UserError
from gancli.gan.adversarial import Adversarial, Batch, evaluating
from gancli.recipe.sections import RecipeFromImages


class FromImages(Adversarial):
    """A family whose generator side turns images into images of one of its targets.

    A target is a domain by its name: "a" or "b" of two, or one of the data's classes.
    """

    recipe: RecipeFromImages
    multiple: int
    """Heights and widths that the generator takes are multiples of this, in pixels."""
    smallest = 1
    """The least height and width that it takes, in pixels."""
    dropout: bool | None = None
    """Whether translating drops out as training does, seeded by image; None where the family never does."""
    inputs: Batch
    """The images that `sheet` shows, prepared: a few of the test split, the same through the whole training."""

    @property
    @abstractmethod
    def targets(self) -> tuple[str, ...]:
        """What an image can be turned into, by name; the first is the default."""

    def translator(self) -> "FromImages":
        """This model."""
        return self

    def stylist(self) -> "Styled | None":
        """This model as one that has several styles of each target; None where it has not."""
        return None

    def origins(self, target: str) -> tuple[str, ...]:
        """The domains whose images are turned into a target: every other one."""
        return tuple(name for name in self.targets if name != target)

    @property
    def directions(self) -> dict[str, tuple[str, str]]:
        """From each origin to each target, by names like a-to-b."""
        return {f"{origin}-to-{target}": (origin, target) for target in self.targets for origin in self.origins(target)}

    @property
    def every_target(self) -> tuple[str, ...]:
        """The targets to turn an image into by default: each of them."""
        return self.targets

    def check_target(self, target: str) -> None:
        """See that `translate` takes a target.

        Raises:
            UserError: it does not.
        """
        if target not in self.targets:
            raise UserError(f"--domain {target}: {self.unknown(target)}")

    def unknown(self, name: str) -> str:
        """What to say of a name that is no target."""
        nearest = difflib.get_close_matches(name, self.targets, n=1)
        known = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(self.targets[:20])}"
        return f"the model knows no {name!r}: {known}"

    def padded(self, side: int) -> int:
        """The height or width, in pixels, that one of `side` pixels has to be padded to."""
        return -(-max(side, self.smallest) // self.multiple) * self.multiple

    def translate(self, images: Tensor, target: str, seeds: Sequence[int]) -> Tensor:
        """The images turned into a target; each depends on itself and its seed alone, up to rounding.

        Args:
            images: N×C×H×W in [-1, 1], H and W as `padded` says.
            target: one of `targets`.
            seeds: of each image's own randomness, where the family has any.

        Returns:
            N×C×H×W in [-1, 1], float32 on the CPU.
        """
        with evaluating(self.sampler), torch.inference_mode():
            return self.translated(images.to(self.device), target, seeds).float().cpu()

    @abstractmethod
    def translated(self, images: Tensor, target: str, seeds: Sequence[int]) -> Tensor:
        """What `translate` returns, of images on the model's device, by the `sampler`, which is in evaluation mode."""

    @abstractmethod
    def columns(self, inputs: Batch) -> Sequence[Tensor]:
        """What the sheet shows of the inputs from left to right, each N×C×H×W in [-1, 1] on the CPU."""

    def sheet(self) -> tuple[Tensor, int]:
        """A row for each of `inputs`: the columns of the family."""
        columns = self.columns(self.inputs)
        return torch.stack(tuple(columns), 1).flatten(0, 1), len(columns)


class Styled(FromImages):
    """A family that turns images into images of a target in a style: of a seed, or of a reference image."""

    def stylist(self) -> "Styled":
        """This model."""
        return self

    def styles(self, target: str, seeds: Sequence[int]) -> Tensor:
        """The styles of some seeds in a target, N×…, each a function of its seed alone."""
        with evaluating(self.sampler), torch.inference_mode():
            return self.drawn(target, seeds)

    def styles_of(self, references: Tensor, target: str) -> Tensor:
        """The styles of references as images of a target, N×…

        Args:
            references: N×C×H×W in [-1, 1], of the recipe's image_size.
            target: one of `targets`.
        """
        with evaluating(self.sampler), torch.inference_mode():
            return self.read(references.to(self.device), target)

    def styled(self, images: Tensor, styles: Tensor) -> Tensor:
        """The images in some styles, one for each or one for all; otherwise as `translate` does."""
        with evaluating(self.sampler), torch.inference_mode():
            styles = styles.expand(len(images), *styles.shape[1:])
            return self.applied(images.to(self.device), styles).float().cpu()

    def translated(self, images: Tensor, target: str, seeds: Sequence[int]) -> Tensor:
        """As `translate` says: in the style of each seed."""
        return self.applied(images, self.drawn(target, seeds))

    @abstractmethod
    def drawn(self, target: str, seeds: Sequence[int]) -> Tensor:
        """What `styles` returns, by the `sampler`, which is in evaluation mode."""

    @abstractmethod
    def read(self, references: Tensor, target: str) -> Tensor:
        """What `styles_of` returns."""

    @abstractmethod
    def applied(self, images: Tensor, styles: Tensor) -> Tensor:
        """What `styled` returns."""
