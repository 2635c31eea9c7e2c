"""StarGAN: one generator for many domains, told by planes of labels what an image is to become.

Yunjey Choi et al., StarGAN: Unified Generative Adversarial Networks for Multi-Domain Image-to-Image Translation, 2018,
https://arxiv.org/abs/1711.09020. The discriminator says of patches whether they are real, and of images which domain
they are of; the gradient penalty is WGAN-GP's.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, l1_loss, one_hot

from gancli.data.dataset import NO
from gancli.errors import UserError
from gancli.gan import losses
from gancli.gan.adversarial import Batch, Terms, evaluating
from gancli.gan.image_to_image import FromImages
from gancli.gan.layers import InstanceNorm
from gancli.models.stargan.recipe import Recipe, star_halvings

Change = Literal["0", "1", "flip"]


class Generator(nn.Module):
    """N×C×H×W images in [-1, 1] and N×domains labels of 0 and 1 to translations of the images' shape.

    Heights and widths are multiples of 4. The instance's own statistics normalise in evaluation too, as they do in
    the authors' tests, so the running ones that their layers keep would never be read, and are left out.
    """

    def __init__(self, channels: int, domains: int, width: int, blocks: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels + domains, width, 7, padding=3, bias=False), *_normalised(width)]
        for inside in (width, 2 * width):
            halving = nn.Conv2d(inside, 2 * inside, 4, stride=2, padding=1, bias=False)
            layers += [halving, *_normalised(2 * inside)]
        layers += [_Residual(4 * width) for _ in range(blocks)]
        for inside in (4 * width, 2 * width):
            doubling = nn.ConvTranspose2d(inside, inside // 2, 4, stride=2, padding=1, bias=False)
            layers += [doubling, *_normalised(inside // 2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, channels, 7, padding=3, bias=False), nn.Tanh())
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        planes = labels.to(images.dtype)[:, :, None, None].expand(-1, -1, *images.shape[2:])
        told = torch.cat([images, planes], dim=1).contiguous(memory_format=torch.channels_last)
        made: Tensor = self.layers(told)
        return made


class Discriminator(nn.Module):
    """N×C×H×W images to N×1×h×w outputs on patches and N×domains logits of the domains."""

    def __init__(self, shape: tuple[int, int, int], domains: int, width: int) -> None:
        super().__init__()
        channels, height, pixels = shape
        halvings = star_halvings(height, pixels)
        layers: list[nn.Module] = []
        before, after = channels, width
        for _ in range(halvings):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(0.01, inplace=True)]
            before, after = after, 2 * after
        self.shrink = nn.Sequential(*layers)
        self.judge = nn.Conv2d(before, 1, 3, padding=1, bias=False)
        self.classify = nn.Conv2d(before, domains, (height >> halvings, pixels >> halvings), bias=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        # Differentiated twice for the penalty, convolutions this wide cost a quarter less channels first.
        maps = self.shrink(images.contiguous())
        return self.judge(maps), self.classify(maps).flatten(1)


class Model(FromImages):
    """The two players of StarGAN."""

    recipe: Recipe
    multiple = 4
    smallest = 8

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        shape, domains = recipe.data.shape, len(self.targets)
        if not domains:
            raise ValueError("the domains were not yet found in the data")
        self.asks_discriminator = bool(recipe.data.attributes)
        self.generator = Generator(shape[0], domains, recipe.width, recipe.blocks)
        self.discriminator = Discriminator(shape, domains, recipe.width)

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of the domains, or of the attributes."""
        return self.recipe.data.domains

    def told(self, labels: Tensor) -> Tensor:
        """Labels of the data, indices N or attributes N×K, as the generator is given them: 0 and 1, N×domains."""
        return (one_hot(labels, len(self.targets)) if labels.ndim == 1 else labels).float()

    def generate(self, batch: Batch) -> dict[str, Tensor]:
        """Each image as of the domain, or with the attributes, of another in the batch, which is its `target`."""
        labels = batch["label"]
        target = labels[torch.randperm(len(labels), device=self.device)]
        return {"image": self.generator(batch["image"], self.told(target)), "target": target}

    def discriminator_loss(self, batch: Batch, fakes: dict[str, Tensor]) -> Terms:
        """Equation 8's adversarial terms with the gradient penalty, and the classification of reals: equations 2, 5."""
        recipe, images, labels = self.recipe, batch["image"], batch["label"]
        real, logits = self.discriminator(images)
        fake, _ = self.discriminator(fakes["image"])
        terms = losses.discriminator("wasserstein", real, fake)
        self.watch(wasserstein=losses.wasserstein(**terms), accuracy_domain=_right(logits, labels))
        share = torch.rand(len(images), device=self.device)
        penalty = losses.gradient_penalty(lambda x: self.discriminator(x)[0], images, fakes["image"], share)
        return terms | {
            "penalty": recipe.gradient_penalty * penalty,
            "classification": recipe.lambda_classification * losses.classification(logits, labels),
        }

    def generator_loss(self, batch: Batch, fakes: dict[str, Tensor]) -> Terms:
        """Equation 6: to seem real, to be of the target (equation 3), and to lead back to the image (equation 4)."""
        recipe, images = self.recipe, batch["image"]
        fake, logits = self.discriminator(fakes["image"])
        back = self.generator(fakes["image"], self.told(batch["label"]))
        self.watch(accuracy_target=_right(logits, fakes["target"]))
        return {
            "gan": losses.generator("wasserstein", fake),
            "classification": recipe.lambda_classification * losses.classification(logits, fakes["target"]),
            "reconstruction": recipe.lambda_reconstruction * l1_loss(back, images),
        }

    @property
    def every_target(self) -> tuple[str, ...]:
        """Each domain; or each attribute set, where it excludes others, else flipped."""
        if not self.recipe.data.attributes:
            return self.targets
        return tuple(name if name in self.recipe.exclusive else f"{name}=flip" for name in self.targets)

    def origins(self, target: str) -> tuple[str, ...]:
        """Every other domain; of an attribute, those that it excludes, or the images without it."""
        if not self.recipe.data.attributes:
            return super().origins(target)
        exclusive = self.recipe.exclusive
        others = tuple(name for name in self.targets if name in exclusive and name != target)
        return others if target in exclusive and others else (f"{NO}{target}",)

    def check_target(self, target: str) -> None:
        """See that `translate` takes a target: that it makes sense, and that what it leaves open can be known.

        Raises:
            UserError: it does not.
        """
        changes = self.changes(target)
        if self.recipe.data.attributes and not self._says_all(changes) and not hasattr(self, "discriminator"):
            named = ",".join(f"{name}={'01'[changes.get(name) == '1']}" for name in self.targets)
            raise UserError(
                f"--domain {target}: what else these images show can only be read with the run's checkpoint, which is "
                f"not here: name the run, or every attribute, as in {named}"
            )

    def translated(self, images: Tensor, target: str, seeds: Sequence[int]) -> Tensor:
        """As `translate` says; what a target leaves open of the attributes is as the discriminator sees it."""
        self.check_target(target)
        changes = self.changes(target)
        if not self.recipe.data.attributes:
            place = torch.tensor([self.targets.index(target)], device=images.device)
            labels = self.told(place).expand(len(images), -1)
        elif self._says_all(changes):
            labels = self.changed(images.new_zeros(len(images), len(self.targets)), changes)
        else:
            labels = self.changed(self.attributes_of(images), changes)
        return cast(Tensor, self.sampler(images, labels))

    def attributes_of(self, images: Tensor) -> Tensor:
        """What the discriminator takes the attributes of images of any size for: 0 and 1, N×attributes."""
        resized = interpolate(images, self.recipe.data.size, mode="bilinear", antialias=True)
        with evaluating(self.discriminator):
            seen: Tensor = self.discriminator(resized)[1]
            return (seen > 0).float()

    def changes(self, target: str) -> dict[str, Change]:
        """What a target says: the one domain, or what becomes of each attribute that it names or that this excludes.

        Args:
            target: a domain; or attributes as in `Blond_Hair,Male=0,Young=flip`, where a name alone sets it.

        Raises:
            UserError: it names what the model does not know, or contradicts itself.
        """
        changes: dict[str, Change] = {}
        for part in target.split(","):
            name, _, value = part.partition("=")
            if name not in self.targets:
                raise UserError(f"--domain {target}: {self.unknown(name)}")
            if value not in ("", "0", "1", "flip") or part.endswith("=") or (value and not self.recipe.data.attributes):
                raise UserError(f"--domain {target}: {part}: expected {self._form()}")
            change: Change = value or "1"  # type: ignore[assignment]
            if changes.setdefault(name, change) != change:
                raise UserError(f"--domain {target}: {name} is asked for both ways: name it once")
            changes[name] = change
        asked = [name for name, change in changes.items() if change == "1"]
        together = asked if not self.recipe.data.attributes else [n for n in asked if n in self.recipe.exclusive]
        if len(together) > 1:
            raise UserError(f"--domain {target}: an image is {' or '.join(together)}, not both: name one of them")
        if together and self.recipe.data.attributes:
            changes |= {n: "0" for n in self.targets if n in self.recipe.exclusive and n not in together}
        return changes

    def changed(self, labels: Tensor, changes: Mapping[str, Change]) -> Tensor:
        """Attributes N×attributes with the changes made to each."""
        labels = labels.clone()
        for name, change in changes.items():
            place = self.targets.index(name)
            labels[:, place] = 1 - labels[:, place] if change == "flip" else int(change)
        return labels

    def columns(self, inputs: Batch) -> list[Tensor]:
        """The inputs, then as of each domain; or with each attribute set, where one excludes the others, or flipped."""
        images, told = inputs["image"].to(self.device), self.told(inputs["label"].to(self.device))
        shown = [images]
        with evaluating(self.sampler), torch.inference_mode():
            for place, target in enumerate(self.every_target):
                if self.recipe.data.attributes:
                    labels = self.changed(told, self.changes(target))
                else:
                    labels = self.told(torch.full((len(images),), place, device=self.device))
                shown.append(self.sampler(images, labels))
        return [column.float().cpu() for column in shown]

    def _says_all(self, changes: Mapping[str, Change]) -> bool:
        return len(changes) == len(self.targets) and "flip" not in changes.values()

    def _form(self) -> str:
        if self.recipe.data.attributes:
            return f"an attribute, or one with 0, 1 or flip, as in {self.targets[-1]}=0"
        return f"the name of a domain, as in {self.targets[-1]}"


class _Residual(nn.Module):
    """Two convolutions whose result is added to what they saw."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            *_normalised(width),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            InstanceNorm(width, affine=True),
        )

    def forward(self, maps: Tensor) -> Tensor:
        added: Tensor = maps + self.body(maps)
        return added


def _normalised(width: int) -> tuple[nn.Module, nn.Module]:
    return InstanceNorm(width, affine=True), nn.ReLU(inplace=True)


def _right(logits: Tensor, labels: Tensor) -> Tensor:
    """How often the logits say what the labels do: N for domains, N×K for attributes."""
    return logits.argmax(1) == labels if labels.ndim == 1 else (logits > 0) == labels.bool()
