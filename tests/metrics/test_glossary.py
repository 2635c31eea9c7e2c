"""Every column of metrics.csv and every value of an evaluation stands in the glossary, in words."""

import json

import pytest
import tiny
import torch
from commands import run_gancli

from gancli import models
from gancli.metrics import glossary
from gancli.metrics.evaluate import evaluate
from gancli.metrics.names import METRICS
from gancli.metrics.pairs import pairs
from gancli.runs.run import Run

ENTRIES = glossary.COLUMNS | glossary.VALUES
# What the tiny recipes leave out and a family can switch on.
SETS = {
    "gan": ["r1=1"],
    "dcgan": ["r1=1", "r2=1", "discriminator_norm=none"],
    "wgan": ["gradient_penalty=10"],
}


@pytest.mark.parametrize("family", models.names())
def test_every_column_that_a_family_writes_is_explained(family: str, tmp_path) -> None:
    words = ["train.steps=4", "train.log_every=2", "critic_steps=1", "train.decay_steps=0", *SETS.get(family, [])]
    sets = [word for text in words for word in ("--set", text)]
    assert run_gancli("train", tiny.write(family, tmp_path), "--out", tmp_path / "run", "-q", *sets) == 0
    columns = Run(tmp_path / "run").metrics()[-1]
    assert len(columns) > 8 and [name for name in columns if glossary.meaning(name) is None] == []


@pytest.mark.parametrize("recipe", ["gan-ring2d", "gan-gaussian1d", "wgan-lines2d"])
def test_every_measure_of_points_is_explained(recipe: str, gancli, tmp_path) -> None:
    run = tmp_path / "run"
    sets = ("--set", "train.steps=4", "--set", "train.log_every=4", "--set", "train.samples_every=4")
    assert run_gancli("train", recipe, "--out", run, "-q", *sets) == 0
    record = json.loads(gancli("evaluate", run, "--json").out)
    names = [*Run(run).metrics()[-1], *record["values"], *(n for n in record if n.startswith(("floor_", "believed_")))]
    assert "floor_exact_wasserstein" in names and [name for name in names if glossary.meaning(name) is None] == []


def test_every_value_of_every_metric_is_explained(linear, images) -> None:
    labels = torch.arange(60) % 2
    found = evaluate(
        images(60, 0).split(30),
        images(60, 1).split(30),
        linear(192, 24),
        METRICS,
        bootstrap=2,
        subject_labels=labels,
        reference_labels=labels,
    )
    values = dict(found.values) | pairs([(images(2, 0), images(2, 1))])
    assert len(values) > 15 and [name for name in values if glossary.meaning(name) is None] == []
    assert glossary.meaning("fid a-to-b by reference") == glossary.VALUES["fid"]
    assert glossary.meaning("nonsense") is glossary.meaning("floor_nonsense") is None


@pytest.mark.parametrize("name", ENTRIES)
def test_every_explanation_is_a_sentence(name: str) -> None:
    assert ENTRIES[name][0].isupper() and ENTRIES[name].endswith(".") and "  " not in ENTRIES[name]


def test_a_printed_table_says_what_its_values_mean(gancli, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    run = tmp_path / "run"
    sets = ("--set", "train.steps=4", "--set", "train.log_every=4", "--set", "train.samples_every=4")
    assert run_gancli("train", "gan-ring2d", "--out", run, "-q", *sets) == 0
    done = gancli("evaluate", run)
    values, words, protocol = (part.splitlines() for part in done.out.split("\n\n"))
    assert values[0].startswith("exact_kl_data_model ") and len(values[0].split()) == 2
    assert words[0] == "which means" and max(map(len, words)) <= 80
    said = " ".join(" ".join(words[1:]).split())
    assert f"high_quality {glossary.VALUES['high_quality']}" in said and "floor_exact_kl_data_model The same" in said
    assert protocol[0] == "measured with" and any(line.startswith("step ") for line in protocol)
