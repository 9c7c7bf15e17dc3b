"""Any value in the place of any other in a log: it is imported, or named and left out, and nothing is raised."""

from __future__ import annotations

import copy
import json
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import foreign_logs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentbench.importing import import_run
from envs.base.errors import UserError

Place = tuple[str | int, ...]

MESSAGES = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": [{"type": "text", "text": "q"}]},
    {"role": "assistant", "content": "a", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
    {"role": "tool", "content": "r"},
    {"role": "assistant", "content": "b"},
]
NODES = [{"message": message, "sampled": message["role"] == "assistant"} for message in MESSAGES]
TRACE = {
    "nodes": NODES, "ok": True, "rewards": {"r": {"score": 1.0, "weight": 1.0}}, "calls": [{"finish_reason": "stop"}],
    "agent": {"name": "agent", "trainable": True, "config": {"model": "m"}}, "errors": [],
}  # fmt: skip
PROMPT = (
    "You are now at step 1\nYour task is to: go.\nYour current observation is: x\nadmissible actions of the current \
situation are: ['a'].\n"
)
SHARED = {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "reward": 1}
DUMPED = {"input": PROMPT, "output": "<action>a</action>", "score": 1.0, "traj_uid": "u", "uid": "g"}
SAMPLE = {"id": "a", "epoch": 1, "messages": MESSAGES, "scores": {"s": {"value": 1}}, "attachments": {}}
RECORDS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("chat", {"messages": MESSAGES, "reward": 1.0, "success": True, "score": 0.5, "task_id": "t"}),
    "sharegpt": ("chat", SHARED),
    "verifiers": ("verifiers", {"example_id": 1, "prompt": MESSAGES[:2], "completion": MESSAGES[2:], "reward": 1.0}),
    "traces": ("verifiers", {"traces": [TRACE], "env": {"id": "e"}, "task": {"key": "k", "data": {"id": "1"}}}),
    "verl-agent": ("verl-agent", DUMPED),
    "inspect": ("inspect", SAMPLE),
    "atif": ("atif", foreign_logs.ATIF),
    "tau2": ("tau2", foreign_logs.TAU2),
    "swe-agent": ("swe-agent", {**foreign_logs.TRAJ, "reward": 1.0}),
    "openhands": ("openhands", {"instance_id": "a", "history": foreign_logs.EVENTS, "success": True}),
    "responses": ("responses", foreign_logs.ROLLOUT),
    "claude-code": ("claude-code", {**foreign_logs.SESSION[5], "is_error": True}),
    "langsmith": ("langsmith", foreign_logs.ROOT),
}
VALUES: list[Any] = [
    None, True, 0, -1, 1.7e308, -1.7e308, 10**400, "", "x", "\ud800", "\x00", [], [[]], [None], {}, {"a": {}},
    [{"role": "user"}], {"role": "assistant", "content": 5}, "attachment://x", {"text": {}},
    [{"type": "text", "text": 5}], "[" * 3000,
    {"function": {"name": 5}}, math.nan, math.inf, "1e999", {"value": "C"}, {"score": 1.7e308, "weight": 1.7e308},
]  # fmt: skip


def places(value: Any, here: Place = ()) -> Iterator[Place]:
    """Yield where a value is, and where everything in it is."""
    yield here
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inner:
        yield from places(each, (*here, name))


def replaced(value: Any, place: Place, by: Any) -> Any:
    if not place:
        return by
    changed = copy.copy(value)
    changed[place[0]] = replaced(value[place[0]], place[1:], by)
    return changed


@pytest.mark.parametrize("kind", RECORDS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_value_in_any_place_is_imported_or_left_out(kind: str, data: st.DataObject) -> None:
    format, good = RECORDS[kind]
    bad = replaced(good, data.draw(st.sampled_from(list(places(good)))), data.draw(st.sampled_from(VALUES)))
    with TemporaryDirectory() as folder:
        source = Path(folder, "log.eval" if format == "inspect" else "log.jsonl")
        if format == "inspect":
            with zipfile.ZipFile(source, "w") as archive:
                archive.writestr("header.json", json.dumps({"eval": {"task": "t", "model": "m"}}))
                for number, record in enumerate((bad, good)):
                    archive.writestr(f"samples/{number}_epoch_1.json", json.dumps(record))
        else:
            source.write_text(f"{json.dumps(bad)}\n{json.dumps(good)}\n")
        try:
            run = import_run(source, Path(folder, "run"), format=format).run
        except UserError:
            return
        assert run.step_table["reward"].map(math.isfinite).all()
        assert run.episodes["total_reward"].map(math.isfinite).all() and run.episodes["score"].between(0, 1).all()
