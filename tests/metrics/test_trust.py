"""Warnings: each with the number that is a reason for it, and none where there is no reason."""

import numpy as np
import pytest
import torch

from gancli.metrics import fid, trust
from gancli.metrics.fid import Infinity, fid_infinity, of_features
from gancli.metrics.sides import Side


def draw(count, dimensions, seed=0, scale=1.0):
    return torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed)) * scale


def warned(fakes, reals, sizes=("8×8", "8×8")):
    sides = [
        Side(
            len(features),
            size,
            {"network": "x", "weights": "x", "resize": "x", "precision": "x"},
            of_features(features, {}),
        )
        for features, size in zip((fakes, reals), sizes, strict=True)
    ]
    return trust.fid(fid.distance(sides[1].moments(), sides[0].moments()), *sides)


def test_many_images_in_few_dimensions_are_no_reason_to_warn():
    assert not warned(draw(900, 8, 0, 2), draw(700, 8, 1))


def test_the_same_numbers_in_more_dimensions_are():
    (warning,) = warned(draw(900, 512, 0, 2), draw(700, 512, 1))
    assert warning.startswith("FID of 900 images and 700 reference images: at least ")
    assert "fewer than two a dimension, of which there are 512" in warning


def test_a_small_distance_is_mostly_bias_even_of_many_images():
    (warning,) = warned(draw(900, 8, 0, 1.02), draw(700, 8, 1))
    assert warning.startswith("FID of 900 images and 700 reference images: about ")


def test_sides_that_share_images_are_found_out():
    (warning,) = warned(draw(900, 8), draw(900, 8)[:700])
    assert "the two sides share images" in warning


def test_other_sizes_are_said():
    assert "their sharpness is compared too" in warned(draw(900, 8, 0, 2), draw(700, 8, 1), ("8×8", "9×9"))[0]


def test_inception_scores_of_few_images():
    assert not trust.inception_score(5.0, -0.1, 5000, 10)
    assert trust.inception_score(1.0, -1.5, 10, 10) == [
        "IS of 10 images in 10 parts: a part of 1 cannot score above 1, and 1 is about 1.5 too low; give more images"
    ]
    assert "5 is about 0.5 too low" in trust.inception_score(5.0, -0.5, 5000, 10)[0]


@pytest.mark.parametrize("count", [20, 150])
def test_fid_infinity_of_few_images_says_how_far_it_reaches_and_numpy_says_nothing(count, recwarn):
    reals = of_features(draw(4000, 24), {})
    found = fid_infinity(reals, draw(count, 24, 1), {}, seed=0)
    assert np.isfinite(found.value) and found.deviation > 0 and not recwarn.list
    (warning, *_) = trust.fid_infinity(found, torch.empty(count, 24))
    assert f"FID∞ of {count} images: the line through subsets of {count // 10}" in warning
    assert "with 24 dimensions give 480 images or more" in warning


def test_fid_infinity_of_many_images_is_not_warned_of():
    assert not trust.fid_infinity(Infinity(10.0, 0.1, 11.0, 10.1, 0.1, 600), torch.empty(6000, 24))
    few_reals = Infinity(10.0, 0.1, 11.0, 10.1, 2.0, 600)
    assert trust.fid_infinity(few_reals, torch.empty(6000, 24)) == [
        "FID∞: about 2 of 10 is bias of so few reference images"
    ]
