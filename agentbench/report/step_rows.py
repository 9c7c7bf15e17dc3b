"""The rows of a run's step table: numbers of all of them in memory, texts read where they are looked at."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from agentbench.runs import arrow
from agentbench.runs.tables import ANSWER_COLUMNS, STEP_BRANCH_COLUMNS
from envs.base.errors import UserError

FACTS = ("episode", "step", "reward", "is_valid")
"""Columns that are held for all rows."""

SHOWN = ("observation", "action", "text", "admissible_actions", "reward", "is_valid")
"""Columns that are read where they are looked at, beside what is known of the answers."""

TEXTS = ("observation", "action", "text")
"""Columns that repeat themselves: read as places among the different ones."""

BATCH = 1024
"""Rows that are unpacked at a time."""


class StepRows:
    """The step table of a run, which may be larger than the memory.

    Args:
        path: ``steps.parquet``; it stays open, so that what is read later is of the same table.

    Attributes:
        facts: the columns of :data:`FACTS`, one row a step, sorted by episode and step.

    Raises:
        UserError: the file is damaged, or its rows are in another order than a run's.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            # pre_buffer would keep what is read once
            self._file = pq.ParquetFile(path, read_dictionary=list(TEXTS), pre_buffer=False)
            self.facts = arrow.columns(self._file.read(columns=list(FACTS), use_threads=False))
        except (OSError, ValueError, KeyError) as error:
            raise self._damaged(error) from error
        if missing := [name for name in FACTS if name not in self.facts]:
            raise self._damaged(f"no column {missing[0]!r}")
        episode, step = self.facts["episode"], self.facts["step"]
        later, same = np.diff(episode) > 0, np.diff(episode) == 0
        if not (later | (same & (np.diff(step) > 0))).all():
            raise self._damaged("its rows are not sorted by episode and step")
        lengths = [self._file.metadata.row_group(each).num_rows for each in range(self._file.metadata.num_row_groups)]
        self._ends = np.cumsum([0, *lengths])
        self._lock = threading.Lock()
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._unpacked: list[tuple[int, pa.RecordBatch]] = []
        self._next = -1

    def __len__(self) -> int:
        return len(self.facts["episode"])

    @property
    def has_answers(self) -> bool:
        """Whether anything was recorded of the answers."""
        return ANSWER_COLUMNS.names[0] in self._file.schema_arrow.names

    @property
    def has_branches(self) -> bool:
        """Whether an episode branches off another."""
        return STEP_BRANCH_COLUMNS.names[0] in self._file.schema_arrow.names

    @property
    def _shown(self) -> list[str]:
        return [*SHOWN, *(ANSWER_COLUMNS.names if self.has_answers else [])]

    def read(self, first: int, last: int) -> pa.Table:
        """Return the rows from ``first`` to before ``last``; whoever asks in order has every row unpacked once.

        They have the columns of :data:`SHOWN`, and those of the answers where anything was recorded.

        Raises:
            UserError: the file is damaged.
        """
        if first >= last:
            return self._file.schema_arrow.empty_table().select(self._shown)
        with self._lock:  # a server's threads ask at the same time
            try:
                start, table = self._unpack(first, last)
            except (OSError, ValueError, StopIteration) as error:
                self._unpacked, self._next = [], -1
                raise self._damaged(error) from error
        return table.slice(first - start, last - first)

    def _unpack(self, first: int, last: int) -> tuple[int, pa.Table]:
        """Return the batches that hold these rows, behind each other, and the number of their first row."""
        group = int(np.searchsorted(self._ends, first, side="right")) - 1
        begin = int(self._ends[group])
        held = self._unpacked[0][0] if self._unpacked else self._next
        if first < held or begin > self._next:  # rows that have gone by, or that lie in a group behind
            groups = range(group, self._file.metadata.num_row_groups)
            self._unpacked, self._next = [], begin
            self._batches = self._file.iter_batches(BATCH, row_groups=groups, columns=self._shown, use_threads=False)
        self._unpacked = [(start, batch) for start, batch in self._unpacked if start + len(batch) > first]
        while self._next < last:
            batch = next(self._batches)
            self._next += len(batch)
            if self._next > first:
                self._unpacked.append((self._next - len(batch), batch))
        return self._unpacked[0][0], pa.Table.from_batches([batch for _, batch in self._unpacked])

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return a column of all rows."""
        return arrow.columns(self._file.read(columns=[name], use_threads=False))[name]

    def _damaged(self, why: Any) -> UserError:
        return UserError(f"{self._path} cannot be read ({why}): it is damaged")
