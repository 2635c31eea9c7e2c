"""What this machine offers a training: versions, devices, arithmetic, cache and disk, and what is broken."""

import contextlib
import importlib
import json
import math
import os
import platform
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from gancli import fetch, files

MODULES = {"pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn"}
"""The modules of packages that are not called as their package is."""
NEED_TORCH = ("pytorch-lightning", "torchmetrics")
"""The packages that do not import where torch does not, nor beside a torchvision that does not."""
LITTLE_DISK = 2**30
"""Free bytes below which a training may end for want of room."""
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Processor:
    """The processor, as far as this process may use it.

    Args:
        model: its name.
        instruction_set: the widest that torch uses, such as AVX512; None where torch does not import.
        cores: that this process may use.
        threads: that torch computes with; None where torch does not import.
        memory_bytes: of the machine; None where the system does not say.
        memory_free_bytes: that programs may still take; None where the system does not say.
    """

    model: str
    instruction_set: str | None
    cores: int
    threads: int | None
    memory_bytes: int | None
    memory_free_bytes: int | None


@dataclass(frozen=True)
class Gpu:
    """A GPU that torch can use.

    Args:
        device: its name in torch, such as cuda:0.
        name: of the product.
        memory_bytes: in all; None where it shares the machine's.
        memory_free_bytes: free at the moment.
        capability: the CUDA compute capability, such as 9.0.
        bf16: whether it multiplies in bfloat16 itself.
    """

    device: str
    name: str
    memory_bytes: int | None = None
    memory_free_bytes: int | None = None
    capability: str | None = None
    bf16: bool | None = None


@dataclass(frozen=True)
class Extra:
    """An optional group of packages.

    Args:
        packages: the version of each that is installed, by name; None for one that is not.
        install: the command that installs those missing; None where none is.
    """

    packages: dict[str, str | None]
    install: str | None


@dataclass(frozen=True)
class Cache:
    """Where gancli keeps what can be made again.

    Args:
        path: the folder.
        bytes: by the name of the folder below it.
        free_bytes: on its disk.
        fetched: whether each of the well-known files is here.
    """

    path: str
    bytes: dict[str, int]
    free_bytes: int
    fetched: dict[str, bool]


@dataclass(frozen=True)
class Machine:
    """What was found. `problems` keep gancli from working as it should; `warnings` are worth knowing.

    Args:
        gancli: its version.
        python: its version.
        executable: the Python that runs.
        system: the operating system, its version and the architecture.
        versions: of the packages that gancli needs; None for one that is missing.
        processor: the CPU.
        gpus: those that torch can use.
        bf16: whether the device that trains multiplies in bfloat16 itself; None where torch does not import.
        bf16_rates: how many times as fast as in float32 steps were in bf16, in each trial that the cache keeps.
        cache: where gancli keeps files; None where it cannot.
        free_bytes: on the disk of the current folder, where runs are written.
        optional: by the name of the extra.
        problems: a line each, with what to do.
        warnings: a line each, with what to do.
    """

    gancli: str | None
    python: str
    executable: str
    system: str
    versions: dict[str, str | None]
    processor: Processor
    gpus: list[Gpu]
    bf16: bool | None
    bf16_rates: list[float]
    cache: Cache | None
    free_bytes: int
    optional: dict[str, Extra]
    problems: list[str]
    warnings: list[str]


