"""train: a recipe and a run directory in, a trained run out; Lightning turns the crank."""

import contextlib
import ctypes
import io
import logging
import platform
import signal
import time
import warnings
from collections.abc import Iterator
from typing import Any, Protocol, cast

import numpy as np
import torch
from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer

from gancli import files, images, models, precision
from gancli.adversarial import PLAYERS, Adversarial, Batch, Diverged, FromNoise, position_seed
from gancli.checkpoints import Checkpoint
from gancli.curves import draw_curves
from gancli.data import distributions
from gancli.data.batches import Batches, Draws
from gancli.data.dataset import Dataset, load, splits_of
from gancli.data.distributions import Known
from gancli.data.prepare import prepare
from gancli.data.settings import Data, Distribution
from gancli.errors import UserError
from gancli.evaluator import Evaluator
from gancli.from_images import FromImages
from gancli.runs import Run
from gancli.schema import Recipe
from gancli.signals import Signals
from gancli.tables import now
from gancli.theory import Witness

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""glibc's names of what `mallopt` sets."""
OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED", "size calculation")


class Progress(Protocol):
    """Who is told how a training goes."""

    def begin(self, done: int, total: int) -> None:
        """Training starts after `done` steps of `total`."""

    def advance(self, step: int, row: dict[str, float] | None) -> None:
        """A step is done; `row` is what was logged at it, if it was."""

    def note(self, text: str) -> None:
        """Something the user should know."""


class Interrupted(UserError):
    """A signal ended the training, after a checkpoint was written."""

    prefix = ""

    def __init__(self, number: int, run: Run, step: int, *, complete: bool) -> None:
        how = "complete" if complete else f"saved; continue with gancli train --resume {run.path}"
        super().__init__(f"{signal.Signals(number).name} at step {step}: {how}", 128 + number)


def build(recipe: Recipe) -> Adversarial:
    """The family's model with its initial weights, a function of the recipe's seed, and its precision settled.

    Raises:
        UserError: there is not enough memory for it.
    """
    torch.manual_seed(position_seed(recipe.train.seed, "weights"))
    with _memory_in_words(recipe):
        model: Adversarial = models.load(recipe.model).Model(recipe)
        model.recipe = precision.settled(recipe, model)
        model.configure_model()
    return model


def train(recipe: Recipe, dataset: Dataset | Known, run: Run, progress: Progress, *, resume: bool) -> None:
    """Train to the recipe's last step and leave the run directory, which the caller holds, whole.

    Raises:
        Interrupted: a signal came; a checkpoint was written.
        UserError: the training diverged (status 3), or the disk or the memory did not suffice (status 1).
    """
    _quieten()
    keep_memory()
    model = build(recipe.resolved(dataset.classes))
    recipe = model.recipe
    precision.allow_tf32(recipe.train.precision == "bf16")
    if isinstance(model, FromImages) and isinstance(dataset, Dataset):
        model.inputs = shown(recipe, dataset)
    with _disk_in_words(run), Signals(wait=True) as signals:
        checkpoint = _load(run, model, progress) if resume else None
        evaluator = Evaluator(model, run, checkpoint.step if checkpoint else 0) if recipe.evaluate.every else None
        recorder = _Recorder(run, progress, signals, checkpoint, recipe.train.steps, evaluator)
        trainer = _trainer(recipe, recorder)
        where = trainer.strategy.root_device
        position = (recipe.train.batch_size, recipe.train.seed, recorder.step, recorder.steps)
        batches = (
            Batches(
                dataset, *position, referenced=model.referenced, device=home(dataset, cast(Data, recipe.data), where)
            )
            if isinstance(dataset, Dataset)
            else Draws(dataset, *position)
        )
        count = {"images": len(dataset)} if isinstance(dataset, Dataset) else {}
        machine = _machine(where) | count
        if resume:
            _compare(machine, run.facts(), progress)
        else:
            run.clear()
        run.check_room(_checkpoint_size(model))
        run.write_recipe(recipe)
        run.start_facts(recipe, machine)
        status = "failed"
        try:
            if len(batches):
                with _memory_in_words(recipe):
                    trainer.fit(model, batches)
            draw_curves(run.metrics(), run.curves_file)
            _animate(run)
            recorder.stop_if_asked()
            status = "finished"
        except Diverged as error:
            status = "diverged"
            lower = f"--set learning_rate={recipe.learning_rate / 2:g}"
            raise UserError(f"{error}: continue before it with gancli train --resume {run.path} {lower}", 3) from error
        except Interrupted:
            status = "finished" if recorder.complete else "interrupted"
            raise
        finally:
            with contextlib.suppress(OSError):
                run.state_facts(status=status, finished=now(), step=recorder.step)


