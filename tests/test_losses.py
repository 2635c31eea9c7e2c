"""The losses: their gradients, their optima, and the penalties against hand computation."""

import typing

import pytest
import torch
from torch import nn

from gancli.gan import losses

NAMES = typing.get_args(losses.Adversarial)


def outputs(count: int) -> torch.Tensor:
    """Outputs that lie far from the hinge's corners at ±1."""
    return (torch.arange(count, dtype=torch.float64) * 0.73 - 2.1).requires_grad_()


@pytest.mark.parametrize("loss", NAMES)
def test_gradients_agree_with_finite_differences(loss) -> None:
    real, fake = outputs(6), outputs(6).detach().flip(0).mul(0.9).requires_grad_()
    assert torch.autograd.gradcheck(lambda r, f: tuple(losses.discriminator(loss, r, f).values()), (real, fake))
    assert torch.autograd.gradcheck(lambda f: losses.generator(loss, f, real.detach()), (fake,))


@pytest.mark.parametrize("loss", NAMES)
def test_the_players_pull_the_outputs_apart_and_together(loss) -> None:
    """One wants reals above fakes, the other fakes as high as can be."""
    real, fake = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    torch.stack(list(losses.discriminator(loss, real, fake).values())).sum().backward()
    # Least squares has fakes at their target, 0, already.
    assert (real.grad < 0).all() and ((fake.grad > 0).all() or loss == "least-squares")
    fake.grad = None
    losses.generator(loss, fake, real.detach()).backward()
    assert (fake.grad < 0).all()


def test_terms_are_their_equations() -> None:
    real, fake = torch.tensor([2.0, -0.5]), torch.tensor([0.5, -3.0])
    hinge, squares = losses.discriminator("hinge", real, fake), losses.discriminator("least-squares", real, fake)
    assert (hinge["real"].item(), hinge["fake"].item()) == (0.75, 0.75)
    assert (squares["real"].item(), squares["fake"].item()) == ((1 + 2.25) / 4, (0.25 + 9) / 4)
    pair = losses.discriminator("relativistic", real, fake)["pair"]
    assert torch.isclose(pair, -torch.log(torch.sigmoid(real - fake)).mean())
    assert losses.wasserstein(**losses.discriminator("wasserstein", real, fake)).item() == 0.75 + 1.25
    assert losses.probability("least-squares", real).tolist() == [1, 0]
    assert (losses.probability("hinge", real) > 0.5).tolist() == [True, False]


WEIGHT = torch.tensor([[3.0, -4.0, 12.0]], dtype=torch.float64)
"""Of length 13."""


def linear(images: torch.Tensor) -> torch.Tensor:
    return (images.flatten(1) @ WEIGHT.T).squeeze(1)


def test_the_penalties_of_a_linear_critic_are_known() -> None:
    real, fake = torch.randn(5, 3, 1, 1, dtype=torch.float64), torch.randn(5, 3, 1, 1, dtype=torch.float64)
    share = torch.rand(5, dtype=torch.float64)
    assert losses.gradient_penalty(linear, real, fake, share).item() == pytest.approx((13 - 1) ** 2)
    assert losses.zero_centred_penalty(linear, real).item() == pytest.approx(13**2 / 2)


def test_the_gradient_penalty_looks_between_reals_and_fakes() -> None:
    """f(x) = x² / 2 has slope x, which is the point itself."""
    real, fake, share = torch.full((2, 1), 3.0), torch.full((2, 1), 5.0), torch.tensor([0.25, 1.0])
    penalty = losses.gradient_penalty(lambda x: x.square().sum(1) / 2, real, fake, share)
    assert penalty.item() == pytest.approx(((4.5 - 1) ** 2 + (3 - 1) ** 2) / 2)


def test_penalties_are_differentiable_and_finite_on_a_flat_critic() -> None:
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    real, fake = torch.randn(3, 1, 2, 2, dtype=torch.float64), torch.randn(3, 1, 2, 2, dtype=torch.float64)
    weight = critic[1].weight

    def penalty(value: torch.Tensor) -> torch.Tensor:
        def judge(images: torch.Tensor) -> torch.Tensor:
            hidden = torch.tanh(images.flatten(1) @ value.T + critic[1].bias)
            return critic[3](hidden).squeeze(1)

        share = torch.full((3,), 0.5, dtype=torch.float64)
        return losses.gradient_penalty(judge, real, fake, share) + losses.zero_centred_penalty(judge, real)

    assert torch.autograd.gradcheck(penalty, (weight.detach().clone().requires_grad_(),))
    zero = torch.zeros_like(weight).requires_grad_()
    penalty(zero).backward()
    assert zero.grad.isfinite().all()


def test_penalties_stay_in_float32_under_autocast() -> None:
    seen = []
    critic = nn.Linear(4, 1)

    def judge(images: torch.Tensor) -> torch.Tensor:
        out = critic(images)
        seen.append(out.dtype)
        return out.squeeze(1)

    with torch.autocast("cpu", torch.bfloat16):
        losses.zero_centred_penalty(judge, torch.randn(2, 4).bfloat16())
        assert critic(torch.randn(2, 4)).dtype == torch.bfloat16
    assert seen == [torch.float32]
