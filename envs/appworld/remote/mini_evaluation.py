"""Judge a task of the split ``mini``; a copy lies in the ground truth of every one of them.

The end must differ from the start by the changes that were asked for, and by nothing else.
"""

from __future__ import annotations

import json
from typing import Any


def evaluate(
    test: Any, public_data: Any, private_data: Any, main_user: Any, models: Any, ground_truth_answer: Any
) -> None:
    """Run AppWorld's requirements of the task (called by its evaluator)."""
    changes = private_data["changes"]
    with test("The answer is the right one."):
        answer = json.loads(models.end.supervisor.Task.first().answer)
        not_given = "<<NOT_GIVEN>>"
        test.answer(None if answer == not_given and ground_truth_answer is None else answer, ground_truth_answer)
    with test("Nothing changed but what was asked for."):
        test.case(sorted(models.changed_model_names()), "==", sorted(changes))
    for table, expected in changes.items():
        with test(f"The changes of {table} are those asked for."):
            added, updated, removed = models.changed_records(table)
            if "count" in expected:
                test.case((len(added), len(updated), len(removed)), "==", (expected["count"], 0, 0))
                continue
            test.case(_facts(added, expected.get("added", [])), "==", _sorted(expected.get("added", [])))
            test.case(_facts(removed, expected.get("removed", [])), "==", _sorted(expected.get("removed", [])))
            found = [_update(models, table, row, expected.get("updated", [])) for row in updated]
            test.case(_sorted(found), "==", _sorted(expected.get("updated", [])))


def _update(models: Any, table: str, row: Any, expected: list[Any]) -> list[Any]:
    """Return a changed row as [key fields, new values of the fields that changed]."""
    keys = list(expected[0][0]) if expected else ["id"]
    names = models.changed_field_names(table, row.id, ignore=["updated_at"]) or set()
    return [{key: _value(row, key) for key in keys}, {name: _value(row, name) for name in sorted(names)}]


def _facts(rows: list[Any], expected: list[Any]) -> list[str]:
    """Return the fields of ``rows`` that the expectation speaks of; all that it needs to tell them apart."""
    names = list(expected[0]) if expected else ["id"]
    return _sorted([{name: _value(row, name) for name in names} for row in rows])


def _value(row: Any, path: str) -> Any:
    for name in path.split("."):
        row = getattr(row, name)
    return row


def _sorted(values: Any) -> list[str]:
    return sorted(json.dumps(value, sort_keys=True, default=str) for value in values)
