"""What computes: a GPU where there is one. These tests need none: they watch where models are moved to."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from commands import run_gancli
from PIL import Image

from gancli import devices
from gancli.errors import UserError
from gancli.runs.opening import open_model


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A machine with two GPUs, which are the CPU in truth: the devices that networks are moved to, in order."""
    moved: list[str] = []

    def pretending(real: Any, note: Any) -> Any:
        def to(self: Any, *arguments: Any, **named: Any) -> Any:
            kept = [a for a in arguments if not (isinstance(a, str | torch.device) and str(a).startswith("cuda"))]
            if len(kept) < len(arguments):
                note(str(arguments[0]))
                named.pop("device", None)
                return real(self, *kept, **named) if kept or named else self
            return real(self, *arguments, **named)

        return to

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.nn.Module, "to", pretending(torch.nn.Module.to, moved.append))
    monkeypatch.setattr(torch.Tensor, "to", pretending(torch.Tensor.to, lambda _: None))
    monkeypatch.setattr(devices, "_asked", None)
    return moved


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    for family in ("gan", "cyclegan"):
        assert run_gancli("train", tiny.write(family, folder), "--out", folder / family, "-q") == 0
    Image.new("RGB", (8, 8)).save(folder / "one.png")
    return {name: folder / name for name in ("gan", "cyclegan", "one.png")}


@pytest.mark.parametrize(
    ("words", "networks"),
    [
        (["sample", "gan", "--count", "2", "--out", "OUT"], 1),
        (["sample", "cyclegan", "--input", "one.png", "--out", "OUT"], 1),
        (["fit-features", "LABELLED", "--out", "OUT.safetensors"], 1),
        (["evaluate", "digits_run", "--count", "20", "--metrics", "is"], 2),
    ],
    ids=["sample", "translate", "fit-features", "evaluate"],
)
@pytest.mark.parametrize("device", [None, "cpu", "cuda", "cuda:1"])
def test_what_computes_goes_where_it_is_told(device, words, networks, gpus, runs, digits_run, tmp_path, gancli):
    places = {name: str(path) for name, path in runs.items()} | {"digits_run": str(digits_run)}
    places["LABELLED"] = str(tmp_path / "labelled.npz")
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
    np.savez(places["LABELLED"], images=images, labels=np.arange(40) % 4)
    said = [places.get(word, word).replace("OUT", str(tmp_path / "out")) for word in words]
    done = gancli(*said, *(["--device", device] if device else []))
    assert done.status == 0, done.err
    expected = {None: "cuda", "cpu": None}.get(device, device)
    assert set(gpus) == ({expected} if expected else set())
    assert len(gpus) >= (networks if expected else 0)


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("gpu", "expected cpu, cuda, or one of several GPUs"),
        ("cuda:", "expected cpu"),
        ("cuda:99999", "expected cpu"),
        ("cuda:2", "no such GPU, there are cuda:0 to cuda:1"),
    ],
)
@pytest.mark.parametrize(
    "command", [["sample"], ["eval-fid"], ["evaluate"], ["fit-features", "--out", "x.safetensors"]]
)
def test_a_device_that_is_not_there_is_refused_first(command, device, said, gpus, runs, gancli, tmp_path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("recipe.yaml", "model.safetensors"):
        (run / name).write_bytes((runs["gan"] / name).read_bytes()[:200])  # they are not read
    done = gancli(*command, run, "--device", device)
    assert done.status == 2 and done.err.startswith(f"Error: --device {device}: {said}") and done.err.count("\n") == 1


def test_without_a_gpu_all_stays_on_the_cpu(runs, gancli, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = gancli("sample", runs["gan"], "--device", "cuda")
    assert done.status == 2 and "no such GPU, there is none" in done.err
    devices.ask(None)
    assert devices.chosen() == torch.device("cpu")
    with pytest.raises(UserError):
        devices.ask("cuda:0")
    assert devices.chosen() == torch.device("cpu")


def test_a_model_goes_to_the_device_and_its_noise_does_not(runs, monkeypatch) -> None:
    """The noise of image i is drawn on the CPU, so that it is the same image everywhere."""
    here: Any = open_model(runs["gan"])
    monkeypatch.setattr(devices, "chosen", lambda: torch.device("meta"))
    there: Any = open_model(runs["gan"])
    assert here.device.type == "cpu" and there.device.type == "meta"
    assert torch.equal(here.latent(7), there.latent(7)) and there.latent(7).device.type == "cpu"


def test_sampling_puts_the_noise_where_the_model_is(runs, monkeypatch) -> None:
    model: Any = open_model(runs["gan"])
    expected = torch.cat(list(model.sample([model.latent(0)])))
    seen = []

    def watched(noise: torch.Tensor, labels: Any) -> torch.Tensor:
        seen.append(noise.device.type)
        return torch.zeros(len(noise), *model.recipe.data.shape)

    monkeypatch.setattr(devices, "chosen", lambda: torch.device("meta"))
    there: Any = open_model(runs["gan"])
    monkeypatch.setattr(there.generator, "forward", watched)
    made = torch.cat(list(there.sample([there.latent(0)])))
    assert seen == ["meta"] and made.shape == expected.shape


def test_a_classifier_is_the_same_file_wherever_it_was(digits_run, tmp_path) -> None:
    from gancli.metrics import classifier

    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
    trained = classifier.train_classifier(images, np.arange(40) % 4, classes=4, seed=0)
    before = json.dumps(trained.protocol)
    trained.save(tmp_path / "a.safetensors")
    assert json.dumps(trained.to("cpu").protocol) == before
    trained.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
