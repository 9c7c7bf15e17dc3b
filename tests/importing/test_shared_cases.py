"""Small logs in the form of public files, which stand beside the checkout: each gives what is right for its kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentbench.importing import import_run
from agentbench.importing.parts import Options
from agentbench.runs.notes import run_notes
from envs.base.errors import UserError

CASES = Path(__file__).parents[3] / "shared" / "cases" / "import"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"the cases are not there ({CASES})")

W, L = "success", "failure"
ONE_WIN = [(W, 1)]
RIGHT: dict[str, Any] = {  # file or folder: outcome and number of steps of every episode; or the refusal
    "error-false/log.jsonl": [(W, 1), (L, 1), (W, 1)],
    "export-drops-tool-call/log.jsonl": [(W, 2)],
    "images-are-one-state/inspect.json": [(W, 2), (L, 2)],
    "images-are-one-state/no-task-id.jsonl": {(W, 1), (L, 1)},
    "images-are-one-state/screenshots.jsonl": [(W, 4), (L, 4)],
    "inspect-failed-before-first-answer/log.json": [(W, 1), (L, 0)],
    "inspect-retry-counted-twice": [(W, 1), (W, 1), (L, 1)],
    "langchain-args-lost/log.jsonl": [(W, 2), (L, 2)],
    "not-json-no-reason/bom.json": ONE_WIN,
    "not-json-no-reason/cut.json": ONE_WIN,
    "not-json-no-reason/empty.jsonl": "the file is empty",
    "not-json-no-reason/list.jsonl": ONE_WIN,
    "not-json-no-reason/log.jsonl.gz": ONE_WIN,
    "not-json-no-reason/table.csv": ONE_WIN,  # a step table
    "not-json-no-reason/utf16.jsonl": ONE_WIN,
    "rewards-not-a-list/log.jsonl": r"log.jsonl:1: rewards has several values.*log.jsonl:2: rewards is a list",
    "same-opening-prompt/log.jsonl": [(W, 3), (W, 3), (L, 3)],
    "several-models-merged/log.jsonl": r"several models \(large, small\)",
    "single-json-object": [(W, 1), (W, 1)],
    "single-json-object/oneline.json": ONE_WIN,
    "single-json-object/pretty.json": ONE_WIN,
    "trl-completions/completions.jsonl": [(W, 1), (L, 1)] * 4,
    "trl-completions/completions_00001.parquet": [(W, 1), (L, 1)] * 4,
    "trl-completions/renamed.jsonl": [(W, 1), (L, 1)] * 4,
    "verifiers-two-environments": [(W, 1), (L, 1), (L, 1), (W, 1)],
    "verl-agent-search/5.jsonl": [(W, 2), (L, 2), (W, 2)],
    "verl-plain-dump/3.jsonl": [(W, 1), (L, 1), (W, 1), (L, 1), (W, 2)],
}
TASKS = {
    "images-are-one-state/no-task-id.jsonl": 4,
    "same-opening-prompt/log.jsonl": 3,
    "trl-completions/completions.jsonl": 4,
    "verifiers-two-environments": 4,
    "verl-agent-search/5.jsonl": 2,
    "verl-plain-dump/3.jsonl": 3,
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_case_gives_what_is_right(tmp_path: Path, name: str) -> None:
    right = RIGHT[name]
    if isinstance(right, str):
        with pytest.raises(UserError, match=right):
            import_run(CASES / name, tmp_path / "run")
        return
    found = import_run(CASES / name, tmp_path / "run")
    episodes = found.run.read_episodes()
    outcomes = [(each.outcome, len(each.steps)) for each in episodes]
    assert outcomes == right or set(outcomes) == right
    assert all(step.is_valid for each in episodes for step in each.steps)
    assert len({each.task_id for each in episodes}) == TASKS.get(name, len({each.task_id for each in episodes}))
    assert bool(found.bad) == ("cut" in name)
    if found.bad:
        assert "left out" in dict(run_notes(found.run))
    if name.startswith("images-are-one-state"):
        pictures = [step.anchor for each in episodes for step in each.steps if "[image" in step.observation]
        assert len(set(pictures)) == len(pictures)


def test_every_case_is_looked_at() -> None:
    files = {path.relative_to(CASES).as_posix() for path in CASES.rglob("*") if path.is_file()}
    assert all(any(name == known or name.startswith(f"{known}/") for known in RIGHT) for name in files)


def test_the_cases_with_a_choice_are_read_when_it_is_made(tmp_path: Path) -> None:
    model = import_run(CASES / "several-models-merged", tmp_path / "model", options=Options(model="large"))
    assert [each.outcome for each in model.run.read_episodes()] == [W]
    score = import_run(CASES / "rewards-not-a-list", tmp_path / "score", options=Options(score="format"))
    assert [each.score for each in score.run.read_episodes()] == [0.5]
    opening = import_run(CASES / "same-opening-prompt", tmp_path / "opening", options=Options(task_field="messages"))
    assert "may be of several tasks" in dict(run_notes(opening.run))["note"]