def shown(recipe: Recipe, dataset: Dataset) -> Batch:
    """Up to 8 images of the test split, or of the training images where there is none, evenly spread and prepared."""
    tested = load(recipe.data, "test") if "test" in splits_of(recipe.data) else dataset
    rows = min(8, *(len(array) for array in tested.images.values()))
    batch = {}
    for key, array in tested.images.items():
        places = np.arange(rows) * len(array) // rows
        batch[key] = torch.from_numpy(np.array(array[places])).permute(0, 3, 1, 2)
    if tested.labels is not None:
        batch["label"] = torch.from_numpy(np.array(tested.labels[places]))
    return prepare(batch, recipe.data, training=False)


class _Recorder(Callback):
    """Writes what a run keeps: rows, pictures, checkpoints; and stops between two steps when a signal came."""

    def __init__(
        self,
        run: Run,
        progress: Progress,
        signals: Signals,
        checkpoint: Checkpoint | None,
        steps: int,
        evaluator: Evaluator | None,
    ) -> None:
        self.run = run
        self.progress = progress
        self.signals = signals
        self.checkpoint = checkpoint
        self.step = checkpoint.step if checkpoint else 0
        self.evaluator = evaluator
        self.steps = self.step if evaluator is not None and evaluator.hopeless else steps
        self.since = 0.0
        self.witness: Witness | None = None

    def on_train_start(self, trainer: Trainer, model: LightningModule) -> None:
        assert isinstance(model, Adversarial)
        self.signals.insist()
        if isinstance(model, FromNoise) and isinstance(model.recipe.data, Distribution):
            self.witness = Witness(model, distributions.of(model.recipe.data))
        self.since = time.monotonic() - (self.checkpoint.seconds if self.checkpoint else 0)
        if self.checkpoint is None:
            self._save(model)  # whatever happens from now on, the training can be continued
        else:
            try:
                model.load_state(self.checkpoint.tensors, self.step)
            except ValueError as error:
                path = self.run.last_checkpoint
                raise UserError(f"{path}: does not fit the recipe: {error}: start again with --force") from error
            self.checkpoint = None
            self.run.cut(self.step)
        self.progress.begin(self.step, self.steps)
        self.stop_if_asked()

    def on_train_batch_end(self, trainer: Trainer, model: LightningModule, *_: Any) -> None:
        assert isinstance(model, Adversarial)
        settings = model.recipe.train
        step = self.step = model.step
        row = None
        measured = self._measure(model, trainer)
        if step % settings.log_every == 0 or self.complete or measured:
            seconds = round(time.monotonic() - self.since, 3)
            row = {"step": step, "images": step * settings.batch_size, "seconds": seconds} | model.observed()
            if self.witness is not None:
                row |= self.witness.measure()
            row |= measured
            blank = self.evaluator.columns() if self.evaluator is not None else ()
            self.run.append_metrics(row | {name: row.get(name) for name in blank})
        if step % settings.samples_every == 0 or self.complete:
            png = io.BytesIO()
            self._picture(model).save(png, format="PNG", compress_level=1)
            files.write(self.run.samples / f"step-{step:08d}.png", png.getvalue())
        if step % settings.checkpoint_every == 0 or self.complete or measured or self.signals.received is not None:
            self._save(model)
        self.progress.advance(step, row)
        if not self.complete:
            self.stop_if_asked()

    def _measure(self, model: Adversarial, trainer: Trainer) -> dict[str, float]:
        """Evaluate where that is due, and make this the last step where nothing better is to be hoped for."""
        if self.evaluator is None or not self.evaluator.due(self.step):
            return {}
        model.check()
        measured = self.evaluator.measure(model)
        if self.evaluator.hopeless and not self.complete:
            self.progress.note(f"step {self.step:,}: evaluate.patience is at an end: {self.run.best_file.name} is best")
            self.steps = self.step
            trainer.should_stop = True
        return measured

    def _picture(self, model: Adversarial) -> Image.Image:
        if self.witness is not None:
            return self.witness.picture()
        sheet, columns = model.sheet()
        return images.picture(images.grid(images.pixels(sheet), columns))

    def stop_if_asked(self) -> None:
        """Raise Interrupted if a signal came."""
        if self.signals.received is not None:
            raise Interrupted(self.signals.received, self.run, self.step, complete=self.complete)

    @property
    def complete(self) -> bool:
        """Whether the last step is done."""
        return self.step == self.steps

    def _save(self, model: Adversarial) -> None:
        """Write the weights and a checkpoint.

        The checkpoint comes last: if the process is killed between the two, the steps before it are taken again, and
        lead to the same weights.
        """
        checkpoint = Checkpoint(self.step, time.monotonic() - self.since, model.state())
        if self.step:
            self.run.save_weights(model)
        self.run.save_checkpoint(checkpoint)


