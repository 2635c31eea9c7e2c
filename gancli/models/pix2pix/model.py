"""Pix2Pix: a U-Net that learns from pairs what an image should become, judged patch by patch.

Phillip Isola, Jun-Yan Zhu, Tinghui Zhou and Alexei A. Efros, Image-to-Image Translation with Conditional Adversarial
Networks, 2016, https://arxiv.org/abs/1611.07004. Sizes, biases and defaults are those of the authors' PyTorch code.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gancli.gan import losses
from gancli.gan.adversarial import Batch, Terms, position_seed
from gancli.gan.image_to_image import FromImages
from gancli.gan.layers import Dropout, as_trained, doubling, halving, initialise, normalisation, prepared
from gancli.models.pix2pix.recipe import Recipe, halvings


class Generator(nn.Module):
    """A U-Net: N×C×H×W in [-1, 1] to the same, H and W multiples of 2 to the power of `depth`."""

    def __init__(
        self, channels: int, width: int, depth: int, norm: Literal["batch", "instance"], dropout: float
    ) -> None:
        super().__init__()
        widths = [width * min(2**level, 8) for level in range(depth)]
        bias = norm == "instance"  # BatchNorm has one of its own
        down: list[nn.Module] = [halving(channels, width, bias=bias)]
        up: list[nn.Module] = [nn.Sequential(nn.ReLU(), doubling(2 * width, channels, bias=True), nn.Tanh())]
        for level, (outer, inner) in enumerate(pairwise(widths), 1):
            innermost = level == depth - 1
            before = [nn.LeakyReLU(0.2), halving(outer, inner, bias=bias)]
            after = [
                nn.ReLU(),
                doubling(inner if innermost else 2 * inner, outer, bias=bias),
                normalisation(norm, outer),
            ]
            # At the bottleneck a single pixel may be left, which cannot be normalised.
            down.append(nn.Sequential(*before, *([] if innermost else [normalisation(norm, inner)])))
            noisy = dropout and not innermost and outer == inner
            up.append(nn.Sequential(*after, *([Dropout(dropout)] if noisy else [])))
        self.down = nn.ModuleList(down)
        self.up = nn.ModuleList(up)
        prepared(self, initialise)

    def forward(self, images: Tensor) -> Tensor:
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
        judge: list[nn.Module] = [halving(channels, width, bias=True), nn.LeakyReLU(0.2, inplace=True)]
        for level, (before, after) in enumerate(pairwise(widths), 1):
            convolution = nn.Conv2d(before, after, 4, 2 if level < layers else 1, 1, bias=norm == "instance")
            judge += [convolution, normalisation(norm, after), nn.LeakyReLU(0.2, inplace=True)]
        self.judge = nn.Sequential(*judge, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        prepared(self, initialise)

    def forward(self, images: Tensor) -> Tensor:
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
        noises = [torch.Generator().manual_seed(position_seed("translate", seed)) for seed in seeds]
        with as_trained(self.sampler, noises) if self.dropout else nullcontext():
            translations: Tensor = self.sampler(images)
        return translations

    def columns(self, inputs: Batch) -> Sequence[Tensor]:
        """Input, output, target."""
        images = inputs["a"]
        return images, self.translate(images, self.targets[0], range(len(images))), inputs["b"]
