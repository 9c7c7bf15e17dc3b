"""Columns of a user's own for the steps of a run: a Parquet or CSV file keyed by task_id, trial and step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from credit.steps import FloatArray
from envs.base.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

KEY = ["task_id", "trial", "step"]
NAMED = 5
"""How many steps at fault a message names."""


def read_columns(path: Path) -> pd.DataFrame:
    """Read a file of columns: trial and step as integers, task_id as text.

    Args:
        path: of a Parquet or CSV file.

    Raises:
        UserError: no such file, it cannot be read, it lacks a column of the key, or has one row twice.
    """
    import pandas as pd

    if not path.is_file():
        raise UserError(f"no file {path}: --columns takes a Parquet or CSV file")
    try:
        found = pd.read_csv(path) if path.suffix.lower() == ".csv" else pd.read_parquet(path)
        found = found.astype({name: int for name in ("trial", "step") if name in found.columns})
    except (OSError, ValueError, ArithmeticError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"cannot read the columns in {path}, which should be a Parquet or CSV file: {reason}"
        ) from error
    if missing := [name for name in KEY if name not in found.columns]:
        raise UserError(f"{path} has no column {missing[0]!r}: it needs {', '.join(KEY)} to be joined with the run")
    found = found.astype({"task_id": str})
    if (twice := found.duplicated(KEY)).any():
        rows = found.loc[twice, KEY].drop_duplicates()
        raise UserError(f"{path} has several rows for one step: {_named(rows)}; one row for each {', '.join(KEY)}")
    return found


def check_keys(path: Path, columns: pd.DataFrame, wanted: pd.DataFrame, known: pd.DataFrame | None = None) -> None:
    """Hold the rows of a file against the steps that it is to describe.

    Args:
        path: of the file, for the message.
        columns: as :func:`read_columns` returns it.
        wanted: the steps that need a row, with the columns of :data:`KEY`.
        known: all steps of the run; a row for another one is refused. None: it is left alone.

    Raises:
        UserError: steps are missing, or unknown; the first :data:`NAMED` are named.
    """
    both = wanted[KEY].merge(columns[KEY], on=KEY, how="left", indicator=True)
    lacking = both.loc[both["_merge"] == "left_only", KEY]
    if len(lacking):
        raise UserError(f"{path} has no row for {len(lacking)} of the run's {len(wanted)} steps: {_named(lacking)}")
    if known is not None:
        both = columns[KEY].merge(known[KEY], on=KEY, how="left", indicator=True)
        strange = both.loc[both["_merge"] == "left_only", KEY]
        if len(strange):
            raise UserError(f"{path} has rows for {len(strange)} steps that the run does not have: {_named(strange)}")


def candidates(path: Path, columns: pd.DataFrame, taken: Sequence[str]) -> dict[str, FloatArray]:
    """Return the columns beside the key, each a candidate for the advantage, float64 of shape ``(rows,)``.

    Args:
        path: of the file, for the message.
        columns: as :func:`read_columns` returns it.
        taken: names that a column cannot have.

    Raises:
        UserError: there is none, one has a name that is taken, or holds something else than finite numbers.
    """
    import pandas as pd

    names = [name for name in columns.columns if name not in KEY]
    if not names:
        raise UserError(f"{path} has no column beside {', '.join(KEY)}: every further one is a candidate")
    if bad := [name for name in names if name in taken]:
        raise UserError(f"{path} has a column {bad[0]!r}, which is the name of another row of the table: rename it")
    found = {}
    for name in names:
        values = pd.to_numeric(columns[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        if not (finite := np.isfinite(values)).all():
            rows = columns.loc[~finite, KEY]
            raise UserError(f"{path}: column {name!r} holds no finite number for {len(rows)} steps: {_named(rows)}")
        found[name] = values
    return found


def _named(rows: pd.DataFrame) -> str:
    """Name the first rows: ``task_id trial step``, by commas."""
    first = [" ".join(map(str, row)) for row in rows.head(NAMED).itertuples(index=False)]
    return ", ".join(first) + (", …" if len(rows) > NAMED else "")
