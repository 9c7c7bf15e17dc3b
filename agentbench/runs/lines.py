"""Files of one JSON record a line that only grow: a line is whole and what was written, or it is skipped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from envs.base.digest import read_line, sealed_line
from envs.base.log import log

METRICS_FILE = "metrics.jsonl"
"""Of a training run: a line of metrics a step."""


def add_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Add records to a file, each as a line with a checksum. What a killed writer left unfinished stays a line alone.

    Raises:
        OSError: the file cannot be written.
    """
    lines = "".join(map(sealed_line, records)).encode()
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, 2)
            lines = lines if file.read(1) == b"\n" else b"\n" + lines
        file.write(lines)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read the whole lines of a file; a missing file has none. Damaged lines are skipped with a warning.

    A line without a checksum (written by hand) passes. A last line without its end is being written, or was torn.
    """
    if not path.exists():
        return []
    records = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            records.append(read_line(line)[0])
        except ValueError as error:
            if line:
                log.warning("%s: line %d is damaged (%s) and skipped", path, number, error)
    return records


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the rows of metrics of a training run: each has a whole number ``step``, and numbers by name.

    A row without the number of its step is skipped with a warning; a value that is no number is left out.
    """
    rows = []
    for row in read_lines(path):
        if isinstance(row.get("step"), int) and is_number(row["step"]):
            rows.append({name: value for name, value in row.items() if value is None or is_number(value)})
        else:
            log.warning("%s: a row does not say of which training step it is, and is skipped", path)
    return rows


def is_number(value: object) -> bool:
    """Return whether a value read from JSON is a number that every column of numbers can hold."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**53)
