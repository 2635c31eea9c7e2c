"""What the players minimise: pure functions of the discriminator's outputs, each with its equation."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, relu, softplus

Adversarial = Literal["non-saturating", "minimax", "hinge", "least-squares", "relativistic", "wasserstein"]
Judge = Callable[[Tensor], Tensor]
"""A discriminator: N×C×H×W images to N outputs."""


def discriminator(loss: Adversarial, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """The discriminator's terms, to be minimised, from its outputs on reals and on fakes (any shapes).

    With D = sigmoid(logit), -log D = softplus(-logit) and -log(1 - D) = softplus(logit), which never overflow.
    """
    real, fake = exact(real), exact(fake)
    match loss:
        # -V(D, G) = -E log D(x) - E log(1 - D(G(z))): Goodfellow et al. 2014, equation 1.
        case "non-saturating" | "minimax":
            return {"real": softplus(-real).mean(), "fake": softplus(fake).mean()}
        # E max(0, 1 - D(x)) + E max(0, 1 + D(G(z))): Miyato et al. 2018, arXiv:1802.05957, equation 16.
        case "hinge":
            return {"real": relu(1 - real).mean(), "fake": relu(1 + fake).mean()}
        # E (D(x) - 1)² / 2 + E D(G(z))² / 2: Mao et al. 2017, arXiv:1611.04076, equation 9.
        case "least-squares":
            return {"real": (real - 1).square().mean() / 2, "fake": fake.square().mean() / 2}
        # E softplus(-(D(x) - D(G(z)))), each real paired with a fake: Huang et al. 2024, arXiv:2501.05441, equation 2.
        case "relativistic":
            return {"pair": softplus(fake - real).mean()}
        # -(E f(x) - E f(G(z))): Arjovsky et al. 2017, arXiv:1701.07875, equation 3.
        case "wasserstein":
            return {"real": -real.mean(), "fake": fake.mean()}


def generator(loss: Adversarial, fake: Tensor, real: Tensor | None = None) -> Tensor:
    """The generator's term, to be minimised, from the discriminator's outputs on fakes (any shape).

    Only the relativistic loss looks at the outputs on reals.
    """
    fake = exact(fake)
    match loss:
        # -E log D(G(z)): Goodfellow et al. 2014, section 3, the objective with strong gradients early in learning.
        case "non-saturating":
            return softplus(-fake).mean()
        # E log(1 - D(G(z))): Goodfellow et al. 2014, equation 1.
        case "minimax":
            return -softplus(fake).mean()
        # E (D(G(z)) - 1)² / 2: Mao et al. 2017, equation 9.
        case "least-squares":
            return (fake - 1).square().mean() / 2
        # E softplus(-(D(G(z)) - D(x))): Huang et al. 2024, equation 2, with the players' roles exchanged.
        case "relativistic":
            assert real is not None
            return softplus(exact(real) - fake).mean()
        # -E D(G(z)): Miyato et al. 2018, equation 17; Arjovsky et al. 2017, theorem 3.
        case "hinge" | "wasserstein":
            return -fake.mean()


def probability(loss: Adversarial, output: Tensor) -> Tensor:
    """What the discriminator's outputs say of the chance that an image is real, above 1/2 where it says real.

    Least squares learns that number itself (Mao et al. 2017, equation 5, with b = 1 and a = 0); the others' outputs
    are logits, or at least change sign where reals and fakes are equally likely.
    """
    return output.clamp(0, 1) if loss == "least-squares" else output.sigmoid()


def exact(outputs: Tensor) -> Tensor:
    """Outputs of a network as a loss is computed from them: in float32, whatever the network computed in."""
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))


def classification(logits: Tensor, labels: Tensor) -> Tensor:
    """-E log of the probability that N×K logits give to the labels: Choi et al. 2018, arXiv:1711.09020, equations 2, 3.

    Args:
        logits: of the domains or the attributes.
        labels: N indices of domains that exclude each other, or N×K attributes that are each 0 or 1, whose losses are
            summed.
    """
    logits = exact(logits)
    if labels.ndim == 1:
        return cross_entropy(logits, labels)
    return binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="sum") / len(labels)


def jensen_shannon(real: Tensor, fake: Tensor) -> Tensor:
    """The players' estimate of the Jensen-Shannon divergence in nats, from the discriminator's two terms.

    V(D*, G) = 2 JS - log 4 at the best discriminator D* (Goodfellow et al. 2014, theorem 1), and V is smaller at any
    other, so (V + log 4) / 2 estimates JS from below. JS lies between 0 and log 2.
    """
    return (math.log(4) - real - fake) / 2


def wasserstein(real: Tensor, fake: Tensor) -> Tensor:
    """The critic's estimate of the Wasserstein-1 distance from its two terms: right up to the critic's Lipschitz
    constant, and from below (Arjovsky et al. 2017, equation 3).
    """
    return -real - fake


def gradient_penalty(critic: Judge, real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """E (‖∇f(x̂)‖₂ - 1)² at points x̂ between reals and fakes: Gulrajani et al. 2017, arXiv:1704.00028, equation 3.

    Args:
        critic: judges each image by itself, so without BatchNorm.
        real: N×…
        fake: N×…
        share: N, how much of each point is real, uniform on [0, 1].
    """
    share = share.reshape(-1, *[1] * (real.ndim - 1))
    between = share * real.float() + (1 - share) * fake.float()
    # The norm has gradient 0 where the slope is 0; the root of a sum of squares would have none.
    lengths: Tensor = torch.linalg.vector_norm(_slopes(critic, between), dim=1)
    return (lengths - 1).square().mean()


def zero_centred_penalty(critic: Judge, images: Tensor) -> Tensor:
    """E ‖∇D(x)‖² / 2: R1 at reals, R2 at fakes: Mescheder et al. 2018, arXiv:1801.04406, equation 9."""
    return _slopes(critic, images).square().sum(1).mean() / 2


def _slopes(critic: Judge, images: Tensor) -> Tensor:
    """The critic's gradient at each of N images, N×values, ready to be differentiated once more.

    In float32 whatever the networks use: the squares of small bfloat16 gradients lose what the penalty is about.
    """
    with torch.autocast(images.device.type, enabled=False):
        images = exact(images.detach()).requires_grad_()
        (slopes,) = torch.autograd.grad(critic(images).sum(), images, create_graph=True)
    return torch.flatten(slopes, 1)
