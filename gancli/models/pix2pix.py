"""Pix2Pix: a U-Net that learns from pairs what an image should become, judged patch by patch.

Phillip Isola, Jun-Yan Zhu, Tinghui Zhou and Alexei A. Efros, Image-to-Image Translation with Conditional Adversarial
Networks, 2016, https://arxiv.org/abs/1611.07004. Sizes, biases and defaults are those of the authors' PyTorch code.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gancli import losses
from gancli.adversarial import Batch, Terms, position_seed
from gancli.data.settings import HalvedPairs, halvings
from gancli.from_images import FromImages
from gancli.models import dcgan
from gancli.schema import Count, NonNegative, RecipeOfPatches, Share


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


class Generator(nn.Module):
    """A U-Net: N×C×H×W in [-1, 1] to the same, H and W multiples of 2 to the power of `depth`."""

    def __init__(
        self, channels: int, width: int, depth: int, norm: Literal["batch", "instance"], dropout: float
    ) -> None:
        super().__init__()
        widths = [width * min(2**level, 8) for level in range(depth)]
        bias = norm == "instance"  # BatchNorm has one of its own
        down: list[nn.Module] = [_halving(channels, width, bias=bias)]
        up: list[nn.Module] = [nn.Sequential(nn.ReLU(), _doubling(2 * width, channels, bias=True), nn.Tanh())]
        for level, (outer, inner) in enumerate(pairwise(widths), 1):
            innermost = level == depth - 1
            before = [nn.LeakyReLU(0.2), _halving(outer, inner, bias=bias)]
            after = [
                nn.ReLU(),
                _doubling(inner if innermost else 2 * inner, outer, bias=bias),
                normalisation(norm, outer),
            ]
            # At the bottleneck a single pixel may be left, which cannot be normalised.
            down.append(nn.Sequential(*before, *([] if innermost else [normalisation(norm, inner)])))
            noisy = dropout and not innermost and outer == inner
            up.append(nn.Sequential(*after, *([Dropout(dropout)] if noisy else [])))
        self.down = nn.ModuleList(down)
        self.up = nn.ModuleList(up)
        dcgan.prepared(self, dcgan.initialise)

    def forward(self, images: Tensor) -> Tensor:
        """The translations."""
        skips: list[Tensor] = []
        for layer in self.down:
            images = layer(images)
            skips.append(images)
        images = skips.pop()
        for layer in reversed(self.up):
            images = layer(images)
            if skips:
                images = torch.cat([skips.pop(), images], 1)
        return images


class Discriminator(nn.Module):
    """A PatchGAN: N×C×H×W to N×1×h×w logits, one for each patch."""

    def __init__(self, channels: int, width: int, layers: int, norm: Literal["batch", "instance"]) -> None:
        super().__init__()
        widths = [width * min(2**level, 8) for level in range(layers + 1)]
        judge: list[nn.Module] = [_halving(channels, width, bias=True), nn.LeakyReLU(0.2, inplace=True)]
        for level, (before, after) in enumerate(pairwise(widths), 1):
            convolution = nn.Conv2d(before, after, 4, 2 if level < layers else 1, 1, bias=norm == "instance")
            judge += [convolution, normalisation(norm, after), nn.LeakyReLU(0.2, inplace=True)]
        self.judge = nn.Sequential(*judge, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        dcgan.prepared(self, dcgan.initialise)

    def forward(self, images: Tensor) -> Tensor:
        """The logits."""
        logits: Tensor = self.judge(images)
        return logits


class Model(FromImages):
    """The two players of Pix2Pix; in a batch `a` is the input and `b` the target, whatever the direction."""

    recipe: Recipe

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        channels, height, width = recipe.data.shape
        depth = halvings(height, width)
        self.multiple = 2**depth
        self.dropout = True
        self.generator = Generator(channels, recipe.width, depth, recipe.norm, recipe.dropout)
        self.discriminator = Discriminator(2 * channels, recipe.width, recipe.discriminator_layers, recipe.norm)

    @property
    def targets(self) -> tuple[str, ...]:
        """The one that it was trained for."""
        return ("b",) if self.recipe.data.direction == "a-to-b" else ("a",)

    def origins(self, target: str) -> tuple[str, ...]:
        """The other half of the pairs."""
        return ("a",) if target == "b" else ("b",)

    def generate(self, batch: Batch) -> Tensor:
        """The translations of a batch's inputs."""
        fakes: Tensor = self.generator(batch["a"])
        return fakes

    def discriminator_loss(self, batch: Batch, fakes: Tensor) -> Terms:
        """Cross-entropy of real and of translated pairs, halved to slow the discriminator: section 3.3 of the paper."""
        real, fake = self.judge(batch, batch["b"]), self.judge(batch, fakes)
        self.watch_logits(real, fake)
        return {name: term / 2 for name, term in losses.discriminator("non-saturating", real, fake).items()}

    def generator_loss(self, batch: Batch, fakes: Tensor) -> Terms:
        """Equation 4 of the paper."""
        return {
            "gan": losses.generator("non-saturating", self.judge(batch, fakes)),
            "l1": self.recipe.lambda_l1 * functional.l1_loss(fakes, batch["b"]),
        }

    def judge(self, batch: Batch, images: Tensor) -> Tensor:
        """The discriminator's logits of inputs and what they became, side by side in channels."""
        logits: Tensor = self.discriminator(torch.cat([batch["a"], images], 1))
        return logits

    def translated(self, images: Tensor, target: str, seeds: Sequence[int]) -> Tensor:
        """The translations; with dropout as the paper tests: normalised by the image's own statistics, section 3.3."""
        with _as_tested(self.sampler, seeds if self.dropout else None):
            translations: Tensor = self.sampler(images)
        return translations

    def columns(self, inputs: Batch) -> Sequence[Tensor]:
        """Input, output, target."""
        images = inputs["a"]
        return images, self.translate(images, self.targets[0], range(len(images))), inputs["b"]


