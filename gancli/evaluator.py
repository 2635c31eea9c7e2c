"""Evaluation during a training: the numbers, the best weights so far, and whether there is hope of better ones."""

from collections.abc import Callable, Mapping

from gancli import records, scoring, subjects
from gancli.adversarial import Adversarial
from gancli.errors import UserError
from gancli.from_images import FromImages
from gancli.metrics.names import HEADLINES, HIGHER_IS_BETTER, NEED_LABELS
from gancli.records import Record
from gancli.runs import Run
from gancli.subject import Subject

SEED = 0


class Evaluator:
    """Measures a model again and again in the same way, and keeps the best weights.

    The feature network belongs to it, not to the model, so that no checkpoint holds it; and as it draws no global
    random number, the weights are those of a training without it.

    Args:
        model: whose recipe has `evaluate.every` set.
        run: keeps evaluations.jsonl and best.safetensors.
        step: the step the training begins after; later evaluations of an earlier attempt do not count.
        fitting: called with (steps done, steps in all) while a classifier is fitted to measure with.

    Raises:
        UserError: the data cannot be measured as the recipe asks.
    """

    def __init__(self, model: Adversarial, run: Run, step: int, fitting: Callable[[int, int], None]) -> None:
        recipe = model.recipe
        self._settings, self._run = recipe.evaluate, run
        self._reference = subjects.labelled(recipe, "train")
        labelled = isinstance(model, FromImages) or getattr(recipe, "conditional", False)
        if NEED_LABELS & {*recipe.evaluate.metrics} and not labelled:
            raise UserError("evaluate.metrics: accuracy and intra-fid need samples of known classes: conditional=true")
        self._features = scoring.network(
            recipe.evaluate.features,
            self._reference,
            self._reference,
            progress=lambda done, all_, _: fitting(done, all_),
        )
        first = recipe.evaluate.metrics[0]
        self._judge, self._sign = HEADLINES[first][0], -1 if first in HIGHER_IS_BETTER else 1
        self._best, self._without = float("inf"), 0
        for line in run.training_evaluations():
            if line["step"] <= step:
                self._improves(records.number(line["values"][self._judge]))

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
        sides: Mapping[str, tuple[Subject, Subject | None]]
        if isinstance(model, FromImages):
            sides = subjects.comparisons(model, SEED, "test")
        else:
            sides = {"": (subjects.of_model(model, self._settings.images, SEED), self._reference)}
        return scoring.score_each(sides, self._features, self._settings.metrics, seed=SEED)

    def keep(self, model: Adversarial, record: Record) -> dict[str, float]:
        """Keep what was measured, and the weights if they are the best; returns what `columns` names."""
        if self._improves(records.number(record["values"][self._judge])):
            self._run.save_weights(model, best=True)
        self._run.append_evaluation(record, training=True)
        return {name: value for name in self.columns() if (value := record["values"][name]) is not None}

    def _improves(self, value: float) -> bool:
        better = self._sign * value < self._best
        self._best = min(self._best, self._sign * value)
        self._without = 0 if better else self._without + 1
        return better
