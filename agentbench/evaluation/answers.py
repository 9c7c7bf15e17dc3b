"""What a run's answers were like: how many broke the rules and why, were cut, went in loops, and what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from agentbench.evaluation.summary import OVERALL
from agentbench.runs import arrow
from agentbench.runs.answers import Answer, answer_of
from agentbench.runs.episodes import Episode, Step, is_judged
from agentbench.runs.frame import Columns
from agentbench.runs.journal import read_sorted
from agentbench.runs.run import Run
from agentbench.runs.tables import ANSWER_COLUMNS
from envs.base.errors import UserError
from envs.base.journal import PLAIN, journal_of
from envs.base.safe_text import is_cut_short

if TYPE_CHECKING:
    import pandas as pd

LOOP = 3
"""So often the same action on the same observation in one episode, one after the other or not, is a loop."""
MOST = 0.5
"""Share of answers from which a fault of theirs is warned of."""


@dataclass(slots=True)
class Tally:
    """Counts over the episodes without an error of the infrastructure, of one task type or all.

    Attributes:
        episodes, steps: how many.
        refused: steps whose action the environment did not understand.
        answers: steps with something recorded of the answer; the next two are of these.
        invalid, cut: answers that broke the rules; that ran into the longest length.
        loops: episodes with a loop (:data:`LOOP`).
    """

    episodes: int = 0
    steps: int = 0
    refused: int = 0
    answers: int = 0
    invalid: int = 0
    cut: int = 0
    loops: int = 0


@dataclass(slots=True)
class Answers:
    """What a run's answers were like.

    Attributes:
        by_type: counts by task type, and of all under :data:`agentbench.evaluation.summary.OVERALL`.
        reasons: why answers broke the rules, and how many.
        models: who answered, and how many.
        tokens: sums by kind, of the answers where they were counted.
        shortened: number of steps in which a text was stored cut.
    """

    by_type: dict[str, Tally] = field(default_factory=lambda: {OVERALL: Tally()})
    reasons: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    shortened: int = 0

    @property
    def overall(self) -> Tally:
        """The counts of all task types."""
        return self.by_type[OVERALL]


def answers_of(run: Run) -> Answers:
    """Count what a run's answers were like; episodes that ended in an error of the infrastructure are left out.

    From its step table, a few hundred episodes in memory at a time. Tables of versions that packed no lines may lack
    what was recorded of the answers: there, from the lines.
    """
    path = run.current_table("steps")
    columns = pq.read_schema(path).names
    if ANSWER_COLUMNS.names[0] not in columns and journal_of(run.folder).name == PLAIN:
        return count_answers(read_sorted(run.folder))
    return count_rows(path, run.episode_columns("episode", "outcome", "task_type"))


def count_answers(episodes: Iterable[Episode]) -> Answers:
    """Count what the answers of episodes were like; those with an error are left out."""
    found = Answers()
    for episode in episodes:
        if not is_judged(episode.outcome):
            continue
        answers = [answer_of(step.details) for step in episode.steps]
        for answer in filter(lambda each: each.is_known, answers):
            found.reasons.update([answer.invalid] if answer.invalid else [])
            found.models.update([answer.model] if answer.model else [])
            for kind in ("prompt_tokens", "cached_tokens", "answer_tokens"):
                found.tokens[kind] += getattr(answer, kind) or 0
        found.shortened += sum(map(_is_shortened, episode.steps))
        for label in (OVERALL, episode.task_type):
            _add(found.by_type.setdefault(label, Tally()), episode, answers)
    return found


def count_rows(path: Path, episodes: pd.DataFrame | Columns) -> Answers:
    """Count what the answers in a step table were like; those of episodes with an error are left out.

    Args:
        path: ``steps.parquet`` of a run.
        episodes: the run's table of episodes, of which ``episode``, ``outcome`` and ``task_type`` are read.

    Raises:
        UserError: the file is damaged.
    """
    judged = np.asarray(is_judged(np.asarray(episodes["outcome"])), dtype=np.bool_)
    numbers, types = (np.asarray(episodes[name])[judged] for name in ("episode", "task_type"))
    place = np.full(int(np.max(np.asarray(episodes["episode"]), initial=-1)) + 1, -1)
    place[numbers] = np.arange(len(numbers))
    sums = {name: np.zeros(len(numbers), dtype=np.int64) for name in ("steps", "refused", "answers", "invalid", "cut")}
    is_looping = np.zeros(len(numbers), dtype=np.bool_)
    found = Answers()
    try:
        with pq.ParquetFile(path, read_dictionary=_TEXTS, pre_buffer=False) as file:
            for first, last in _whole_episodes(file):
                columns = [*_COUNTED, *_answer_columns(file)]
                table = file.read_row_groups(range(first, last), columns=columns, use_threads=False)
                rows = place[arrow.numbers(table["episode"])]
                counted = rows >= 0
                rows = rows[counted]
                texts = {name: _counted(table[name], counted) for name in _TEXTS}
                is_looping[_loops(rows, texts)] = True
                found.shortened += int(np.sum(_shortened(texts)))
                marks = {"steps": np.ones(len(rows), np.bool_), "refused": ~arrow.numbers(table["is_valid"])[counted]}
                marks |= _answer_marks(table, counted, found)
                for name, mark in marks.items():
                    sums[name] += np.bincount(rows[mark], minlength=len(numbers))
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise UserError(f"{path} cannot be read ({error}): it is damaged") from error
    for label in dict.fromkeys([OVERALL, *types.tolist()]):
        of_type = np.ones(len(numbers), np.bool_) if label == OVERALL else types == label
        counts = {name: int(column[of_type].sum()) for name, column in sums.items()}
        found.by_type[label] = Tally(int(of_type.sum()), **counts, loops=int(is_looping[of_type].sum()))
    return found


_TEXTS = ["observation", "action", "text"]
"""They repeat themselves: read as places among the different ones."""
_COUNTED = ("episode", *_TEXTS, "is_valid")
_TOGETHER = 1024
"""Different texts that are looked at together."""

Coded = tuple[npt.NDArray[np.int64], pa.Array]
"""Place of each row's text among the different ones (-1: none), and these."""


