"""Pre-activated residual blocks, plain and styled (Choi et al. 2020, appendix)."""

import math

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, leaky_relu

from gancli.gan.layers import InstanceNorm


class ResidualBlock(nn.Module):
    """Two pre-activated convolutions and a shortcut, N×before×H×W to N×after×H×W or half of each side.

    Both branches have the variance of the input, so their sum is divided by √2.
    """

    def __init__(self, before: int, after: int, *, halve: bool = False, norm: bool = False) -> None:
        super().__init__()
        self.halves = halve
        self.first_norm = InstanceNorm(before, affine=True) if norm else nn.Identity()
        self.first = nn.Conv2d(before, before, 3, padding=1)
        self.second_norm = InstanceNorm(before, affine=True) if norm else nn.Identity()
        self.second = nn.Conv2d(before, after, 3, padding=1)
        self.shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.first(leaky_relu(self.first_norm(maps), 0.2))
        if self.halves:
            # A 1×1 convolution and a mean may change places, and after the mean it costs a quarter.
            inner, maps = avg_pool2d(inner, 2), avg_pool2d(maps, 2)
        inner = self.second(leaky_relu(self.second_norm(inner), 0.2))
        joined: Tensor = (self.shortcut(maps) + inner) / math.sqrt(2)
        return joined


class StyledResidual(nn.Module):
    """As `ResidualBlock`, with a style in its norms: N×before×H×W to N×after×H×W or twice of each side."""

    def __init__(self, before: int, after: int, style_dim: int, *, double: bool = False) -> None:
        super().__init__()
        self.doubles = double
        self.first_norm = AdaptiveInstanceNorm(style_dim, before)
        self.first = nn.Conv2d(before, after, 3, padding=1)
        self.second_norm = AdaptiveInstanceNorm(style_dim, after)
        self.second = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1, bias=False)

    def forward(self, maps: Tensor, styles: Tensor) -> Tensor:
        inner = leaky_relu(self.first_norm(maps, styles), 0.2)
        passed = self.shortcut(maps)
        if self.doubles:
            inner, passed = interpolate(inner, scale_factor=2), interpolate(passed, scale_factor=2)
        inner = self.second(leaky_relu(self.second_norm(self.first(inner), styles), 0.2))
        joined: Tensor = (passed + inner) / math.sqrt(2)
        return joined


class AdaptiveInstanceNorm(nn.Module):
    """Instance normalisation, its gains and biases a linear function of the style (AdaIN, Huang and Belongie 2017).

    The gains are 1 and more, so that the weight decay draws them to 1, where the paper has their biases begin.
    """

    def __init__(self, style_dim: int, width: int) -> None:
        super().__init__()
        self.told = nn.Linear(style_dim, 2 * width)
        self.norm = InstanceNorm(width)

    def forward(self, maps: Tensor, styles: Tensor) -> Tensor:
        gain, bias = self.told(styles)[:, :, None, None].chunk(2, dim=1)
        styled: Tensor = (1 + gain) * self.norm(maps) + bias
        return styled
