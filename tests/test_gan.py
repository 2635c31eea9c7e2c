"""The 2014 GAN: its value function, its bounds, its first steps."""

import math

import pytest
import torch

from gancli.gan import losses


def test_terms_are_the_value_function_s() -> None:
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])
    d_real, d_fake = torch.sigmoid(real), torch.sigmoid(fake)
    terms = losses.discriminator("minimax", real, fake)
    value = d_real.log().mean() + (1 - d_fake).log().mean()
    assert torch.isclose(-terms["real"] - terms["fake"], value)
    assert torch.isclose(losses.generator("minimax", fake), (1 - d_fake).log().mean())
    assert torch.isclose(losses.generator("non-saturating", fake), -d_fake.log().mean())


def test_sure_discriminators_do_not_overflow() -> None:
    sure = torch.tensor([500.0, -500.0])
    for loss in ("minimax", "non-saturating"):
        assert all(torch.isfinite(term) for term in losses.discriminator(loss, sure, -sure).values())
        assert torch.isfinite(losses.generator(loss, sure))


@pytest.mark.parametrize(("logit", "estimate"), [(0.0, 0.0), (50.0, math.log(2))])
def test_the_divergence_estimate_reaches_its_bounds(logit, estimate) -> None:
    """0 for a discriminator that cannot tell, log 2 for one that always can."""
    terms = losses.discriminator("non-saturating", torch.tensor([logit]), torch.tensor([-logit]))
    assert losses.jensen_shannon(terms["real"], terms["fake"]).item() == pytest.approx(estimate, abs=1e-6)
