"""What a measurement would cost is known before it begins: refused, announced, or not worth a word."""

import re
from typing import ClassVar

import numpy as np
import pytest
import torch

from gancli import memory
from gancli.errors import UserError
from gancli.metrics import fid
from gancli.score import subjects, workload
from gancli.score.subject import Subject


class Means:
    """A feature network that needs no weights."""

    name, dimensions = "means", 4
    protocol: ClassVar = {"network": "means", "dimensions": 4}

    def __call__(self, batch):
        return torch.nn.functional.adaptive_avg_pool2d(batch.float().mean(1, keepdim=True), 2).flatten(1)


def noise(count: int) -> Subject:
    """So many images, each batch made when it is asked for."""

    def batches():
        while True:
            yield torch.zeros(64, 1, 8, 8, dtype=torch.uint8)

    return Subject(batches, count, {}, lambda: None)


def check(count, metrics=("fid",), bootstrap=0, reference=None, note=None):
    workload.check({"": (noise(count), reference)}, Means(), metrics, bootstrap, "lower --count", note)


def clock(monkeypatch, seconds: float) -> None:
    """Each look at the clock is so much later."""
    times = iter(np.arange(0, 1e6) * seconds)
    monkeypatch.setattr(workload.time, "perf_counter", lambda: float(next(times)))


@pytest.mark.parametrize(
    ("count", "metrics", "bootstrap"), [(5000, ["fid", "prdc"], 10), (5000, ["pairs"], 0), (2, ["fid"], 2)]
)
def test_little_work_is_not_even_timed(count, metrics, bootstrap, monkeypatch) -> None:
    monkeypatch.setattr(workload.time, "perf_counter", lambda: pytest.fail("it was timed"))
    check(count, metrics, bootstrap)


def test_hours_are_announced_and_weeks_refused(monkeypatch) -> None:
    said: list[str] = []
    clock(monkeypatch, 16.0)  # 16 images take 16 seconds, and making 64 of them as long
    check(10_000, note=said.append)
    assert said == ["this measurement takes about 3 hours on this machine"]
    with pytest.raises(UserError, match="would take about 14 days on this machine: lower --count"):
        check(1_000_000)
    with pytest.raises(UserError, match="would take about 40 years"):
        check(10**9)


def test_each_part_of_the_work_counts(monkeypatch) -> None:
    """Reading the reference, all pairs of images, and resampling add to the time."""
    found: dict[str, float] = {}
    clock(monkeypatch, 0.01)
    for name, metrics, bootstrap in (("fid", {"fid"}, 0), ("prdc", {"fid", "prdc"}, 0), ("bootstrap", {"fid"}, 1000)):
        found[name] = workload._seconds(noise(50_000), noise(60_000), Means(), metrics, bootstrap)
    alone = workload._seconds(noise(50_000), None, Means(), {"is"}, 0)
    assert found["fid"] == pytest.approx(alone * 110 / 50)
    assert found["prdc"] > found["fid"] + 0.01 * (110_000 / 1024) ** 2 / 2
    assert found["bootstrap"] > found["fid"] + 1000 * 0.02


def test_a_reference_that_is_known_costs_nothing(monkeypatch) -> None:
    clock(monkeypatch, 0.01)
    monkeypatch.setattr(fid, "is_kept", lambda *_: True)
    kept = Subject(lambda: pytest.fail("it was read"), 60_000, {}, lambda: None, key="known")
    workload._seconds(noise(50_000), kept, Means(), {"fid"}, 0)


def test_what_does_not_fit_into_memory_is_refused_with_the_estimate(monkeypatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 10**9)
    with pytest.raises(
        UserError, match=r"measuring kid of 100,000,000 images needs about 8\.0 GB of memory, and 1\.0 GB"
    ):
        check(10**8, ["kid"], reference=noise(9))
    check(100, ["kid"], reference=noise(9))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("eval-fid RUN --count 1000000000000", "days|years"),
        ("evaluate RUN --metrics kid --count 100000000000", "TB of memory"),
        ("eval-fid RUN --bootstrap 1000000000000", "years on this machine: lower --count, or --bootstrap"),
        ("eval-fid RUN --seed 9223372036854775808", "less than or equal to"),
        (
            "train gan-digits --set evaluate.every=5 --set evaluate.images=1000000000 --set evaluate.metrics=[kid]",
            "TB of",
        ),
    ],
)
def test_too_much_is_refused_before_the_work(words, said, digits_run, gancli, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = gancli(*words.replace("RUN", str(digits_run)).split())
    lines = [line for line in done.err.splitlines() if not line.startswith(("precision:", "fitting"))]
    assert done.status == 2 and not done.out and len(lines) == 1
    assert re.search(said, lines[0]), lines


def test_labels_of_endlessly_many_images_are_not_listed_before_they_are_needed(digits_run) -> None:
    assert subjects.find(str(digits_run), count=10**15).count == 10**15