def _answer_columns(file: pq.ParquetFile) -> list[str]:
    return [name for name in ANSWER_COLUMNS.names if name in file.schema_arrow.names]


def _whole_episodes(file: pq.ParquetFile) -> list[tuple[int, int]]:
    """Return groups of row groups in which every episode is whole: the first one and the one behind the last."""
    episode = arrow.numbers(file.read(columns=["episode"], use_threads=False)["episode"])
    ends = np.cumsum([file.metadata.row_group(each).num_rows for each in range(file.num_row_groups)])
    cuts = [each + 1 for each, end in enumerate(ends) if end == len(episode) or episode[end - 1] != episode[end]]
    return list(pairwise([0, *cuts]))


def _counted(column: pa.ChunkedArray, counted: npt.NDArray[np.bool_]) -> Coded:
    places, different = arrow.codes(column)
    return places[counted], different


def _loops(rows: npt.NDArray[np.int64], texts: dict[str, Coded]) -> npt.NDArray[np.int64]:
    """Return the rows of the episodes that do the same on the same observation :data:`LOOP` times or more."""
    (seen, _), (done, actions) = texts["observation"], texts["action"]
    pairs = seen * max(1, len(actions)) + done
    order = np.lexsort((pairs, rows))
    rows, pairs = rows[order], pairs[order]
    far = LOOP - 1
    if len(rows) <= far:
        return rows[:0]
    looping: npt.NDArray[np.int64] = rows[far:][(rows[far:] == rows[:-far]) & (pairs[far:] == pairs[:-far])]
    return looping


def _shortened(texts: dict[str, Coded]) -> npt.NDArray[np.bool_]:
    """Return which steps have a text that was stored cut short."""
    found: list[npt.NDArray[np.bool_]] = []
    for places, different in texts.values():
        is_cut = [
            text is not None and is_cut_short(text)
            for first in range(0, len(different), _TOGETHER)
            for text in different.slice(first, _TOGETHER).to_pylist()
        ]
        found.append(np.array([*is_cut, False], dtype=np.bool_)[places])  # the last one stands for none, which is -1
    return np.asarray(np.any(found, axis=0), dtype=np.bool_)


