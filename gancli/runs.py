"""Run: the directory that a training writes and every other command reads."""

import contextlib
import json
import platform
import shutil
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gancli import files, models, recipe
from gancli.checkpoints import Checkpoint, Checkpoints
from gancli.errors import UserError
from gancli.lock import Lock
from gancli.schema import Recipe
from gancli.tables import Evaluations, Metrics, now

if TYPE_CHECKING:
    from gancli.adversarial import Adversarial

PACKAGES = ("gancli", "torch", "pytorch-lightning", "numpy")


class Run:
    """A run directory; every path in it has its name here and nowhere else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe_file = path / "recipe.yaml"
        self.facts_file = path / "run.json"
        self.weights_file = path / "model.safetensors"
        self.best_file = path / "best.safetensors"
        self.metrics_file = path / "metrics.csv"
        self.evaluations_file = path / "evaluations.jsonl"
        self.curves_file = path / "curves.png"
        self.samples = path / "samples"
        self.checkpoints = path / "checkpoints"
        self._checkpoints = Checkpoints(self.checkpoints)
        self.last_checkpoint = self._checkpoints.last
        self.previous_checkpoint = self._checkpoints.previous
        self._lock = Lock(path)
        self._metrics = Metrics(self.metrics_file)
        self._evaluations = Evaluations(self.evaluations_file)

    @classmethod
    def open(cls, path: Path) -> "Run":
        """A run that exists.

        Raises:
            UserError: there is none at this path.
        """
        run = cls(path)
        if not run.recipe_file.is_file():
            raise UserError(f"{path}: {_no_run(path)}")
        return run

    def check_free(self, *, force: bool) -> None:
        """See that a new training may write here.

        Raises:
            UserError: something stands here that `force` does not allow to replace, or is no run.
        """
        if self.recipe_file.is_file():
            if not force:
                raise UserError(
                    f"{self.path}: a run is there already: --resume {self.path} continues it, "
                    "--force replaces it, --out OTHER starts another"
                )
        elif self.path.exists() and not (self.path.is_dir() and {*self.path.iterdir()} <= self._left_by_a_start()):
            raise UserError(f"{self.path}: exists and is not a run: give another place with --out")

    def check_unchanged(self, settings: Recipe) -> None:
        """See that a resumed training would be the same, but for its length, and the learning rates if it diverged.

        Raises:
            UserError: it would not; the differences are listed.
        """
        old = self.recipe().placed()  # runs of version 0.1.0 kept relative paths
        new = settings.resolved(getattr(old.data, "classes", ()))
        before, after = (dict(_flat(recipe.model_dump(mode="json"))) for recipe in (old, new))
        diverged = self.status() == "diverged"
        changed = [
            key
            for key in sorted(before | after)
            if before.get(key) != after.get(key)
            and key not in ("train.steps", "evaluate.patience")
            and not (diverged and key.endswith("learning_rate"))
        ]
        if changed:
            differences = ", ".join(f"{key}: {before.get(key)} -> {after.get(key)}" for key in changed)
            raise UserError(f"{self.path}: cannot resume with another recipe ({differences}): start another with --out")

    def as_before(self, settings: Recipe) -> Recipe:
        """The recipe of a training to be resumed, where what it leaves to the machine is what the run began with."""
        if settings.train.precision != "auto":
            return settings
        return settings.with_precision(self.recipe().train.precision)

    def clear(self) -> None:
        """Remove what an earlier training wrote here; its recipe goes last, for until then it is a run."""
        for folder in (self.samples, self.checkpoints):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (
            self.metrics_file,
            self.evaluations_file,
            self.weights_file,
            self.best_file,
            self.curves_file,
            self.recipe_file,
        ):
            file.unlink(missing_ok=True)

    def cut(self, step: int) -> None:
        """Drop what was written after a step: a resumed training writes it again."""
        self._metrics.cut(step)
        self._evaluations.cut(step)
        for picture in self.samples.glob("step-*.png"):
            if int(picture.stem.removeprefix("step-")) > step:
                picture.unlink()

    def recipe(self) -> Recipe:
        """The run's recipe, every default resolved."""
        return models.validate(recipe.read(self.recipe_file, found=True))

    def write_recipe(self, settings: Recipe) -> None:
        """Write recipe.yaml, itself a valid recipe: from now on this is a run."""
        files.write(self.recipe_file, recipe.dump(settings))
        for folder in (self.samples, self.checkpoints):
            folder.mkdir(exist_ok=True)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the directory for writing, making it if need be; the system lets go of it however this process ends.

        Raises:
            UserError: another process holds it, or it cannot be written.
        """
        with self._lock.held():
            for folder in (self.path, self.samples, self.checkpoints):
                files.tidy(folder)
            self._checkpoints.next.unlink(missing_ok=True)
            yield

    def _left_by_a_start(self) -> set[Path]:
        """What a start that was killed before it wrote the recipe may have left."""
        return {self.facts_file, self._lock.file, *self.path.glob(".*.part")}

    def status(self) -> str:
        """How the training stands: running, finished, interrupted, diverged or failed.

        What was killed could not say so: it still says running, but nobody holds the directory.
        """
        said = str(self.facts().get("status", "unknown"))
        return "interrupted" if said == "running" and not self._lock.is_held() else said

    def facts(self) -> dict[str, Any]:
        """What run.json says, nothing if there is none; `status()` knows better how the training stands."""
        try:
            return dict(json.loads(self.facts_file.read_text()))
        except (OSError, ValueError, TypeError, RecursionError):
            return {}

    def state_facts(self, **facts: Any) -> None:
        """Add to run.json."""
        files.write(self.facts_file, json.dumps(self.facts() | facts, indent=2) + "\n")

    def start_facts(self, settings: Recipe, machine: dict[str, Any]) -> None:
        """Say in run.json what is about to happen, where and with what."""
        self.state_facts(
            status="running",
            started=now(),
            finished=None,
            seed=settings.train.seed,
            python=platform.python_version(),
            versions={name: version(name) for name in PACKAGES},
            **machine,
        )

    def check_room(self, size: int) -> None:
        """See that the disk has room for the checkpoints, of `size` bytes each, and the file of weights.

        Raises:
            UserError: it has not.
        """
        needed, free = 4 * size, shutil.disk_usage(self.path).free
        if free < needed:
            raise UserError(
                f"{self.path}: {free:,} bytes are free, checkpoints need {needed:,}: "
                "make room, or give a place on another disk with --out",
                status=1,
            )

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Make this the newest checkpoint and keep the one before it."""
        self._checkpoints.save(checkpoint)

    def load_checkpoint(self, most: int) -> tuple[Checkpoint | None, str | None]:
        """The newest checkpoint that is whole, and a warning where it is not the newest; none before the first.

        Args:
            most: bytes that its tensors may have.

        Raises:
            UserError: none is whole.
        """
        return self._checkpoints.load(most, fresh=not self.metrics_file.exists())

    def save_weights(self, model: "Adversarial", *, best: bool = False) -> None:
        """Write the generator side as it is sampled, with the recipe in the header; the best so far beside the last."""
        from gancli import weights

        metadata = {"recipe": recipe.dump(model.recipe), "step": str(model.step), "gancli": version("gancli")}
        weights.write(self.best_file if best else self.weights_file, model.sampler.state_dict(), metadata)

    def append_metrics(self, row: Mapping[str, float | None]) -> None:
        """Add a row to metrics.csv, and the columns that it is the first to have; what is None stays empty."""
        self._metrics.append(row)

    def metrics(self) -> list[dict[str, float]]:
        """The rows of metrics.csv.

        Raises:
            UserError: it is no table of numbers.
        """
        return self._metrics.rows()

    def append_evaluation(self, evaluation: dict[str, Any], *, training: bool = False) -> None:
        """Add a line to evaluations.jsonl; one of the training is cut off with what else came after a checkpoint."""
        self._evaluations.append(evaluation, training=training)

    def training_evaluations(self) -> list[dict[str, Any]]:
        """The lines of evaluations.jsonl that the training wrote."""
        return self._evaluations.of_training()


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _no_run(path: Path) -> str:
    """Why a path is no run, and where one may be."""
    elsewhere = Path("runs") / path
    if not path.is_absolute() and (elsewhere / "recipe.yaml").is_file():
        return f"no run is there: did you mean {elsewhere}?"
    if not path.exists():
        return "No such file or directory: give a run or its model.safetensors"
    inside = sorted(found.parent for found in path.glob("*/recipe.yaml")) if path.is_dir() else []
    if inside:
        return f"a folder of runs: give one of them, such as {inside[0]}"
    return "not a run (it has no recipe.yaml): give the directory that gancli train wrote"
