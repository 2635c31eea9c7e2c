"""Golden losses: the first steps of each family on built-in images, so that no change of theirs goes unnoticed.

The numbers are gancli's own (torch 2.13 on an x86-64 CPU); another CPU rounds otherwise, by far less than the tolerance
in so few steps.
"""

import json
from pathlib import Path

import pytest
from commands import run_gancli

from gancli.runs.run import Run

GOLDEN = json.loads(Path(__file__).with_name("first_steps.json").read_text())

RECIPES = {
    "gan": {"model": "gan", "generator_hidden": [16, 32], "discriminator_hidden": [32]},
    "dcgan": {"model": "dcgan"},
    "dcgan-conditional": {"model": "dcgan", "conditional": True},
    "dcgan-relativistic": {
        "model": "dcgan",
        "loss": "relativistic",
        "discriminator_norm": "spectral",
        "r1": 1,
        "r2": 1,
        "augment": ["colour", "translation", "cutout"],
    },
    "pix2pix": {"model": "pix2pix", "discriminator_layers": 1, "data": {"source": "shapes:64", "image_size": 16}},
    "cyclegan": {
        "model": "cyclegan",
        "blocks": 1,
        "discriminator_layers": 1,
        "pool_size": 20,
        "data": {"source": "shapes:64", "image_size": 16},
    },
    "stargan": {
        "model": "stargan",
        "blocks": 1,
        "critic_steps": 2,
        "data": {"source": "shapes:64", "image_size": 16},
    },
    "stargan2": {
        "model": "stargan2",
        "largest_width": 8,
        "style_dim": 4,
        "mapping_width": 8,
        "data": {"source": "shapes:64", "image_size": 32, "zoom": 0.5, "flip": True},
    },
    "wgan": {"model": "wgan", "critic_steps": 2, "warm_up": None},
    "wgan-gp": {"model": "wgan", "critic_steps": 2, "gradient_penalty": 10},
}


def first_steps(values: dict[str, object], folder: Path) -> list[dict[str, float]]:
    """The losses of six steps, the mean of each two a row."""
    width = {} if values["model"] == "gan" else {"width": 8}
    data = {"source": "digits", "image_size": 8, "channels": 1}
    train = {"precision": "float32", "steps": 6, "log_every": 2, "batch_size": 16}
    recipe = folder / "recipe.yaml"
    recipe.write_text(json.dumps({"data": data, "train": train} | width | values))
    assert run_gancli("train", recipe, "--out", folder / "run", "-q") == 0
    wanted = ("generator_", "discriminator_", "wasserstein")
    return [{k: v for k, v in row.items() if k.startswith(wanted)} for row in Run(folder / "run").metrics()]


@pytest.mark.parametrize("name", RECIPES)
def test_the_first_steps_are_the_golden_ones(name, tmp_path) -> None:
    found = first_steps(RECIPES[name], tmp_path)
    assert len(found) == len(GOLDEN[name]) == 3
    for row, golden in zip(found, GOLDEN[name], strict=True):
        assert row == pytest.approx(golden, rel=1e-2, abs=1e-5)
