"""Files that Inspect and verifiers wrote themselves (tests/importing/data/make_*.py), for a toy task of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentbench.importing import import_run

DATA = Path(__file__).parent / "data"
LOOK = 'look({{"where": "{}"}})'.format


def read(path: Path, out: Path):
    found = import_run(path, out)
    assert not found.bad
    episodes = {(each.task_id, each.trial): each for each in found.run.read_episodes()}
    return found.run, episodes


def test_a_log_that_inspect_wrote(tmp_path):
    run, episodes = read(DATA / "inspect_find_key.eval", tmp_path / "run")
    assert run.config["identity"]["policy"] == "mockllm/model"
    assert {key: each.outcome for key, each in episodes.items()} == {
        ("find_key:key-1", 0): "failure",
        ("find_key:key-1", 1): "failure",
        ("find_key:key-2", 0): "success",
        ("find_key:key-2", 1): "success",
    }
    first, second = episodes["find_key:key-2", 1].steps
    assert first.observation.startswith("Where is the cup?") and first.observation.count("look well") == 30
    assert [first.action, second.action] == [LOOK("drawer"), "the answer is drawer"]
    assert second.observation == "there is a key in the drawer"
    assert [first.reward, second.reward] == [0.0, 1.0]


def test_results_that_verifiers_wrote(tmp_path):
    run, episodes = read(DATA / "verifiers" / "results.jsonl", tmp_path / "run")
    assert run.config["identity"]["policy"] == "stand-in"
    assert {key: each.outcome for key, each in episodes.items()} == {
        ("default:0", 0): "success",
        ("default:0", 1): "failure",
        ("default:1", 0): "success",
        ("default:1", 1): "failure",
    }
    first, second = episodes["default:0", 1].steps
    assert (first.observation, first.action) == ("Where is the key?", LOOK("drawer"))
    assert (second.observation, second.action) == ("there is a key in the drawer", "in the box")


def test_inspect_itself_reads_the_recorded_log_alike(tmp_path):
    log = pytest.importorskip("inspect_ai.log", reason="inspect_ai is not installed")
    samples = log.read_eval_log(str(DATA / "inspect_find_key.eval")).samples
    _, episodes = read(DATA / "inspect_find_key.eval", tmp_path / "run")
    for sample in samples:
        steps = episodes[f"find_key:{sample.id}", sample.epoch - 1].steps
        assert steps[-1].action == sample.output.completion
