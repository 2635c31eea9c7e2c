"""curves.png: what metrics.csv says, drawn."""

import io
from collections.abc import Collection
from pathlib import Path

import numpy as np
from matplotlib import style
from matplotlib.figure import Figure

from gancli import files
from gancli.metrics.names import HEADLINES

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
    if shown:
        with style.context("default"):  # whatever the user has set for other figures
            files.write(path, _drawn(rows, shown, measured))


def _drawn(rows: list[dict[str, float]], panels: dict[str, list[str]], measured: Collection[str]) -> bytes:
    """The PNG file of the panels, one above the other; in those of `measured` each point is marked."""
    figure = Figure(figsize=(9, 2.8 * len(panels)))
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)
    for (title, found), axis in zip(panels.items(), axes[:, 0], strict=True):
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
    return png.getvalue()
