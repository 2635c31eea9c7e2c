"""Every family's recipe: documented, complete, and the same whether read with or without torch."""

import json

import pytest
from pydantic_core import PydanticUndefined

from gancli import models
from gancli.recipe import catalogue, reading

FAMILIES = models.names()
SHIPPED = catalogue.names()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_field_is_documented(family: str) -> None:
    undocumented = [key for key, info in reading.fields(models.schema(family)) if not (info.description or "").strip()]
    assert undocumented == []


@pytest.mark.parametrize("family", FAMILIES)
def test_the_light_recipe_is_the_family_s_own(family: str) -> None:
    light, full = models.schema(family), models.load(family).Recipe
    assert light.model_json_schema() == full.model_json_schema()
    assert light.model_fields["model"].default == family


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_shipped_recipe(family: str) -> None:
    assert any(models.validate(reading.read(catalogue.find(name))).model == family for name in SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes_are_valid_and_introduce_themselves(name: str) -> None:
    path = catalogue.find(name)
    settings = models.validate(reading.read(path))
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert catalogue.summary(name).endswith(".") and len(catalogue.summary(name)) > 20
    assert any(f"gancli train {name}" in line for line in header)
    assert any("# Needs:" in line for line in header)
    assert "# yaml-language-server: $schema=schema.json" in header
    assert settings.model in name or settings.model in path.read_text()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_recipe_written_out_is_the_same_recipe(name: str, tmp_path) -> None:
    settings = models.validate(reading.read(catalogue.find(name)))
    path = tmp_path / "recipe.yaml"
    path.write_text(reading.dump(settings))
    again = models.validate(reading.read(path))
    assert again.model_dump() == settings.model_dump()


def test_the_schema_beside_the_recipes_is_current() -> None:
    shipped = json.loads((catalogue.FOLDER / "schema.json").read_text())
    assert shipped == models.json_schema(), "run: gancli schema > recipes/schema.json"


def test_defaults_are_what_the_reference_says() -> None:
    gan = models.schema("gan")
    defaults = {key: info.default for key, info in reading.fields(gan) if info.default is not PydanticUndefined}
    expected = {
        "latent_dim": 100,
        "loss": "non-saturating",
        "noise": "normal",
        "critic_steps": 1,
        "learning_rate": 2e-4,
        "betas": (0.5, 0.999),
        "train.batch_size": 64,
        "train.ema": 0.999,
        "generator_hidden": (128, 256, 512, 1024),
        "discriminator_hidden": (512, 256),
    }
    assert {key: defaults[key] for key in expected} == expected
