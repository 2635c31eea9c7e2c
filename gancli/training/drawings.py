"""What a run draws: samples/, curves.png and progress.gif. No drawing that fails ends a training."""

import contextlib
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from gancli import files
from gancli.make import images
from gancli.runs.lock import Lost
from gancli.runs.run import Run
from gancli.training.curves import draw_curves

SHARE = 0.01
"""The part of a training's time that drawing may take while it goes on."""
FRAMES = 100
"""The most frames of progress.gif."""


class Drawings:
    """Draws the files of a run.

    Args:
        run: whose files they are.
        warn: told in words of what could not be drawn.
    """

    def __init__(self, run: Run, warn: Callable[[str], None]) -> None:
        self._run, self._warn = run, warn
        self._spent, self._since = 0.0, time.monotonic()

    def sheet(self, step: int, draw: Callable[[], Image.Image]) -> None:
        """Write the picture of the samples after a step."""
        with self._warning(self._run.samples / f"step-{step:08d}.png"):
            png = io.BytesIO()
            draw().save(png, format="PNG", compress_level=1)
            self._run.save_picture(step, png.getvalue())

    def refresh(self) -> None:
        """Draw the curves and the animation, unless their share of the time is used up."""
        if self._spent <= SHARE * (time.monotonic() - self._since):
            self.complete()

    def complete(self) -> None:
        """Draw the curves and the animation."""
        self._run.prove()
        began = time.monotonic()
        with self._warning(self._run.curves_file):
            draw_curves(self._run.metrics(), self._run.curves_file)
        with self._warning(self._run.samples / "progress.gif"):
            animate(self._run)
        self._spent += time.monotonic() - began

    @contextlib.contextmanager
    def _warning(self, path: Path) -> Iterator[None]:
        try:
            yield
        except Lost:
            raise
        except Exception as error:  # of matplotlib, Pillow, the network, the memory or the disk
            why = error.strerror if isinstance(error, OSError) and error.strerror else error
            self._warn(f"{path}: could not be drawn: {why or type(error).__name__}")


def animate(run: Run) -> None:
    """Make progress.gif of the pictures in samples/: the first, the last, and evenly chosen ones between them."""
    paths = list(run.pictures().values())
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(FRAMES, len(paths))).round().astype(int))
    if paths:
        gif = io.BytesIO()
        images.save_animation([Image.open(paths[place]) for place in chosen], gif)
        files.write(run.samples / "progress.gif", gif.getvalue())