class Dropout(nn.Dropout):
    """Dropout that can be kept in inference, where each image has noise of its own, the same on every device."""

    noises: Sequence[torch.Generator] | None = None

    def forward(self, features: Tensor) -> Tensor:
        """The features N×C×h×w without those dropped out, and the others larger to make up for it."""
        if self.noises is None:
            return super().forward(features)
        drawn = torch.stack([torch.rand(features.shape[1:], generator=noise) for noise in self.noises])
        return features * (drawn >= self.p).to(features) / (1 - self.p)


class BatchNorm(nn.BatchNorm2d):
    """BatchNorm that in inference can normalise each image as if it were a batch of its own."""

    alone = False

    def forward(self, features: Tensor) -> Tensor:
        """The features N×C×h×w, normalised."""
        if not self.alone:
            return super().forward(features)
        return functional.instance_norm(features, weight=self.weight, bias=self.bias, eps=self.eps)


class InstanceNorm(nn.InstanceNorm2d):
    """InstanceNorm that leaves features channels last in training, as the convolutions around it have them.

    PyTorch's own puts them channels first, and on a CPU that takes three times as long as the normalisation.
    """

    def forward(self, features: Tensor) -> Tensor:
        """The features N×C×h×w, normalised."""
        if not self.training or features.is_cuda:
            return super().forward(features)
        images = [
            functional.batch_norm(image, None, None, self.weight, self.bias, training=True, eps=self.eps)
            for image in torch.split(features, 1)
        ]
        return torch.cat(images) if len(images) > 1 else images[0]


def normalisation(norm: Literal["batch", "instance"], channels: int) -> nn.Module:
    """The normalisation of a name; InstanceNorm without gain and bias, as the authors have it."""
    return BatchNorm(channels) if norm == "batch" else InstanceNorm(channels)


@contextmanager
def _as_tested(network: nn.Module, seeds: Sequence[int] | None) -> Iterator[None]:
    """A network in evaluation mode as the paper tests it, with dropout seeded by image; without seeds, unchanged."""
    if seeds is None:
        yield
        return
    noises = [torch.Generator().manual_seed(position_seed("translate", seed)) for seed in seeds]
    dropouts = [layer for layer in network.modules() if isinstance(layer, Dropout)]
    norms = [layer for layer in network.modules() if isinstance(layer, BatchNorm)]
    try:
        for dropout in dropouts:
            dropout.noises = noises
        for norm in norms:
            norm.alone = True
        yield
    finally:
        for dropout in dropouts:
            dropout.noises = None
        for norm in norms:
            norm.alone = False


def _halving(before: int, after: int, *, bias: bool) -> nn.Module:
    return nn.Conv2d(before, after, 4, stride=2, padding=1, bias=bias)


def _doubling(before: int, after: int, *, bias: bool) -> nn.Module:
    return nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=bias)
