"""A step table as a file: CSV, Parquet or JSON lines with one row a step, under the columns of ``docs/step-table.md``.

Needed are ``group`` (or ``task_id``), ``episode``, ``step`` and ``reward``; rows may come in any order. Read where they
are there: ``state`` and ``next_state`` (or ``anchor``, ``next_anchor``), ``action``, ``is_valid``, ``truncated``,
``score``, and with text ``observation``, ``text``, ``instruction``, ``task_type``, ``model``, ``admissible_actions``;
``success`` on an episode's last step. Without a state the observation is the situation, and without both every step is
one of its own. So ``steps.parquet`` of a run is read too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from agentbench.importing.content import short_hash
from agentbench.importing.conversation import Ending, finish, stored
from agentbench.importing.files import read_records
from agentbench.importing.parts import Bad, BadPartError, Options, Part, Read, name_of, number, read_part
from agentbench.runs.episodes import Episode, Step

_OTHER_NAMES = {"group": "task_id", "state": "anchor", "next_state": "next_anchor"}
_NEEDED = ("group", "episode", "step", "reward")

Row = Mapping[str, Any]


def is_step_table(record: Row) -> bool:
    """Return whether a record is a row of a step table."""
    return all(name in record or _OTHER_NAMES.get(name) in record for name in _NEEDED)


def read_step_table(path: Path, options: Options) -> Iterator[Part]:
    """Yield the episodes of a file, in the order of their first rows, or why one is none."""
    episodes: dict[tuple[str, str], list[Row]] = {}
    for where, row in read_records(path):
        if isinstance(row, Bad):
            yield row
            continue
        try:
            key = (_id(row, "group"), _id(row, "episode"))
        except BadPartError as error:
            yield Bad(where, str(error))
            continue
        episodes.setdefault(key, []).append(row)
    for (group, episode), rows in episodes.items():
        yield read_part(f"{path.name} episode {episode} of {group}", partial(_episode, group, rows, options))


def _episode(group: str, rows: list[Row], options: Options) -> Read:
    if missing := [row for row in rows if not isinstance(row.get("step"), int) or isinstance(row["step"], bool)]:
        raise BadPartError(f"step is a whole number, got {missing[0].get('step')!r:.40}")
    rows = sorted(rows, key=lambda row: row["step"])
    if [row["step"] for row in rows] != list(range(len(rows))):
        raise BadPartError("its steps are not 0, 1, 2, … with none missing and none twice")
    rewards = [number(row.get("reward"), "reward") for row in rows]
    first, last = rows[0], rows[-1]
    steps = [_step(row, options) for row in rows]
    name = stored(group, options)
    episode = Episode(
        name, name, stored(_text(first, "task_type") or "imported", options),
        stored(_text(first, "instruction") or "", options), 0, "error", False, 0.0, steps,
        final_anchor=_state(last, "next_state") or "",
    )  # fmt: skip
    success, score = _flag(last, "success", None), last.get("score")
    score = None if score is None else number(score, "score")
    finish(episode, Ending(rewards, success, score, bool(_flag(last, "truncated", False))), options)
    for step, row in zip(steps, rows, strict=True):
        step.score = number(row["score"], "score") if row.get("score") is not None else step.score
    return Read("", episode, _text(first, "model") or None)


def _step(row: Row, options: Options) -> Step:
    observation, offered = _text(row, "observation") or "", row.get("admissible_actions")
    own = short_hash(observation) if observation else short_hash(_id(row, "episode"), str(row["step"]))
    return Step(
        observation=stored(observation, options),
        anchor=_state(row, "state") or own,
        admissible_actions=[str(each) for each in offered] if isinstance(offered, list) else None,
        action=stored(_text(row, "action") or "", options),
        reward=0.0,
        is_valid=bool(_flag(row, "is_valid", True)),
        terminated=False,
        truncated=False,
        score=0.0,
        text=stored(text, options) if (text := _text(row, "text")) else None,
    )


def _value(row: Row, name: str) -> Any:
    return row.get(name, row.get(_OTHER_NAMES.get(name, name)))


def _id(row: Row, name: str) -> str:
    if (found := name_of(_value(row, name), name)) is None:
        raise BadPartError(f"it has no {name}")
    return found


def _state(row: Row, name: str) -> str | None:
    value = _value(row, name)
    return None if value is None else value if isinstance(value, str) else str(value)


def _text(row: Row, name: str) -> str | None:
    value = row.get(name)
    return None if value is None else value if isinstance(value, str) else str(value)


def _flag(row: Row, name: str, default: bool | None) -> bool | None:
    value = row.get(name)
    if value is None:
        return default
    if not isinstance(value, bool) and value not in (0, 1):
        raise BadPartError(f"{name} is true or false, got {value!r:.40}")
    return bool(value)
