"""The shop against recordings of the original: nothing may differ, and a difference must be found."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from envs.base.errors import UserError
from envs.webshop import WebShopEnv
from envs.webshop.ceiling import ceiling
from envs.webshop.verify import verify

pytestmark = pytest.mark.reference


@pytest.fixture
def folder(shared: Path) -> Path:
    return shared / "reference" / "webshop"


def test_nothing_differs_from_the_original(folder: Path) -> None:
    lines: list[str] = []
    mismatches, summary = verify(folder, lines.append)
    assert mismatches == 0, "\n".join(lines)
    assert "0 mismatches" in summary


CHANGES: dict[str, Any] = {
    "walks.jsonl.gz": lambda record: record["steps"][-1].update(observation="other"),
    "reward.jsonl.gz": lambda record: record.update(reward=0.123),
    "replays.jsonl.gz": lambda record: record["steps"][0].update(observation="other"),
    "goals.jsonl.gz": lambda record: record["goal"].update(price_upper=1.0),
    "search.jsonl.gz": lambda record: record["asins"].reverse(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_one_changed_record_is_found(shared: Path, folder: Path, tmp_path: Path, name: str) -> None:
    with gzip.open(folder / name, "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line, _ in zip(lines, range(5), strict=False)]
    CHANGES[name](records[2])
    with gzip.open(tmp_path / name, "wt", encoding="utf-8") as out:
        out.writelines(json.dumps(record) + "\n" for record in records)
    (tmp_path / "titles.json").write_bytes((folder / "titles.json").read_bytes())
    assert verify(tmp_path, lambda line: None, shared / "data" / "webshop")[0] == 1


def test_changed_prices_are_found(shared: Path, folder: Path, tmp_path: Path) -> None:
    prices = json.loads((folder / "prices.json").read_text())
    prices["prices"]["B08ZRR3DZT"] += 0.01
    (tmp_path / "prices.json").write_text(json.dumps(prices))
    assert verify(tmp_path, lambda line: None, shared / "data" / "webshop")[0] == 1


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds none of prices\.json"):
        verify(tmp_path, lambda line: None)


def test_the_environment_plays_the_recorded_walks(shared: Path, folder: Path) -> None:
    """Through the public face: same observations, rewards and ends; the default price seed is the recorded one."""
    envs = {
        (goal_set, mode): WebShopEnv(
            mode,
            goal_set,
            "all",
            data=shared / "data" / "webshop",
            noun_table=folder / "titles.json",
            max_steps=1000,
        )
        for goal_set in ("synthetic", "human")
        for mode in ("text", "text_rich")
    }
    with gzip.open(folder / "walks.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            walk = json.loads(line)
            env = envs[walk["goal_set"], walk["mode"]]
            observation, info = env.reset(options={"task": f"{walk['goal_set']}:{walk['goal_index']}"})
            assert observation == walk["reset_observation"]
            for step in walk["steps"]:
                observation, reward, terminated, _, info = env.step(step["action"])
                assert (observation, reward, terminated) == (step["observation"], step["reward"], step["done"])
                assert info["clickables"] == step["available_actions"]["clickables"]


def test_about_a_fifteenth_of_the_synthetic_goals_cannot_be_won(shared: Path, folder: Path) -> None:
    env = WebShopEnv("text", "synthetic", "all", data=shared / "data" / "webshop", noun_table=folder / "titles.json")
    everything = ceiling(env)[-1]
    assert everything.goals == 6910
    assert 0.065 < 1 - everything.winnable / everything.goals < 0.067
