"""The columns of a run's step table that credit schemes read, without the texts, which are most of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from agentbench.runs.steps import judged_rows
from envs.base.digest import digest_of_state
from envs.base.errors import UserError

_IDS = ("task_id", "anchor", "next_anchor")
_CODED = "action"
_ROWS = 4096


def read_coded(path: Path, episodes: pd.DataFrame) -> pd.DataFrame:
    """Read the judged rows of a step table with all of its numbers and ids, and without its texts.

    ``action`` is a number for each different one, in the order in which they come first: what a scheme's own table
    would make of them. An action may be as long as a text, so the whole column is never in memory.

    Args:
        path: ``steps.parquet`` of a run.
        episodes: the run's table of episodes.

    Raises:
        UserError: the file is damaged.
    """
    codes: dict[str, int] = {}
    parts: list[pd.DataFrame] = []
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            kept = [each.name for each in schema if each.name in (*_IDS, _CODED) or _is_number(each.type)]
            parts.append(schema.empty_table().select(kept).to_pandas().astype({_CODED: np.int64}))
            for batch in file.iter_batches(_ROWS, columns=kept):
                place = batch.schema.get_field_index(_CODED)
                rows = batch.remove_column(place).to_pandas()
                judged = judged_rows(rows, episodes)
                actions = batch.column(place).filter(pa.array(judged))
                rows = rows[judged]
                rows.insert(place, _CODED, _numbers(actions, codes))
                parts.append(rows)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error}): it is damaged") from error
    return pd.concat(parts[1:] or parts, ignore_index=True)


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _numbers(texts: Any, codes: dict[str, int]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the numbers of texts; a text is known again by 128 bits of its digest, which are shorter than most."""
    digests = (digest_of_state(text.as_py(), size=16) for text in texts)
    return np.fromiter((codes.setdefault(digest, len(codes)) for digest in digests), np.int64, len(texts))
