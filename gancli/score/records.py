"""What a measurement leaves: values, warnings and protocol, as one line of evaluations.jsonl holds them."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from gancli.metrics.features import ProtocolEntries, Scores

Record = dict[str, Any]
"""`values` by name, `warnings`, and the entries of the protocol. A value that is no finite number is None, and
`not_finite` then says why, by its name."""

NOT_OF_PROTOCOL = ("values", "not_finite", "warnings", "metric", "value")


def of(
    values: Scores, warnings: Sequence[str], protocol: ProtocolEntries, reasons: Mapping[str, str] | None = None
) -> Record:
    """A record; JSON has no number for what is not finite.

    Args:
        values: by name.
        warnings: reasons to distrust them.
        protocol: what is needed to measure them again.
        reasons: why values are not finite, by name.
    """
    said = {
        name: (reasons or {}).get(name, "undefined" if math.isnan(value) else "infinite")
        for name, value in values.items()
        if not math.isfinite(value)
    }
    finite = {name: None if name in said else value for name, value in values.items()}
    entries = {name: entry for name, entry in protocol.items() if name not in NOT_OF_PROTOCOL}
    return {"values": finite, **({"not_finite": said} if said else {}), "warnings": list(warnings), **entries}


def number(value: float | str | None) -> float:
    """A value of a record as a number, NaN where it has none; earlier versions wrote infinity as a text."""
    return math.nan if value is None else float(value)


def together(records: Mapping[str, Record], groups: Sequence[str]) -> Record:
    """One record of several: the mean of each value, and the values by name.

    Args:
        records: by name, of the same metrics.
        groups: ends of names that have a mean of their own, each under the value's name with that end.
    """
    values: dict[str, float | None] = {}
    said: dict[str, str] = {}
    for group in ("", *groups):
        chosen = {n: r for n, r in records.items() if n.endswith(group) and (group or not n.endswith(tuple(groups)))}
        for value in next(iter(chosen.values()))["values"] if chosen else ():
            found = {name: record["values"][value] for name, record in chosen.items()}
            without = [name for name, one in found.items() if one is None]
            values[value + group] = None if without else sum(found.values()) / len(found)
            if without:
                said[value + group] = f"{', '.join(without)} has none"
    for name, record in records.items():
        values |= {f"{value} {name}": found for value, found in record["values"].items()}
        said |= {f"{value} {name}": why for value, why in record.get("not_finite", {}).items()}
    merged: Record = {"values": values} | ({"not_finite": said} if said else {})
    merged["warnings"] = _once({name: record["warnings"] for name, record in records.items()})
    keys = dict.fromkeys(key for record in records.values() for key in record if key not in NOT_OF_PROTOCOL)
    for key in keys:
        entries = {name: record.get(key) for name, record in records.items()}
        alike = len({repr(entry) for entry in entries.values()}) == 1
        merged[key] = next(iter(entries.values())) if alike else entries
    return merged


def _once(warnings: Mapping[str, Sequence[str]]) -> list[str]:
    """The warnings by name; of those that differ in their numbers alone the first, and how many more there are."""
    kinds: dict[str, list[str]] = {}
    for name, some in warnings.items():
        for warning in some:
            kinds.setdefault(re.sub(r"\d[\d,.e+-]*", "", warning), []).append(f"{name}: {warning}")
    return [first + (f" (and {len(more)} more like this)" if more else "") for first, *more in kinds.values()]
