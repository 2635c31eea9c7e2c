"""What a training keeps: rows, pictures and checkpoints, written between two steps."""

import math
import signal
import time
from collections.abc import Callable
from typing import Any, Protocol

from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer

from gancli.data import distributions
from gancli.errors import UserError
from gancli.gan.adversarial import Adversarial
from gancli.make import images
from gancli.runs.checkpoints import Checkpoint
from gancli.runs.run import Run
from gancli.score.theory import Witness
from gancli.signals import Signals
from gancli.training.drawings import Drawings
from gancli.training.evaluation import Evaluator
from gancli.training.trainable import Trainable


class Progress(Protocol):
    """Shows how a training goes."""

    def begin(self, done: int, total: int) -> None:
        """Training starts after `done` steps of `total`."""

    def advance(self, step: int, row: dict[str, float] | None) -> None:
        """A step is done; `row` is what was logged at it, if it was."""

    def note(self, text: str) -> None:
        """Something the user should know."""

    def warn(self, text: str) -> None:
        """Something that the user must know, however quiet the command should be."""

    def counting(self, what: str, unit: str, *, at_once: bool = False) -> Callable[[int, int], None]:
        """Shows (done, total) of something that comes before the training, as in "fitting 64 of 1,797 steps"."""


class Interrupted(UserError):
    """A signal ended the training, after a checkpoint was written."""

    prefix = ""

    def __init__(self, number: int, run: Run, step: int, *, complete: bool) -> None:
        how = "complete" if complete else f"saved; continue with gancli train --resume {run.path}"
        super().__init__(f"{signal.Signals(number).name} at step {step}: {how}", 128 + number)


class Recorder(Callback):
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
        self.seconds = checkpoint.seconds if checkpoint else 0.0
        self.witness: Witness | None = None
        self.drawings = Drawings(run, progress.warn)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Write the first checkpoint, or restore the one to continue from."""
        assert isinstance(module, Trainable)
        model = module.model
        self.signals.insist()
        if points := model.recipe.data.points:
            self.witness = Witness(model.maker(), distributions.of(points))
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
        self.progress.begin(self.step, self.steps)
        self.stop_if_asked()

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        """Write what is due after a step, and stop if a signal came."""
        assert isinstance(module, Trainable)
        model = module.model
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
            cells = row | {name: row.get(name) for name in blank}
            # What cannot be measured, as of points at infinity, stays empty.
            self.run.append_metrics({n: v if v is not None and math.isfinite(v) else None for n, v in cells.items()})
        if step % settings.samples_every == 0 or self.complete:
            self.drawings.sheet(step, lambda: self._picture(model))
            if not self.complete:
                self.drawings.refresh()
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
        try:
            record = self.evaluator.measure(model)
        except Exception as error:  # of the data, the network, the memory or the metric
            said = str(error) or type(error).__name__
            self.progress.warn(f"step {self.step:,}: the evaluation failed, the training goes on: {said}")
            return {}
        measured = self.evaluator.keep(model, record)
        found = "  ".join(f"{name} {value:.4g}" for name, value in measured.items())
        self.progress.note(f"step {self.step:,}: {found}{'  (the best so far)' if self.evaluator.improved else ''}")
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
        """Write the weights and a checkpoint, in the order that `gancli.runs.checkpoints` describes."""
        facts = {"evaluator": self.evaluator.state()} if self.evaluator is not None else {}
        self.seconds = time.monotonic() - self.since
        checkpoint = Checkpoint(self.step, self.seconds, model.state(), facts)
        if self.step:
            self.run.save_weights(model)
        self.run.save_checkpoint(checkpoint)
