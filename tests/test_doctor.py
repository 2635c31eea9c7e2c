"""`gancli doctor` finds what is here, and what is broken, on machines that this one is not."""

import importlib
import json
from types import SimpleNamespace

import pytest

from gancli.fetch import KNOWN
from gancli.training import machine


def install(folder, name, version, body):
    """A package of one line as an installed distribution."""
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(body)
    information = folder / f"{name}-{version}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.fixture
def without_torch(monkeypatch):
    """A torch that is installed but does not import."""
    real = importlib.import_module

    def fails(name, *rest):
        if name == "torch":
            raise OSError("libcudart.so.13: cannot open shared object file")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", fails)


def test_the_table_fits_80_columns_and_names_what_is_here(gancli) -> None:
    done = gancli("doctor")
    assert done.status == 0 and not done.err
    assert max(map(len, done.out.splitlines())) <= 80
    import torch

    plain = " ".join(done.out.split())
    for said in (f"torch {torch.__version__}", "pytorch-lightning ", "GPU ", "bfloat16", "free", "problems none"):
        assert said in plain


def test_json_is_one_object(gancli, cache) -> None:
    (cache / "data").mkdir()
    (cache / "data" / "pixels").write_bytes(bytes(3000))
    done = gancli("doctor", "--json")
    assert done.status == 0
    found = json.loads(done.out)
    assert found["sound"] is True and found["problems"] == []
    assert found["versions"]["torch"] and found["processor"]["cores"] >= 1 and found["processor"]["threads"] >= 1
    assert found["cache"]["path"] == str(cache) and found["cache"]["bytes"]["data"] == 3000
    assert found["cache"]["fetched"] == dict.fromkeys(KNOWN, False)
    assert found["free_bytes"] > 0 and isinstance(found["bf16"], bool)
    assert list((cache / "data").iterdir()) == [cache / "data" / "pixels"], "looking leaves nothing behind"


def test_what_was_measured_of_bf16_is_shown(gancli, cache) -> None:
    (cache / "precision").mkdir()
    (cache / "precision" / "a.json").write_text('{"float32": 0.3, "bf16": 0.2}')
    assert "in the one trial so far steps were 1.50 times" in " ".join(gancli("doctor").out.split())
    (cache / "precision" / "b.json").write_text('{"float32": 0.1, "bf16": 0.2}')
    for number, damaged in enumerate(["", "[]", "{}", '{"float32": 1, "bf16": 0}', '{"float32": "x", "bf16": 1}']):
        (cache / "precision" / f"c{number}.json").write_text(damaged)
    assert "in 2 trials steps were 0.50 to 1.50 times as fast as in float32" in " ".join(gancli("doctor").out.split())
    assert json.loads(gancli("doctor", "--json").out)["bf16_rates"] == [1.5, 0.5]


def test_a_torchvision_that_does_not_import_is_named(gancli, tmp_path, monkeypatch) -> None:
    install(tmp_path, "torchvision", "0.99", "raise RuntimeError('operator torchvision::nms does not exist')\n")
    monkeypatch.syspath_prepend(tmp_path)
    done = gancli("doctor")
    assert done.status == 1
    plain = " ".join(done.out.split())
    assert "torchvision 0.99 is installed but does not import (RuntimeError: operator torchvision::nms" in plain
    assert "pip uninstall torchvision" in plain and "numpy" in plain
    assert done.err.count("\n") == 1 and "something is broken" in done.err
    assert max(map(len, done.out.splitlines())) <= 80


def test_a_torchvision_that_imports_is_no_problem(tmp_path, monkeypatch) -> None:
    install(tmp_path, "torchvision", "0.99", "")
    monkeypatch.syspath_prepend(tmp_path)
    found = machine.look()
    assert found.optional["torchvision"].packages == {"torchvision": "0.99"} and not found.problems


