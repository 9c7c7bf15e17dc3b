"""What others wrote reaches the terminal as text: it cannot move the cursor, retitle the window or hide a line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from report_runs import make_episode, write_run
from typer.testing import CliRunner

from agentbench import cli
from agentbench.terminal import printable
from envs.errors import UserError

HOSTILE = "\x1b]0;owned\x07\x1b[2Jgone\r\x9b1A\u202etxt"


def test_tabs_and_lines_stay_and_all_other_control_is_shown() -> None:
    assert printable("a\tb\nc – ü") == "a\tb\nc – ü"
    assert printable("\x1b[31m\r\x7f\u202e") == r"\x1b[31m\r\x7f\u202e"


def test_replay_obeys_no_text_of_the_run(tmp_path: Path) -> None:
    episode = make_episode(0, 0, ["hall", "attic"], won=False)
    step = replace(episode.steps[0], observation=HOSTILE, action=HOSTILE, admissible_actions=[HOSTILE])
    episode = replace(episode, task_name=f"[blink]{HOSTILE}", steps=[step, *episode.steps[1:]])
    episode = replace(episode, final_observation=HOSTILE, error=HOSTILE)
    folder = write_run(tmp_path / "run", [episode])
    result = CliRunner().invoke(cli.app, ["replay", str(folder), "--episode", "0", "--actions"])
    assert result.exit_code == 0 and result.output.count(r"\x1b[2Jgone") == 6
    assert "[blink]" in result.output
    assert not set("\x1b\x07\x9b\r\u202e") & set(result.output)


def test_an_error_obeys_no_text_of_a_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise UserError(f"the server said {HOSTILE}")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit):
        cli.main()
    assert r"the server said \x1b]0;owned\x07" in capsys.readouterr().err