def look() -> Machine:
    """Look at everything; nothing that is missing or broken raises, it is listed among the problems."""
    problems: list[str] = []
    noted: list[str] = []
    required, extras = _requirements(problems)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # Before Lightning, whose import fails where that of torchvision does.
        torch = _imported("torch", problems)
        broken = _breaks_lightning(problems) or torch is None
        for name in required:
            if name != "torch" and not (broken and name in NEED_TORCH):
                _imported(name, problems)
        gpus = list(_gpus(torch))
    noted += _driver(torch, gpus, [str(warning.message) for warning in caught])
    found = {name: _version(name) for name in required}
    problems += _unmet(required, found)
    if (torchvision_version := _version("torchvision")) is not None:
        extras["torchvision"] = Extra({"torchvision": torchvision_version}, None)
    cache = _cache(problems)
    free = _free(problems)
    for where, room in (("the current folder", free), ("the cache", cache.free_bytes if cache else LITTLE_DISK)):
        if room < LITTLE_DISK:
            noted.append(f"{room / 2**20:,.0f} MiB are free on the disk of {where}: make room before training")
    return Machine(
        _version("gancli"),
        platform.python_version(),
        sys.executable,
        f"{platform.system()} {platform.release()} {platform.machine()}",
        found,
        _processor(torch, noted),
        gpus,
        _bf16(torch),
        _bf16_rates(cache),
        cache,
        free,
        extras,
        problems,
        noted,
    )


def devices() -> tuple[Processor, list[Gpu]]:
    """The processor and the GPUs, where torch is known to import."""
    import torch

    return _processor(torch, []), list(_gpus(torch))


def _requirements(problems: list[str]) -> tuple[dict[str, Requirement], dict[str, Extra]]:
    """What gancli needs by name, and its extras, as its own installation says."""
    required: dict[str, Requirement] = {}
    groups: dict[str, list[Requirement]] = {}
    try:
        lines = metadata.requires("gancli") or []
    except metadata.PackageNotFoundError:
        problems.append("gancli is not installed, only its files are here: pip install its folder")
        lines = ["torch", "pytorch-lightning"]
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        extra = re.search(r"extra == ['\"]([\w.-]+)['\"]", str(requirement.marker or ""))
        if extra:
            groups.setdefault(extra[1], []).append(requirement)
        elif requirement.marker is None or requirement.marker.evaluate():
            required[requirement.name] = requirement
    return required, {name: _extra(group) for name, group in sorted(groups.items())}


def _extra(group: list[Requirement]) -> Extra:
    found = {requirement.name: _version(requirement.name) for requirement in group}
    missing = [f"{r.name}{r.specifier}" for r in group if found[r.name] is None]
    return Extra(found, _pip(*missing) if missing else None)


def _pip(*requirements: str) -> str:
    quoted = [f"'{text}'" if re.search(r"[<>!~=\[]", text) else text for text in requirements]
    return " ".join(["pip install", *quoted])


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _unmet(required: dict[str, Requirement], found: dict[str, str | None]) -> Iterator[str]:
    for name, requirement in required.items():
        version = found[name]
        if version is not None and not requirement.specifier.contains(version, prereleases=True):
            wanted = f"{name}{requirement.specifier}"
            yield f"{name} {version} is installed, gancli needs {wanted}: {_pip(wanted)}"


def _imported(name: str, problems: list[str]) -> Any:
    """The module of a package, or None where it is missing or does not import."""
    try:
        return importlib.import_module(MODULES.get(name, name.replace("-", "_")))
    except ModuleNotFoundError as error:
        missing = error.name or name
        problems.append(f"{name}: the module {missing} is not installed: {_pip(name)}")
    except Exception as error:
        problems.append(
            f"{name} is installed but does not import ({_brief(error)}): pip install --force-reinstall {name}"
        )
    return None


def _breaks_lightning(problems: list[str]) -> bool:
    """Whether there is a torchvision that does not import: Lightning and torchmetrics then do not either."""
    if _version("torchvision") is None:
        return False
    try:
        importlib.import_module("torchvision")
    except Exception as error:
        problems.append(
            f"torchvision {_version('torchvision')} is installed but does not import ({_brief(error)}), and Lightning "
            "fails with it. gancli does not need it: pip uninstall torchvision, or install the build that fits torch"
        )
        return True
    return False


def _brief(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}".partition("\n")[0]
    return text if len(text) <= 120 else text[:119] + "…"


