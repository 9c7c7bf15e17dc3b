"""Traces of verifiers: ``traces.jsonl``, as ``vf-eval`` of version 0.4 writes it, a rollout of an environment a line.

A line has the ``task`` and the ``traces`` of the agents that worked on it; each trained one is an episode. A trace has
``nodes`` (messages in the order in which they came to be, with ``sampled`` for those that the model wrote), ``rewards``
(by name, each a ``score`` and its ``weight``), ``ok`` and ``errors``, ``stop_condition``, ``calls``, and in ``agent``
the model. Where a conversation was shortened or split, its branches follow each other as their messages came to be.
Source: verifiers 0.4.0, ``v1/trace.py``, ``v1/episode.py``, ``v1/graph.py``, ``v1/utils/trace_store.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from agentbench.importing.conversation import Ending, checked_messages, make_episode
from agentbench.importing.own import own_episode
from agentbench.importing.parts import Bad, BadPartError, Options, Part, Read, number, read_part, stated_error

_LIMITS = ("max_turns", "max_input_tokens", "max_output_tokens", "max_total_tokens", "compaction_failed")
"""Stop conditions that verifiers counts as truncation."""


def read_traces(where: str, record: dict[str, Any], options: Options) -> Iterator[Part]:
    """Yield the episode of every trained agent of a line, or why there is none."""
    traces = record.get("traces")
    if not isinstance(traces, list) or not all(isinstance(trace, dict) for trace in traces):
        yield Bad(where, "the traces are not a list of objects")
        return
    if not traces:
        yield read_part(where, partial(_without_trace, record, options))
    for trace in traces:
        name = _agent(trace).get("name") or "agent"
        place = where if len(traces) == 1 else f"{where} (agent {name!s:.40})"
        if _agent(trace).get("trainable") is False:
            yield Bad(place, "another agent than the policy (trainable is false)")
        else:
            yield read_part(place, partial(_episode, record, trace, str(name), options))


def _episode(record: dict[str, Any], trace: dict[str, Any], agent: str, options: Options) -> Read:
    model = _object(_agent(trace).get("config")).get("model")
    model = model if isinstance(model, str) else None
    failed = None if trace.get("ok") is True else _last_error(trace)
    stopped = trace.get("stop_condition") in _LIMITS
    ours = _object(_object(trace.get("info")).get("agentbench"))
    if own := own_episode(ours, options, error=failed, truncated=stopped, model=model):
        return own
    nodes = trace.get("nodes")
    if not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
        raise BadPartError("the nodes of a trace are not a list of objects")
    messages = checked_messages([node.get("message") for node in nodes])
    given = [position for position, node in enumerate(nodes) if node.get("sampled") is not True]
    about = _about(record, agent) | {"model": model}
    return replace(make_episode(messages, _ending(trace), options, given=given, **about), by_message="")


def _without_trace(record: dict[str, Any], options: Options) -> Read:
    if stated_error(record.get("errors")) is None:
        raise BadPartError("no trace: nothing was done")
    made = make_episode([], Ending(error=_last_error(record)), options, **_about(record, "agent"))
    return replace(made, by_message="")


def _about(record: dict[str, Any], agent: str) -> dict[str, Any]:
    """Return the task's id, name and type; roles of several agents are tasks of their own."""
    env = _object(record.get("env")).get("id") or "imported"
    task = _object(record.get("task"))
    data = _object(task.get("data"))
    key = task.get("key")
    known = str(key)[:12] if key and key == task.get("hash") else key  # the hash of the data, or a name of its own
    identity = data.get("id") or known or data.get("idx")
    if identity is None:
        raise BadPartError("nothing says which task it is (id, key or idx)")
    role = "" if agent == "agent" else f":{agent}"
    name = data.get("name") or identity
    return {"task_id": f"{env}:{identity}{role}", "task_name": f"{env}:{name}{role}", "task_type": f"{env}{role}"}


def _ending(trace: dict[str, Any]) -> Ending:
    listed = trace.get("calls")
    calls = [
        call for call in map(_object, listed if isinstance(listed, list) else []) if not stated_error(call.get("error"))
    ]
    is_cut = bool(calls) and calls[-1].get("finish_reason") == "length"
    truncated = is_cut or trace.get("stop_condition") in _LIMITS
    if trace.get("ok") is not True:
        return Ending(error=_last_error(trace), truncated=truncated)
    rewards = [_object(reward) for reward in _object(trace.get("rewards")).values() if reward is not None]
    if not rewards:
        raise BadPartError("it has no reward")
    parts = [number(each.get("score"), "score") * number(each.get("weight", 1.0), "weight") for each in rewards]
    try:
        total = math.fsum(parts)  # 0.7 + 0.2 + 0.1 is 1, and a success
    except (ValueError, OverflowError):
        raise BadPartError("the rewards are too large to be added up") from None
    return Ending(total, truncated=truncated)


def _last_error(of: dict[str, Any]) -> str:
    errors = of.get("errors")
    last = _object(errors[-1]) if isinstance(errors, list) and errors else {}
    told = ": ".join(str(last[name]) for name in ("type", "message") if last.get(name))
    return told or str(of.get("stop_condition") or "verifiers says that it failed, and not why")


def _agent(trace: dict[str, Any]) -> dict[str, Any]:
    return _object(trace.get("agent"))


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
