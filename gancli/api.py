"""The Python API, as `import gancli` offers it: train a recipe, open a run, sample, translate, score."""

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gancli import arguments, models
from gancli.errors import UserError
from gancli.recipe.sections import Recipe
from gancli.runs import run as runs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from gancli.gan.adversarial import Adversarial
    from gancli.training.trainable import Trainable

PathLike = str | os.PathLike[str]
CHUNK = 4096
"""Samples whose noise is held at once."""

# As in `cli.main`: threads that spin while they wait slow small networks on a busy machine. GNU OpenMP reads this when
# torch is imported, so it comes too late in a program that has imported torch before.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

log = logging.getLogger("gancli")
log.addHandler(logging.NullHandler())  # nothing is printed unless the program that imports gancli wants it


class Run:
    """A run, or a lone model.safetensors. `open_run` and `train` return one.

    Attributes:
        path: of the directory, or of the file.
    """

    def __init__(self, path: Path, *, best: bool = False) -> None:
        self.path = path
        self._best = best

    def __repr__(self) -> str:
        return f"gancli.open_run({str(self.path)!r}{', best=True' if self._best else ''})"

    @property
    def recipe(self) -> Recipe:
        """The recipe, every default resolved."""
        return runs.Run(self.path).recipe() if self.path.is_dir() else self._network.recipe

    @property
    def status(self) -> str:
        """How the training stands: running, finished, interrupted, diverged or failed; unknown for a lone file."""
        return runs.Run(self.path).status() if self.path.is_dir() else "unknown"

    @property
    def metrics(self) -> list[dict[str, float]]:
        """The rows of metrics.csv, each a dict by column; `pandas.DataFrame(run.metrics)` makes a table of it.

        A row lacks what was not measured at its step. A lone file has no rows.
        """
        return runs.Run(self.path).metrics() if self.path.is_dir() else []

    @cached_property
    def model(self) -> "Trainable":
        """The trained model as a LightningModule, in evaluation mode, on the GPU where there is one.

        Its attribute `model` is the family's own: `run.model.model.generator` is the generator. The discriminator is
        there only where the family asks it for samples.
        """
        from gancli.training.trainable import Trainable

        return Trainable(self._network).eval()

    @cached_property
    def _network(self) -> "Adversarial":
        """The model without Lightning, whose import takes seconds."""
        from gancli.runs import opening

        return opening.open_model(self.path, best=self._best)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names that `sample` takes as labels; none where the model was not given labels."""
        return tuple(getattr(self._network, "classes", ()))

    @property
    def targets(self) -> tuple[str, ...]:
        """The names that `translate` takes as target; none where the model makes images from noise."""
        return self._network.targets

    def sample(
        self, seeds: int | Iterable[int], labels: int | str | Sequence[int | str] | None = None
    ) -> "NDArray[Any]":
        """Make images from noise; the image of a seed depends on the seed and the label alone.

        Args:
            seeds: one, or several, in any order.
            labels: names of classes, or their numbers: one for all seeds, or one for each. The classes take turns where
                they are left out.

        Returns:
            uint8 N×H×W×C; of a model of points float32 N×D.

        Raises:
            UserError: the run translates images, has no weights, or knows no such class.
        """
        import numpy as np
        import torch

        from gancli.make import images

        if self.targets:
            raise UserError(f"{self.path}: {self.recipe.model} makes no images from noise: call translate(images)")
        model = self._network.maker()
        chosen = arguments.seeds(seeds)
        numbers = arguments.labels(labels, chosen, model.classes)
        data = model.recipe.data
        finish: Callable[[Tensor], NDArray[Any]] = _points if data.points else images.pixels
        # Of no seeds, an array of no images.
        made = [finish(torch.empty(0, *data.shape))]
        for start in range(0, len(chosen), CHUNK):
            latents = [model.latent(seed) for seed in chosen[start : start + CHUNK]]
            made += map(finish, model.sample(latents, numbers[start : start + CHUNK]))
        return np.concatenate(made)

    def translate(
        self, images: "NDArray[np.uint8]", target: str | None = None, *, seed: int = 0
    ) -> "NDArray[np.uint8]":
        """Turn images into images of a target; sizes are kept, and large images go in overlapping tiles.

        Args:
            images: uint8 N×H×W×C, or one image H×W×C, of 1, 3 or 4 channels.
            target: one of `targets`, a direction such as a-to-b, or attributes as in "Blond_Hair,Male=0"; the first of
                `targets` where it is left out.
            seed: of the style, or of other noise, where the family has any.

        Returns:
            uint8, of the same number of images and the same size, in the model's channels.

        Raises:
            UserError: the run makes images from noise, has no weights, or knows no such target.
        """
        import numpy as np

        from gancli import seeds
        from gancli.make import inputs, translation, turns

        if not self.targets:
            raise UserError(f"{self.path}: {self.recipe.model} translates no images: call sample(seeds)")
        model = self._network.translator()
        batch = arguments.batch(images)
        wanted = model.targets[0] if target is None else target
        wanted = model.directions[wanted][1] if wanted in model.directions else wanted
        try:
            aim = turns.of_targets(model, [wanted], seeds.following(arguments.seeds(seed)[0], 1))
        except UserError as error:
            raise UserError(str(error).replace("--domain ", "target ")) from error
        source = inputs.Decoded("images", [f"{n}.png" for n in range(len(batch))], batch)
        made: dict[int, NDArray[np.uint8]] = {}
        for result in translation.Job(model, source, aim.turns).stream():
            if isinstance(result, translation.Failed):
                raise UserError(f"image {result.name.removesuffix('.png')}: {result.reason}", 1)
            (made[result.place],) = result.images.values()
        whole = np.stack([made[place] for place in range(len(batch))])
        return whole[0] if np.ndim(images) == 3 else whole

    def evaluate(
        self,
        metrics: str | Sequence[str] | None = None,
        *,
        against: PathLike | None = None,
        split: str | None = None,
        count: int | None = None,
        seed: int = 0,
        direction: str | None = None,
        features: PathLike | None = None,
    ) -> dict[str, Any]:
        """Score what the run makes, as `gancli evaluate --json` does: `run.evaluate("fid")["values"]["fid"]`.

        Args:
            metrics: their names, such as "fid,kid" or ["fid", "kid"]; the recipe's where they are left out.
            against: real images to compare with; the run's own data where they are left out.
            split: of the data; train where it is left out, test for translations.
            count: images to generate; the recipe's number where it is left out.
            seed: of the first image.
            direction: of a run that translates, only this one, such as a-to-b.
            features: inception, classifier, or a .safetensors file; the recipe's where it is left out.

        Returns:
            `values` by name, `warnings`, and the protocol that makes the values comparable. The run keeps it, as a line
            of evaluations.jsonl.

        Raises:
            UserError: no such metric, or something that it needs is missing.
        """
        return evaluate(
            self,
            metrics,
            against=against,
            split=split,
            count=count,
            seed=seed,
            direction=direction,
            features=features,
        )


def open_run(path: PathLike, *, best: bool = False) -> Run:
    """Open a run that exists, or a lone model.safetensors.

    Args:
        path: of the directory that a training wrote, or of the file.
        best: the weights of the best evaluation in training, not the last.

    Raises:
        UserError: there is none.
    """
    from gancli.runs import opening

    place = Path(path).expanduser()
    if best or not place.is_dir():
        opening.weights_of(place, best=best)
    else:
        runs.Run.open(place)
    return Run(place, best=best)


def train(
    recipe: PathLike | Mapping[str, Any] | Recipe, *, out: PathLike | None = None, force: bool = False, **overrides: Any
) -> Run:
    """Train a GAN, as `gancli train` does.

    Args:
        recipe: the path of a recipe, the name of a shipped one, its values as a dict, or a `Recipe`.
        out: the run directory; runs/NAME where it is left out, after the recipe's file, or else its family.
        force: whether to replace a run that is there already.
        overrides: values that replace the recipe's: `latent_dim=32`, `train={"steps": 500}`, or by dotted keys
            `**{"train.steps": 500}`.

    Raises:
        UserError: a mistake in the recipe (all of them, a line each), data that cannot be used, a run that is there
            already, a training that diverged, or one that a signal ended after it was saved.
    """
    document, name = arguments.document(recipe)
    document.update(arguments.overrides(overrides))
    settings = models.validate(document).placed()
    run = runs.Run(Path(out).expanduser() if out is not None else Path("runs") / (name or settings.model))
    run.recover()
    run.check_free(force=force)
    with _undisturbed():
        from gancli.training import train as training

        progress = _Silent()
        with run.held():
            run.check_free(force=force)
            training.train(settings, training.load_data(settings, progress), run, progress, resume=False)
    return Run(run.path)


def evaluate(
    subject: "PathLike | Run",
    metrics: str | Sequence[str] | None = None,
    *,
    against: PathLike | None = None,
    split: str | None = None,
    count: int | None = None,
    seed: int = 0,
    direction: str | None = None,
    features: PathLike | None = None,
) -> dict[str, Any]:
    """Score images, as `gancli evaluate --json` does.

    Args:
        subject: a run, or a path: of a run, a model.safetensors, a folder, .zip or .npz of images, or statistics.
        metrics: as for `Run.evaluate`, and so all that follows.
        against: what it is compared with; a run's own data where it is left out.
        split: of the data.
        count: images to generate.
        seed: of the first image.
        direction: of a run that translates.
        features: the network.

    Returns:
        As `Run.evaluate`.

    Raises:
        UserError: no such metric, or something that it needs is missing.
    """
    from gancli.metrics import names

    word, best = (str(subject.path), subject._best) if isinstance(subject, Run) else (os.fspath(subject), False)
    with _in_python():
        asked = names.read([metrics] if isinstance(metrics, str) else list(metrics)) if metrics else None
        from gancli.score import comparison, scoring

        record = None if asked or against or best else scoring.of_points(word, seed)
        run = runs.Run(Path(word).expanduser()) if record is not None and Path(word).expanduser().is_dir() else None
        if record is None:
            other = os.fspath(against) if against is not None else None
            sides = comparison.sides_of(
                comparison.Words(word, other, split, count, seed, direction, best, ignore_orientation=False)
            )
            measured, _ = next(iter(sides.values()))
            asked, run = asked or list(measured.recipe.evaluate.metrics if measured.recipe else ["fid"]), measured.run
            scoring.check(sides, asked)
            network = comparison.Network(os.fspath(features) if features is not None else None, None, None, "float32")
            loaded = None if asked == [names.PAIRS] else network.load(sides, lambda done, total: None)
            record = scoring.score_each(sides, loaded, asked, seed=seed)
    for warning in record["warnings"]:
        log.warning(warning)
    if run is not None:
        try:
            run.append_evaluation(record)
        except (OSError, UserError) as error:
            log.warning("%s: the result is not kept with the run: %s", run.evaluations_file, error)
    return record


@contextmanager
def _in_python() -> Iterator[None]:
    """Name an argument as Python does where a message begins with the option of the command line."""
    try:
        yield
    except UserError as error:
        if not (option := re.match(r"--([a-z-]+)", str(error))):
            raise
        raise UserError(option[1].replace("-", "_") + str(error)[option.end() :], error.status) from error


def _points(made: "Tensor") -> "NDArray[Any]":
    points: NDArray[Any] = made.numpy()
    return points


class _Silent:
    """What a training says, for the logger; serves `recorder.Progress`."""

    def begin(self, done: int, total: int) -> None:
        """Nothing is shown."""

    def advance(self, step: int, row: dict[str, float] | None) -> None:
        """Nothing is shown."""

    def note(self, text: str) -> None:
        """Log what is worth knowing."""
        log.info(text)

    def warn(self, text: str) -> None:
        """Log what must be known."""
        log.warning(text)

    def counting(self, what: str, unit: str, *, at_once: bool = False) -> Callable[[int, int], None]:
        """Nothing is shown."""
        return lambda done, total: None


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep variables of Lightning from a training, and its changes from the program that called it."""
    import torch

    from gancli import process

    before = dict(os.environ)
    deterministic = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    process.hide_variables()
    try:
        with torch.random.fork_rng([torch.cuda.current_device()] if torch.cuda.is_available() else []):
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
        os.environ.update({name: value for name, value in before.items() if name not in os.environ})
