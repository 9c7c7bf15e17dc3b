"""What others wrote reaches the terminal as text: it cannot move the cursor, retitle the window or hide a line."""

from __future__ import annotations

import ast
import json
import logging
import sys
import threading
from dataclasses import replace
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from report_runs import make_episode, write_run
from rich.console import Console
from typer.testing import CliRunner

import agentbench.cli.commands
from agentbench import cli
from envs.base.errors import UserError
from envs.base.safe_text import printable
from envs.base.terminal import SafeFormatter
from envs.contract import Task
from policies import Prompt
from policies.plain.human import HumanPolicy

CONTROL = "\x1b]0;owned\x07\x1b[2J\r\x9b1A\u202etxt\u2028"
HOSTILE = f"[red]x[/red] :boom: [/] $\\frac$ {CONTROL}"
SHOWN = r"[red]x[/red] :boom: [/] $\frac$ \x1b]0;owned"


def no_control(text: str) -> bool:
    return printable(text) == text


def test_tabs_and_lines_stay_and_all_other_control_is_shown() -> None:
    assert printable("a\tb\nc – ü") == "a\tb\nc – ü"
    assert printable("\x1b[31m\r\x7f\u202e\u061c") == r"\x1b[31m\r\x7f\u202e\u061c"


def hostile_run(folder: Path) -> Path:
    """Write a run in which everything that is text is hostile, with two tasks, two trials, errors and a note."""
    episodes = []
    for task in range(2):
        for trial in range(3):
            episode = make_episode(task, trial, ["hall", "attic", "hall"], won=trial == task)
            steps = [
                replace(step, observation=HOSTILE, action=f"{HOSTILE}{step.anchor}", admissible_actions=[HOSTILE])
                for step in episode.steps
            ]
            name = f"{HOSTILE}{task}"
            episode = replace(episode, task_id=name, task_name=name, task_type=name, instruction=HOSTILE, steps=steps)
            episode = replace(episode, final_observation=HOSTILE)
            if trial == 2 and task == 0:
                episode = replace(episode, outcome="error", won=False, error=HOSTILE)
            episodes.append(episode)
    write_run(folder, episodes, env=HOSTILE, split=HOSTILE, policy=HOSTILE, number_of_tasks=3)
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "notes": [HOSTILE], "protected": HOSTILE}))
    return folder


COMMANDS = {
    "show": ["show", "RUN", "--plot", "OUT.png"],
    "replay": ["replay", "RUN", "--episode", "0", "--actions"],
    "replay of an error": ["replay", "RUN", "--episode", "2"],
    "a task that is not there": ["replay", "RUN", "--task", HOSTILE],
    "compare-runs": ["compare-runs", "RUN", "OTHER"],
    "credit": ["credit", "RUN", "--scheme", "grpo,gigpo"],
    "compare-schemes": ["compare-schemes", "RUN", "--schemes", "grpo,gigpo,hgpo", "--out", "OUT.md"],
    "graph without a task": ["graph", "RUN", "--out", "OUT.svg"],
    "graph": ["graph", "RUN", "--task", f"{HOSTILE}0", "--out", "OUT.svg"],
    "graph as a table": ["graph", "RUN", "--task", f"{HOSTILE}0", "--out", "OUT.graphml"],
    "report": ["report", "RUN", "--out", "OUT.html", "--title", HOSTILE],
    "export": ["export", "RUN", "--to", "latex", "--out", "OUT.tex"],
    "import of what is none": ["import", "LOGS", "--out", "OUT"],
    "import": ["import", "CHATS", "--out", "OUT"],
    "a wrong environment": ["eval", "--env", HOSTILE],
    "a wrong option": ["eval", f"--{HOSTILE}", "1"],
    "a wrong policy": ["eval", "--policy", HOSTILE],
    "a wrong scheme": ["compare-schemes", "RUN", "--schemes", HOSTILE],
    "a wrong folder": ["show", HOSTILE],
    "check": ["check", "env", HOSTILE],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_no_command_obeys_the_text_of_a_run(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "4000")
    hostile_run(tmp_path / "[red]RUN[/red]")
    hostile_run(tmp_path / "OTHER")
    chat = {"messages": [{"role": "user", "content": HOSTILE}, {"role": "assistant", "content": HOSTILE}], "reward": 1}
    (tmp_path / "chats.jsonl").write_text(json.dumps({**chat, "task_type": HOSTILE}) + "\n{}\n")
    (tmp_path / "logs.jsonl").write_text(json.dumps({"messages": [{"role": HOSTILE}]}))
    places = {"RUN": "[red]RUN[/red]", "OTHER": "OTHER", "CHATS": "chats.jsonl", "LOGS": "logs.jsonl"}
    parts = [str(tmp_path / places[part]) if part in places else part for part in command]
    parts = [part.replace("OUT", str(tmp_path / "out")) for part in parts]
    monkeypatch.setattr(sys, "argv", ["agentbench", *parts])
    try:
        cli.main()
    except SystemExit as ended:
        assert ended.code in (0, 1, 2, None)
    finally:
        sys.excepthook, threading.excepthook = sys.__excepthook__, threading.__excepthook__
    printed = capfd.readouterr()
    told = printed.out + printed.err
    assert told and no_control(told)
    assert "Traceback" not in told
    if command[0] in ("show", "replay", "compare-runs", "eval"):
        assert SHOWN.partition(" :")[0] in told
    for picture in (tmp_path / "out.svg", tmp_path / "out.graphml"):
        assert not picture.exists() or ElementTree.parse(picture)


def test_replay_shows_every_text_of_an_episode(tmp_path: Path) -> None:
    folder = hostile_run(tmp_path / "run")
    result = CliRunner().invoke(cli.app, ["replay", str(folder), "--episode", "2", "--actions"])
    assert result.exit_code == 0 and no_control(result.output)
    assert result.output.count(r"\x1b[2J") >= 12


def test_an_error_obeys_no_text_of_a_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise UserError(f"the server said {HOSTILE}")

    monkeypatch.setattr("agentbench.cli.program._command", fail)
    with pytest.raises(SystemExit):
        cli.main()
    assert f"the server said {SHOWN}" in capsys.readouterr().err


def test_a_line_of_the_log_and_its_traceback_are_text() -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        record = logging.LogRecord("agentbench", logging.WARNING, "", 1, "%s", (HOSTILE,), sys.exc_info())
    line = SafeFormatter("agentbench: %(message)s").format(record)
    assert line.startswith(f"agentbench: {SHOWN}") and f"ValueError: {SHOWN}" in line and no_control(line)


def test_the_human_policy_shows_the_observation_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    out = StringIO()
    monkeypatch.setattr("builtins.input", lambda *_: "1")
    policy = HumanPolicy(Console(file=out, width=400))
    prompt = Prompt(Task("id", HOSTILE, "type", 0), HOSTILE, {"admissible_actions": [HOSTILE]}, (), seed=1)
    assert policy.act([prompt])[0].action == HOSTILE
    assert out.getvalue().count(SHOWN) == 3 and no_control(out.getvalue())


def test_commands_print_in_no_other_way() -> None:
    """Nothing in the commands calls print, typer.echo or a console that is not made in envs.base.terminal."""
    for path in Path(agentbench.cli.commands.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in ("print", "typer.echo", "typer.secho", "Console", "rich.print"), (
                    path
                )
