"""What is watched between two rows is kept as sums and counts, and those of older checkpoints are still read."""

import gc

import pytest
import tiny
import torch
from commands import run_gancli
from torch import Tensor

from gancli import weights
from gancli.runs import Run
from gancli.watched import Watched

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


def test_the_observations_of_version_0_1_0_are_continued(tmp_path) -> None:
    """It kept the mean of every observation since the last row, as a vector of float32."""
    file, words = tiny.write("gan", tmp_path), ("-q", "--set", "train.decay_steps=0")
    assert run_gancli("train", file, "--out", tmp_path / "whole", *words) == 0
    assert run_gancli("train", file, "--out", tmp_path / "parts", *words, "--set", "train.steps=9") == 0
    run = Run(tmp_path / "parts")
    run.cut(5)  # the row of the last step, which a longer training does not have
    tensors, metadata = weights.read(run.last_checkpoint, 2**30)
    assert not [name for name in tensors if name.startswith("watched.")]

    # As after step 9 in the middle of an interval: the rows of an uninterrupted training say what was observed.
    shorter = ("--set", "train.steps=9", "--set", "train.log_every=1")
    assert run_gancli("train", file, "--out", tmp_path / "rows", *words, *shorter) == 0
    rows = [row for row in Run(tmp_path / "rows").metrics() if row["step"] > 5]
    names = [name for name in rows[0] if name.startswith(("discriminator_", "generator_", "d_", "accuracy_", "jensen"))]
    for name in names:
        seen = [row[name] for row in rows if name in row]
        tensors[f"watched.{name}"] = torch.tensor(seen, dtype=torch.float32)
    weights.write(run.last_checkpoint, tensors, metadata)
    assert run_gancli("train", "--resume", run.path, "-q", "--set", "train.steps=12") == 0
    expected, found = (Run(tmp_path / name).metrics()[1] for name in ("whole", "parts"))
    assert expected["step"] == found["step"] == 10
    for name in names:
        assert found[name] == pytest.approx(expected[name], rel=1e-4), name
