"""The rows of a run's step table: numbers of all of them in memory, texts read where they are looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from agentbench.runs.tables import ANSWER_COLUMNS
from envs.base.errors import UserError

FACTS = ("episode", "task_id", "trial", "step", "reward", "is_valid")
"""Columns that are held for all rows."""

SHOWN = ("observation", "action", "text", "admissible_actions", "reward", "is_valid")
"""Columns that are read where they are looked at, beside what is known of the answers."""


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
            self._file = pq.ParquetFile(path)
            self.facts = self._frame(self._file.read(columns=list(FACTS)))
        except (OSError, ValueError, KeyError) as error:
            raise self._damaged(error) from error
        if missing := [name for name in FACTS if name not in self.facts]:
            raise self._damaged(f"no column {missing[0]!r}")
        episode, step = self.facts["episode"].to_numpy(), self.facts["step"].to_numpy()
        later, same = np.diff(episode) > 0, np.diff(episode) == 0
        if not (later | (same & (np.diff(step) > 0))).all():
            raise self._damaged("its rows are not sorted by episode and step")
        lengths = [self._file.metadata.row_group(each).num_rows for each in range(self._file.metadata.num_row_groups)]
        self._ends = np.cumsum([0, *lengths])
        self._held: tuple[tuple[int, int], pa.Table] | None = None

    def __len__(self) -> int:
        return len(self.facts)

    @property
    def has_answers(self) -> bool:
        """Whether anything was recorded of the answers."""
        return ANSWER_COLUMNS.names[0] in self._file.schema_arrow.names

    @property
    def _shown(self) -> list[str]:
        return [*SHOWN, *(ANSWER_COLUMNS.names if self.has_answers else [])]

    def read(self, first: int, last: int) -> pa.Table:
        """Return the rows from ``first`` to before ``last``; those near to them may stay in memory.

        They have the columns of :data:`SHOWN`, and those of the answers where anything was recorded.

        Raises:
            UserError: the file is damaged.
        """
        if first >= last:
            return self._file.schema_arrow.empty_table().select(self._shown)
        groups = (
            int(np.searchsorted(self._ends, first, side="right")) - 1,
            int(np.searchsorted(self._ends, last, side="left")),
        )
        if self._held is None or self._held[0] != groups:
            self._held = None
            try:
                pa.default_memory_pool().release_unused()
                self._held = groups, self._file.read_row_groups(range(*groups), columns=self._shown)
            except (OSError, ValueError) as error:
                raise self._damaged(error) from error
        start = int(self._ends[groups[0]])
        return self._held[1].slice(first - start, last - first)

    def column(self, name: str) -> pd.Series[Any]:
        """Return a column of all rows."""
        return self._frame(self._file.read(columns=[name]))[name]

    @staticmethod
    def _frame(table: Any) -> pd.DataFrame:
        frame: pd.DataFrame = table.to_pandas()
        return frame

    def _damaged(self, why: Any) -> UserError:
        return UserError(f"{self._path} cannot be read ({why}): it is damaged")
