"""Where weights come from: the recipe, the data and the environment, which together decide every bit of them."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gancli import models
from gancli.errors import UserError
from gancli.recipe import reading
from gancli.recipe.sections import Recipe

FREE = ("train.steps", "train.checkpoint_every", "evaluate.patience", "data.cache_limit", "data.on_device")
"""Keys of a recipe that may change at a resume: they say how long to train, and how to store what is the same."""
PLACES = ("data.source", "data.source_b", "data.attribute_file")
"""Keys that may change where the data is known by its digest: it may have moved."""


class Origin(NamedTuple):
    """What a training is made from.

    Args:
        recipe: resolved.
        data: by split, the digest of the images; empty for points, of which the recipe says all.
        environment: what computes, by names such as processor, threads and torch.
    """

    recipe: Recipe
    data: dict[str, str]
    environment: dict[str, str]

    def facts(self) -> dict[str, str]:
        """What a checkpoint or a file of weights says of its origin."""
        return {
            "recipe": reading.dump(self.recipe),
            "data": json.dumps(self.data, sort_keys=True),
            "environment": json.dumps(self.environment, sort_keys=True),
        }

    def run_id(self) -> str:
        """The id of a training that begins here.

        It is a digest of its origin: trainings of one id write the same files. What may change is no part of it.
        """
        free = FREE + (PLACES if self.data else ())
        fixed = {key: value for key, value in _flat(self.recipe.model_dump(mode="json")) if key not in free}
        text = json.dumps([fixed, self.data, self.environment], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def recipe_of(facts: Mapping[str, str], where: str) -> Recipe | None:
    """The recipe that the facts of a file name; None in a checkpoint of version 0.1.0.

    Raises:
        UserError: it is no recipe.
    """
    return models.validate(reading.parse(facts["recipe"], where)) if "recipe" in facts else None


def data_of(facts: Mapping[str, str]) -> dict[str, str]:
    """The digests of the data that the facts of a file name, by split."""
    return _strings(facts.get("data", ""))


def environment_of(facts: Mapping[str, str]) -> dict[str, str]:
    """The environment that the facts of a file name."""
    return _strings(facts.get("environment", ""))


def changed(old: Recipe, new: Recipe, free: Sequence[str] = ()) -> list[str]:
    """What differs between two recipes beside what is free to, as `key: before -> after`."""
    before, after = (dict(_flat(settings.model_dump(mode="json"))) for settings in (old, new))
    return [
        f"{key}: {before.get(key)} -> {after.get(key)}"
        for key in sorted(before | after)
        if before.get(key) != after.get(key) and key not in free
    ]


def moved(old: Recipe, new: Recipe) -> list[str]:
    """The places of the data that differ between two recipes, as `key: before -> after`."""
    return [change for change in changed(old, new) if change.startswith(tuple(f"{key}: " for key in PLACES))]


def check_data(now: Mapping[str, str], before: Mapping[str, str], source: str) -> None:
    """See that the images are those that a checkpoint was trained with.

    Raises:
        UserError: they are not.
    """
    splits = [split for split in sorted(now.keys() | before.keys()) if now.get(split) != before.get(split)]
    if before and splits:
        raise UserError(
            f"data.source: {source}: the {' and '.join(splits)} images are not those that the run was trained with: "
            "put back what was edited, added, removed, renamed or relabelled, or start another training with --out"
        )


def notes(now: Origin, facts: Mapping[str, str], said: Mapping[str, Any], where: str) -> list[str]:
    """What differs from a checkpoint's origin and does not forbid to continue, a sentence each.

    Args:
        now: the origin today.
        facts: of the checkpoint.
        said: of run.json, which alone knew the machine in version 0.1.0.
        where: the checkpoint's name.
    """
    old = recipe_of(facts, where) or now.recipe
    if now.recipe.train.decay_steps and old.train.steps != now.recipe.train.steps:
        lengths = f"train.steps: {old.train.steps} -> {now.recipe.train.steps}"
        found = [f"{lengths}: the learning rates fall to 0 at the new end, as they did not in the steps so far"]
    else:
        found = []
    if "run" in facts:
        changes = differences(now.environment, environment_of(facts))
        found += [
            f"{change}: the images are the same" for change in moved(recipe_of(facts, where) or now.recipe, now.recipe)
        ]
    else:
        known = {name: str(said[name]) for name in now.environment if name in said}
        changes = differences({name: now.environment[name] for name in known}, known)
        found += [
            f"{where}: of version {facts.get('gancli', '0.1.0')}: nothing says whether the images are still the same"
        ]
    if changes:
        found += [f"{', '.join(changes)}: the weights will not be to the bit those of an uninterrupted training"]
    return found


def differences(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """What differs between two environments, as `name: before -> now`."""
    return [
        f"{name}: {before.get(name, 'not set')} -> {now.get(name, 'not set')}"
        for name in sorted(now.keys() | before.keys())
        if before.get(name) != now.get(name)
    ]


def _strings(text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
