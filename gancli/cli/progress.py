"""How a command tells on stderr that it is at work: a bar on a terminal, now and then a line elsewhere."""

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Self

from gancli.cli import door
from gancli.errors import printable

LOSSES = ("discriminator_", "generator_")
EVERY_SECONDS = 5
MEASURED_SECONDS = 10
"""After which it is said how long the rest takes, where that is hours."""
LATELY = 60
"""Seconds over which the rate is taken."""


class Progress:
    """A bar where stderr is a terminal, else a line now and then; nothing when quiet. Serves `training.Progress`."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._what = ""
        self._starts: dict[str, tuple[float, int] | None] = {}
        self._printed = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def counting(self, what: str, unit: str, *, at_once: bool = False) -> Callable[[int, int], None]:
        """Shows (done, total) of some work, as in "decoding 64 of 1,797 images".

        Args:
            what: the work.
            unit: what is counted.
            at_once: whether a line announces the work at its first call, however short it may be.
        """
        announced = not at_once

        def told(done: int, total: int) -> None:
            nonlocal announced
            self._foretell(what, unit, done, total)
            if self._bar is None:
                self._open(what, done, total)
            if self._bar is not None:
                self._bar.update(self._task, completed=done)
                if done == total:
                    self._close()
            elif self._due(last=not announced):
                self.note(f"{what} {done:,} of {total:,} {unit}")
            announced = True

        return told

    def _foretell(self, what: str, unit: str, done: int, total: int) -> None:
        """Where the first seconds show that some work takes hours, say so, once."""
        now = time.monotonic()
        start = self._starts.setdefault(what, (now, done))
        if start is not None and now - start[0] > MEASURED_SECONDS and done > start[1]:
            self._starts[what] = None
            rate = (done - start[1]) / (now - start[0])
            if (left := (total - done) / rate / 3600) >= 1:
                self.note(f"{what} {total:,} {unit} will take about {left:,.0f} hours at {rate:,.3g} {unit}/s")

    def passing(self, unit: str) -> Callable[[str, int, int], None]:
        """Who can be told of one pass after another: (what, done, total)."""

        def told(what: str, done: int, total: int) -> None:
            if what != self._what:
                self._close()
                self._what = what
            self.counting(what, unit)(done, total)

        return told

    def begin(self, done: int, total: int) -> None:
        """Training starts after `done` steps of `total`."""
        self._total, self._lately = total, deque([(time.monotonic(), done)])
        self._open("training", done, total)

    def advance(self, step: int, row: dict[str, float] | None) -> None:
        """A step is done; `row` is what was logged at it, if it was."""
        if row is None:
            if self._bar is not None and step % 10 == 0:
                self._bar.update(self._task, completed=step)
            return
        rate = self._rate(step)
        speed = f"{rate * row['images'] / step:,.0f} images/s"
        losses = {name: value for name, value in row.items() if name.startswith(LOSSES)}
        if self._bar is not None:
            # Each player's terms together: a terminal is 80 characters wide.
            sums = [sum(value for name, value in losses.items() if name.startswith(player)) for player in LOSSES]
            self._bar.update(self._task, completed=step, told=f"{speed}  D {sums[0]:.2f}  G {sums[1]:.2f}")
            if step == self._total:
                self._close()
        elif self._due(last=step == self._total):
            left = (self._total - step) / rate
            terms = "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
            self.note(f"step {step:,} of {self._total:,}  {speed}  {left:,.0f} s left  {terms}")

    def _rate(self, step: int) -> float:
        """Steps per second in the last minute, or since the row before that where rows are rarer."""
        now = time.monotonic()
        while len(self._lately) > 1 and self._lately[1][0] <= now - LATELY:
            self._lately.popleft()
        before, done = self._lately[0]
        self._lately.append((now, step))
        return (step - done) / max(now - before, 1e-9)

    def note(self, text: str) -> None:
        """Something the user should know."""
        if self._bar is not None or not self._quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Something that the user must know, however quiet the command should be."""
        if self._bar is not None:
            self._bar.console.print(printable(text), markup=False, highlight=False)
        else:
            door.note(text)

    def _due(self, *, last: bool) -> bool:
        if last or time.monotonic() - self._printed > EVERY_SECONDS:
            self._printed = time.monotonic()
            return True
        return False

    def _open(self, what: str, done: int, total: int) -> None:
        if self._quiet or not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn(what),
            BarColumn(20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[told]}"),
        )
        self._bar = Bar(*columns, console=Console(stderr=True), speed_estimate_period=LATELY)
        self._task = self._bar.add_task("", total=total, completed=done, told="")
        self._bar.start()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
