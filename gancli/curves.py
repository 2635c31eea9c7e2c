"""curves.png, drawn from metrics.csv, and progress.gif, made of the pictures in samples/."""

import io
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot
from PIL import Image

from gancli import files, images
from gancli.metrics.evaluate import HEADLINES
from gancli.runs import Run

BESIDE = ("step", "images", "seconds")
LOG2 = float(np.log(2))
SPREAD = 30
"""The largest loss to the smallest from which on a linear axis would show the small ones as one line at 0."""


def draw_curves(rows: list[dict[str, float]], path: Path) -> None:
    """Draw losses, the discriminator's accuracy and outputs, and what it says of the distance against steps.

    Args:
        rows: of metrics.csv, each with "step".
        path: of the PNG file.
    """
    if not rows:
        return
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in BESIDE]
    measured = [metric for metric, values in HEADLINES.items() if set(values) <= set(names)]
    panels = {
        "losses": [n for n in names if n.startswith(("generator_", "discriminator_"))],
        "discriminator": [n for n in names if n.startswith(("accuracy_", "d_"))],
        "Jensen–Shannon (nats)": [n for n in names if n.endswith("jensen_shannon")],
        "Wasserstein": [n for n in names if n.endswith("wasserstein")],
        "high quality": [n for n in names if n == "high_quality"],
    } | {metric: list(HEADLINES[metric]) for metric in measured}
    shown = {title: found for title, found in panels.items() if found}
    figure, axes = pyplot.subplots(len(shown), 1, figsize=(9, 2.8 * len(shown)), sharex=True, squeeze=False)
    for (title, found), axis in zip(shown.items(), axes[:, 0], strict=True):
        for name in found:
            points = [(row["step"], row[name]) for row in rows if name in row]
            marker = "." if title in measured else ""
            axis.plot(*zip(*points, strict=True), label=name.replace("_", " "), linewidth=1, marker=marker)
        values = [row[name] for row in rows for name in found if name in row]
        if title == "losses" and 0 < SPREAD * min(values) < max(values):
            axis.set_yscale("log")  # a weight of 100 beside one of 1
        axis.set_ylabel(title)
        axis.grid(alpha=0.3)
        if "jensen_shannon" in found:
            axis.axhline(0, color="gray", linewidth=0.8)
            axis.axhline(LOG2, color="gray", linewidth=0.8, linestyle="--", label="log 2")
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8, frameon=False)
    axes[-1, 0].set_xlabel("step")
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=100, bbox_inches="tight")
    files.write(path, png.getvalue())
    pyplot.close(figure)


def animate(run: Run) -> None:
    """progress.gif of the pictures in samples/, at most 100 of them."""
    paths = sorted(run.samples.glob("step-*.png"))
    paths = paths[:: max(1, len(paths) // 100)]
    if paths:
        gif = io.BytesIO()
        images.save_animation([Image.open(path) for path in paths], gif)
        files.write(run.samples / "progress.gif", gif.getvalue())
