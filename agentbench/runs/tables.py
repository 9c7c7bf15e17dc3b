"""The two tables of a run, made from its finished episodes: equal episodes give equal bytes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from agentbench.runs import arrow
from agentbench.runs.answers import answer_of
from agentbench.runs.episodes import BRANCH_FIELDS, SCHEMA_VERSION, Episode, Step, next_anchors
from agentbench.runs.journal import has_journal, read_sorted
from agentbench.runs.trees import lost_parent
from envs.base.digest import sha256_of
from envs.base.errors import UserError
from envs.base.files import replaced, write_text
from envs.base.journal import journal_of, lines

_META = {"agentbench_schema": str(SCHEMA_VERSION)}
TABLES = ("episodes.parquet", "steps.parquet")
DIGESTS_FILE = "tables.json"
_BATCH = 512
"""Episodes converted at a time, which bounds the memory for any length of run."""
_BATCH_TEXT = 1 << 23
"""Characters of observations and answers after which fewer are converted at a time."""

EPISODE_COLUMNS = pa.schema(
    [
        ("episode", pa.int64()),  # number of the row, from 0
        ("task_id", pa.string()),
        ("trial", pa.int64()),
        ("outcome", pa.string()),  # success, failure or error
        ("won", pa.bool_()),
        ("score", pa.float64()),  # in [0, 1]
        ("steps", pa.int64()),
        ("task_type", pa.string()),
        ("task_name", pa.string()),
        ("instruction", pa.string()),
        ("total_reward", pa.float64()),  # undiscounted sum over the steps
        ("invalid_actions", pa.int64()),
        ("terminated", pa.bool_()),
        ("truncated", pa.bool_()),
        ("error", pa.string()),
        ("final_observation", pa.string()),
    ],
    metadata=_META,
)
STEP_COLUMNS = pa.schema(
    [
        ("episode", pa.int64()),  # joins with the column of the same name of the episode table
        ("task_id", pa.string()),
        ("trial", pa.int64()),
        ("step", pa.int64()),
        ("observation", pa.string()),
        ("action", pa.string()),
        ("reward", pa.float64()),
        ("is_valid", pa.bool_()),
        ("terminated", pa.bool_()),
        ("truncated", pa.bool_()),
        ("score", pa.float64()),  # after the action
        ("anchor", pa.string()),
        ("next_anchor", pa.string()),
        ("admissible_actions", pa.list_(pa.string())),
        ("text", pa.string()),
    ],
    metadata=_META,
)


ANSWER_COLUMNS = pa.schema(
    [
        ("invalid", pa.string()),  # why the answer broke the format; null where it did not
        ("cut_answer", pa.bool_()),  # it ran into the longest length
        ("prompt_tokens", pa.int64()),
        ("cached_tokens", pa.int64()),
        ("answer_tokens", pa.int64()),
        ("model", pa.string()),  # who answered, as the server calls it
    ]
)
"""Further columns of the step table, where a run has any (:func:`agentbench.runs.answers.answer_of`)."""


EPISODE_BRANCH_COLUMNS = pa.schema(
    [
        ("parent", pa.int64()),  # trial that the episode goes on from; null for one from the start
        ("fork", pa.int64()),  # steps that it shares with that one; ``steps`` and the sums count them too
        ("fork_by", pa.string()),  # snapshot or replay
    ]
)
STEP_BRANCH_COLUMNS = pa.schema(
    [
        ("node", pa.int64()),  # number of the row, from 0: a step is stored once, with the episode that played it
        ("parent", pa.int64()),  # node of the step before, -1 at the start
    ]
)
"""Further columns of the two tables, where a run has branches."""


def write_tables(
    folder: Path,
    episodes_of: Callable[[], Iterable[Episode]] | None = None,
    further: tuple[bool, bool] | None = None,
) -> None:
    """Write ``episodes.parquet`` and ``steps.parquet`` of the run in ``folder``, each all or nothing.

    ``tables.json`` beside them holds the digests of both, and of the lines that they were made from.

    Args:
        folder: of the run.
        episodes_of: gives all of its finished episodes, sorted by key; None to read them from the lines.
        further: what :func:`further_of` says of any of them, where that is known; else they are looked through.
    """
    journal = journal_of(folder)
    source = sha256_of(journal) if journal.exists() else None
    numbered = enumerate(episodes_of() if episodes_of else read_sorted(folder))
    has_answers, has_branches = _further(folder, episodes_of) if further is None else further
    courses = Courses() if has_branches else None
    episode_columns = _schema(EPISODE_COLUMNS, EPISODE_BRANCH_COLUMNS if courses else None)
    step_columns = _schema(
        STEP_COLUMNS, ANSWER_COLUMNS if has_answers else None, STEP_BRANCH_COLUMNS if courses else None
    )
    with (
        replaced(folder / "episodes.parquet") as episodes_path,
        replaced(folder / "steps.parquet") as steps_path,
    ):
        with (
            pq.ParquetWriter(episodes_path, episode_columns, compression="zstd") as episodes,
            pq.ParquetWriter(steps_path, step_columns, compression="zstd") as steps,
        ):
            while batch := _next_batch(numbered):
                made = [(_episode_row(*item), _step_rows(*item, has_answers)) for item in batch]
                if courses is not None:
                    for (_, episode), (row, step_rows) in zip(batch, made, strict=True):
                        courses.add(episode, row, step_rows)
                episodes.write_table(arrow.table([row for row, _ in made], episode_columns))
                steps.write_table(arrow.table([row for _, step_rows in made for row in step_rows], step_columns))
        # Of what was written here, not of what lies there later: another process may put older tables in their place.
        digests = {journal.name: source, **dict(zip(TABLES, map(sha256_of, (episodes_path, steps_path)), strict=True))}
    write_text(folder / DIGESTS_FILE, json.dumps(digests, indent=2) + "\n")


def _next_batch(numbered: Iterator[tuple[int, Episode]]) -> list[tuple[int, Episode]]:
    batch: list[tuple[int, Episode]] = []
    length = 0
    for item in islice(numbered, _BATCH):
        batch.append(item)
        length += sum(len(step.observation) + len(step.action) + len(step.text or "") for step in item[1].steps)
        if length >= _BATCH_TEXT:
            break
    return batch


def is_current(folder: Path, table: str) -> bool:
    """Return whether a table (a file's name) is whole and made from the lines as they are now.

    By content and not by the times of files: clocks jump, and copies have times of their own. A folder without lines
    has nothing that its table could be made from again: it is taken as it is.
    """
    if not has_journal(folder):
        return (folder / table).exists()
    try:
        expected = json.loads((folder / DIGESTS_FILE).read_text(encoding="utf-8"))
        return all(expected[name] == _content(folder / name) for name in (journal_of(folder).name, table))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


_known: dict[Path, tuple[tuple[int, ...], str]] = {}
"""The state of a file that was hashed, and its digest."""


def _content(path: Path) -> str:
    """Return the SHA-256 of a file, which a process computes once of each state of a file.

    A change sets the time of change to that of the clock, to within a few milliseconds, and nobody can set it back. So
    a file that did not change in the last second can be known again, as git does it; any other is read.
    """
    about = path.stat()
    state = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
    known = _known.get(path)
    if known is not None and known[0] == state:
        return known[1]
    found = sha256_of(path)
    if time.time() - about.st_ctime >= 1:
        _known[path] = state, found
    return found


def _further(folder: Path, episodes_of: Callable[[], Iterable[Episode]] | None) -> tuple[bool, bool]:
    """Return whether anything was recorded of an answer, and whether an episode branches off another.

    Runs without a language model, and runs of episodes from the start, keep their bytes.
    """
    if episodes_of is None:
        has_details = has_forks = False
        for line in lines(journal_of(folder)):  # in a text a quotation mark stands behind a backslash: this is none
            has_details, has_forks = has_details or b'"details":{"' in line, has_forks or b'"fork_by"' in line
        if not has_details and not has_forks:
            return False, False
    has_answers = has_branches = False
    for episode in episodes_of() if episodes_of else read_sorted(folder):
        answers, branches = further_of(episode)
        has_answers, has_branches = has_answers or answers, has_branches or branches
        if has_answers and has_branches:
            break
    return has_answers, has_branches


def further_of(episode: Episode) -> tuple[bool, bool]:
    """Return whether anything was recorded of an answer, and whether the episode branches off another."""
    has_answers = any(step.details and answer_of(step.details).is_known for step in episode.steps)
    return has_answers, episode.parent is not None


def _schema(columns: pa.Schema, *further: pa.Schema | None) -> pa.Schema:
    more = [field for part in further if part is not None for field in part]
    return pa.schema([*columns, *more], metadata=_META) if more else columns


def _episode_row(number: int, episode: Episode) -> dict[str, Any]:
    last = episode.steps[-1] if episode.steps else None
    return {
        "episode": number,
        "task_id": episode.task_id,
        "trial": episode.trial,
        "outcome": episode.outcome,
        "won": episode.won,
        "score": episode.score,
        "steps": len(episode.steps),
        "task_type": episode.task_type,
        "task_name": episode.task_name,
        "instruction": episode.instruction,
        "total_reward": sum(step.reward for step in episode.steps),
        "invalid_actions": sum(not step.is_valid for step in episode.steps),
        "terminated": bool(last and last.terminated),
        "truncated": bool(last and last.truncated),
        "error": episode.error,
        "final_observation": episode.final_observation,
    }


def _step_rows(number: int, episode: Episode, has_answers: bool) -> list[dict[str, Any]]:
    return [
        {
            "episode": number,
            "task_id": episode.task_id,
            "trial": episode.trial,
            "step": index,
            "observation": step.observation,
            "action": step.action,
            "reward": step.reward,
            "is_valid": step.is_valid,
            "terminated": step.terminated,
            "truncated": step.truncated,
            "score": step.score,
            "anchor": step.anchor,
            "next_anchor": next_anchor,
            "admissible_actions": step.admissible_actions,
            "text": step.text,
            **(_answer_row(step) if has_answers else {}),
        }
        for index, (step, next_anchor) in enumerate(zip(episode.steps, next_anchors(episode), strict=True))
    ]


def _answer_row(step: Step) -> dict[str, Any]:
    answer = answer_of(step.details)
    if not answer.is_known:
        return {}
    facts = asdict(answer)
    return {"cut_answer": facts.pop("cut"), **facts}


class Courses:
    """The courses of the episodes of a task from their starts on, for rows that count what a branch shares too."""

    def __init__(self) -> None:
        self._task, self._played = "", 0
        self._courses: dict[int, list[dict[str, Any]]] = {}

    def add(self, episode: Episode, row: dict[str, Any], steps: list[dict[str, Any]]) -> None:
        """Complete an episode's row and those of its own steps; episodes come by task and trial.

        Raises:
            UserError: it goes on from an episode that is not there.
        """
        if episode.task_id != self._task:
            self._task, self._courses = episode.task_id, {}
        course = [] if episode.parent is None else self._courses.get(episode.parent, [])[: episode.fork]
        if len(course) < episode.fork:
            raise UserError(lost_parent(episode))
        for step in steps:
            step |= {"step": len(course), "node": self._played, "parent": course[-1]["node"] if course else -1}
            course.append(step)
            self._played += 1
        self._courses[episode.trial] = course
        row |= {
            **({} if episode.parent is None else {name: getattr(episode, name) for name in BRANCH_FIELDS}),
            "steps": len(course),
            "total_reward": sum(step["reward"] for step in course),
            "invalid_actions": sum(not step["is_valid"] for step in course),
        }
