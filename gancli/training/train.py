"""train: a recipe and a run directory in, a trained run out; Lightning calls each step."""

import contextlib
from typing import NamedTuple

import numpy as np
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning import Trainer

from gancli import models
from gancli.data import distributions
from gancli.data.batches import Batches, Draws
from gancli.data.dataset import Dataset, load, splits_of
from gancli.data.distributions import Known
from gancli.data.prepare import prepare
from gancli.data.store import Streamed
from gancli.errors import UserError
from gancli.gan.adversarial import PLAYERS, Adversarial, Batch, position_seed
from gancli.gan.finite import Diverged
from gancli.process import hide_variables
from gancli.recipe.data import Data
from gancli.recipe.sections import Recipe
from gancli.runs.checkpoints import Checkpoint
from gancli.runs.lock import Lost
from gancli.runs.origin import Origin
from gancli.runs.run import Run
from gancli.runs.tables import now
from gancli.signals import Signals
from gancli.training import precision, trial
from gancli.training.evaluation import Evaluator
from gancli.training.recorder import Interrupted, Progress, Recorder
from gancli.training.surroundings import (
    disk_in_words,
    environment,
    keep_memory,
    machine_facts,
    memory_in_words,
    quieten,
)
from gancli.training.trainable import Trainable


def build(recipe: Recipe) -> Adversarial:
    """The family's model with its initial weights, a function of the recipe's seed.

    Raises:
        UserError: there is not enough memory for it.
    """
    torch.manual_seed(position_seed(recipe.train.seed, "weights"))
    with memory_in_words(recipe):
        model: Adversarial = models.load(recipe.model).Model(recipe)
        model.configure_model()
    return model


class Result(NamedTuple):
    """How far a training has come."""

    step: int
    seconds: float


def load_data(recipe: Recipe, progress: Progress) -> Dataset | Known:
    """The images that a recipe trains on, decoded, or the distribution whose points it draws.

    Raises:
        UserError: there are no such images, one cannot be used, or they are too few.
    """
    if recipe.data.points:
        return distributions.of(recipe.data.points)
    dataset = load(recipe.data, "train", progress.counting("decoding", "images"))
    for line in dataset.notes:
        progress.note(line)
    dataset.need(recipe.train.batch_size)
    return dataset


def train(recipe: Recipe, dataset: Dataset | Known, run: Run, progress: Progress, *, resume: bool) -> Result:
    """Train to the recipe's last step and leave the run directory, which the caller holds, whole.

    Raises:
        Interrupted: a signal came; a checkpoint was written.
        UserError: the training diverged (status 3), or the disk or the memory did not suffice (status 1).
    """
    quieten()
    keep_memory()
    model = build(recipe.resolved(dataset.classes))
    with memory_in_words(recipe):
        recipe = model.recipe = trial.settled(
            model, lambda count: iter(_batches(model, dataset, 0, count)), progress.note
        )
    precision.allow_tf32(recipe.train.precision == "bf16")
    digests = {"train": dataset.digest} if isinstance(dataset, Dataset) else {}
    if recipe.train.decay_steps > recipe.train.steps:
        longer = f"train.decay_steps: {recipe.train.decay_steps:,} is longer than the training"
        progress.note(f"{longer}: the learning rates fall over all {recipe.train.steps:,} steps")
    if model.targets and isinstance(dataset, Dataset):
        tested = load(recipe.data, "test") if "test" in splits_of(recipe.data) else dataset
        digests["test"] = tested.digest
        model.translator().inputs = shown(recipe, tested)
    with disk_in_words(run), contextlib.ExitStack() as stack:
        checkpoint = _load(run, model, progress) if resume else None
        fitting = progress.counting("fitting the classifier of evaluate.features", "steps", at_once=True)
        evaluator = Evaluator(model, run, checkpoint, fitting, progress.note) if recipe.evaluate.every else None
        signals = stack.enter_context(Signals(wait=True))
        recorder = Recorder(run, progress, signals, checkpoint, recipe.train.steps, evaluator)
        trainer = _trainer(recipe, recorder)
        where = trainer.strategy.root_device
        batches = _batches(model, dataset, recorder.step, recorder.steps, where)
        _begin(run, Origin(recipe, digests, environment(where)), model, checkpoint, progress, resume=resume)
        count = {"images": len(dataset)} if isinstance(dataset, Dataset) else {}
        skipped = [bad._asdict() for bad in dataset.skipped] if isinstance(dataset, Dataset) else []
        run.start_facts(recipe, machine_facts(where) | count | {"skipped": skipped})
        status = "failed"
        try:
            if len(batches):
                with memory_in_words(recipe):
                    trainer.fit(Trainable(model), batches)
            elif checkpoint is not None:
                _restore_weights(run, model, checkpoint)
            recorder.drawings.complete()
            recorder.stop_if_asked()
            status = "finished"
        except Diverged as error:
            status = "diverged"
            recorder.drawings.complete()
            lower = f"--set learning_rate={recipe.learning_rate / 2:g}"
            raise UserError(f"{error}: continue before it with gancli train --resume {run.path} {lower}", 3) from error
        except Interrupted:
            status = "finished" if recorder.complete else "interrupted"
            if not recorder.complete:
                recorder.drawings.complete()
            raise
        finally:
            # Of another error the user has a message already.
            with contextlib.nullcontext() if status == "finished" else contextlib.suppress(OSError, Lost):
                run.state_facts(status=status, finished=now(), step=recorder.step)
    return Result(recorder.step, recorder.seconds)


