"""The columns of a run's step table that credit schemes read, without the texts, which are most of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from agentbench.runs import arrow
from agentbench.runs.frame import Columns
from agentbench.runs.steps import judged_rows, less_penalty
from credit import Steps
from credit.steps import IntArray, factorize
from envs.base.digest import digest_of_state
from envs.base.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

_ANCHORS = ("anchor", "next_anchor")
_CODED = ("task_id", *_ANCHORS, "action")
"""They repeat themselves: read as places among the different ones."""
_ROWS = 4096


@dataclass(frozen=True)
class Coded:
    """The judged rows of a step table.

    Attributes:
        numbers: the columns of numbers and truths.
        codes: the others, int64, numbered as the values come first; -1 for null. Both anchors share their numbers.
        books: what the codes of ``task_id`` and ``anchor`` mean.
        names: of all columns, in the order of the table.
    """

    numbers: dict[str, npt.NDArray[Any]]
    codes: dict[str, IntArray]
    books: dict[str, list[str]]
    names: list[str]


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
    import pandas as pd

    found = _read(path, episodes)
    kind = pd.CategoricalDtype(found.books["anchor"])
    tasks = np.array([*found.books["task_id"], None], dtype=object)
    columns: dict[str, Any] = {}
    for name in found.names:
        if name in _ANCHORS:
            columns[name] = pd.Categorical.from_codes(found.codes[name], dtype=kind)
        elif name == "task_id":
            columns[name] = tasks[found.codes[name]]
        else:
            columns[name] = found.codes[name] if name in found.codes else _with_nan(found.numbers[name])
    return pd.DataFrame(columns)


def read_steps(path: Path, episodes: Columns, *, penalty: float = 0.0) -> Steps:
    """Read the judged rows of a step table as the schemes take them, where no episode branches off another.

    They are those that ``Steps.from_frame`` makes of :func:`agentbench.runs.steps.judged_table`, without the names of
    the ids: and so without pandas.

    Args:
        path: ``steps.parquet`` of a run.
        episodes: columns of the run's table of episodes, of which ``episode`` and ``outcome`` are read.
        penalty: taken off the reward of an invalid action.

    Raises:
        UserError: the file is damaged, or has no judged step.
        CreditError: its rows make no step table.
    """
    found = _read(path, episodes)
    numbers, codes = found.numbers, found.codes
    if not len(numbers["episode"]):
        raise UserError(
            f"the run in {path.parent} has no judged steps yet: every episode ended in an error, or none ended"
        )
    if any((column < 0).any() for column in codes.values()):
        raise UserError(f"{path} has a step without its ids: it is damaged")
    try:
        ranks = np.argsort(np.argsort(np.array(found.books["task_id"], dtype=object)))
        states = factorize(np.concatenate([codes[name] for name in _ANCHORS]))[0]
        columns: dict[str, Any] = {
            name: numbers[name] for name in ("episode", "step", "is_valid", "terminated", "truncated")
        }
        return Steps(
            group=ranks[codes["task_id"]],
            reward=less_penalty(numbers["reward"], numbers["is_valid"], penalty),
            state=states[: len(states) // 2],
            next_state=states[len(states) // 2 :],
            action=codes["action"],
            extra={"score": numbers["score"]},
            **columns,
        )
    except (KeyError, IndexError) as error:
        raise UserError(f"{path} cannot be read ({error}): it is damaged") from error


def _read(path: Path, episodes: pd.DataFrame | Columns) -> Coded:
    known: dict[str, dict[str, int]] = {"task_id": {}, "anchor": {}, "action": {}}
    keys: dict[str, Callable[[str], str]] = {"action": _digest}
    try:
        with pq.ParquetFile(path, read_dictionary=list(_CODED), pre_buffer=False) as file:
            schema = file.schema_arrow
            names = [each.name for each in schema if each.name in _CODED or _is_number(each.type)]
            plain = file.read(columns=[name for name in names if name not in _CODED], use_threads=False)
            numbers = arrow.columns(plain)
            judged = judged_rows(numbers, episodes)
            if not judged.all():
                numbers = {name: column[judged] for name, column in numbers.items()}
            coded = [name for name in names if name in _CODED]
            codes = {name: np.empty(int(judged.sum()), dtype=np.int64) for name in coded}
            begin = end = 0
            for batch in file.iter_batches(_ROWS, columns=coded, use_threads=False):
                chosen = judged[begin : begin + len(batch)]
                begin, start = begin + len(batch), end
                end = start + int(chosen.sum())
                for name in coded:
                    book = known["anchor" if name in _ANCHORS else name]
                    codes[name][start:end] = _numbers(batch.column(name), chosen, book, keys.get(name, str))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error}): it is damaged") from error
    return Coded(numbers, codes, {name: list(book) for name, book in known.items() if name != "action"}, names)


def _with_nan(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return numbers of which some are null as floats; truths stay as they are."""
    is_number = column.dtype == object and not any(isinstance(each, bool) for each in column)
    return column.astype(np.float64) if is_number else column


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _digest(text: str) -> str:
    """Return what an action is known again by: 128 bits, which are shorter than most."""
    return digest_of_state(text, size=16)


def _numbers(
    texts: pa.DictionaryArray, chosen: npt.NDArray[np.bool_], codes: dict[str, int], key: Callable[[str], str]
) -> IntArray:
    """Return the numbers of texts, known again by their keys: in the order in which they come first, -1 for null."""
    places, different = arrow.codes(texts)
    places = places[chosen]
    first = np.unique(places, return_index=True)[1]
    numbers = np.full(len(different) + 1, -1, dtype=np.int64)
    for place in places[np.sort(first)].tolist():  # the dictionary may have others, and another order
        if place >= 0:
            numbers[place] = codes.setdefault(key(different[place].as_py()), len(codes))
    found: IntArray = numbers[places]
    return found
