"""The columns of a run's step table that credit schemes read, without the texts, which are most of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from agentbench.runs.steps import judged_rows
from credit.steps import IntArray
from envs.base.digest import digest_of_state
from envs.base.errors import UserError

_ANCHORS = ["anchor", "next_anchor"]
_IDS = ("task_id", *_ANCHORS)
_CODED = "action"
_ROWS = 4096


def read_coded(path: Path, episodes: pd.DataFrame) -> pd.DataFrame:
    """Read the judged rows of a step table with all of its numbers and ids, and without its texts.

    ``action`` is a number for each different one, in the order in which they come first: what a scheme's own table
    would make of them. An action may be as long as a text, so the whole column is never in memory. Anchors, which may
    be texts too and come again and again, are categories, the same for both columns.

    Args:
        path: ``steps.parquet`` of a run.
        episodes: the run's table of episodes.

    Raises:
        UserError: the file is damaged.
    """
    codes: dict[str, int] = {}
    anchors: dict[str, int] = {}
    try:
        with pq.ParquetFile(path, read_dictionary=_ANCHORS, pre_buffer=False) as file:
            schema = file.schema_arrow
            kept = [each.name for each in schema if each.name in (*_IDS, _CODED) or _is_number(each.type)]
            coded = [name for name in kept if name in (*_ANCHORS, _CODED)]
            rows = file.read(columns=[name for name in kept if name not in coded], use_threads=False).to_pandas()
            judged = judged_rows(rows, episodes)
            table: pd.DataFrame = rows if judged.all() else rows[judged].reset_index(drop=True)
            numbers = {name: np.empty(len(table), dtype=np.int64) for name in coded}
            begin = end = 0
            for batch in file.iter_batches(_ROWS, columns=coded, use_threads=False):
                chosen = pa.array(judged[begin : begin + len(batch)])
                begin, start = begin + len(batch), end
                for name in coded:
                    texts = batch.column(name).filter(chosen)
                    end = start + len(texts)
                    key, known = (_digest, codes) if name == _CODED else (str, anchors)
                    numbers[name][start:end] = _numbers(texts, known, key)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error}): it is damaged") from error
    kind = pd.CategoricalDtype(list(anchors))
    for name in coded:
        column = numbers[name] if name == _CODED else pd.Series(pd.Categorical.from_codes(numbers[name], dtype=kind))
        table.insert(kept.index(name), name, column)
    return table


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _digest(text: str) -> str:
    """Return what an action is known again by: 128 bits, which are shorter than most."""
    return digest_of_state(text, size=16)


def _numbers(texts: Any, codes: dict[str, int], key: Callable[[str], str]) -> IntArray:
    """Return the numbers of texts, known again by their keys: in the order in which they come first, -1 for null."""
    coded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
    places: IntArray = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    first = np.unique(places, return_index=True)[1]
    numbers = np.full(len(coded.dictionary) + 1, -1, dtype=np.int64)
    for place in places[np.sort(first)]:  # the dictionary may have others, and another order
        if place >= 0:
            numbers[place] = codes.setdefault(key(coded.dictionary[int(place)].as_py()), len(codes))
    found: IntArray = numbers[places]
    return found
