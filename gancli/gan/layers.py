"""Layers that several families share, and how networks begin."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional


class ClassEmbedding(nn.Module):
    """Puts a learned embedding of the class beside the input: N×D to N×(D + width).

    Mirza and Osindero, Conditional Generative Adversarial Nets, 2014, https://arxiv.org/abs/1411.1784.
    """

    width = 50

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, self.width)

    def forward(self, inputs: Tensor, labels: Tensor | None) -> Tensor:
        """The wider input."""
        return torch.cat([inputs, self.embedding(labels)], 1)


def initialise(module: nn.Module) -> None:
    """Convolutions from N(0, .02), BatchNorm's gains from N(1, .02), biases 0: Radford et al. 2015, section 4."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d) and module.affine:
        nn.init.normal_(module.weight, 1, 0.02)


def initialise_he(module: nn.Module) -> None:
    """Weights as large as keeps the variance from layer to layer, biases 0: He et al. 2015, arXiv:1502.01852.

    For networks without normalisation: N(0, .02) would let the signal fade there, to a hundredth in DCGAN's D.
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def prepared(network: nn.Module, begin: Callable[[nn.Module], None]) -> None:
    """Let each module begin with its initial weights, and take the memory format that convolutions are fastest in."""
    network.apply(begin)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def dense(before: int, after: int, *, normalise: bool = False, dropout: float = 0) -> nn.Sequential:
    """A hidden layer of a multilayer perceptron: linear, BatchNorm where asked for, LeakyReLU, dropout."""
    layers: list[nn.Module] = [nn.Linear(before, after)]
    if normalise:
        layers.append(nn.BatchNorm1d(after))
    layers.append(nn.LeakyReLU(0.2, inplace=True))
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


def halving(before: int, after: int, *, bias: bool) -> nn.Module:
    """A strided convolution: N×before×2h×2w to N×after×h×w."""
    return nn.Conv2d(before, after, 4, stride=2, padding=1, bias=bias)


def doubling(before: int, after: int, *, bias: bool) -> nn.Module:
    """A transposed convolution: N×before×h×w to N×after×2h×2w."""
    return nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=bias)


class Residual(nn.Sequential):
    """Adds the result of its layers to their input, features N×C×h×w."""

    def forward(self, features: Tensor) -> Tensor:
        """The sum."""
        change = features
        for layer in self:
            change = layer(change)
        return features + change


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
    """BatchNorm, or InstanceNorm without gain and bias, as in the code of pix2pix's authors."""
    return BatchNorm(channels) if norm == "batch" else InstanceNorm(channels)


@contextmanager
def as_trained(network: nn.Module, noises: Sequence[torch.Generator]) -> Iterator[None]:
    """A network in evaluation mode that drops out and normalises as in training, each image as a batch of its own.

    Args:
        network: with layers of this module.
        noises: by which each image of a batch drops out.
    """
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
