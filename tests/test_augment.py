"""DiffAugment: what it may do to images, and that gradients pass through it."""

import typing

import pytest
import torch

from gancli.gan.augment import Change, augment

CHANGES = typing.get_args(Change)


def noise(count: int = 8, channels: int = 3, height: int = 16, width: int = 24) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.rand(count, channels, height, width, dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize("change", CHANGES)
def test_each_image_is_changed_anew_and_repeatably(change) -> None:
    images = noise(1).expand(8, -1, -1, -1)
    torch.manual_seed(1)
    once = augment(images, [change])
    assert once.shape == images.shape and len({image.sum().item() for image in once}) > 4
    torch.manual_seed(1)
    assert torch.equal(augment(images, [change]), once)
    assert not torch.equal(augment(images, [change]), once)


@pytest.mark.parametrize("change", CHANGES)
def test_gradients_are_those_of_the_changed_image(change) -> None:
    images = noise(2, 3, 6, 4).requires_grad_()

    def seeded(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(3)
        return augment(x, [change])

    assert torch.autograd.gradcheck(seeded, (images,))


def test_no_change_is_no_change() -> None:
    assert torch.equal(augment(noise(), []), noise())


def test_translation_moves_by_at_most_an_eighth_and_fills_with_zeros() -> None:
    images = torch.zeros(400, 1, 16, 24)
    images[:, :, 8, 12] = 1
    torch.manual_seed(0)
    _, _, rows, columns = augment(images, ["translation"]).nonzero(as_tuple=True)
    assert set(rows.tolist()) == set(range(6, 11)) and set(columns.tolist()) == set(range(9, 16))
    full = augment(torch.ones(100, 1, 16, 24), ["translation"])
    assert set(full.unique().tolist()) == {0, 1}


def test_cutout_takes_a_half_of_each_side_where_it_fits() -> None:
    torch.manual_seed(0)
    gone = 1 - augment(torch.ones(500, 2, 16, 24), ["cutout"])
    assert torch.equal(gone[:, 0], gone[:, 1])
    heights, widths = gone[:, 0].amax(2).sum(1), gone[:, 0].amax(1).sum(1)
    assert torch.equal(heights * widths, gone[:, 0].sum((1, 2))), "what is gone is a rectangle"
    assert heights.max() == 8 and widths.max() == 12 and heights.min() >= 4 and widths.min() >= 6


def test_colour_changes_no_shape() -> None:
    """The gray picture stays an affine function of what it was, and no place depends on another."""
    images = noise()
    torch.manual_seed(0)
    before, after = images.mean(1).flatten(1), augment(images, ["colour"]).mean(1).flatten(1)
    for x, y in zip(before, after, strict=True):
        slope = torch.corrcoef(torch.stack([x, y]))[0, 1]
        contrast = y.std() / x.std()
        assert slope == pytest.approx(1) and 0.5 <= contrast <= 1.5
