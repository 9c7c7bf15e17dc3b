"""Finished measurements, a line each, so that a stopped run continues where it was.

The key of a line is a hash of everything that the measurement depends on: what is true, the estimate, and the code of
the measures. So a line can never stand for something else, whatever has changed in between.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from agentbench.analysis.quality import measures
from agentbench.analysis.quality.sample import Sample
from agentbench.runs.lines import add_lines, read_lines
from credit.steps import FloatArray
from envs.base.digest import digest_of_state

Row = dict[str, Any]


class Parts:
    """Finished measurements in a file.

    Args:
        path: of the file, which need not exist; damaged lines are skipped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._known: dict[str, Row] = {
            part["key"]: part["row"] for part in read_lines(path) if {"key", "row"} <= set(part)
        }

    def find(self, key: str) -> Row | None:
        """Return what was measured, or None."""
        return self._known.get(key)

    def add(self, key: str, row: Row) -> None:
        """Keep what was measured: it is on disk when this returns."""
        self._known[key] = row
        add_lines(self.path, [{"key": key, "row": row}])


def digest_of_sample(sample: Sample) -> str:
    """Hash what a measurement takes from a sample, and the code that measures."""
    arrays = [
        sample.truth,
        sample.standard_error,
        sample.group,
        sample.episode,
        sample.success,
        sample.cell,
        sample.task,
    ]
    if sample.features is not None:
        arrays += [sample.features.indptr, sample.features.indices, sample.features.data]
    if sample.reference is not None:
        arrays.append(sample.reference)
    shapes = repr([sample.group_size, *(array.shape for array in arrays)])
    contents = (np.ascontiguousarray(array).tobytes() for array in arrays)
    return digest_of_state(Path(measures.__file__).read_bytes(), shapes, *contents, size=16)


def key_of(sample_digest: str, *about: Any, estimate: FloatArray) -> str:
    """Hash a sample, what else the row says, and an estimate."""
    return digest_of_state(repr((sample_digest, about)), estimate.tobytes(), size=16)
