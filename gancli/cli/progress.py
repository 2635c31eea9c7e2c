"""How a command tells on stderr that it is at work: a bar on a terminal, now and then a line elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import Any, Self

from gancli.cli import door
from gancli.errors import printable

LOSSES = ("discriminator_", "generator_")
EVERY_SECONDS = 5


class Progress:
    """A bar where stderr is a terminal, else a line now and then; nothing when quiet. Serves `training.Progress`."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._printed = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def counting(self, what: str, unit: str) -> Callable[[int, int], None]:
        """Who can be told of (done, total), as in "decoding 64 of 1,797 images"."""

        def told(done: int, total: int) -> None:
            if self._bar is None:
                self._open(what, done, total)
            if done == total:
                self._close()
            elif self._bar is not None:
                self._bar.update(self._task, completed=done)
            if self._bar is None and self._due(last=False):
                self.note(f"{what} {done:,} of {total:,} {unit}")

        return told

    def begin(self, done: int, total: int) -> None:
        """Training starts after `done` steps of `total`."""
        self._first, self._total, self._since = done, total, time.monotonic()
        self._open("training", done, total)

    def advance(self, step: int, row: dict[str, float] | None) -> None:
        """A step is done; `row` is what was logged at it, if it was."""
        if row is None:
            if self._bar is not None and step % 10 == 0:
                self._bar.update(self._task, completed=step)
            return
        elapsed = time.monotonic() - self._since
        speed = f"{(step - self._first) * row['images'] / step / elapsed:,.0f} images/s"
        losses = {name: value for name, value in row.items() if name.startswith(LOSSES)}
        if self._bar is not None:
            # Each player's terms together: a terminal is 80 characters wide.
            sums = [sum(value for name, value in losses.items() if name.startswith(player)) for player in LOSSES]
            self._bar.update(self._task, completed=step, told=f"{speed}  D {sums[0]:.2f}  G {sums[1]:.2f}")
            if step == self._total:
                self._close()
        elif self._due(last=step == self._total):
            left = elapsed / (step - self._first) * (self._total - step)
            terms = "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
            self.note(f"step {step:,} of {self._total:,}  {speed}  {left:,.0f} s left  {terms}")

    def note(self, text: str) -> None:
        """Something the user should know."""
        if self._bar is not None:
            self._bar.console.print(printable(text), markup=False, highlight=False)
        elif not self._quiet:
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
        self._bar = Bar(*columns, console=Console(stderr=True))
        self._task = self._bar.add_task("", total=total, completed=done, told="")
        self._bar.start()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
