"""What is watched between two rows is kept as sums and counts, and those of older checkpoints are still read."""

import gc

import pytest
import tiny
import torch
from torch import Tensor

from gancli.data.batches import Batches
from gancli.data.dataset import load
from gancli.gan.watched import Watched
from gancli.training.train import build

CPU = torch.device("cpu")


def observations(count: int) -> list[Tensor]:
    """Scalars, vectors and maps, some of them truths."""
    draw = torch.Generator().manual_seed(0)
    shapes = [(), (7,), (3, 1, 5, 5)]
    return [torch.randn(shapes[n % 3], generator=draw) > 0.2 if n % 4 == 0 else torch.rand(5) for n in range(count)]


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_the_mean_is_that_of_the_means(count) -> None:
    watched, given = Watched(), observations(count)
    for tensor in given:
        watched.add("x", tensor)
        watched.add("y", 2 * tensor.float())
    mean = torch.stack([tensor.float().mean() for tensor in given]).mean().item()
    assert watched.take() == pytest.approx({"x": mean, "y": 2 * mean}, rel=1e-6)
    assert watched.take() == {}


def test_memory_does_not_grow_with_the_interval() -> None:
    watched = Watched()
    watched.add("x", torch.rand(100))
    gc.collect()
    before = sum(type(thing) is Tensor for thing in gc.get_objects())
    for _ in range(500):
        watched.add("x", torch.rand(100))
    gc.collect()
    assert sum(type(thing) is Tensor for thing in gc.get_objects()) == before


@pytest.mark.parametrize("stop", [0, 1, 40, 99])
def test_going_on_from_a_state_gives_the_same_bits(stop) -> None:
    whole, first, second = Watched(), Watched(), Watched()
    for n, tensor in enumerate(given := observations(100)):
        whole.add("x", tensor)
        if n < stop:
            first.add("x", tensor)
    second.restore(first.state(), CPU)
    for tensor in given[stop:]:
        second.add("x", tensor)
    assert torch.equal(whole.state()["x"], second.state()["x"]) and whole.take() == second.take()


@pytest.mark.parametrize(
    "saved",
    [
        torch.zeros(0),
        torch.zeros(2, 2),
        torch.zeros(2, dtype=torch.float64),
        torch.ones(3, dtype=torch.float64),
        torch.tensor([1, 1.5], dtype=torch.float64),
        torch.tensor([1, -1], dtype=torch.float64),
        torch.ones(2, dtype=torch.int64),
    ],
    ids=str,
)
def test_what_is_no_state_is_refused(saved) -> None:
    with pytest.raises(ValueError, match="no list of numbers"):
        Watched().restore({"x": saved}, CPU)


def test_the_observations_of_version_0_1_0_are_continued() -> None:
    """It kept the mean of every observation since the last row, as a vector of float32."""
    settings = tiny.settings("gan")
    dataset = load(settings.data, "train")
    batches = list(Batches(dataset, settings.train.batch_size, 0, 0, 6))
    whole, old = build(settings), build(settings)
    for model in (whole, old):
        model.configure_optimizers()
    seen: dict[str, list[float]] = {}
    for batch in batches[:4]:
        whole.training_step(batch)
        old.training_step(batch)
        for name, mean in old.means().items():
            seen.setdefault(name, []).append(mean)
    saved = old.state()
    assert not [name for name in saved if name.startswith("watched.")]
    vectors = {f"watched.{name}": torch.tensor(means) for name, means in seen.items()}
    assert {tensor.dtype for tensor in vectors.values()} == {torch.float32}
    old.load_state(saved | vectors, 4)
    for batch in batches[4:]:
        whole.training_step(batch)
        old.training_step(batch)
    expected, found = whole.means(), old.means()
    assert [*found] == [*expected] and found == pytest.approx(expected, rel=1e-6)
