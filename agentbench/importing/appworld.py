"""AppWorld: a folder of its ``experiments/outputs``, an episode for each ``tasks/<task>/logs/environment_io.md``.

The file holds the blocks of code that the agent wrote and what each printed. Success, and the share of tests passed as
the score, come from ``evaluations/*.json`` of the experiment, else from ``evaluation/report.md`` of the task; the
experiment's folder names who played. Source: AppWorld 0.1.3, ``environment.py`` (``save_logs``) and ``evaluator.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from agentbench.importing.chat import episode_of, with_named_fields
from agentbench.importing.formats import Format
from agentbench.importing.parts import MAX_BYTES, BadPartError, Options, Part, Read, read_part
from envs.appworld.tasks import PROTECTED

LOG = "environment_io.md"
_HEAD = re.compile(r"^### Environment Interaction \d+[ \t]*\n(?:-+[ \t]*\n)?", re.MULTILINE)
_TURN = re.compile(r"\s*```python\n(.*?)\n?```[ \t]*\n\s*```[ \t]*\n(.*)\n?```\s*\Z", re.DOTALL)
_COUNT = re.compile(r"Num (Passed|Total) Tests\s*:\s*(\d+)")


def read_appworld(path: Path, options: Options) -> Iterator[Part]:
    """Yield the episode of a task's log, or why it is none."""
    yield read_part(f"{path.parent.parent.name}/{path.name}", partial(_episode, path, options))


def _episode(path: Path, options: Options) -> Read:
    content = path.read_bytes() if path.stat().st_size < MAX_BYTES else b""
    if not content.strip():
        raise BadPartError("the file is empty" if path.stat().st_size < MAX_BYTES else f"longer than {MAX_BYTES} bytes")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = 1 + content.count(b"\n", 0, error.start)
        raise BadPartError(f"not UTF-8 text (byte 0x{content[error.start]:02x} in line {line})") from None
    task = path.parent.parent
    experiment = task.parent.parent
    messages: list[dict[str, Any]] = []
    for code, printed in _turns(text):
        messages += [{"role": "assistant", "content": code}, {"role": "user", "content": printed}]
        if printed.startswith("Execution failed. Traceback"):
            messages[-1]["is_error"] = True
    chat = {"messages": messages, "task_id": task.name, "model": experiment.name, **_judged(task, experiment)}
    read = episode_of(with_named_fields(chat, chat, options, path), options)
    return replace(read, played="appworld") if options.task_field is None else read


def _turns(text: str) -> Iterator[tuple[str, str]]:
    """Yield the code and the output of every turn.

    Raises:
        BadPartError: there is none, or one is not whole; the text says where.
    """
    heads = list(_HEAD.finditer(text))
    if not heads:
        raise BadPartError("no 'Environment Interaction' in it: it is no log of AppWorld")
    for head, following in zip(heads, [*heads[1:], None], strict=True):
        found = _TURN.fullmatch(text[head.end() : following.start() if following else len(text)])
        if found is None:
            line = 1 + text.count("\n", 0, head.start())
            raise BadPartError(f"the interaction in line {line} is not whole: it has no code, or no output after it")
        yield found[1], found[2].removesuffix("\n")


def _judged(task: Path, experiment: Path) -> dict[str, Any]:
    """Return what the evaluation says of a task; nothing where there is none."""
    for file in sorted((experiment / "evaluations").glob("*.json")):
        result = _individual(file, file.stat().st_mtime_ns).get(task.name)
        if isinstance(result, Mapping) and isinstance(result.get("success"), bool):
            passed, total = len(result.get("passes") or []), result.get("num_tests")
            kind = f"difficulty {level}" if (level := result.get("difficulty")) is not None else None
            score = {"score": passed / total} if isinstance(total, int) and total >= max(passed, 1) else {}
            return {"reward": float(result["success"]), "success": result["success"], **score, "task_type": kind}
    report = task / "evaluation" / "report.md"
    if not report.is_file():
        return {}
    counts = dict(_COUNT.findall(report.read_text(encoding="utf-8", errors="replace")))
    if len(counts) < 2 or not int(counts["Total"]):
        return {}
    passed, total = int(counts["Passed"]), int(counts["Total"])
    return {"reward": float(passed == total), "success": passed == total, "score": min(passed / total, 1.0)}


@lru_cache(maxsize=8)
def _individual(file: Path, changed: int) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())["individual"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


APPWORLD = Format(read_appworld, lambda record: False, takes_fields=True, files=(LOG,), protected=PROTECTED)
