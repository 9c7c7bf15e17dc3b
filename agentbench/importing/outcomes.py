"""How episodes ended, from a file beside the logs: for formats that do not say it themselves.

Read are the report of SWE-bench's evaluation (``resolved_ids`` and its like), an object with an entry a name (``{"a":
true, "b": 0.5}``, ``{"individual": {"a": {"success": true}}}``), and records or a table with a name (``task_id`` and
the other names of tasks, ``session_id``, ``episode_id``, ``file``) and an outcome (``reward``, ``success``,
``resolved``, ``score``, ``error``) each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from agentbench.importing.content import MARKS
from agentbench.importing.files import read_records
from agentbench.importing.parts import Bad
from envs.base.errors import UserError

_NAMES = (
    "episode_id", "session_id", "sessionId", "trace_id", "file", "instance_id", "task_id", "question_id", "problem_id",
    "example_id", "sample_id", "item_id", "id", "name",
)  # fmt: skip
_TOLD = (*MARKS, "error")
_LISTS = {"unresolved_ids": False, "empty_patch_ids": False, "resolved_ids": True, "resolved": True}

Outcome = Mapping[str, Any]


@lru_cache(maxsize=4)
def read_outcomes(path: Path, changed: int) -> dict[str, Outcome]:
    """Return the outcomes of a file by name, each with one or more of ``reward``, ``success``, ``score``, ``error``.

    Args:
        path: the file.
        changed: time of its last change; another one reads it again.

    Raises:
        UserError: it cannot be read, or holds no outcome.
    """
    found: dict[str, Outcome] = {}
    for where, record in read_records(path):
        if isinstance(record, Bad):
            raise UserError(f"{where}: {record.reason}")
        found.update(_entries(record))
    if not found:
        raise UserError(
            f"{path} holds no outcome: it needs records with a name ({', '.join(_NAMES[:3])}, task_id, …) and one of "
            f"{', '.join(_TOLD)}, an object with an entry a name, or the report of an evaluation (resolved_ids)"
        )
    return found


def _entries(record: Mapping[str, Any]) -> Iterator[tuple[str, Outcome]]:
    if any(isinstance(record.get(name), list) for name in _LISTS):
        for listed_as, solved in _LISTS.items():
            listed = record.get(listed_as)
            for each in listed if isinstance(listed, list) else []:
                yield str(each), {"success": solved}
        for each in record.get("error_ids") or []:
            yield str(each), {"error": "the evaluation failed"}
        return
    name = next((record[each] for each in _NAMES if isinstance(record.get(each), str | int)), None)
    if name is not None and (told := _outcome(record)):
        yield str(name), told
        return
    inner = record.get("individual", record)
    for entry, value in inner.items() if isinstance(inner, Mapping) else ():
        if told := _outcome(value):
            yield str(entry), told


def _outcome(value: Any) -> Outcome:
    if isinstance(value, bool):
        return {"success": value}
    if isinstance(value, int | float):
        return {"reward": float(value)}
    if not isinstance(value, Mapping):
        return {}
    told = {name: value[name] for name in _TOLD if value.get(name) is not None}
    return told | ({"success": value["resolved"]} if isinstance(value.get("resolved"), bool) else {})
