"""Run: the directory that a training writes and every other command reads."""

import contextlib
import json
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gancli import files, models
from gancli.errors import UserError
from gancli.recipe import reading
from gancli.recipe.sections import Recipe
from gancli.runs import origin
from gancli.runs.checkpoints import Checkpoint, Checkpoints
from gancli.runs.lock import Lock, Lost
from gancli.runs.origin import Origin
from gancli.runs.replaced import Replaced
from gancli.runs.tables import Evaluations, Metrics, Table, now

if TYPE_CHECKING:
    from gancli.gan.adversarial import Adversarial

PACKAGES = ("gancli", "torch", "pytorch-lightning", "numpy")


class Run:
    """A run directory; every path in it has its name here and nowhere else.

    In it only regular files are opened, and no links are followed: it may come from a stranger.
    """

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
        self._lock = Lock(path)
        self._checkpoints = Checkpoints(self.checkpoints, self._lock.prove)
        self.last_checkpoint = self._checkpoints.last
        self.previous_checkpoint = self._checkpoints.previous
        self._metrics = Metrics(self.metrics_file, self._lock.prove)
        self._evaluations = Evaluations(self.evaluations_file, self._lock.prove)
        written = (self.samples, self.metrics_file, self.evaluations_file, self.weights_file, self.best_file)
        first, last = (self.curves_file, self.facts_file), self.recipe_file
        self._replaced = Replaced(path, [file.name for file in (self.checkpoints, *written, *first, last)])
        self._origin: dict[str, str] = {}

    @classmethod
    def open(cls, path: Path) -> "Run":
        """A run that exists.

        Raises:
            UserError: there is none at this path.
        """
        run = cls(path)
        if not files.is_file(run.recipe_file):
            raise UserError(f"{path}: {_no_run(path)}")
        return run

    def recover(self) -> None:
        """Put an old run back that a start with --force left aside, as it was killed before its first checkpoint.

        Raises:
            UserError: something stands in the way.
        """
        if self._replaced and not self._lock.is_held():
            with self.held():
                pass

    def check_free(self, *, force: bool) -> None:
        """See that a new training may write here.

        Raises:
            UserError: something stands here that `force` does not allow to replace, or is no run.
        """
        if files.is_file(self.recipe_file):
            if not force:
                raise UserError(
                    f"{self.path}: a run is there already: --resume {self.path} continues it, "
                    "--force replaces it, --out OTHER starts another"
                )
        elif self.path.exists() and not (self.path.is_dir() and {*self.path.iterdir()} <= self._left_by_a_start()):
            raise UserError(f"{self.path}: exists and is not a run: give another place with --out")

    def check_unchanged(self, settings: Recipe) -> None:
        """See that a resumed training would be the same, but for its length, and the learning rates if it diverged.

        The recipe that counts is the newest checkpoint's: recipe.yaml may have been edited since.

        Raises:
            UserError: it would not; the differences are listed.
        """
        self._check_recipe(settings, self._checkpoints.facts())

    def _check_recipe(self, settings: Recipe, facts: Mapping[str, str]) -> None:
        old = origin.recipe_of(facts, str(self.last_checkpoint)) or self.recipe().placed()
        new = settings.resolved(getattr(old.data, "classes", ()))
        free = origin.FREE + (origin.PLACES if origin.data_of(facts) else ())
        if self.status() == "diverged":
            free += tuple(name for name in type(old).model_fields if name.endswith("learning_rate"))
        if changes := origin.changed(old, new, free):
            raise UserError(
                f"{self.path}: cannot resume with another recipe ({', '.join(changes)}): "
                "set it back, or start another training with --out"
            )

    def check_origin(self, now: Origin, checkpoint: Checkpoint) -> list[str]:
        """See that a training continues from its own checkpoint, with its own recipe and data.

        Returns:
            What else differs, a sentence each.

        Raises:
            UserError: it does not.
        """
        facts, said = checkpoint.facts, self.facts()
        own = said.get("run", facts.get("run"))
        if own != facts.get("run"):
            raise UserError(
                f"{self.checkpoints}: the checkpoint is of another run ({facts.get('run', 'of version 0.1.0')}, "
                f"this is {own}): remove it, or continue the run that it belongs to"
            )
        self._check_recipe(now.recipe, facts)
        origin.check_data(now.data, origin.data_of(facts), now.recipe.data.source)
        notes = [] if "run" in said or "run" not in facts else [f"{self.facts_file}: says no run: it is written again"]
        return notes + origin.notes(now, facts, said, str(self.last_checkpoint))

    def bind(self, now: Origin, checkpoint: Checkpoint | None) -> None:
        """Let all that is written from now on say where it comes from.

        A checkpoint that does not say just that, as it is of version 0.1.0 or diverged with another learning rate, is
        written again first.
        """
        own = checkpoint.facts.get("run") if checkpoint else None
        self._origin = {"run": own or now.run_id()} | now.facts()
        if checkpoint is not None:
            old = origin.recipe_of(checkpoint.facts, str(self.last_checkpoint))
            if own is None or old is None or origin.changed(old, now.recipe, origin.FREE + origin.PLACES):
                self._checkpoints.save(checkpoint._replace(facts=checkpoint.facts | self._origin))

    def check_same(self, other: Recipe, name: str) -> None:
        """See that a recipe that is named beside the run is the run's own.

        Raises:
            UserError: it is not; the differences are listed.
        """
        own = self.recipe().placed()  # version 0.1.0 kept relative paths
        if changes := origin.changed(own, self.as_before(other).resolved(getattr(own.data, "classes", ()))):
            raise UserError(
                f"{name}: is not the recipe of {self.path} ({', '.join(changes)}): leave it out, for a run "
                "has its own, and change what may change with --set"
            )

    def as_before(self, settings: Recipe) -> Recipe:
        """The recipe of a training to be resumed, where what it leaves to the machine is what the run began with."""
        if settings.train.precision != "auto":
            return settings
        return settings.with_precision(self.recipe().train.precision)

    def set_aside(self) -> None:
        """Move what an earlier training wrote here aside, until the new one has a checkpoint."""
        self._replaced.set_aside()

    def cut(self, checkpoint: Checkpoint) -> list[str]:
        """Drop what was written after a checkpoint: a resumed training writes it again.

        Returns:
            What is not as the training wrote it, a sentence each.

        Raises:
            UserError: metrics.csv is no table of numbers.
        """
        step, facts = checkpoint.step, checkpoint.facts
        self._metrics.cut(step)
        self._evaluations.cut(step)
        for number, picture in self.pictures().items():
            if number > step:
                picture.unlink()
        tables: dict[str, Table] = {"metrics": self._metrics, "evaluations": self._evaluations}
        changed = [table.file for name, table in tables.items() if facts.get(name, table.digest) != table.digest]
        return [f"{file}: was removed or changed since step {step:,}: it stays as it is now" for file in changed]

    def missing(self, checkpoint: Checkpoint, settings: Recipe) -> list[str]:
        """What of the other files that a training wrote before a checkpoint is not there, a sentence each."""
        from gancli import weights

        notes, own = [], checkpoint.facts.get("run")
        every, pictures = settings.train.samples_every, self.pictures()
        gone = [step for step in range(every, checkpoint.step + 1, every) if step not in pictures]
        if gone:
            notes.append(f"{self.samples}: {len(gone):,} pictures are missing, the first of step {gone[0]:,}")
        wanted = {
            self.weights_file: checkpoint.step > 0,
            self.best_file: '"best": ' in checkpoint.facts.get("evaluator", ""),
        }
        for file, due in wanted.items():
            with contextlib.suppress(UserError):
                if not due or weights.describe(file)[0].get("run", own) == own:
                    continue
            notes.append(f"{file}: is missing, damaged or of another run")
        return notes

    def pictures(self) -> dict[int, Path]:
        """The pictures in samples/, by step."""
        found = {}
        for picture in self.samples.glob("step-*.png"):
            if (match := re.fullmatch(r"step-(\d{8,12})\.png", picture.name)) and files.is_file(picture):
                found[int(match[1])] = picture
        return dict(sorted(found.items()))

    def save_picture(self, step: int, png: bytes) -> None:
        """Keep the picture of a step in samples/."""
        self._lock.prove()
        files.write(self.samples / f"step-{step:08d}.png", png)

    def recipe(self) -> Recipe:
        """The run's recipe, every default resolved."""
        return models.validate(reading.read(self.recipe_file, found=True))

    def write_recipe(self, settings: Recipe) -> None:
        """Write recipe.yaml, itself a valid recipe: from now on this is a run."""
        self._lock.prove()
        files.write(self.recipe_file, reading.dump(settings))
        for folder in (self.samples, self.checkpoints):
            files.make_folder(folder)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the directory for writing, making it if need be; the system lets go of it however this process ends.

        Raises:
            UserError: another process holds it, it cannot be written, or something in it is a link.
        """
        with self._lock.held():
            for folder in (self.samples, self.checkpoints):
                if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
                    raise UserError(f"{folder}: is a link or no folder: remove it, or give another place with --out")
            self._replaced.settle()
            for folder in (self.path, self.samples, self.checkpoints):
                files.tidy(folder)
            self._checkpoints.next.unlink(missing_ok=True)
            try:
                yield
            finally:
                with contextlib.suppress(OSError, Lost):
                    self._lock.prove()
                    self._replaced.settle()

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
            found = json.loads(files.read(self.facts_file))
        except (OSError, ValueError, RecursionError, UserError):
            return {}
        return found if isinstance(found, dict) else {}

    def state_facts(self, **facts: Any) -> None:
        """Add to run.json."""
        self._lock.prove()
        files.write(self.facts_file, json.dumps(self.facts() | facts, indent=2) + "\n")

    def start_facts(self, settings: Recipe, machine: dict[str, Any]) -> None:
        """Say in run.json what is about to happen, where and with what."""
        self.state_facts(
            run=self._origin.get("run"),
            status="running",
            started=now(),
            finished=None,
            seed=settings.train.seed,
            python=platform.python_version(),
            versions={name: version(name) for name in PACKAGES},
            **machine,
        )

    def check_room(self, size: int, *, resume: bool) -> None:
        """See that the disk has room for the checkpoints, of `size` bytes each, and the file of weights.

        An old run that is replaced makes room only once the first new checkpoint stands.

        Raises:
            UserError: it has not.
        """
        free = shutil.disk_usage(self.path).free
        old = 0 if resume else self._replaced.size()
        needed = max(4 * size - old, size)
        if free < needed:
            raise UserError(
                f"{self.path}: {free:,} bytes are free, checkpoints need {needed:,}: "
                "make room, or give a place on another disk with --out",
                status=1,
            )

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Make this the newest checkpoint and keep the one before it; the rows it relies on are on the disk before it.

        Raises:
            Lost: the directory is no longer this process's.
        """
        self.prove()
        files.sync(self.metrics_file, self.evaluations_file, self.path)
        tables = {"metrics": self._metrics.digest, "evaluations": self._evaluations.digest}
        self._checkpoints.save(checkpoint._replace(facts=checkpoint.facts | self._origin | tables))
        if self._replaced:
            self._replaced.settle()

    def load_checkpoint(self, most: int, *, repair: bool = True) -> tuple[Checkpoint | None, str | None]:
        """The newest checkpoint that is whole, and a warning where it is not the newest; none before the first.

        Args:
            most: bytes that its tensors may have.
            repair: whether the one that is whole takes the place of a damaged newer one.

        Raises:
            UserError: none is whole.
        """
        trained = self.metrics_file.exists() or self.weights_file.exists()
        return self._checkpoints.load(most, fresh=not trained, repair=repair)

    def save_weights(self, model: "Adversarial", *, best: bool = False, facts: Mapping[str, str] | None = None) -> None:
        """Write the generator side as it is sampled, with the recipe in the header; the best so far beside the last."""
        from gancli import weights

        self.prove()
        metadata = {"recipe": reading.dump(model.recipe), "step": str(model.step), "gancli": version("gancli")}
        path = self.best_file if best else self.weights_file
        weights.write(path, model.sampler.state_dict(), self._origin | metadata | dict(facts or {}))

    def prove(self) -> None:
        """See that this is still the directory of the training that writes.

        Raises:
            Lost: it is not.
        """
        self._lock.prove()
        own = self._origin.get("run")
        if own is not None and self.facts().get("run", own) != own:
            raise Lost(self.path)

    def append_metrics(self, row: Mapping[str, float | None]) -> None:
        """Add a row to metrics.csv, and the columns that it is the first to have; what is None stays empty."""
        self._lock.prove()
        self._metrics.append(row)

    def metrics(self) -> list[dict[str, float]]:
        """The rows of metrics.csv.

        Raises:
            UserError: it is no table of numbers.
        """
        return self._metrics.rows()

    def append_evaluation(self, evaluation: dict[str, Any], *, training: bool = False) -> None:
        """Add a line to evaluations.jsonl; one of the training is cut off with what else came after a checkpoint."""
        self._lock.prove()
        self._evaluations.append(evaluation, training=training)

    def training_evaluations(self) -> list[dict[str, Any]]:
        """The records of evaluations.jsonl that the training wrote, each with a step and values."""
        return self._evaluations.of_training()


def _no_run(path: Path) -> str:
    """Why a path is no run, and where one may be."""
    elsewhere = Path("runs") / path
    if not path.is_absolute() and (elsewhere / "recipe.yaml").is_file():
        return f"no run is there: did you mean {elsewhere}?"
    if not path.exists():
        return "No such file or directory: give a run or its model.safetensors"
    inside = sorted(found.parent for found in path.glob("*/recipe.yaml")) if path.is_dir() else []
    if inside:
        return f"this is a folder of runs: give one of them, such as {inside[0]}"
    return "not a run (it has no recipe.yaml): give the directory that gancli train wrote"
