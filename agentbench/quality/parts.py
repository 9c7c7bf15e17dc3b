"""Finished measurements, a line each, so that a stopped run goes on where it was.

The key of a line is a hash of everything that the measurement depends on: what is true, the estimate, and the code of
the measures. So a line can never stand for something else, whatever has changed in between.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from agentbench.quality import measures
from agentbench.quality.sample import Sample
from credit.steps import FloatArray

Row = dict[str, Any]


class Parts:
    """Finished measurements in a file.

    Args:
        path: of the file, which need not exist; a torn last line is dropped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        if lines and not lines[-1].endswith(b"\n"):
            path.write_bytes(b"".join(lines[:-1]))
            lines = lines[:-1]
        self._known: dict[str, Row] = dict(json.loads(line) for line in lines)

    def find(self, key: str) -> Row | None:
        """Return what was measured, or None."""
        return self._known.get(key)

    def add(self, key: str, row: Row) -> None:
        """Keep what was measured: it is on disk when this returns."""
        self._known[key] = row
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([key, row]) + "\n")


def digest_of_sample(sample: Sample) -> str:
    """Hash what a measurement takes from a sample, and the code that measures."""
    found = hashlib.blake2b(Path(measures.__file__).read_bytes(), digest_size=16)
    arrays = [sample.truth, sample.standard_error, sample.group, sample.success, sample.cell, sample.task]
    if sample.features is not None:
        arrays += [sample.features.indptr, sample.features.indices, sample.features.data]
    if sample.reference is not None:
        arrays.append(sample.reference)
    found.update(repr([sample.group_size, *(array.shape for array in arrays)]).encode())
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def key_of(sample_digest: str, *about: Any, estimate: FloatArray) -> str:
    """Hash a sample, what else the row says, and an estimate."""
    return hashlib.blake2b(repr((sample_digest, about)).encode() + estimate.tobytes(), digest_size=16).hexdigest()
