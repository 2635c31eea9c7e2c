"""Run: the directory that a training writes and every other command reads."""

import contextlib
import csv
import fcntl
import io
import itertools
import json
import math
import os
import platform
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gancli import files, models, recipe
from gancli.errors import UserError
from gancli.schema import Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from gancli.adversarial import Adversarial

MOST_PARAMETERS = 20_000
"""Tensors of weights that a stranger's model may have; the largest family has hundreds."""
PACKAGES = ("gancli", "torch", "pytorch-lightning", "numpy")


class Checkpoint(NamedTuple):
    """Where a training stood after `step` steps and `seconds` of work."""

    step: int
    seconds: float
    tensors: "dict[str, Tensor]"


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
        self.last_checkpoint = self.checkpoints / "last.ckpt"
        self.previous_checkpoint = self.checkpoints / "previous.ckpt"
        self.next_checkpoint = self.checkpoints / "next.ckpt"
        self.lock_file = path / ".lock"

    @classmethod
    def open(cls, path: Path) -> "Run":
        """A run that exists.

        Raises:
            UserError: there is none at this path.
        """
        run = cls(path)
        if not run.recipe_file.is_file():
            raise UserError(f"{path}: not a run (it has no recipe.yaml): give the directory that gancli train wrote")
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
        old = self.recipe()
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
        self.cut_metrics(step)
        self.cut_evaluations(step)
        for picture in self.samples.glob("step-*.png"):
            if int(picture.stem.removeprefix("step-")) > step:
                picture.unlink()

    def recipe(self) -> Recipe:
        """The run's recipe, every default resolved."""
        return recipe.validate(models.schema(self._family()), recipe.read(self.recipe_file))

    def write_recipe(self, settings: Recipe) -> None:
        """Write recipe.yaml, itself a valid recipe: from now on this is a run."""
        files.write(self.recipe_file, recipe.dump(settings))
        for folder in (self.samples, self.checkpoints):
            folder.mkdir(exist_ok=True)

    def _family(self) -> str:
        return str(recipe.read(self.recipe_file).values.get("model"))

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the directory for writing, making it if need be; the system lets go of it however this process ends.

        Raises:
            UserError: another process holds it, or it cannot be written.
        """
        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        try:
            lock = self._lock()
        except OSError as error:
            raise UserError(f"{self.path}: {error.strerror}: give a place that can be written with --out") from error
        try:
            for folder in (self.path, self.samples, self.checkpoints):
                files.tidy(folder)
            self.next_checkpoint.unlink(missing_ok=True)
            yield
        finally:
            with contextlib.suppress(OSError):
                self.lock_file.unlink()  # while it is held, so that nobody holds another in between
                for empty in made:
                    empty.rmdir()  # nothing came of it
            os.close(lock)

    def _lock(self) -> int:
        for _ in range(10):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.lock_file, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(lock), self.lock_file.stat()):
                    os.ftruncate(lock, 0)
                    os.write(lock, f"process {os.getpid()} on {socket.gethostname()}".encode())
                    return lock
            except (BlockingIOError, FileNotFoundError):
                pass  # held; or held until now by someone who removed it
            os.close(lock)
            time.sleep(0.05)  # someone may only have looked whether it is held
        raise UserError(f"{self.path}: in use by {self._holder()}: wait for it, or give another --out")

    def _holder(self) -> str:
        with contextlib.suppress(OSError, UnicodeError):
            return self.lock_file.read_text() or "another process"
        return "another process"

    def is_held(self) -> bool:
        """Whether a process holds the directory for writing."""
        try:
            with self.lock_file.open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def _left_by_a_start(self) -> set[Path]:
        """What a start that was killed before it wrote the recipe may have left."""
        return {self.facts_file, self.lock_file, *self.path.glob(".*.part")}

    def status(self) -> str:
        """How the training stands: running, finished, interrupted, diverged or failed.

        What was killed could not say so: it still says running, but nobody holds the directory.
        """
        said = str(self.facts().get("status", "unknown"))
        return "interrupted" if said == "running" and not self.is_held() else said

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
        """Make this the newest checkpoint and keep the one before it.

        At every instant at least one is whole: the new one is complete on the disk before the others change names.
        """
        from gancli import weights

        metadata = {"step": str(checkpoint.step), "seconds": repr(checkpoint.seconds), "gancli": version("gancli")}
        weights.write(self.next_checkpoint, checkpoint.tensors, metadata)
        if self.last_checkpoint.exists():
            self.last_checkpoint.replace(self.previous_checkpoint)
        files.rename(self.next_checkpoint, self.last_checkpoint)

    def load_checkpoint(self, most: int) -> tuple[Checkpoint | None, str | None]:
        """The newest checkpoint that is whole, and a warning where it is not the newest; none before the first.

        Args:
            most: bytes that its tensors may have.

        Raises:
            UserError: none is whole.
        """
        from gancli import weights

        problems = []
        for path in (self.last_checkpoint, self.previous_checkpoint):
            try:
                tensors, metadata = weights.read(path, most)
                checkpoint = Checkpoint(int(metadata["step"]), float(metadata["seconds"]), tensors)
                if checkpoint.step < 0 or not 0 <= checkpoint.seconds < math.inf:
                    raise ValueError
            except UserError as error:
                problems.append(str(error).rpartition(":")[0])
            except (KeyError, ValueError):
                problems.append(f"{path}: is no checkpoint")
            else:
                if problems:
                    path.replace(self.last_checkpoint)  # lest the damaged one take this one's place
                return checkpoint, f"{problems[0]}: using {path.name}" if problems else None
        if not any(file.exists() for file in (self.last_checkpoint, self.previous_checkpoint, self.metrics_file)):
            return None, None  # it was killed before its first checkpoint, and nothing was done
        raise UserError(f"{'; '.join(problems)}: start again with --force")

    def save_weights(self, model: "Adversarial", *, best: bool = False) -> None:
        """Write the generator side as it is sampled, with the recipe in the header; the best so far beside the last."""
        from gancli import weights

        metadata = {"recipe": recipe.dump(model.recipe), "step": str(model.step), "gancli": version("gancli")}
        weights.write(self.best_file if best else self.weights_file, model.sampler.state_dict(), metadata)

    def append_metrics(self, row: Mapping[str, float | None]) -> None:
        """Add a row to metrics.csv, and the columns that it is the first to have; what is None stays empty."""
        known = self.metrics_columns()
        columns = list(dict.fromkeys([*known, *row]))
        if columns != known:
            rows = self.metrics_file.read_text().splitlines()[1:] if known else []
            wider = [line + "," * (len(columns) - len(known)) for line in rows]
            files.write(self.metrics_file, "\n".join([",".join(columns), *wider, ""]))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writerow({name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()})
        files.append(self.metrics_file, text.getvalue())

    def metrics_columns(self) -> list[str]:
        """The columns of metrics.csv; none before its first row."""
        if not self.metrics_file.exists():
            return []
        with self.metrics_file.open(newline="") as file:
            return next(csv.reader(file), [])

    def metrics(self) -> list[dict[str, float]]:
        """The rows of metrics.csv.

        Raises:
            UserError: it is no table of numbers.
        """
        if not self.metrics_file.exists():
            return []
        # A row that a killed process could not complete has no end of line.
        whole = self.metrics_file.read_text(errors="replace").rpartition("\n")[0]
        try:
            return [{n: float(text) for n, text in row.items() if text} for row in csv.DictReader(io.StringIO(whole))]
        except (ValueError, TypeError, csv.Error) as error:
            raise UserError(f"{self.metrics_file}: damaged: {error}: remove it, or start again with --force") from error

    def cut_metrics(self, step: int) -> None:
        """Drop the rows of metrics.csv after a step."""
        kept = sum(row.get("step", math.inf) <= step for row in self.metrics())
        if self.metrics_file.exists():
            lines = self.metrics_file.read_text().splitlines(keepends=True)
            files.write(self.metrics_file, "".join(lines[: 1 + kept]))

    def append_evaluation(self, evaluation: dict[str, Any], *, training: bool = False) -> None:
        """Add a line to evaluations.jsonl; one of the training is cut off with what else came after a checkpoint."""
        line = {"time": now(), "training": training} | evaluation
        files.append(self.evaluations_file, json.dumps(line, allow_nan=False) + "\n")

    def training_evaluations(self) -> list[dict[str, Any]]:
        """The lines of evaluations.jsonl that the training wrote."""
        if not self.evaluations_file.exists():
            return []
        lines = map(_evaluation, self.evaluations_file.read_text().splitlines())
        return [line for line in lines if line.get("training")]

    def cut_evaluations(self, step: int) -> None:
        """Drop the lines of evaluations.jsonl that the training wrote after a step, and one that was cut short."""
        if self.evaluations_file.exists():
            lines = self.evaluations_file.read_text().splitlines(keepends=True)
            later = [line for line in lines if (found := _evaluation(line)).get("training") and found["step"] > step]
            kept = [line for line in lines if line.endswith("\n") and line not in later]
            files.write(self.evaluations_file, "".join(kept))


def weights_of(path: Path, *, best: bool = False) -> Path:
    """The file of weights that a run, or the file itself, stands for.

    Args:
        path: of a run, or of a lone model.safetensors.
        best: the weights of the best evaluation instead of the last step's.

    Raises:
        UserError: the run has none.
    """
    if not path.is_dir():
        if best:
            raise UserError(f"--best: {path} is a file of weights itself: name the run, or leave --best out")
        return path
    file = Run(path).best_file if best else Run(path).weights_file
    if best and not file.is_file():
        raise UserError(f"{path}: has no best.safetensors: train with evaluate.every, or leave --best out")
    if not file.is_file():
        raise UserError(f"{path}: has no model.safetensors yet: let gancli train write its first checkpoint")
    return file


def open_model(path: Path, *, best: bool = False) -> "Adversarial":
    """The model of a run, or of a lone model.safetensors, rebuilt from its own header, in evaluation mode.

    It has the generator side alone, and the discriminator where the family asks it and the run's checkpoint is there.

    Args:
        path: of the run or the file.
        best: as for `weights_of`.

    Raises:
        UserError: it is missing, damaged, or made by something else.
    """
    import torch

    from gancli import weights

    file = weights_of(path, best=best)
    metadata, forms = weights.describe(file)
    settings = models.validate(recipe.parse(metadata.get("recipe", ""), str(file)))

    # Built without memory at first, and without a discriminator in the end: nothing larger than the file is allocated,
    # whatever sizes its recipe claims.
    try:
        with torch.device("meta"), _few_parameters():
            model: Adversarial = models.load(settings.model).Model(settings)
    except (RuntimeError, ValueError, OverflowError) as error:
        what = str(error).partition("\n")[0]
        raise UserError(f"{file}: its recipe makes no model: {what}: get the file again") from error
    expected = {name: weights.Form.of(tensor) for name, tensor in model.generator.state_dict().items()}
    if difference := weights.misfit(forms, expected):
        raise UserError(f"{file}: does not fit its recipe: {difference}: get the file again")
    tensors, _ = weights.read(file, sum(tensor.nbytes for tensor in model.generator.state_dict().values()))
    model.generator.load_state_dict(tensors, assign=True)
    if not (model.asks_discriminator and _load_discriminator(model, Run(file.parent))):
        del model.discriminator
    model.to("cpu")
    step = metadata.get("step", "0")
    model.step = int(step) if step.isdecimal() and len(step) < 20 else 0
    return model.eval()


def _load_discriminator(model: "Adversarial", run: Run) -> bool:
    """Give the model, which has no memory of its own yet, the discriminator of a run's checkpoint if there is one."""
    if not run.last_checkpoint.is_file():
        return False
    expected = model.discriminator.state_dict()
    size = sum(tensor.nbytes for tensor in [*expected.values(), *model.generator.state_dict().values()])
    checkpoint, _ = run.load_checkpoint(8 * size + 2**20)
    found = {} if checkpoint is None else checkpoint.tensors
    prefix = "weights.discriminator."
    tensors = {name.removeprefix(prefix): tensor for name, tensor in found.items() if name.startswith(prefix)}
    if {n: t.shape for n, t in tensors.items()} != {n: t.shape for n, t in expected.items()}:
        return False
    model.discriminator.load_state_dict(tensors, assign=True)
    return True


@contextlib.contextmanager
def _few_parameters() -> Iterator[None]:
    """Stop the building of a model that would never end: one of a billion layers, say."""
    from torch.nn.modules.module import register_module_parameter_registration_hook

    count = itertools.count()

    def registered(*_: object) -> None:
        if next(count) > MOST_PARAMETERS:
            raise ValueError(f"more than {MOST_PARAMETERS:,} parameters")

    hook = register_module_parameter_registration_hook(registered)
    try:
        yield
    finally:
        hook.remove()


def _evaluation(line: str) -> dict[str, Any]:
    """A line of evaluations.jsonl; nothing if somebody spoilt it."""
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return {}


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def now() -> str:
    """The time in UTC, to the second, as ISO 8601 writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