def _trainer(recipe: Recipe, recorder: _Recorder) -> Trainer:
    return Trainer(
        max_epochs=1,
        devices=1,
        precision=precision.LIGHTNING[recipe.train.precision],  # type: ignore[arg-type]
        callbacks=[recorder],
        deterministic="warn" if torch.cuda.is_available() else None,  # CPUs are by themselves
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=recorder.run.path,
    )


def home(dataset: Dataset, settings: Data, device: torch.device) -> torch.device | None:
    """The GPU that trains where its memory is to keep all decoded images; None where they stay with the processor."""
    arrays = [array for array in dataset.images.values() if isinstance(array, np.ndarray)]
    if device.type != "cuda" or settings.on_device == "never" or len(arrays) < len(dataset.images):
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return device if 4 * sum(array.nbytes for array in arrays) <= free else None


def _load(run: Run, model: Adversarial, progress: Progress) -> Checkpoint | None:
    """The checkpoint to continue from; None if the training was killed before it wrote one."""
    checkpoint, warning = run.load_checkpoint(2 * _checkpoint_size(model))
    if warning:
        progress.note(warning)
    steps = model.recipe.train.steps
    if checkpoint and checkpoint.step > steps:
        raise UserError(f"train.steps: {run.path} has done {checkpoint.step} steps already: give more than {steps}")
    return checkpoint


def _checkpoint_size(model: Adversarial) -> int:
    """Bytes that a checkpoint will have, Adam's two moments of every parameter included."""
    learned = [parameter for player in PLAYERS for parameter in getattr(model, player).parameters()]
    size: int = sum(tensor.nbytes for tensor in [*learned, *learned, *model.state_dict().values()])
    return size + 2**20


def _machine(device: torch.device) -> dict[str, Any]:
    """What the last bits of the weights depend on beside the recipe."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "machine": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _compare(machine: dict[str, Any], before: dict[str, Any], progress: Progress) -> None:
    changed = [f"{key}: {before[key]} -> {now}" for key, now in machine.items() if before.get(key, now) != now]
    if changed:
        progress.note(f"{', '.join(changed)}: the weights will not be to the bit those of an uninterrupted run")


@contextlib.contextmanager
def _disk_in_words(run: Run) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = f"{error.filename or run.path}: {error.strerror or error}"
        raise UserError(f"{what}: make room or mend it, then gancli train --resume {run.path}", 1) from error


@contextlib.contextmanager
def _memory_in_words(recipe: Recipe) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in OUT_OF_MEMORY):
            raise
        shape = "×".join(map(str, recipe.data.shape))
        raise UserError(
            f"out of memory with batches of {recipe.train.batch_size} images of {shape}: "
            "lower train.batch_size, data.image_size or the networks' widths",
            status=1,
        ) from error


def _animate(run: Run) -> None:
    """progress.gif of the pictures in samples/, at most 100 of them."""
    paths = sorted(run.samples.glob("step-*.png"))
    paths = paths[:: max(1, len(paths) // 100)]
    if paths:
        gif = io.BytesIO()
        images.save_animation([Image.open(path) for path in paths], gif)
        files.write(run.samples / "progress.gif", gif.getvalue())


def keep_memory() -> None:
    """Let the C library keep freed memory for the next tensor.

    glibc gives large blocks back to the system, which zeroes their pages anew at the next allocation: that was a third
    of StarGAN's time.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, 2**26)):
            mallopt(parameter, value)


def _quieten() -> None:
    """Lightning talks to stdout and to loggers about things that the user did not ask."""
    for name in ("pytorch_lightning", "lightning", "lightning_fabric", "torch.distributed"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", module="lightning_fabric")
    warnings.filterwarnings("ignore", message=".*deterministic")