def test_without_torch_the_rest_is_still_said(gancli, without_torch) -> None:
    done = gancli("doctor", "--json")
    assert done.status == 1
    found = json.loads(done.out)
    assert found["sound"] is False and found["bf16"] is None and found["processor"]["threads"] is None
    [problem] = found["problems"]
    assert "torch" in problem and "libcudart.so.13" in problem
    assert "unknown" in gancli("doctor").out


def test_missing_old_and_optional_packages_come_with_their_pip_line(monkeypatch) -> None:
    lines = ["torch>=2.10", "no-such-package>=1", "numpy<1", 'no-such-extra>=2; extra == "demo"', "damaged ["]
    monkeypatch.setattr(machine.metadata, "requires", lambda _: lines)
    found = machine.look()
    assert found.versions["no-such-package"] is None
    assert any("pip install no-such-package" in problem for problem in found.problems)
    assert any("pip install 'numpy<1'" in problem for problem in found.problems)
    assert found.optional["demo"].packages == {"no-such-extra": None}
    assert found.optional["demo"].install == "pip install 'no-such-extra>=2'"


def test_a_cache_that_cannot_be_written_is_named(gancli, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GANCLI_CACHE", str(tmp_path / "file"))
    done = gancli("doctor", "--json")
    assert done.status == 1
    [problem] = json.loads(done.out)["problems"]
    assert str(tmp_path / "file") in problem and "GANCLI_CACHE" in problem


def fake_torch(*, cuda=None, names=()):
    """As much of torch as is asked about GPUs."""

    class Chosen:
        def __init__(self, number):
            pass

        __enter__ = __exit__ = lambda *_: None

    def free(number):
        if number:
            raise RuntimeError("CUDA error: device busy")
        return 2**33, 2**34

    return SimpleNamespace(
        __version__="9.9",
        version=SimpleNamespace(cuda=cuda, hip=None),
        cuda=SimpleNamespace(
            is_available=lambda: bool(names),
            device_count=lambda: len(names),
            get_device_properties=lambda n: SimpleNamespace(name=names[n], total_memory=2**34, major=9, minor=0),
            mem_get_info=free,
            device=Chosen,
            is_bf16_supported=lambda including_emulation: True,
        ),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: False)),
    )


def test_every_gpu_is_described_even_one_in_use() -> None:
    first, second = machine._gpus(fake_torch(cuda="13.0", names=("H200", "H100")))
    assert first == machine.Gpu("cuda:0", "H200", 2**34, 2**33, "9.0", True)
    assert second == machine.Gpu("cuda:1", "H100", 2**34, None, "9.0", True)


@pytest.mark.parametrize(
    ("cuda", "driver", "said", "warned"),
    [
        (None, True, [], "an NVIDIA driver is here, but torch 9.9 is built for CPUs alone"),
        (None, False, [], None),
        (
            "13.0",
            True,
            ["CUDA initialization: driver too old\nmore"],
            r"finds none (CUDA initialization: driver too old)",
        ),
        ("13.0", False, [], "finds none (no driver"),
    ],
)
def test_a_gpu_that_is_not_used_is_explained(cuda, driver, said, warned, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(machine, "NVIDIA_DRIVER", tmp_path if driver else tmp_path / "none")
    monkeypatch.setattr(machine.shutil, "which", lambda _: None)
    found = list(machine._driver(fake_torch(cuda=cuda), [], said))
    assert [warned in text for text in found] == ([True] if warned else [])
    assert not list(machine._driver(fake_torch(cuda=cuda), [machine.Gpu("cuda:0", "H200")], said))


def test_a_full_disk_and_too_many_threads_are_warnings(gancli, monkeypatch) -> None:
    import torch

    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1000)
    done = gancli("doctor")
    assert done.status == 0
    plain = " ".join(done.out.split())
    assert "1 MiB are free on the disk of the current folder" in plain and "disk of the cache" in plain
    assert "1000 threads" in plain and "set OMP_NUM_THREADS=" in plain
