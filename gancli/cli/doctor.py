"""`gancli doctor`: what this machine offers, and what is wrong with it."""

import json
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from gancli.cli import app, door, parsing
from gancli.errors import UserError, printable

if TYPE_CHECKING:
    from gancli.training.machine import Cache, Gpu, Machine, Processor

COLUMN = 11
WIDTH = 80


@app.command(cls=parsing.Command)
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Print what this machine offers: versions, devices, arithmetic, cache and disk; exit 1 if something is broken."""
    from dataclasses import asdict

    from gancli.training import machine

    found = machine.look()
    if as_json:
        door.result(json.dumps(asdict(found) | {"sound": not found.problems}))
    else:
        door.result(*(line for name, text in _rows(found) for line in _wrapped(name, text)))
    if found.problems:
        several = "something is" if len(found.problems) == 1 else f"{len(found.problems)} things are"
        raise UserError(f"{several} broken: follow the advice under problems, then run gancli doctor again", 1)


def _rows(found: "Machine") -> Iterator[tuple[str, str]]:
    yield "gancli", found.gancli or "not installed"
    yield "Python", f"{found.python}, {found.executable}"
    yield "system", found.system
    yield "packages", ", ".join(f"{name} {version or '(missing)'}" for name, version in found.versions.items())
    yield "processor", _processor(found.processor)
    yield "GPU", "; ".join(map(_gpu, found.gpus)) or "none that torch can use"
    yield "precision", _precision(found)
    if found.cache is not None:
        yield from _cache(found.cache)
    yield "disk", f"{_size(found.free_bytes)} free in the current folder"
    for name, extra in found.optional.items():
        present = [f"{package} {version}" for package, version in extra.packages.items() if version]
        missing = [package for package, version in extra.packages.items() if not version]
        parts = [", ".join(present)] if present else []
        parts += [f"{', '.join(missing)} not installed"] if missing else []
        yield "optional", f"{'; '.join(parts)}{f': {extra.install}' if extra.install else f' ({name})'}"
    for warning in found.warnings:
        yield "warning", warning
    for problem in found.problems:
        yield "problem", problem
    if not found.problems:
        yield "problems", "none"


def _processor(found: "Processor") -> str:
    facts = [found.model, f"{found.cores} cores" if found.cores > 1 else "1 core"]
    if found.instruction_set is not None:
        facts.append(found.instruction_set)
    if found.threads is not None:
        facts.append(f"torch computes with {found.threads} thread{'s' if found.threads > 1 else ''}")
    if found.memory_bytes is not None:
        free = f" ({_size(found.memory_free_bytes)} free)" if found.memory_free_bytes is not None else ""
        facts.append(f"{_size(found.memory_bytes)} of memory{free}")
    return ", ".join(facts)


def _gpu(found: "Gpu") -> str:
    facts = [f"{found.device} {found.name}"]
    if found.memory_bytes is not None:
        free = f" ({_size(found.memory_free_bytes)} free)" if found.memory_free_bytes is not None else ""
        facts.append(f"{_size(found.memory_bytes)} of memory{free}")
    if found.capability is not None:
        facts.append(f"compute capability {found.capability}")
    return ", ".join(facts)


def _precision(found: "Machine") -> str:
    if found.bf16 is None:
        return "unknown, as torch does not import"
    device = found.gpus[0].device if found.gpus else "the processor"
    hardware = f"{device} {'multiplies' if found.bf16 else 'does not multiply'} in bfloat16 itself"
    if not found.bf16_rates:
        return hardware
    least, most = min(found.bf16_rates), max(found.bf16_rates)
    count = len(found.bf16_rates)
    trials = "in the one trial so far" if count == 1 else f"in {count} trials"
    rates = f"{least:.2f} to {most:.2f}" if count > 1 else f"{least:.2f}"
    return f"{hardware}; {trials} steps were {rates} times as fast as in float32"


def _cache(found: "Cache") -> Iterator[tuple[str, str]]:
    parts = ", ".join(f"{name} {_size(size)}" for name, size in found.bytes.items()) or "empty"
    yield "cache", f"{found.path}: {parts}; {_size(found.free_bytes)} free on its disk"
    here = [name for name, is_here in found.fetched.items() if is_here]
    missing = [name for name, is_here in found.fetched.items() if not is_here]
    text = ", ".join(here) or "none of the well-known files"
    yield "fetched", f"{text}; gancli fetch NAME gets {', '.join(missing)}" if missing else text


def _size(count: int | None) -> str:
    size = float(count or 0)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1000 or unit == "GiB":
            break
        size /= 1024
    return f"{size:,.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:,.1f} {unit}"


def _wrapped(name: str, text: str) -> list[str]:
    """The name in the first column and the text in the second, at most WIDTH characters wide."""
    lines = textwrap.wrap(printable(text), WIDTH - COLUMN, break_on_hyphens=False) or [""]
    return [f"{name if not number else '':{COLUMN}}{line}" for number, line in enumerate(lines)]
