"""Damaged lines and tables of a run, one case at a time; the campaign makes them by the hundred."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import journals
import numpy as np
import pytest
import toy_environment  # registers the environment 'toy'

from agentbench import Response, UserError, evaluate, open_run
from agentbench.runs import tables as tables_module
from agentbench.runs.episodes import from_line
from agentbench.runs.lines import add_lines, read_lines
from agentbench.runs.tables import write_tables
from envs.base.digest import read_line, sealed_line, sha256_of
from envs.base.journal import journal_of
from policies.plain.replay import ReplayPolicy


def play(out: Path) -> None:
    evaluate("toy", toy_environment.UpPolicy(lazy=[1]), out=out, inline=True)


def test_a_changed_digit_in_a_line_is_noticed(tmp_path: Path) -> None:
    play(tmp_path)
    line = journals.stored(tmp_path)[0]
    assert from_line(line).score == 1.0
    with pytest.raises(ValueError, match="its checksum is another"):
        from_line(line.replace(b'"score":1.0', b'"score":0.0'))


def test_a_line_of_the_first_schema_is_read(tmp_path: Path) -> None:
    play(tmp_path)
    record = json.loads(journals.stored(tmp_path)[0])
    del record["crc32"]
    with pytest.raises(ValueError, match="its checksum is missing"):
        from_line(json.dumps(record))
    assert from_line(json.dumps(record | {"schema": 1})).score == 1.0


def test_a_clock_that_jumps_back_leaves_no_old_table(tmp_path: Path) -> None:
    """The tables look newer than the lines that came after them: by content they are not current."""
    play(tmp_path)
    lines = journals.stored(tmp_path)
    journals.store(tmp_path, lines[:-1])
    assert len(open_run(tmp_path).episodes) == 5
    journals.store(tmp_path, lines)
    os.utime(journal_of(tmp_path), (1, 1))
    assert len(open_run(tmp_path).episodes) == 6


def test_tables_that_another_process_puts_in_place_do_not_pass_for_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader of a run under way is slow, and replaces the tables of the finished run by its own, older ones."""
    play(tmp_path)
    lines = journals.stored(tmp_path)
    journals.store(tmp_path, lines[:-1])
    write_tables(tmp_path)
    old = {name: (tmp_path / name).read_bytes() for name in tables_module.TABLES}
    journals.store(tmp_path, lines)

    def interrupted(path: Path, text: str) -> None:
        for name, content in old.items():
            (tmp_path / name).write_bytes(content)
        path.write_text(text)

    def too_late(path: Path) -> str:
        if path.name in old:
            (tmp_path / path.name).write_bytes(old[path.name])
        return sha256_of(path)

    monkeypatch.setattr(tables_module, "write_text", interrupted)
    monkeypatch.setattr(tables_module, "sha256_of", too_late)
    write_tables(tmp_path)
    monkeypatch.undo()
    assert len(open_run(tmp_path).episodes) == 6


def test_an_episode_of_a_newer_version_is_neither_cut_out_nor_passed_over(tmp_path: Path) -> None:
    play(tmp_path)
    record, _ = read_line(journals.stored(tmp_path)[0])
    tomorrow = sealed_line(record | {"schema": 3, "of_tomorrow": 1}).encode()
    journals.store(tmp_path, [*journals.stored(tmp_path), tomorrow])
    before = journal_of(tmp_path).read_bytes()
    for use in (lambda: play(tmp_path), lambda: open_run(tmp_path).episodes, lambda: open_run(tmp_path).step_table):
        with pytest.raises(UserError, match="written by a newer agentbench: upgrade"):
            use()
    assert journal_of(tmp_path).read_bytes() == before


ODD: tuple[Any, ...] = (True, -1, 10**30, 10**400, float("nan"), 1e999, "x", "\ud800", [], {}, [1], {"a": 1}, None)


def test_a_value_of_another_kind_with_a_right_checksum_is_read_or_named(tmp_path: Path) -> None:
    """A line that a stranger wrote: its episode counts, or is skipped; the tables are made either way."""
    play(tmp_path)
    first, *rest = journals.stored(tmp_path)
    record, _ = read_line(first)
    changed = [record | {name: value} for name in record for value in ODD if name != "schema"]
    step, *steps = record["steps"]
    changed += [record | {"steps": [step | {name: value}, *steps]} for name in step for value in ODD]
    for each in changed:
        journals.store(tmp_path, [sealed_line(each).encode(), *rest])
        assert len(open_run(tmp_path).episodes) in (5, 6)


@pytest.mark.parametrize("odd", [np.bool_])
def test_an_end_that_is_no_bool_of_python_is_stored_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: Any
) -> None:
    act = toy_environment.ToyEnv._act

    def oddly(self: Any, action: str) -> Any:
        observation, reward, terminated, info = act(self, action)
        return observation, reward, odd(terminated), info

    monkeypatch.setattr(toy_environment.ToyEnv, "_act", oddly)
    play(tmp_path)
    assert open_run(tmp_path).episodes["terminated"].sum() == 5


class Odd(toy_environment.UpPolicy):
    """Records what is no JSON, on the last task."""

    def act(self, prompts: Any) -> list[Any]:
        return [Response("up", details={"x": np.float32(1)} if each.task.index == 5 else {}) for each in prompts]


def test_what_cannot_be_stored_is_told_in_one_line_and_costs_nothing_else(tmp_path: Path) -> None:
    evaluate("toy", Odd(), out=tmp_path, inline=True)
    episodes = open_run(tmp_path).episodes
    (error,) = episodes.loc[episodes["outcome"] == "error", "error"]
    assert len(episodes) == 6 and "float32" in error and "\n" not in error


@pytest.mark.parametrize("value", ['"x"', "null", "[]", "{}", "1e999", "-1"])
@pytest.mark.parametrize("name", ["schema", "steps", "task_id", "trial", "outcome", "score"])
def test_a_value_of_another_kind_is_no_episode(tmp_path: Path, name: str, value: str) -> None:
    record = '{"schema":1,"task_id":"a","task_name":"a","task_type":"","instruction":"","trial":0,"outcome":"failure",'
    record += '"won":false,"score":0.0,"steps":[]}'
    fields = json.loads(record) | {name: json.loads(value)}
    try:
        episode = from_line(json.dumps(fields))
    except ValueError:
        return
    assert isinstance(getattr(episode, name, 0), type(json.loads(record)[name]) | int)


def test_a_changed_digit_in_a_line_of_metrics_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "metrics.jsonl"
    add_lines(path, [{"step": 1, "success": 0.25}])
    add_lines(path, [{"step": 2, "success": 0.5}])
    path.write_bytes(path.read_bytes().replace(b"0.25", b"0.95"))
    assert read_lines(path) == [{"step": 2, "success": 0.5}]
    assert "line 1 is damaged" in caplog.text


def test_a_line_after_a_torn_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    add_lines(path, [{"step": 1}])
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"step": 2, "succ')
    assert read_lines(path) == [{"step": 1}]
    add_lines(path, [{"step": 2}])
    assert read_lines(path) == [{"step": 1}, {"step": 2}]


def test_a_replayed_run_does_not_play_a_changed_action(tmp_path: Path) -> None:
    evaluate("toy", toy_environment.UpPolicy(), out=tmp_path, inline=True)
    journals.store(tmp_path, [line.replace(b'"action":"up"', b'"action":"no"') for line in journals.stored(tmp_path)])
    with pytest.raises(UserError, match="holds no finished episode"):
        ReplayPolicy.from_run(tmp_path)
