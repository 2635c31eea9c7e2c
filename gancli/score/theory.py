"""The theory, happening: a model beside the distribution it learns, in exact numbers and in pictures."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from gancli import models, weights
from gancli.data import distributions
from gancli.data.distributions import Floats, Gaussians, Known
from gancli.errors import UserError
from gancli.gan import losses
from gancli.gan.adversarial import FromNoise, evaluating
from gancli.metrics.divergences import PAIRS, POINTS, Divergences
from gancli.runs.opening import open_model
from gancli.runs.run import Run

SHOWN = 1000
"""Points of each side in a picture."""
LINES = 41
"""Places of the noise from which a line goes to what the generator makes of it."""
DATA, MODEL, JUDGE, BEST = "black", "#D55E00", "#0072B2", "#009E73"
"""Okabe and Ito's colours, which can be told apart by every eye."""


class Witness:
    """Sees how far a model is from the distribution that it learns, by the same noise each time.

    Args:
        model: of a family that starts from noise.
        known: what it learns.
        seed: of the first point; the others follow it.
    """

    def __init__(self, model: FromNoise, known: Known, seed: int = 0) -> None:
        self.model, self._known = model, known
        self.divergences = Divergences(known)
        self._latents = [model.latent(seed + n) for n in range(POINTS)]
        self._reals = distributions.points(known, SHOWN, 2, 0)

    def points(self) -> Floats:
        """The model's points, N×D."""
        return torch.cat(list(self.model.sample(self._latents))).double().numpy()

    def measure(self) -> dict[str, float]:
        """The exact measures of the model's points, by name."""
        return self.divergences(self.points())

    def belief(self) -> dict[str, float]:
        """What the discriminator makes of the distance, by name: the estimates that its own loss watches.

        They are of the generator as it is sampled, on points that the players were not trained with.
        """
        reals = distributions.points(self._known, POINTS, 3, 0)
        with evaluating(self.model.discriminator):
            batch = {"image": torch.from_numpy(reals).float()}
            self.model.discriminator_loss(batch, torch.from_numpy(self.points()).float())
        return {name: value for name, value in self.model.means().items() if name in ("jensen_shannon", "wasserstein")}

    def pushed(self, count: int) -> tuple[Floats, Floats]:
        """Noise of one number, from the middle of each of N equally likely parts, and what becomes of it: N×1 each."""
        middles = (torch.arange(count)[:, None] + 0.5) / count
        noise = torch.special.ndtri(middles) if self.model.recipe.noise == "normal" else 2 * middles - 1
        made = torch.cat(list(self.model.sample(list(noise))))
        return noise.double().numpy(), made.double().numpy()

    def picture(self) -> Image.Image:
        """Data, model and discriminator in one picture, the same view at every step."""
        with style.context("default"):  # whatever the user has set for other figures
            return self._picture()

    def _picture(self) -> Image.Image:
        model, points = self.model, self.points()
        line = self._known.dimensions == 1
        figure = Figure(figsize=(5.2, 5.4 if line else 4.8), dpi=100, layout="constrained")
        (self._line if line else self._plane)(figure, points)
        title = f"{self._known.name}, {model.recipe.model}, step {model.step:,}"
        figure.suptitle(f"{title}\n{_words(self.divergences(points), self._known)}", fontsize=10)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", pil_kwargs={"compress_level": 1})
        # With k-means after it: a median cut alone spends the palette on grays, and the points lose their colours.
        return Image.open(buffer).convert("RGB").quantize(64, Image.Quantize.MEDIANCUT, kmeans=3)

    def _line(self, figure: Figure, points: Floats) -> None:
        """Figure 1 of Goodfellow et al. 2014: densities and D above, the way from noise to data below."""
        model = self.model
        assert isinstance(self._known, Gaussians)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        low, high = view = [float(limit) for limit in _view(self._known)[0]]
        x = np.linspace(low, high, 400)
        density = np.exp(self._known.log_density(x[:, None]))
        above.plot(x, density, color=DATA, linestyle=":", linewidth=2, label="$p_{data}$")
        if model.recipe.latent_dim == 1:  # noise without chance shows p_g as it is
            points = self.pushed(POINTS)[1]
        cells = np.linspace(low, high, 81)
        counts, _ = np.histogram(points[:, 0], cells)
        heights = counts / len(points) / np.diff(cells)
        above.stairs(heights, cells, color=MODEL, fill=True, alpha=0.35)
        above.stairs(heights, cells, color=MODEL, label="$p_g$")
        above.set(xlim=view, ylim=(0, 1.9 * density.max()), ylabel="density")

        judge = above.twinx()
        said = judged(model, x[:, None])
        if _loss(model) == "wasserstein":
            judge.plot(x, said, color=JUDGE, linestyle="--", label="critic f(x)")
            judge.set_ylabel("f(x)")
        else:
            judge.plot(x, said, color=JUDGE, linestyle="--", label="D(x)")
            middles = (cells[:-1] + cells[1:]) / 2
            known = np.exp(self._known.log_density(middles[:, None]))
            seen = known + heights > 1e-2 * density.max()  # elsewhere it is the ratio of two handfuls
            best = np.where(seen, known / np.maximum(known + heights, 1e-12), np.nan)
            judge.plot(middles, best, color=BEST, linewidth=1, label="D*(x), the best D")
            judge.axhline(0.5, color="gray", linewidth=0.5)
            judge.set(ylim=(0, 1), ylabel="D(x)")
        lines = [line for axis in (above, judge) for line in axis.get_legend_handles_labels()[0]]
        above.legend(lines, [str(line.get_label()) for line in lines], loc="upper right", fontsize=8, ncols=2)

        if model.recipe.latent_dim == 1:
            noise, made = self.pushed(LINES)
            z = np.interp(noise[:, 0], noise[[0, -1], 0], view)
            below.plot(np.stack([z, made[:, 0]]), np.tile([[0], [1]], LINES), color=MODEL, linewidth=0.7)
            below.set_yticks([0, 1], ["z", "x = G(z)"])
        else:
            below.plot(points[:SHOWN, 0], np.zeros(len(points[:SHOWN])), "|", color=MODEL, alpha=0.3)
            below.set_yticks([])
        below.set(ylim=(-0.05, 1.05), xlabel="x")

    def _plane(self, figure: Figure, points: Floats) -> None:
        """Real and generated points over the level sets of the discriminator."""
        axis: Axes = figure.subplots()
        (west, east), (south, north) = _view(self._known)
        x, y = np.linspace(west, east, 121), np.linspace(south, north, 121)
        lattice = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        said = judged(self.model, lattice).reshape(len(y), len(x))
        critic = _loss(self.model) == "wasserstein"
        levels = _levels(said) if critic else np.linspace(0, 1, 11)
        filled = axis.contourf(x, y, said, levels, cmap="Greys_r", vmin=_below(levels), vmax=levels[-1])
        lines = levels if critic else [0.5]
        axis.contour(x, y, said, lines, colors=JUDGE, linestyles="solid", linewidths=0.5 if critic else 1)
        bar = figure.colorbar(filled, ax=axis, shrink=0.75, format="%.2g")
        bar.set_label("critic f(x): the slope is what moves G" if critic else "D(x), and the line where it is 1/2")
        bar.ax.tick_params(labelsize=8)
        for name, colour, place in (("data", DATA, self._reals), ("generated", MODEL, points[:SHOWN])):
            axis.plot(*place.T, ".", color=colour, markersize=2.5, alpha=0.5, markeredgewidth=0)
            axis.plot([], [], ".", color=colour, markersize=8, label=name)
        axis.set(xlim=(west, east), ylim=(south, north), aspect="equal")
        axis.legend(loc="upper right", fontsize=8, framealpha=0.9)


