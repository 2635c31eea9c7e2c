"""Evaluation during a training: the numbers, the best weights so far, and whether there is hope of better ones."""

import contextlib
import json
import math
from collections.abc import Callable, Mapping

import numpy as np

from gancli import weights
from gancli.errors import UserError
from gancli.gan.adversarial import Adversarial
from gancli.metrics.names import HEADLINES, HIGHER_IS_BETTER, LEAST, NEED_CLASSES, NEED_LABELS
from gancli.runs.checkpoints import Checkpoint
from gancli.runs.run import Run
from gancli.score import records, scoring, subjects, workload
from gancli.score.records import Record
from gancli.score.subject import Subject

SEED = 0
VALUE = "best"
"""The name in the header of best.safetensors of the value that made it the best."""


class Evaluator:
    """Measures a model again and again in the same way, and keeps the best weights.

    The feature network belongs to it, not to the model, so that no checkpoint holds it; and as it draws no global
    random number, the weights are those of a training without it.

    Args:
        model: whose recipe has `evaluate.every` set.
        run: keeps evaluations.jsonl and best.safetensors.
        checkpoint: where the training continues; what came after it does not count.
        fitting: called with (steps done, steps in all) while a classifier is fitted to measure with.
        note: told when an evaluation takes hours.

    Raises:
        UserError: the data cannot be measured as the recipe asks.
    """

    def __init__(
        self,
        model: Adversarial,
        run: Run,
        checkpoint: Checkpoint | None,
        fitting: Callable[[int, int], None],
        note: Callable[[str], None] | None = None,
    ) -> None:
        recipe = model.recipe
        self._settings, self._run = recipe.evaluate, run
        self._reference = subjects.labelled(recipe, "train")
        labelled = model.targets or getattr(recipe, "conditional", False)
        if NEED_LABELS & {*recipe.evaluate.metrics} and not labelled:
            raise UserError("evaluate.metrics: accuracy and intra-fid need samples of known classes: conditional=true")
        self._features = scoring.network(
            recipe.evaluate.features,
            self._reference,
            self._reference,
            progress=lambda done, all_, _: fitting(done, all_),
        )
        self._check(model)
        advice = "leave out some of evaluate.metrics" if model.targets else "lower evaluate.images"
        workload.check(self._sides(model), self._features, recipe.evaluate.metrics, 0, advice, note)
        first = recipe.evaluate.metrics[0]
        self._judge, self._sign = HEADLINES[first][0], -1 if first in HIGHER_IS_BETTER else 1
        self._best, self._without, self._kept = math.inf, 0, math.inf
        if checkpoint is not None:
            self._restore(checkpoint)

    def state(self) -> str:
        """What a checkpoint keeps: the best value so far, and how many evaluations brought nothing better since."""
        best = {"best": self._best} if math.isfinite(self._best) else {}
        return json.dumps(best | {"without": self._without})

    def _restore(self, checkpoint: Checkpoint) -> None:
        try:
            state = json.loads(checkpoint.facts["evaluator"])
            self._best = float(state.get("best", math.inf))
            self._without = int(state["without"])
        except (KeyError, ValueError, TypeError, AttributeError):
            # A checkpoint of version 0.1.0 leaves that to the lines of evaluations.jsonl.
            for record in self._run.training_evaluations():
                value = record["values"].get(self._judge)
                if record["step"] <= checkpoint.step and isinstance(value, int | float | None):
                    self._improves(records.number(value))
        self._kept = self._best
        # The best weights are written before the checkpoint: after a power failure they may be better than it knows.
        with contextlib.suppress(KeyError, ValueError, UserError):
            facts, _ = weights.describe(self._run.best_file)
            if facts["run"] == checkpoint.facts["run"]:
                self._kept = min(self._kept, self._sign * float(facts[VALUE]))

    def due(self, step: int) -> bool:
        """Whether this step is one to measure after."""
        return self._settings.every is not None and step % self._settings.every == 0

    @property
    def hopeless(self) -> bool:
        """Whether so many evaluations brought nothing better that the recipe's patience is at an end."""
        return self._settings.patience is not None and self._without >= self._settings.patience

    @property
    def improved(self) -> bool:
        """Whether the newest evaluation is the best so far."""
        return self._without == 0

    def columns(self) -> list[str]:
        """The columns of metrics.csv that hold something at evaluated steps alone."""
        return [name for metric in self._settings.metrics for name in HEADLINES[metric]]

    def measure(self, model: Adversarial) -> Record:
        """Measure the model."""
        return scoring.score_each(self._sides(model), self._features, self._settings.metrics, seed=SEED)

    def keep(self, model: Adversarial, record: Record) -> dict[str, float]:
        """Keep what was measured, and the weights if they are the best; returns what `columns` names."""
        value = records.number(record["values"][self._judge])
        if self._improves(value) and self._sign * value <= self._kept:
            self._kept = self._sign * value
            self._run.save_weights(model, best=True, facts={VALUE: repr(value)})
        self._run.append_evaluation(record, training=True)
        return {name: value for name in self.columns() if (value := record["values"][name]) is not None}

    def _sides(self, model: Adversarial) -> Mapping[str, tuple[Subject, Subject]]:
        if model.targets:
            return subjects.comparisons(model.translator(), SEED, "test")
        return {"": (subjects.of_model(model, self._settings.images, SEED), self._reference)}

    def _check(self, model: Adversarial) -> None:
        """Refuse what no evaluation of this training could measure, and read each image that they all need once."""
        metrics = self._settings.metrics
        if (lacking := [*NEED_CLASSES & {*metrics}]) and not hasattr(self._features, "logits"):
            raise UserError(f"evaluate.features: {lacking[0]} needs a network that knows classes, as inception does")
        for name, (subject, reference) in self._sides(model).items():
            try:
                scoring.check({name: (subject, reference)}, metrics)
                if "intra-fid" in metrics:
                    _check_classes(subject, reference)
            except UserError as error:
                raise UserError(f"evaluate.metrics: {name + ': ' if name else ''}{error}") from error
            subject.prepare(None)
            reference.prepare(None)

    def _improves(self, value: float) -> bool:
        better = self._sign * value < self._best
        self._best = min(self._best, self._sign * value)
        self._without = 0 if better else self._without + 1
        return better


def _check_classes(subject: Subject, reference: Subject) -> None:
    """Refuse a class of too few images for the distance within it."""
    real = reference.labels()
    assert real is not None
    wanted, counts = np.unique(real, return_counts=True)
    generated = np.bincount(np.asarray(subject.labels(), np.int64), minlength=len(reference.classes))
    for label, count in zip(wanted, counts, strict=True):
        if min(count, generated[label]) < LEAST["intra-fid"]:
            raise UserError(
                f"intra-fid needs at least 2 images of each class on both sides: of {reference.classes[label]} there "
                f"are {count:,} real ones and {generated[label]:,} generated ones: set evaluate.images higher"
            )
