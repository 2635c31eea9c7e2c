import numpy as np
import pytest
import torch
from torchmetrics.image.inception import InceptionScore

from gancli.errors import UserError
from gancli.metrics.classes import accuracy, class_shares, inception_score


def sure(labels, classes=5):
    return torch.nn.functional.one_hot(torch.tensor(labels), classes).float() * 200


@pytest.mark.parametrize(
    ("logits", "score"),
    [
        (sure([0, 1, 2, 3, 4] * 20), 5.0),  # certain and diverse: as many as there are classes
        (sure([2] * 100), 1.0),  # certain of a single class
        (torch.zeros(100, 5), 1.0),  # uncertain
        # p = (.8, .2) and (.2, .8) in turn: exp(.8 ln 1.6 + .2 ln .4)
        (torch.tensor([[0.8, 0.2], [0.2, 0.8]]).log().repeat(50, 1), 1.212573),
    ],
)
def test_inception_scores_known_by_hand(logits, score):
    values = inception_score(logits, seed=0, splits=1)
    assert values == {"is": pytest.approx(score, rel=1e-5), "is_deviation": pytest.approx(0)}


def test_data_sorted_by_class_is_shuffled_before_it_is_split():
    values = inception_score(sure([0] * 100 + [1] * 100), seed=0)
    assert 1.8 < values["is"] <= 2.0
    assert values["is_deviation"] > 0
    assert values == inception_score(sure([0] * 100 + [1] * 100), seed=0)


def of_peers(logits, splits):
    """The score as its authors and those after them compute it, without shuffling: NumPy, i·N // splits."""
    p = torch.softmax(logits.double(), 1).numpy()
    scores = []
    for part in range(splits):
        some = p[part * len(p) // splits : (part + 1) * len(p) // splits]
        scores.append(np.exp(np.mean(np.sum(some * (np.log(some) - np.log(some.mean(0))), 1))))
    return np.mean(scores)


@pytest.mark.parametrize("count", [10, 57, 99, 200])
def test_parts_are_cut_as_others_cut_them(count):
    generator = torch.Generator().manual_seed(count)
    logits = torch.randn(count, 7, generator=generator) * 3
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    assert inception_score(logits, seed=0)["is"] == pytest.approx(of_peers(logits[order], 10), rel=1e-12)


def test_torchmetrics_gives_the_same_to_float32s_digits():
    logits = torch.randn(200, 7, generator=torch.Generator().manual_seed(0)) * 3
    metric = InceptionScore(feature=torch.nn.Identity(), splits=1)
    metric.update(logits)
    assert inception_score(logits, seed=0, splits=1)["is"] == pytest.approx(metric.compute()[0].item(), rel=1e-5)


@pytest.mark.parametrize("count", [200, 1000])
def test_the_bias_of_few_images_is_found(count):
    """Of 100,000 images the score is 4.6; the value without its bias is nearer to it in the mean."""
    draw = lambda count, seed: torch.randn(count, 20, generator=torch.Generator().manual_seed(seed)) * 3  # noqa: E731
    true = inception_score(draw(100_000, 0), seed=0, splits=1)["is"]
    found = [inception_score(draw(count, seed), seed=0) for seed in range(1, 40)]
    value = np.mean([scores["is"] for scores in found])
    bias = np.mean([scores["is_bias"] for scores in found])
    assert bias < 0
    assert abs(value - bias - true) < 0.2 * abs(value - true)


def test_shares_and_confidence():
    values = class_shares(torch.cat([sure([0, 0, 0, 1]), torch.tensor([[0.0, 0, 1, 0, 0]])]))
    assert [values[f"share_{k}"] for k in range(5)] == pytest.approx([0.6, 0.2, 0.2, 0, 0])
    assert values["confidence"] == pytest.approx((4 + 2.718281828 / 6.718281828) / 5)


def test_accuracy():
    assert accuracy(sure([0, 1, 2, 3]), torch.tensor([0, 1, 2, 0]))["accuracy"] == 0.75
    with pytest.raises(UserError, match="4 images came with 3 labels"):
        accuracy(sure([0, 1, 2, 3]), torch.tensor([0, 1, 2]))
