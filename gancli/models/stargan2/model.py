"""StarGAN v2: one generator for many domains and many styles of each, taken from noise or from a reference image.

Yunjey Choi et al., StarGAN v2: Diverse Image Synthesis for Multiple Domains, 2020, https://arxiv.org/abs/1912.01865;
the networks are those of its appendix, without the high-pass filter, as for its animal faces.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from gancli.gan import losses
from gancli.gan.adversarial import Batch, Player, Terms, frozen, position_seed
from gancli.gan.image_to_image import Styled
from gancli.gan.layers import InstanceNorm, initialise_he, prepared
from gancli.gan.residual import ResidualBlock, StyledResidual
from gancli.models.dcgan.recipe import base_grid
from gancli.models.stargan2.recipe import Recipe

STYLES = 3
"""Latent styles of each domain that a sheet shows."""


class Generator(nn.Module):
    """N×C×H×W images in [-1, 1] and N×style_dim styles to translations of the images' shape."""

    def __init__(self, channels: int, widths: tuple[int, ...], style_dim: int) -> None:
        super().__init__()
        first, deepest = widths[0], widths[-1]
        self.begin = nn.Conv2d(channels, first, 3, padding=1)
        self.shrink = nn.Sequential(
            *(ResidualBlock(before, after, halve=True, norm=True) for before, after in pairwise(widths)),
            *(ResidualBlock(deepest, deepest, norm=True) for _ in range(2)),
        )
        self.grow = nn.ModuleList(
            [
                *(StyledResidual(deepest, deepest, style_dim) for _ in range(2)),
                *(
                    StyledResidual(before, after, style_dim, double=True)
                    for after, before in reversed([*pairwise(widths)])
                ),
            ]
        )
        self.end = nn.Sequential(InstanceNorm(first, affine=True), nn.LeakyReLU(0.2), nn.Conv2d(first, channels, 1))
        prepared(self, initialise_he)

    def forward(self, images: Tensor, styles: Tensor) -> Tensor:
        maps = self.shrink(self.begin(images.contiguous(memory_format=torch.channels_last)))
        for block in self.grow:
            maps = block(maps, styles)
        made: Tensor = self.end(maps)
        return made


class Mapping(nn.Module):
    """N×latent_dim noise and N indices of domains to N×style_dim styles: four layers shared, four for each domain."""

    def __init__(self, latent_dim: int, width: int, style_dim: int, domains: int) -> None:
        super().__init__()
        self.shared = _dense([latent_dim, *[width] * 4])
        self.own = nn.ModuleList(
            nn.Sequential(_dense([width] * 4), nn.Linear(width, style_dim)) for _ in range(domains)
        )
        prepared(self, initialise_he)

    def forward(self, latents: Tensor, domains: Tensor) -> Tensor:
        hidden = self.shared(latents)
        return _chosen(torch.stack([own(hidden) for own in self.own], dim=1), domains)


class StyleEncoder(nn.Module):
    """N×C×H×W images and N indices of domains to the images' styles as of these domains, N×style_dim."""

    def __init__(self, shape: tuple[int, int, int], widths: tuple[int, ...], style_dim: int, domains: int) -> None:
        super().__init__()
        self.shrink = _shrinking(shape, widths)
        self.own = nn.ModuleList(nn.Linear(widths[-1], style_dim) for _ in range(domains))
        prepared(self, initialise_he)

    def forward(self, images: Tensor, domains: Tensor) -> Tensor:
        features = self.shrink(images.contiguous(memory_format=torch.channels_last))
        return _chosen(torch.stack([own(features) for own in self.own], dim=1), domains)


class Discriminator(nn.Module):
    """N×C×H×W images and N indices of domains to N logits: is this a real image of this domain?"""

    def __init__(self, shape: tuple[int, int, int], widths: tuple[int, ...], domains: int) -> None:
        super().__init__()
        self.shrink = _shrinking(shape, widths)
        self.judge = nn.Linear(widths[-1], domains)
        prepared(self, initialise_he)

    def forward(self, images: Tensor, domains: Tensor) -> Tensor:
        features = self.shrink(images.contiguous(memory_format=torch.channels_last))
        return _chosen(self.judge(features), domains)


