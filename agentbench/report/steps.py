"""The steps of a run, packed for the episode reader: chunks of whole tasks, each text once, compressed.

A chunk is JSON, deflated and in base64; the browser inflates it by itself. Its form::

    {"texts": [...], "lists": [[text, …], …], "episodes": {"<task id>/<trial>": {
        "observation": [text, …], "action": [text, …], "answer": [text, …], "offered": [list, …],
        "reward": [...], "valid": [...], "state": [...], "next": [...], "final": text, "error": text,
        "credit": {scheme: [...]}, "why": [text, …], "about": [text, …], "parent": trial, "fork": step}}}

``why`` is the reason why an answer broke the format, ``about`` what else is known of it (cut, tokens, model); both are
there only where something was recorded. A branch alone has ``parent`` and ``fork``: its columns begin with the step of
that number, which goes on from what its parent had played until there.

Texts and lists are numbers of places in ``texts`` and ``lists``, -1 for none. ``state`` and ``next`` are codes of
anchor states, equal within a task; ``next`` is -1 where a success reached the goal (as in :mod:`credit.tools.graph`).
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from agentbench.analysis.advantages import compute_on, read_run
from agentbench.report.runs import ReportRun
from agentbench.report.step_rows import StepRows
from agentbench.runs import arrow
from agentbench.runs.answers import Answer
from agentbench.runs.columns import read_steps
from agentbench.runs.frame import Columns
from agentbench.runs.steps import judged_rows
from agentbench.runs.tables import ANSWER_COLUMNS
from credit import CreditError, Steps
from credit.steps import FloatArray, IntArray
from credit.transitions import succeeded
from envs.base.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

CHUNK_STEPS = 2000
"""Steps after which a chunk is closed at the next task."""
LEVEL = 4
"""Of deflation: higher ones take up to four times as long for a twentieth less."""
TRUTH = "truth"
_TOLD = ("episode", "task_id", "trial", "final_observation", "error")


@dataclass(frozen=True)
class StepBook:
    """The steps of one run.

    Attributes:
        rows: one row a step, sorted by episode and step; texts are read when they are packed.
        episodes: the columns of the table of episodes, sorted by task.
        credit: number of every row by scheme; NaN where a step was not judged.
        scale: root mean square of each scheme's numbers: what its colours are measured by.
        state, next_state: codes of every row.
        skipped: why schemes are missing, by name.
        chunk_of: number of the chunk of every episode.
    """

    rows: StepRows
    episodes: Columns
    credit: dict[str, FloatArray]
    scale: dict[str, float]
    state: IntArray
    next_state: IntArray
    skipped: dict[str, str]
    chunk_of: IntArray

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return int(self.chunk_of.max()) + 1 if len(self.chunk_of) else 0

    def pack(self, chunk: int) -> str:
        """Return a chunk as base64 of deflated JSON; equal runs give equal text."""
        return deflated(self.text(chunk))

    def text(self, chunk: int) -> bytes:
        """Return a chunk as JSON."""
        text = json.dumps(self.content(chunk), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()

    def content(self, chunk: int) -> dict[str, Any]:
        """Return a chunk as it is before packing (see the module's text)."""
        texts = _Numbers()
        chosen = np.flatnonzero(self.chunk_of == chunk)
        number, task_id, trial, final, error = (self.episodes[name][chosen].tolist() for name in _TOLD)
        of_rows = self.rows.facts["episode"]
        begin, end = map(int, np.searchsorted(of_rows, [min(number), max(number) + 1]))
        columns, lists = self._columns(self.rows.read(begin, end), slice(begin, end), texts)
        credit = {name: _shorts(column[begin:end]) for name, column in self.credit.items()}
        firsts, lasts = (np.searchsorted(of_rows, number, side) - begin for side in ("left", "right"))
        episodes = {}
        for place, first, last in zip(range(len(chosen)), firsts.tolist(), lasts.tolist(), strict=True):
            packed: dict[str, Any] = {name: column[first:last] for name, column in columns.items()}
            packed["credit"] = {name: column[first:last] for name, column in credit.items()}
            packed |= {"final": texts.number(final[place]), "error": texts.number(error[place])}
            if "parent" in self.episodes and (parent := self.episodes["parent"][chosen[place]]) is not None:
                packed |= {"parent": int(parent), "fork": int(self.episodes["fork"][chosen[place]])}
            episodes[f"{task_id[place]}/{trial[place]}"] = packed
        return {"texts": texts.values, "lists": lists, "episodes": episodes}

    def _columns(self, table: pa.Table, rows: slice, texts: _Numbers) -> tuple[dict[str, list[Any]], list[list[int]]]:
        """Return what stands in the chunk of every row, by column, and the lists of offered actions."""
        known = _known(arrow.columns(table.select(ANSWER_COLUMNS.names)), texts) if self.rows.has_answers else {}
        said = {name: texts.numbers(table[name]).tolist() for name in ("observation", "action", "text")}
        offered, lists = _offered(table["admissible_actions"], texts)
        columns = {
            "observation": said["observation"],
            "action": said["action"],
            "answer": said["text"],
            "offered": offered,
            "reward": _shorts(arrow.numbers(table["reward"])),
            "valid": arrow.numbers(table["is_valid"]).astype(np.int64).tolist(),
            "state": self.state[rows].tolist(),
            "next": self.next_state[rows].tolist(),
        }
        return known | columns, lists


def deflated(text: bytes) -> str:
    """Pack the JSON of a chunk."""
    return base64.b64encode(zlib.compress(text, LEVEL)).decode("ascii")


def _offered(column: pa.ChunkedArray, texts: _Numbers) -> tuple[list[int], list[list[int]]]:
    """Return the numbers of the lists of offered actions, -1 for null, and each different list as numbers of texts."""
    seen: dict[bytes, int] = {}
    numbers = []
    for chunk in column.chunks:
        lengths, listed = arrow.lists(chunk)
        offered, start = texts.numbers(listed.dictionary_encode()), 0
        content = offered.tobytes()
        for length in lengths.tolist():
            end = start + max(0, length) * offered.itemsize
            numbers.append(-1 if length < 0 else seen.setdefault(content[start:end], len(seen)))
            start = end
    return numbers, [np.frombuffer(each, dtype=np.int64).tolist() for each in seen]


def make_book(run: ReportRun, schemes: Sequence[str]) -> StepBook:
    """Read a run's steps and compute the schemes that can be computed on them.

    A scheme that lacks a column is left out with its reason, and so are all of them in a run without judged steps.
    """
    assert run.episodes is not None
    rows = StepRows(run.run.current_table("steps"))
    judged = judged_rows(rows.facts, run.episodes)
    columns: dict[str, FloatArray] = {}
    skipped: dict[str, str] = {}
    state, following = np.full(len(rows), -2, dtype=np.int64), np.full(len(rows), -2, dtype=np.int64)
    try:
        steps, own = _steps(run, rows)
        state[judged], following[judged] = (codes[own] for codes in _codes(steps))
        if schemes:
            values, skipped = compute_on(steps, schemes, {}, skip=True)
            columns = {name: _spread(column[own], judged) for name, column in values.items()}
    except (CreditError, UserError) as error:
        skipped = dict.fromkeys(schemes, str(error))
    if run.truth is not None:
        columns = {TRUTH: _truth(rows, run.truth), **columns}
    scale = {name: float(np.sqrt(np.nanmean(np.square(x)))) if judged.any() else 0.0 for name, x in columns.items()}
    return StepBook(rows, run.episodes, columns, scale, state, following, skipped, _chunks(run.episodes))


def _steps(run: ReportRun, rows: StepRows) -> tuple[Steps, Any]:
    """Return the judged steps as the schemes take them, and which of their rows a run's table has: those played."""
    if rows.has_branches or run.identity.get("rollouts") == "tree":
        done = read_run(run.run.folder, texts=False)
        return done.steps, done.table["own"].to_numpy() if "own" in done.table else slice(None)
    assert run.episodes is not None
    return read_steps(run.run.current_table("steps"), run.episodes), slice(None)


def _known(part: Columns, texts: _Numbers) -> dict[str, list[int]]:
    answers = [_answer(*facts) for facts in zip(*(part[name].tolist() for name in ANSWER_COLUMNS.names), strict=True)]
    return {
        "why": [texts.number(answer.invalid) for answer in answers],
        "about": [texts.number(", ".join(replace(answer, invalid=None).marks())) for answer in answers],
    }


def _answer(invalid: str | None, cut: bool | None, *rest: Any) -> Answer:
    prompt, cached, answer, model = rest
    return Answer(invalid, cut is True, prompt, cached, answer, model)


class _Numbers:
    """Numbers for values in the order they come; equal values get the same number, None and NaN get -1."""

    def __init__(self) -> None:
        self._places: dict[Any, int] = {}

    @property
    def values(self) -> list[Any]:
        return list(self._places)

    def number(self, value: Any) -> int:
        if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
            return -1
        return self._places.setdefault(value, len(self._places))

    def numbers(self, column: pa.ChunkedArray | pa.DictionaryArray) -> IntArray:
        """Return the numbers of a column of texts, each different one looked up once a piece."""
        pieces = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
        return np.concatenate([np.empty(0, dtype=np.int64), *map(self._of_piece, pieces)])

    def _of_piece(self, piece: pa.DictionaryArray) -> IntArray:
        places, different = arrow.codes(piece)
        known, first = self._places, np.full(len(different) + 1, len(places))
        first[places[::-1]] = np.arange(len(places))[::-1]
        first[-1] = len(places)  # null has no text
        numbers = np.full(len(different) + 1, -1, dtype=np.int64)
        used = np.flatnonzero(first < len(places))
        for place in used[np.argsort(first[used])].tolist():
            if text := different[place].as_py():
                numbers[place] = known.setdefault(text, len(known))
        found: IntArray = numbers[places]
        return found


def _codes(steps: Steps) -> tuple[IntArray, IntArray]:
    """State and next state of every judged row; -1 for the goal. Rows are in order already."""
    state, following = steps.column("state"), np.array(steps.column("next_state"))
    following[succeeded(steps, "rewarded")] = -1
    return state, following


def _spread(values: FloatArray, judged: np.ndarray) -> FloatArray:
    column = np.full(len(judged), np.nan)
    column[judged] = values
    return column


def _truth(rows: StepRows, truth: pd.DataFrame) -> FloatArray:
    import pandas as pd

    key = ["task_id", "trial", "step"]
    if missing := [name for name in (*key, "true_advantage") if name not in truth.columns]:
        raise UserError(f"the table of true advantages has no column {missing[0]!r}")
    try:
        table = pd.DataFrame({name: rows.column(name) for name in key})
        joined = table.merge(truth.drop_duplicates(key)[[*key, "true_advantage"]], on=key, how="left")
        return joined["true_advantage"].to_numpy(dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise UserError(f"the table of true advantages has a column of another kind ({error})") from error


def _chunks(episodes: Columns) -> IntArray:
    """Number the chunks: a new one begins with the first task after :data:`CHUNK_STEPS` steps."""
    tasks = episodes["task_id"]
    chunk, steps, numbers = 0, 0, []
    for place, length in enumerate(episodes["steps"]):
        if steps >= CHUNK_STEPS and tasks[place] != tasks[place - 1]:
            chunk, steps = chunk + 1, 0
        steps += int(length)
        numbers.append(chunk)
    return np.array(numbers, dtype=np.int64)


def _shorts(column: FloatArray) -> list[float | int | None]:
    """Shorten every value; few are different, and each is formatted once."""
    values, places = np.unique(column, return_inverse=True)
    shorts = [_short(value) for value in values]
    return [shorts[place] for place in places.tolist()]


def _short(value: float) -> float | int | None:
    """Four significant digits are more than a colour shows; None where there is no number."""
    if not np.isfinite(value):
        return None
    short = float(f"{value:.4g}")
    return int(short) if short.is_integer() else short