def _gpus(torch: Any) -> Iterator[Gpu]:
    if torch is None:
        return
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(number)
        free: int | None = None
        with contextlib.suppress(RuntimeError):  # another program has it for itself, or all of its memory
            free, _ = torch.cuda.mem_get_info(number)
        with torch.cuda.device(number):
            bf16 = bool(torch.cuda.is_bf16_supported(including_emulation=False))
        capability = f"{properties.major}.{properties.minor}"
        yield Gpu(f"cuda:{number}", properties.name, properties.total_memory, free, capability, bf16)
    if torch.backends.mps.is_available():
        yield Gpu("mps", "Apple GPU")


def _driver(torch: Any, gpus: list[Gpu], said: list[str]) -> Iterator[str]:
    """Why a GPU that is here is not used."""
    if torch is None or gpus:
        return
    if torch.version.cuda is None and torch.version.hip is None:
        if NVIDIA_DRIVER.exists() or shutil.which("nvidia-smi"):
            yield (
                f"an NVIDIA driver is here, but torch {torch.__version__} is built for CPUs alone: "
                "install a CUDA build of torch (https://pytorch.org/get-started/locally)"
            )
    else:
        why = next((text.partition("\n")[0] for text in said if "CUDA" in text), "no driver, or no device is visible")
        yield f"torch {torch.__version__} is built for GPUs but finds none ({why}): training will use the CPU"


def _bf16(torch: Any) -> bool | None:
    if torch is None:
        return None
    from gancli.training import precision

    return precision.has_bf16()


def _bf16_rates(cache: Cache | None) -> list[float]:
    """What earlier trainings measured where their recipe left the precision to the machine."""
    rates = []
    for file in sorted(Path(cache.path, "precision").glob("*.json")) if cache else ():
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, ZeroDivisionError, RecursionError):
            found = json.loads(file.read_text())
            rates.append(round(float(found["float32"]) / float(found["bf16"]), 3))
    return [rate for rate in rates if math.isfinite(rate)]


def _processor(torch: Any, noted: list[str]) -> Processor:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = None if torch is None else int(torch.get_num_threads())
    if threads is not None and threads > cores:
        noted.append(f"torch computes with {threads} threads on {cores} cores: set OMP_NUM_THREADS={cores}")
    memory, free = _memory()
    capability = None if torch is None else str(torch.backends.cpu.get_cpu_capability())
    return Processor(processor_name(), capability, cores, threads, memory, free)


def processor_name() -> str:
    """The processor's model, as the system names it."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(errors="replace"), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _memory() -> tuple[int | None, int | None]:
    """Bytes in all, and those that are free."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        sizes = {line.partition(":")[0]: int(line.split()[1]) * 1024 for line in lines}
        return sizes.get("MemTotal"), sizes.get("MemAvailable")
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None
    except (OSError, ValueError, AttributeError):
        return None, None


def _free(problems: list[str]) -> int:
    try:
        return shutil.disk_usage(Path.cwd()).free
    except OSError as error:
        problems.append(f"the current folder: {error.strerror or error}: change to one that is there")
        return LITTLE_DISK


def _cache(problems: list[str]) -> Cache | None:
    try:
        root = files.cache("data").parent
        sizes = {
            folder.name: sum(map(_bytes, folder.rglob("*"))) for folder in sorted(root.iterdir()) if folder.is_dir()
        }
        with files.writing(root / "doctor") as file:
            file.write(b"writable")
        (root / "doctor").unlink(missing_ok=True)
        fetched = {name: _is_fetched(name) for name in fetch.KNOWN}
        return Cache(str(root), sizes, shutil.disk_usage(root).free, fetched)
    except OSError as error:
        where = error.filename or "the cache"
        problems.append(f"{where}: {error.strerror or error}: make it writable, or set GANCLI_CACHE to another folder")
    return None


def _bytes(path: Path) -> int:
    """The size of a file; 0 for a folder, or where another process has just removed it."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0


def _is_fetched(name: str) -> bool:
    """Whether every file of a well-known set is in the cache, of its size; its content is checked when it is used."""
    place = fetch.place(name)
    folder = place if len(fetch.KNOWN[name]) > 1 else place.parent
    paths = [(folder / file.name, file.bytes) for file in fetch.KNOWN[name]]
    return all(path.is_file() and path.stat().st_size == size for path, size in paths)
