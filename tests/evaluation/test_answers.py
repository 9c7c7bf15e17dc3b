"""What a user sees of a model's answers: the text, why it did not count, whether it was cut, loops, tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import toy_environment  # noqa: F401  (registers the environment)

from agentbench import evaluate
from agentbench.cli import main
from agentbench.evaluation.answers import answers_of, count_answers, count_rows, has_loop
from agentbench.runs.answers import answer_of
from agentbench.runs.episodes import Episode, Step, to_line
from agentbench.runs.run import open_run
from envs.base.errors import UserError
from policies.contract import Prompt, Response


def step(number: int, action: str = "go", details: dict[str, Any] | None = None, **more: Any) -> Step:
    given = {"text": f"<think>plan {number}</think>{action}", "is_valid": True, "observation": f"room {number}"}
    facts = {**given, **more}
    return Step(
        facts["observation"], f"a{number}", ["go", "wait"], action, 0.0, facts["is_valid"], False, False, 0.0,
        facts["text"], details or {},
    )  # fmt: skip


def stored(folder: Path, *episodes: Sequence[Step], outcome: str = "failure") -> Path:
    folder.mkdir()
    identity = {"env": "toy", "policy": "openai:m", "number_of_tasks": len(episodes), "trials": 1}
    (folder / "run.json").write_text(json.dumps({"schema": 1, "identity": identity, "kind": "evaluate"}))
    lines = [
        to_line(Episode(f"t{n}", f"task {n}", ("Even", "Odd")[n % 2], "do it", 0, outcome, False, 0.0, list(steps)))
        for n, steps in enumerate(episodes)
    ]
    (folder / "episodes.jsonl").write_text("".join(lines))
    return folder


def answered(invalid: str | None = None, *, cut: bool = False) -> dict[str, Any]:
    return {
        "invalid": invalid, "cut_answer": cut, "finish": "length" if cut else "stop", "prompt_tokens": 100,
        "cached_tokens": 40, "answer_tokens": 7, "model": "served-one",
    }  # fmt: skip


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: object) -> str:
        monkeypatch.setattr("sys.argv", ["agentbench", *map(str, arguments)])
        try:
            main()
        except SystemExit as ended:
            assert ended.code in (0, None)
        return capsys.readouterr().out

    return run


def test_show_has_the_reasons_and_a_column_apart_from_the_environments_own(call: Any, tmp_path: Path) -> None:
    even = [step(0, details=answered("there is no action")), step(1, details=answered()), step(2, details=answered())]
    odd = [step(0, details=answered("the answer is empty"), is_valid=False), step(1, details=answered(cut=True))]
    run = stored(tmp_path / "run", even, odd)
    shown = call("show", run)
    rows = {line.split()[0]: line.split()[-2:] for line in shown.splitlines() if line.startswith(("overall", "Even"))}
    assert rows == {"overall": ["20.0%", "40.0%"], "Even": ["0.0%", "33.3%"]}  # understood by the environment; format
    said = " ".join(shown.split())
    assert "there is no action 1 20.0%" in said and "the answer is empty 1 20.0%" in said
    assert "cut: 1 of 5 answers" in shown and "warning" not in shown
    assert "tokens: 500 of prompts (200 from the cache), 35 of answers" in shown and "served-one (5)" in shown


@pytest.mark.parametrize(
    ("details", "valid", "remedies"),
    [
        (answered(cut=True), True, ("--max-tokens", "--thinking off")),
        (
            answered("the thinking was not closed"),
            True,
            ("the thinking was not closed", "agentbench replay", "--template"),
        ),
        ({}, False, ("did not understand 100% of the actions", "agentbench replay")),
    ],
)
def test_where_most_answers_do_not_count_the_remedy_is_named(
    call: Any, tmp_path: Path, details: dict[str, Any], valid: bool, remedies: tuple[str, ...]
) -> None:
    run = stored(tmp_path / "run", [step(n, details=details, is_valid=valid) for n in range(3)])
    shown = " ".join(call("show", run).split())
    assert "warning:" in shown and all(remedy in shown for remedy in remedies)


def test_a_loop_is_the_same_action_on_the_same_observation_three_times(call: Any, tmp_path: Path) -> None:
    twice = [step(0), step(0), step(1)]
    apart = [step(0), step(1), step(0), step(2), step(0)]
    assert not has_loop(twice) and has_loop(apart)
    assert not has_loop([step(0), step(0, "wait"), step(0)])
    assert "loops: 1 of 2 episodes (50.0%)" in call("show", stored(tmp_path / "run", twice, apart))
    assert "loops" not in call("show", stored(tmp_path / "none", twice))


def test_replay_shows_the_whole_answer_and_why_it_did_not_count(call: Any, tmp_path: Path) -> None:
    run = stored(tmp_path / "run", [step(0, details=answered("there is no action", cut=True))])
    shown = call("replay", run, "--episode", 0)
    assert "<think>plan 0</think>go" in shown
    said = (
        "broke the format: there is no action, cut at the longest answer, 100 tokens of prompt (40 cached), 7 of answer"
    )
    assert f"{said}, served-one" in " ".join(shown.split())


def test_records_of_earlier_versions_and_of_strangers_are_read(tmp_path: Path) -> None:
    old = answer_of({"finish": "length", "tokens": 9})
    assert old.cut and old.answer_tokens == 9 and old.invalid is None
    odd = answer_of({"invalid": ["x"], "cut_answer": "no", "prompt_tokens": -1, "answer_tokens": True, "model": 3})
    assert not odd.is_known
    run = stored(tmp_path / "run", [step(0, details=answered("there is no action"))], outcome="error")
    assert answers_of(open_run(run)).overall.steps == 0  # what ended in an error was not judged


class Talker:
    """Says a long word, all of which the environment gets."""

    name, digest = "talker", "1"

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        return [Response("up" + " " * 30, text="because " * 40) for _ in prompts]


def test_long_texts_are_stored_as_far_as_one_likes_and_the_cut_is_told(call: Any, tmp_path: Path) -> None:
    def played(name: str, **settings: Any) -> list[Step]:
        run = evaluate("toy", Talker(), out=tmp_path / name, env_options={"tasks": 2, "max_steps": 2}, **settings).run
        return [step for episode in run.read_episodes() for step in episode.steps]

    short = played("short", max_text=10)
    assert {step.action for step in short} == {"up        …[cut: 32 characters]"}
    assert {step.text for step in short} == {"because be…[cut: 320 characters]"}
    assert "were stored with a text cut short (--max-text" in " ".join(call("show", tmp_path / "short").split())
    assert {len(step.text or "") for step in played("whole")} == {320}
    assert "cut short" not in call("show", tmp_path / "whole")
    with pytest.raises(UserError, match="holds a run of another configuration"):
        played("whole", max_text=10)  # two lengths in one run would be no run
    with pytest.raises(UserError, match="stored cut short"):
        evaluate(
            "toy", f"replay:{tmp_path / 'short'}", out=tmp_path / "again", env_options={"tasks": 2, "max_steps": 2}
        )


def test_the_step_table_has_columns_for_answers_only_where_there_is_something_to_say(tmp_path: Path) -> None:
    known = stored(tmp_path / "known", [step(0, details=answered("there is no action", cut=True)), step(1)])
    table = open_run(known).step_table
    assert table.columns[-7:].tolist() == [
        *("text", "invalid", "cut_answer", "prompt_tokens", "cached_tokens", "answer_tokens", "model")
    ]
    assert table.iloc[0][["invalid", "cut_answer", "answer_tokens", "model"]].tolist() == [
        *("there is no action", True, 7, "served-one")
    ]
    assert table.iloc[1][["invalid", "cut_answer", "answer_tokens", "model"]].isna().all()
    assert len(open_run(known).steps()) == 2  # and the schemes read the table as before
    plain = stored(tmp_path / "plain", [step(0, details={"log_prob": -0.5}), step(1, 'say "model"')])
    assert open_run(plain).step_table.columns[-1] == "text"


def test_the_table_gives_the_counts_that_the_lines_give(tmp_path: Path) -> None:
    """Rows are counted a part of the table at a time, whichever part of an episode lies in which."""
    known = [
        [step(0, "wait", text="x" * n, details=answered("no action" if n % 2 else None, cut=n == 2)) for n in range(4)],
        [step(0), step(0), step(0, text="long …[cut: 30000 characters]"), step(1)],
        [step(n, details={"model": "m", "tokens": n, "prompt_tokens": 7}) for n in range(9)],
        [],
    ]
    for name, episodes in (("known", known), ("plain", [[step(0)] * 3, [step(0), step(1)]])):
        run = open_run(stored(tmp_path / name, *episodes))
        counted, path = count_answers(run.read_episodes()), run.current_table("steps")
        assert answers_of(run) == count_rows(path, run.episodes) == counted
        pq.write_table(pq.read_table(path), path, row_group_size=3)
        assert count_rows(path, run.episodes) == counted