class Players(nn.Module):
    """The generator's side: the generator, and the two networks that give it styles."""

    def __init__(self, recipe: Recipe, widths: tuple[int, ...], domains: int) -> None:
        super().__init__()
        shape = recipe.data.shape
        self.generator = Generator(shape[0], widths[:-2], recipe.style_dim)
        self.mapping = Mapping(recipe.latent_dim, recipe.mapping_width, recipe.style_dim, domains)
        self.encoder = StyleEncoder(shape, widths, recipe.style_dim, domains)


class Fakes(NamedTuple):
    """What a step is about: images N×C×H×W, the styles N×style_dim that they were given, and others to differ from."""

    images: Tensor
    styles: Tensor
    others: Tensor


class Model(Styled):
    """The two players of StarGAN v2.

    The paper trains with styles of noise and then, in the same manner, with styles of references. Each has a step of
    its own here, with turns of both players: as many updates as in the paper, none of which mixes the two. With
    references the generator alone is updated.
    """

    recipe: Recipe
    generator: Players
    referenced = True

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        shape, domains = recipe.data.shape, len(self.targets)
        if not domains:
            raise ValueError("the domains were not yet found in the data")
        _, height, pixels = shape
        doublings = base_grid(height, pixels)[2]
        width = recipe.width or max(1, 16384 // max(height, pixels))
        widths = tuple(min(width * 2**level, recipe.largest_width) for level in range(doublings + 1))
        self.generator = Players(recipe, widths, domains)
        self.discriminator = Discriminator(shape, widths, domains)
        self.multiple = 2 ** (doublings - 2)
        self.smallest = 4 * self.multiple

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of the domains."""
        return self.recipe.data.domains

    def optimizer(self, player: Player) -> torch.optim.Optimizer:
        """Adam with weight decay, slower for the mapping network."""
        recipe, named = self.recipe, dict(getattr(self, player).named_parameters())
        slow = [parameter for name, parameter in named.items() if name.startswith("mapping.")]
        others = [parameter for name, parameter in named.items() if not name.startswith("mapping.")]
        groups: list[dict[str, Any]] = [{"params": others}]
        groups += [{"params": slow, "lr": recipe.mapping_learning_rate}] if slow else []
        return torch.optim.Adam(
            groups, recipe.learning_rate, recipe.betas, weight_decay=recipe.weight_decay, fused=True
        )

    @property
    def with_references(self) -> bool:
        """Whether this step takes its styles from references: after every second turn of the generator."""
        return self.generator_turns(self.step) % 2 == 1

    @property
    def diversity_weight(self) -> float:
        """The weight of the diversity in this step, a function of its number alone."""
        return self.recipe.lambda_diversity * max(0.0, 1 - self.step / max(1, self.recipe.diversity_steps))

    def generate(self, batch: Batch) -> Fakes:
        """The images in a style of the references' domain: of noise, or of the references themselves."""
        players, targets = self.generator, batch["reference_label"]
        if self.with_references:
            with torch.no_grad():
                styles, others = (players.encoder(batch[key], targets) for key in ("reference", "other_reference"))
        else:
            latents = torch.randn(2, len(targets), self.recipe.latent_dim, device=self.device)
            styles, others = (players.mapping(noise, targets) for noise in latents)
        return Fakes(players.generator(batch["image"], styles), styles, others)

    def discriminator_loss(self, batch: Batch, fakes: Fakes) -> Terms:
        """Equation 1, each image judged as one of its domain, and the penalty."""
        images, domains = batch["image"], batch["label"]
        real = self.discriminator(images, domains)
        fake = self.discriminator(fakes.images, batch["reference_label"])
        self.watch_logits(real, fake)
        penalty = losses.zero_centred_penalty(lambda x: self.discriminator(x, domains), images)
        return losses.discriminator("non-saturating", real, fake) | {"r1": self.recipe.r1 * penalty}

    def generator_loss(self, batch: Batch, fakes: Fakes) -> Terms:
        """Equations 1 to 4: to seem real, to show the given style, to differ between styles, to lead back."""
        recipe, players, images, targets = self.recipe, self.generator, batch["image"], batch["reference_label"]
        still = [*players.encoder.parameters(), *players.mapping.parameters()] if self.with_references else []
        with frozen(still):
            found, own = players.encoder(fakes.images, targets), players.encoder(images, batch["label"])
        back = players.generator(fakes.images, own)
        with torch.no_grad():
            other = players.generator(images, fakes.others)
        logits = self.discriminator(fakes.images, targets)
        return {
            "gan": losses.generator("non-saturating", logits),
            "style": recipe.lambda_style * l1_loss(found, fakes.styles),
            "diversity": -self.diversity_weight * l1_loss(fakes.images, other),
            "cycle": recipe.lambda_cycle * l1_loss(back, images),
        }

    def drawn(self, target: str, seeds: Sequence[int]) -> Tensor:
        """Of noise, each a function of its seed alone, N×style_dim."""
        domain = torch.tensor([self.targets.index(target)], device=self.device)
        # One by one: a matrix product may round differently for another number of rows.
        return torch.cat([self._sampled.mapping(self._latent(seed).to(self.device), domain) for seed in seeds])

    def read(self, references: Tensor, target: str) -> Tensor:
        """Of references, N×style_dim."""
        domains = torch.full((len(references),), self.targets.index(target), device=self.device)
        return cast(Tensor, self._sampled.encoder(references, domains))

    def applied(self, images: Tensor, styles: Tensor) -> Tensor:
        """The images in their styles, within the range of images, which the network only learns."""
        return cast(Tensor, self._sampled.generator(images, styles)).clamp(-1, 1)

    def columns(self, inputs: Batch) -> list[Tensor]:
        """The inputs, then in a few styles of noise in each domain, then in the style of an input of each domain."""
        images, labels = inputs["image"], inputs["label"]
        shown = [images]
        for target in self.targets:
            shown += [self.translate(images, target, [seed] * len(images)) for seed in range(STYLES)]
        for place, target in enumerate(self.targets):
            if len(same := (labels == place).nonzero()):
                shown.append(self.styled(images, self.styles_of(images[same[0]], target)))
        return shown

    def _latent(self, seed: int) -> Tensor:
        """The noise of one style, 1×latent_dim, the same on every device."""
        generator = torch.Generator().manual_seed(position_seed("style", seed))
        return torch.randn(1, self.recipe.latent_dim, generator=generator)

    @property
    def _sampled(self) -> Players:
        return self.sampler  # type: ignore[return-value]


def _shrinking(shape: tuple[int, int, int], widths: tuple[int, ...]) -> nn.Sequential:
    """N×C×H×W to N×width: residual blocks down to the smallest grid, then one convolution of that grid's size."""
    channels, height, pixels = shape
    rows, columns, _ = base_grid(height, pixels)
    return nn.Sequential(
        nn.Conv2d(channels, widths[0], 3, padding=1),
        *(ResidualBlock(before, after, halve=True) for before, after in pairwise(widths)),
        nn.LeakyReLU(0.2),
        nn.Conv2d(widths[-1], widths[-1], (rows, columns)),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
    )


def _dense(widths: list[int]) -> nn.Sequential:
    return nn.Sequential(*(layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())))


def _chosen(outputs: Tensor, domains: Tensor) -> Tensor:
    """Of N×domains×… what belongs to each row's domain, N×…"""
    return outputs[torch.arange(len(outputs), device=outputs.device), domains]