def evaluate(path: Path, seed: int = 0) -> dict[str, Any]:
    """How far a run's model is from the distribution that it learnt, and what the players believe.

    Args:
        path: of a run, or of a lone model.safetensors, which has no discriminator to ask.
        seed: of the first generated point.

    Returns:
        The exact measures; the same of draws from the distribution itself, under `floor`; and the estimates of the
        run's discriminator or critic at its last checkpoint, under `believed`.

    Raises:
        UserError: there is no such run, or its data is images.
    """
    opened = open_model(path)
    if opened.recipe.data.points is None:
        raise UserError(f"{path}: learnt images, which have no density to compare with: gancli eval-fid scores them")
    known = distributions.of(opened.recipe.data.points)
    model = opened.maker()
    whole = path.is_dir() and Run(path).last_checkpoint.is_file()
    if whole:
        model = with_discriminator(path)
    witness = Witness(model, known, seed)
    return {
        "metric": "divergences",
        **witness.measure(),
        "believed": witness.belief() if whole else {},
        "floor": witness.divergences.floor(),
        "points": POINTS,
        "pairs": PAIRS,
        "seed": seed,
        "step": model.step,
        "against": known.name,
    }


def with_discriminator(path: Path) -> FromNoise:
    """The whole model of a run, its discriminator too, as its last checkpoint has it.

    Raises:
        UserError: the checkpoint is missing or damaged.
    """
    recipe = Run.open(path).recipe()
    model: FromNoise = models.load(recipe.model).Model(recipe)
    model.configure_model()
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    tensors, metadata = weights.read(Run(path).last_checkpoint, 4 * size + 2**20)  # with Adam's two moments of each
    model.load_state_dict({n.removeprefix("weights."): t for n, t in tensors.items() if n.startswith("weights.")})
    model.step = int(metadata["step"])
    return model.eval()


def judged(model: FromNoise, places: Floats) -> npt.NDArray[np.float32]:
    """What the discriminator says of N×D places: N probabilities of being real, or a critic's values."""
    with evaluating(model.discriminator) as discriminator, torch.inference_mode():
        output: Tensor = discriminator(torch.from_numpy(places).float().to(model.device))
        loss = _loss(model)
        return (output if loss == "wasserstein" else losses.probability(loss, output)).cpu().numpy()


def _loss(model: FromNoise) -> losses.Adversarial:
    loss: losses.Adversarial = getattr(model.recipe, "loss", "wasserstein")
    return loss


def _view(known: Known) -> Floats:
    """The limits of the picture: where the distribution lies and as much again around it, D×2, square."""
    middle = known.extent.mean(1, keepdims=True)
    half = np.diff(known.extent, axis=1).max() / 2 * 1.25
    return np.concatenate([middle - half, middle + half], axis=1)


def _levels(values: npt.NDArray[np.float32]) -> Floats:
    low, high = float(values.min()), float(values.max())
    return np.linspace(low, max(high, low + 1e-6), 13)


def _below(levels: Floats) -> float:
    """Where black would be, so that the lowest level is a gray on which points can be seen."""
    return float(levels[0] - 1.2 * (levels[-1] - levels[0]))


def _words(measures: dict[str, float], known: Known) -> str:
    """The measures in one line."""
    words = [f"exact JS {measures['exact_jensen_shannon']:.3f}", f"W1 {measures['exact_wasserstein']:.3f}"]
    if isinstance(known, Gaussians):
        modes = len(known.centres)
        words += [f"{measures['modes_covered']:.0f} of {modes} modes"] if modes > 1 else []
        words += [f"{measures['high_quality']:.0%} within 3σ"]
    return ", ".join(words)