def _batches(
    model: Adversarial, dataset: Dataset | Known, start: int, stop: int, trains: torch.device | None = None
) -> Batches | Draws:
    """The batches `start` to `stop`; where the device that trains is given, it keeps the images if it has room."""
    position = (model.recipe.train.batch_size, model.recipe.train.seed, start, stop)
    if not isinstance(dataset, Dataset):
        return Draws(dataset, *position)
    device = home(dataset, model.recipe.data.images, trains) if trains is not None else None
    return Batches(dataset, *position, referenced=model.referenced, device=device)


def _begin(
    run: Run, origin: Origin, model: Adversarial, checkpoint: Checkpoint | None, progress: Progress, *, resume: bool
) -> None:
    """Make the directory ready to be written: nothing of an old run is touched before all that can fail is checked.

    Raises:
        UserError: the checkpoint is not of this run, recipe or data, or there is no room.
    """
    if checkpoint is not None:
        notes = run.check_origin(origin, checkpoint)
        notes += [*run.cut(checkpoint), *run.missing(checkpoint, origin.recipe)]
        for text in notes:
            progress.warn(text)
    run.check_room(_checkpoint_size(model), resume=resume)
    if not resume:
        run.set_aside()
    run.bind(origin, checkpoint)
    run.write_recipe(origin.recipe)


def _restore_weights(run: Run, model: Adversarial, checkpoint: Checkpoint) -> None:
    """Write the file of weights of a training that has come to its end: it may be missing, or of another run."""
    learned = {name: tensor for name, tensor in checkpoint.tensors.items() if name.startswith("weights.")}
    try:
        model.load_state_dict({name.removeprefix("weights."): tensor for name, tensor in learned.items()})
    except RuntimeError as error:
        raise UserError(f"{run.last_checkpoint}: does not fit the recipe: start again with --force") from error
    model.step = checkpoint.step
    run.save_weights(model)


def shown(recipe: Recipe, tested: Dataset) -> Batch:
    """Up to 8 images, evenly spread and prepared."""
    rows = min(8, *(len(array) for array in tested.images.values()))
    batch = {}
    for key, array in tested.images.items():
        places = np.arange(rows) * len(array) // rows
        batch[key] = torch.from_numpy(np.array(array[places])).permute(0, 3, 1, 2)
    if tested.labels is not None:
        batch["label"] = torch.from_numpy(np.array(tested.labels[places]))
    return prepare(batch, recipe.data, training=False)


def _trainer(recipe: Recipe, recorder: Recorder) -> Trainer:
    hide_variables()
    return Trainer(
        plugins=[LightningEnvironment()],  # no cluster, whichever is found
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
    arrays = [array for array in dataset.images.values() if not isinstance(array, Streamed)]
    if device.type != "cuda" or settings.on_device == "never" or len(arrays) < len(dataset.images):
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return device if 4 * sum(array.nbytes for array in arrays) <= free else None


def _load(run: Run, model: Adversarial, progress: Progress) -> Checkpoint | None:
    """The checkpoint to continue from; None if the training was killed before it wrote one."""
    checkpoint, warning = run.load_checkpoint(2 * _checkpoint_size(model))
    if warning:
        progress.warn(warning)
    steps = model.recipe.train.steps
    if checkpoint and checkpoint.step > steps:
        done = checkpoint.step
        raise UserError(f"train.steps: {run.path} has done {done} steps already, not {steps}: give {done} or more")
    return checkpoint


def _checkpoint_size(model: Adversarial) -> int:
    """Bytes that a checkpoint will have, Adam's two moments of every parameter included."""
    learned = [parameter for player in PLAYERS for parameter in getattr(model, player).parameters()]
    size: int = sum(tensor.nbytes for tensor in [*learned, *learned, *model.state_dict().values()])
    return size + 2**20
