"""The tables of a run: metrics.csv, numbers by step; evaluations.jsonl, a record on each line."""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gancli import files
from gancli.errors import UserError


class Table:
    """A file of lines that a training adds to, and a digest of what they say, times aside.

    A checkpoint keeps the digest, so that a resume knows whether the lines that it relies on are all there.

    Args:
        file: its path.
        prove: raises an error where the file is no longer the training's own.
    """

    def __init__(self, file: Path, prove: Callable[[], None] = lambda: None) -> None:
        self.file, self._prove = file, prove
        self._digest = hashlib.sha256()

    @property
    def digest(self) -> str:
        """SHA-256 of the lines of the training so far."""
        return self._digest.hexdigest()

    def lines(self) -> list[str]:
        """The whole lines of the file, one that a killed process could not complete left out."""
        try:
            text = files.read(self.file).decode(errors="surrogateescape")
        except FileNotFoundError:
            return []
        return text.split("\n")[:-1]

    def _rewrite(self, lines: Sequence[str]) -> None:
        if self.file.exists() or self.file.is_symlink():
            files.write(self.file, "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape"))

    def _note(self, facts: Mapping[str, Any]) -> None:
        self._digest.update((json.dumps(facts, sort_keys=True) + "\n").encode())


class Metrics(Table):
    """metrics.csv: a row of numbers for each logged step, in columns that grow."""

    def append(self, row: Mapping[str, float | None]) -> None:
        """Add a row, and the columns that it is the first to have; what is None stays empty."""
        known = self.columns()
        columns = list(dict.fromkeys([*known, *row]))
        if columns != known:
            wider = [line + "," * (len(columns) - len(known)) for line in self.lines()[1:]]
            files.write(self.file, "\n".join([",".join(columns), *wider, ""]))
        written = {name: f"{v:.6g}" if isinstance(v, float) else str(v) for name, v in row.items() if v is not None}
        text = io.StringIO()
        csv.DictWriter(text, columns, lineterminator="\n").writerow(written)
        files.append(self.file, text.getvalue(), self._prove)
        self._note_row(written)

    def columns(self) -> list[str]:
        """The names of the columns; none before the first row."""
        return next(csv.reader(self.lines()[:1]), [])

    def rows(self) -> list[dict[str, float]]:
        """The rows.

        Raises:
            UserError: it is no table of numbers.
        """
        return [numbers for _, numbers, _ in self._read()]

    def cut(self, step: int) -> None:
        """Drop the rows after a step.

        Raises:
            UserError: it is no table of numbers.
        """
        kept = [(line, text) for line, numbers, text in self._read() if numbers["step"] <= step]
        self._digest = hashlib.sha256()
        for _, text in kept:
            self._note_row(text)
        self._rewrite([*self.lines()[:1], *(line for line, _ in kept)])

    def _read(self) -> Iterator[tuple[str, dict[str, float], dict[str, str]]]:
        """Each row as its line, as numbers, and as it is written, what is empty left out."""
        try:
            columns = self.columns()
            for line in self.lines()[1:]:
                values = next(csv.reader([line], strict=True), [])
                text = {name: value for name, value in zip(columns, values, strict=True) if value}
                numbers = {name: float(value) for name, value in text.items()}
                if not numbers["step"].is_integer():
                    raise ValueError(f"{text['step']} is no step")
                yield line, numbers, text
        except KeyError as error:
            raise self._damaged("a row without a step") from error
        except (ValueError, csv.Error) as error:
            raise self._damaged(_plain(str(error))) from error

    def _note_row(self, text: Mapping[str, str]) -> None:
        self._note({name: value for name, value in text.items() if name != "seconds"})

    def _damaged(self, what: str) -> UserError:
        return UserError(
            f"{self.file}: damaged: {what}: put it right, or remove it; the training can be resumed without it"
        )


class Evaluations(Table):
    """evaluations.jsonl: a record on each line. Lines that are no records are left as they are."""

    def append(self, evaluation: dict[str, Any], *, training: bool = False) -> None:
        """Add a line; one of the training is cut off with what else came after a checkpoint."""
        record = {"time": now(), "training": training} | evaluation
        files.append(self.file, json.dumps(record, allow_nan=False) + "\n", self._prove)
        if training:
            self._note_record(record)
        else:
            files.sync(self.file, self.file.parent)

    def of_training(self) -> list[dict[str, Any]]:
        """The records that the training wrote, each with a step and values."""
        return [record for line in self.lines() if (record := _record_of_training(line)) is not None]

    def cut(self, step: int) -> None:
        """Drop the records that the training wrote after a step, and a line that was cut short."""
        kept = []
        self._digest = hashlib.sha256()
        for line in self.lines():
            record = _record_of_training(line)
            if record is None or record["step"] <= step:
                kept.append(line)
            if record is not None and record["step"] <= step:
                self._note_record(record)
        self._rewrite(kept)

    def _note_record(self, record: Mapping[str, Any]) -> None:
        self._note({name: value for name, value in record.items() if name != "time"})


def _record_of_training(line: str) -> dict[str, Any] | None:
    """A line of evaluations.jsonl that a training wrote; None of any other, and of one that somebody damaged."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.get("training") is not True:
        return None
    whole = type(record.get("step")) is int and isinstance(record.get("values"), dict)
    return record if whole else None


def now() -> str:
    """The time in UTC, to the second, as ISO 8601 writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:200]
