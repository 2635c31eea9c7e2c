"""The tables of a run: metrics.csv, numbers by step; evaluations.jsonl, records by line."""

import csv
import io
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gancli import files
from gancli.errors import UserError


class Metrics:
    """metrics.csv: a row of numbers for each logged step, in columns that grow."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def append(self, row: Mapping[str, float | None]) -> None:
        """Add a row to metrics.csv, and the columns that it is the first to have; what is None stays empty."""
        known = self.columns()
        columns = list(dict.fromkeys([*known, *row]))
        if columns != known:
            rows = self.file.read_text().splitlines()[1:] if known else []
            wider = [line + "," * (len(columns) - len(known)) for line in rows]
            files.write(self.file, "\n".join([",".join(columns), *wider, ""]))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writerow({name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()})
        files.append(self.file, text.getvalue())

    def columns(self) -> list[str]:
        """The columns of metrics.csv; none before its first row."""
        if not self.file.exists():
            return []
        with self.file.open(newline="") as file:
            return next(csv.reader(file), [])

    def rows(self) -> list[dict[str, float]]:
        """The rows of metrics.csv.

        Raises:
            UserError: it is no table of numbers.
        """
        if not self.file.exists():
            return []
        # A row that a killed process could not complete has no end of line.
        whole = self.file.read_text(errors="replace").rpartition("\n")[0]
        try:
            return [{n: float(text) for n, text in row.items() if text} for row in csv.DictReader(io.StringIO(whole))]
        except (ValueError, TypeError, csv.Error) as error:
            raise UserError(f"{self.file}: damaged: {error}: remove it, or start again with --force") from error

    def cut(self, step: int) -> None:
        """Drop the rows of metrics.csv after a step."""
        kept = sum(row.get("step", math.inf) <= step for row in self.rows())
        if self.file.exists():
            lines = self.file.read_text().splitlines(keepends=True)
            files.write(self.file, "".join(lines[: 1 + kept]))


class Evaluations:
    """evaluations.jsonl: a record on each line."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def append(self, evaluation: dict[str, Any], *, training: bool = False) -> None:
        """Add a line to evaluations.jsonl; one of the training is cut off with what else came after a checkpoint."""
        line = {"time": now(), "training": training} | evaluation
        files.append(self.file, json.dumps(line, allow_nan=False) + "\n")

    def of_training(self) -> list[dict[str, Any]]:
        """The lines of evaluations.jsonl that the training wrote."""
        if not self.file.exists():
            return []
        lines = map(_evaluation, self.file.read_text().splitlines())
        return [line for line in lines if line.get("training")]

    def cut(self, step: int) -> None:
        """Drop the lines of evaluations.jsonl that the training wrote after a step, and one that was cut short."""
        if self.file.exists():
            lines = self.file.read_text().splitlines(keepends=True)
            later = [line for line in lines if (found := _evaluation(line)).get("training") and found["step"] > step]
            kept = [line for line in lines if line.endswith("\n") and line not in later]
            files.write(self.file, "".join(kept))


def _evaluation(line: str) -> dict[str, Any]:
    """A line of evaluations.jsonl; nothing if somebody spoilt it."""
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return {}


def now() -> str:
    """The time in UTC, to the second, as ISO 8601 writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
