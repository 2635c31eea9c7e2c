"""The line and the bar that show how a training goes."""

from typing import Any

import pytest

from gancli.cli import progress as module
from gancli.cli.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("log_every", [1, 10, 100])
def test_rate_and_time_left_are_those_of_the_last_minute(
    log_every: int, clock: list[float], capfd: pytest.CaptureFixture[str]
) -> None:
    """A second a step for 300 steps, then ten steps a second, of batches of 4."""
    progress = Progress()
    progress.begin(0, 3000)
    for step in range(1, 1201):
        clock[0] += 1 if step <= 300 else 0.1
        row = {"images": 4.0 * step, "generator_gan": 0.5} if step % log_every == 0 else None
        progress.advance(step, row)
    *_, last = capfd.readouterr().err.splitlines()
    assert "  40 images/s  " in last
    step = int(last.split()[1].replace(",", ""))
    assert f"  {(3000 - step) / 10:,.0f} s left  " in last


def test_the_rate_of_a_continued_training_begins_with_it(clock: list[float], capfd: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.begin(900, 1000)
    clock[0] += 10
    progress.advance(910, {"images": 910 * 8.0})
    assert "8 images/s  90 s left" in capfd.readouterr().err


class Bar:
    """A bar that keeps what it is told."""

    def __init__(self) -> None:
        self.shown: list[int] = []

    def update(self, _: object, completed: int) -> None:
        self.shown.append(completed)

    def stop(self) -> None:
        self.shown.append(-1)


def test_a_bar_reaches_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    bars: list[Bar] = []

    def open_bar(self: Any, *_: object) -> None:
        self._bar = Bar()
        bars.append(self._bar)

    monkeypatch.setattr(Progress, "_open", open_bar)
    told = Progress().counting("decoding", "images")
    for done in (64, 1984, 2000):
        told(done, 2000)
    assert [bar.shown for bar in bars] == [[64, 1984, 2000, -1]]


def test_work_is_announced_however_short(capfd: pytest.CaptureFixture[str]) -> None:
    told = Progress().counting("fitting", "steps", at_once=True)
    for done in (1, 2, 3):
        told(done, 3)
    assert capfd.readouterr().err == "fitting 1 of 3 steps\n"