def _answer_marks(table: pa.Table, counted: npt.NDArray[np.bool_], found: Answers) -> dict[str, npt.NDArray[np.bool_]]:
    """Return which steps have an answer of which anything is known, a broken one, a cut one; sum up the rest."""
    names = [name for name in ANSWER_COLUMNS.names if name in table.column_names]
    if not names:
        return {}
    columns = {name: each[counted] for name, each in arrow.columns(table.select(names)).items()}
    is_cut = columns.pop("cut_answer") == True  # noqa: E712  (null)
    told = {name: np.array([value is not None for value in column], np.bool_) for name, column in columns.items()}
    found.reasons.update(columns["invalid"][told["invalid"]])
    found.models.update(columns["model"][told["model"]])
    for kind in ("prompt_tokens", "cached_tokens", "answer_tokens"):
        found.tokens[kind] += sum(columns[kind][told[kind]].tolist())
    is_cut = np.asarray(is_cut, dtype=np.bool_)
    return {"answers": np.any([*told.values(), is_cut], axis=0), "invalid": told["invalid"], "cut": is_cut}


def has_loop(steps: Iterable[Step]) -> bool:
    """Return whether an action met the same observation :data:`LOOP` times, one after the other or not."""
    pairs = Counter((step.observation, step.action) for step in steps)
    return max(pairs.values(), default=0) >= LOOP


def warnings(answers: Answers) -> list[str]:
    """Say what is wrong where most answers are cut or invalid, and what to do about it."""
    all_ = answers.overall
    said = []
    if all_.answers and all_.cut / all_.answers >= MOST:
        said.append(
            f"{all_.cut / all_.answers:.0%} of the answers were cut at the longest length: raise --max-tokens, or let "
            "the model think less (--thinking off)"
        )
    if all_.answers and all_.invalid / all_.answers >= MOST:
        said.append(
            f"{all_.invalid / all_.answers:.0%} of the answers broke the format, mostly: "
            f"{answers.reasons.most_common(1)[0][0]}. Read some with agentbench replay RUN --episode 0. Causes: "
            "too short a longest answer (--max-tokens), thinking that never ends (--thinking off), a base model, or a "
            "wrong chat template (--template)"
        )
    elif all_.steps and all_.refused / all_.steps >= MOST:
        said.append(
            f"the environment did not understand {all_.refused / all_.steps:.0%} of the actions: read some with "
            "agentbench replay RUN --episode 0 --actions, and compare them with the actions that were offered"
        )
    return said


def answer_row(answers: Answers) -> dict[str, Any]:
    """Return the counts of a run as one row of a table: shares in [0, 1], sums of tokens, the commonest model."""
    all_ = answers.overall
    return {
        "answers": all_.answers,
        "invalid_share": all_.refused / max(1, all_.steps),
        "broke_format_share": all_.invalid / max(1, all_.answers),
        "cut_share": all_.cut / max(1, all_.answers),
        "loop_share": all_.loops / max(1, all_.episodes),
        **{kind: answers.tokens[kind] for kind in ("prompt_tokens", "cached_tokens", "answer_tokens")},
        "model": next((name for name, _ in answers.models.most_common(1)), ""),
    }


def _add(tally: Tally, episode: Episode, answers: list[Answer]) -> None:
    tally.episodes += 1
    tally.steps += len(episode.steps)
    tally.refused += sum(not step.is_valid for step in episode.steps)
    tally.answers += sum(answer.is_known for answer in answers)
    tally.invalid += sum(answer.invalid is not None for answer in answers)
    tally.cut += sum(answer.cut for answer in answers)
    tally.loops += has_loop(episode.steps)


def _is_shortened(step: Step) -> bool:
    return any(map(is_cut_short, (step.observation, step.action, step.text)))
