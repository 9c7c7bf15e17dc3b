"""Records in the forms of other programs' logs, in our own words, for tests of the import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def lines(path: Path, records: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in records), encoding="utf-8")
    return path


def whole(path: Path, record: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2), encoding="utf-8")
    return path


TRAJ: dict[str, Any] = {
    "environment": "main",
    "trajectory": [
        {"action": "ls -F\n", "observation": "setup.py", "response": "I look.\n```\nls -F\n```", "thought": "I look.",
         "state": {"open_file": "n/a"}, "query": []},
        {"action": "submit", "observation": "", "response": "Done.\n```\nsubmit\n```", "thought": "Done.", "state": {}},
    ],
    "history": [
        {"role": "system", "content": "You fix code.", "agent": "main"},
        {"role": "user", "content": "an example", "is_demo": True},
        {"role": "assistant", "content": "of how", "is_demo": True},
        {"role": "user", "content": "sum is wrong", "agent": "main"},
        {"role": "assistant", "content": "I look.", "action": "ls -F\n"},
    ],
    "info": {"exit_status": "submitted", "submission": "diff", "model_stats": {"api_calls": 2}},
    "replay_config": json.dumps({"agent": {"model": {"name": "some-model"}}}),
}  # fmt: skip


def event(number: int, source: str, **more: Any) -> dict[str, Any]:
    return {"id": number, "timestamp": f"2026-01-01T00:00:{number:02}", "source": source, **more}


def _made(number: str, name: str, answer: str) -> dict[str, Any]:
    written = {"id": number, "function": {"name": name, "arguments": '{"command": "ls", "thoughtful": true}'}}
    response = {"id": answer, "choices": [{"message": {"tool_calls": [written]}}]}
    return {"function_name": name, "tool_call_id": number, "model_response": response, "total_calls_in_response": 1}


EVENTS = [
    event(0, "agent", action="system", message="be good", args={"content": "be good"}),
    event(1, "user", action="message", message="fix it", args={"content": "fix it"}),
    event(2, "environment", observation="recall", content="", extras={}),
    event(3, "agent", action="run", args={"command": "ls", "thought": "I look."},
           tool_call_metadata=_made("c1", "execute_bash", "r1")),
    event(4, "environment", observation="run", content="a.py", cause=3, extras={"metadata": {"exit_code": 0}},
           tool_call_metadata=_made("c1", "execute_bash", "r1")),
    event(5, "agent", action="read", args={"path": "/a.py", "thought": "", "security_risk": None}),
    event(6, "environment", observation="error", content="no such file", cause=5),
    event(7, "agent", action="finish", args={"final_thought": "done", "task_completed": "true", "thought": "Bye."}),
]  # fmt: skip


def line(kind: str, content: Any, number: str = "", **more: Any) -> dict[str, Any]:
    about = {"id": number, "model": "claude-x", "type": "message"} if kind == "assistant" else {}
    shared = {"sessionId": "s1", "uuid": f"u{number}", "cwd": "/w", "version": "2.1.0", "isSidechain": False}
    return {**shared, "type": kind, "message": {"role": kind, "content": content, **about}, **more}


SESSION = [
    {"type": "summary", "summary": "An old one", "leafUuid": "x"},
    {"type": "file-history-snapshot", "messageId": "m", "snapshot": {}},
    line("user", "fix the parser"),
    line("assistant", [{"type": "thinking", "thinking": "hm"}], "m1"),
    line("assistant", [{"type": "text", "text": "I look."}], "m1"),
    line("assistant", [{"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}}], "m1"),
    line("user", [{"type": "tool_result", "tool_use_id": "t1", "content": "a.py", "is_error": True}]),
    line("assistant", [{"type": "text", "text": "a helper"}], "h1", isSidechain=True),
    line("assistant", [{"type": "text", "text": "Done."}], "m2"),
]

ASKED = [{"role": "system", "type": "message", "content": "rules"}, {"role": "user", "content": "find the key"}]
OUTPUT = [
    {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "hm"}]},
    {"type": "function_call", "call_id": "c1", "name": "open", "arguments": '{"what": "drawer"}'},
    {"type": "function_call_output", "call_id": "c1", "output": "a key"},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I have it."}]},
    {"type": "message", "role": "user", "content": "well done"},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Thanks."}]},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": ""}]},
]
ROLLOUT = {
    "responses_create_params": {"input": ASKED, "model": None},
    "response": {"id": "r", "object": "response", "model": "m", "output": OUTPUT, "incomplete_details": None},
    "reward": 1.0, "_ng_task_index": 3, "_ng_rollout_index": 0, "agent_ref": {"name": "library"},
}  # fmt: skip


def constructor(kind: str, **held: Any) -> dict[str, Any]:
    return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", kind], "kwargs": held}


SAID = [{"type": "human", "content": "find the key"}]
WRITTEN = [
    {"type": "human", "content": "find the key", "id": "1"},
    {"type": "ai", "content": "", "tool_calls": [{"name": "open", "args": {"what": "drawer"}, "id": "c1"}]},
    {"type": "tool", "content": "a key", "tool_call_id": "c1"},
    {"type": "ai", "content": "I have it."},
]
ROOT = {
    "id": "t1", "trace_id": "t1", "dotted_order": "20260101T000000000000Zt1", "run_type": "chain", "name": "agent",
    "parent_run_id": None, "inputs": {"messages": SAID}, "outputs": {"messages": WRITTEN}, "error": None,
    "feedback_stats": {"correctness": {"n": 1, "avg": 1.0}}, "reference_example_id": "e1",
}  # fmt: skip
CALL = {
    "id": "c", "trace_id": "t1", "dotted_order": "20260101T000000000000Zt1.20260101T000000000001Zc", "run_type": "llm",
    "parent_run_id": "t1", "extra": {"metadata": {"ls_model_name": "m"}}, "error": None,
    "inputs": {"messages": [[constructor("HumanMessage", content="find the key")]]},
    "outputs": {"generations": [[{"message": constructor("AIMessageChunk", content="I know where.")}]]},
}  # fmt: skip


def interactions(*turns: tuple[str, str]) -> str:
    rule = "-" * 76
    return "".join(
        f"\n### Environment Interaction {number}\n{rule}\n```python\n{code}\n```\n\n```\n{printed}\n```\n\n"
        for number, (code, printed) in enumerate(turns, 1)
    )


SAID = [
    {"role": "user", "content": "find the key"},
    {"role": "assistant", "content": "I look."},
    {"role": "user", "content": "it is there"},
    {"role": "assistant", "content": "I take it."},
]
CHAT = {"task_id": "t1", "messages": SAID, "reward": 1.0}
VERIFIERS = {"example_id": 1, "task": "keys", "prompt": SAID[:1], "completion": SAID[1:], "reward": 1.0}
VERL = {"input": "<|im_start|>user\nq<|im_end|>\n", "output": "an answer", "score": 1.0, "step": 1}
VERL_AGENT = {
    "input": "You are now at step 1\nYour task is to: go.\nYour current observation is: x\nadmissible actions of the "
    "current situation are: ['a'].\n",
    "output": "<action>a</action>", "score": 1.0, "traj_uid": "u", "uid": "g",
}  # fmt: skip
TAU2 = {"simulations": [{"task_id": "1", "messages": SAID, "reward_info": {"reward": 1.0}}]}
ATIF = {
    "schema_version": "ATIF-v1.4",
    "session_id": "s",
    "agent": {"name": "harness", "version": "1", "model_name": "m"},
    "steps": [
        {"step_id": 1, "source": "user", "message": "find the key"},
        {"step_id": 2, "source": "agent", "message": "I have it."},
    ],
    "extra": {"reward": 1.0},
}
INSPECT = {"id": "a", "epoch": 1, "messages": SAID, "scores": {"s": {"value": 1}}, "attachments": {}}
TABLE = "group,episode,step,reward,state,action\nt,1,0,0.0,start,open\nt,1,1,1.0,door,take\n"
