"""The environment: Gymnasium's contract, exact branching, tasks, anchors and clear errors."""

from __future__ import annotations

import json
import pickle
import random
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env
from webshop_small_catalogue import LAMP

import envs
from envs.base.errors import UserError
from envs.contract import INFO_KEYS
from envs.webshop import WebShopEnv
from envs.webshop.env import SEARCH_FORM

Write = Callable[..., Path]
SMALL = "generated:0:60"


def small(**options: Any) -> WebShopEnv:
    return WebShopEnv(catalogue=SMALL, split="all", **options)


@pytest.mark.parametrize("mode", ["text", "text_rich"])
def test_gymnasiums_checker_has_nothing_to_say(mode: str) -> None:
    envs.register()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make("agentbench/WebShop-v0", mode=mode, catalogue=SMALL).unwrapped)


def test_info_has_the_keys_of_the_contract_and_the_originals_lists() -> None:
    env = small()
    _, info = env.reset(seed=1)
    assert set(INFO_KEYS) <= info.keys()
    assert info["admissible_actions"] == [SEARCH_FORM]
    assert (info["clickables"], info["has_search_bar"]) == (["search"], True)
    _, reward, terminated, truncated, info = env.step("search[shampoo]")
    assert (reward, terminated, truncated, info["is_valid"]) == (0.0, False, False, True)
    assert info["admissible_actions"] == [f"click[{name}]" for name in info["clickables"]]
    assert not info["has_search_bar"]


def test_a_refused_action_costs_a_step_and_changes_nothing_else() -> None:
    env = small(max_steps=2)
    env.reset(seed=1)
    before, *_ = env.step("search[shampoo]")
    observation, reward, terminated, truncated, info = env.step("click[no such thing]")
    assert (observation, reward, terminated, truncated) == (before, 0.0, False, True)
    assert not info["is_valid"]


def test_the_walkthrough_wins_every_generated_task() -> None:
    env = small()
    for task in env.tasks[::5]:
        _, info = env.reset(options={"task": task.id})
        for action in info["walkthrough"]:
            assert not info["won"]
            _, reward, terminated, _, info = env.step(action)
            assert info["is_valid"]
        assert (reward, terminated, info["won"], info["score"]) == (1.0, True, True, 1.0)
        assert info["reward_info"]["r_type"] == 1.0


def test_a_seed_gives_the_same_episode() -> None:
    def episode(seed: int) -> list[Any]:
        env = small(max_steps=40)
        _, info = env.reset(seed=seed)
        draws, seen = random.Random(seed), []
        for _ in range(40):
            actions = info["admissible_actions"] or ["search[<r>]"]
            observation, reward, terminated, _, info = env.step(draws.choice(actions))
            seen.append((observation, reward, info["anchor"]))
            if terminated:
                break
        return seen

    assert episode(3) == episode(3)
    assert episode(3) != episode(4)


def test_a_snapshot_restores_the_point_exactly() -> None:
    env = small(mode="text_rich", max_steps=30)
    _, info = env.reset(seed=5)
    way = ["search[<r>]", "click[next >]", "nonsense", *info["walkthrough"]]
    points = []
    for action in way:
        points.append((env.snapshot(), action))
        points[-1] += (env.step(action),)
    other = small(mode="text_rich", max_steps=30)
    for snapshot, action, after in [points[k] for k in (4, 0, 2, len(points) - 1, 3)]:
        other.restore(pickle.loads(pickle.dumps(snapshot)))
        assert other.step(action) == after


def test_a_snapshot_after_a_refused_action_says_so() -> None:
    env = small()
    env.reset(seed=1)
    observation, _, _, _, info = env.step("nonsense")
    env_copy = small()
    assert env_copy.restore(env.snapshot()) == (observation, info)


def test_the_sound_anchor_tells_chosen_options_apart_where_the_text_does_not() -> None:
    keys: dict[str, list[str]] = {}
    for anchor in ("observation", "state"):
        env = small(anchor=anchor)
        task = next(t for t, goal in zip(env.tasks, env.goals, strict=True) if goal.options)
        _, info = env.reset(options={"task": task.id})
        *way, choice, _ = info["walkthrough"]
        for action in way[: len(way) - len(env.goals[task.index].options) + 1]:
            _, _, _, _, info = env.step(action)
        before = info["anchor"]
        _, _, _, _, info = env.step(choice)
        keys[anchor] = [before, info["anchor"]]
    assert keys["observation"][0] == keys["observation"][1]
    assert keys["state"][0] != keys["state"][1]


def test_the_sound_anchor_forgets_the_order_of_choices() -> None:
    env = small(anchor="state")
    task = next(t for t, goal in zip(env.tasks, env.goals, strict=True) if len(goal.options) == 2)
    ends = set()
    for turn in (1, -1):
        _, info = env.reset(options={"task": task.id})
        *way, first, second, _ = info["walkthrough"]
        for action in (*way, *(first, second)[::turn]):
            _, _, _, _, info = env.step(action)
        ends.add(info["anchor"])
    assert len(ends) == 1
    assert json.loads(ends.pop())[0] == "item"


def test_tasks_have_distinct_ids_that_find_them_and_do_not_depend_on_the_split() -> None:
    everything = {task.id: task for task in small().tasks}
    assert len(everything) == len(small().tasks)
    train = WebShopEnv(catalogue=SMALL, split="train")
    assert {task.id for task in train.tasks} < everything.keys()
    task = train.tasks[3]
    assert train.find_task(task.name) == train.find_task(task.id) == task
    assert everything[task.id].name == task.name


def test_equal_goals_have_ids_of_their_own(write_catalogue: Write) -> None:
    env = WebShopEnv(goals="synthetic", data=write_catalogue(), split="all")  # the mug lists black twice
    assert len({task.id for task in env.tasks}) == len(env.tasks) == 8


def test_tasks_are_the_same_in_another_process_with_another_hash_seed() -> None:
    code = f"import envs; print([t.id for t in envs.make('webshop', catalogue={SMALL!r}).tasks])"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            cwd=Path(envs.__file__).parents[1],
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_the_digest_follows_what_decides_an_episode() -> None:
    variants = [
        small(),
        small(mode="text_rich"),
        small(anchor="state"),
        small(max_steps=3),
        small(price_seed=1),
        small(compat=False),
        WebShopEnv(catalogue="generated:1:60", split="all"),
    ]
    assert len({env.digest for env in variants}) == len(variants)
    assert small().digest == WebShopEnv(catalogue=SMALL, split="test").digest


def test_the_noun_table_beside_the_files_is_used_and_said(write_catalogue: Write) -> None:
    folder = write_catalogue()
    with_rule = WebShopEnv(goals="synthetic", data=folder, split="all")
    assert any("by rule" in note for note in with_rule.notes)
    table = folder.parent / "table.json"
    table.write_text(json.dumps({f"B00000000{k}": ["thing"] for k in (1, 2, 3, 4)}))
    with_table = WebShopEnv(goals="synthetic", data=folder, split="all", noun_table=table)
    assert any("table.json" in note for note in with_table.notes)
    assert with_table.digest != with_rule.digest


def test_changed_files_are_read_again_in_the_same_process(write_catalogue: Write) -> None:
    before = WebShopEnv(goals="synthetic", data=write_catalogue(), split="all")
    after = WebShopEnv(goals="synthetic", data=write_catalogue(items=[LAMP]), split="all")
    assert (len(before.tasks), len(after.tasks)) == (8, 1)


def test_environments_of_one_catalogue_share_it(write_catalogue: Write) -> None:
    folder = write_catalogue()
    synthetic, human = (WebShopEnv(goals=goals, data=folder, split="all") for goals in ("synthetic", "human"))
    assert synthetic.shop.catalogue is human.shop.catalogue
    assert WebShopEnv("text_rich", "synthetic", "all", data=folder).shop is synthetic.shop


@pytest.mark.parametrize("content", [None, "{", "[]", '{"B000000001": ["x"]}', '{"B000000001": "x"}'])
def test_a_noun_table_that_does_not_fit_is_refused(write_catalogue: Write, tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "nouns.json").write_text(content)
    with pytest.raises(UserError, match=r"noun table .*nouns\.json"):
        WebShopEnv(goals="synthetic", data=write_catalogue(), noun_table=tmp_path / "nouns.json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "html"}, "mode of environment 'webshop' must be one of .*, got 'html'"),
        ({"anchor": "page"}, "anchor of environment 'webshop' must be one of .*, got 'page'"),
        ({"goals": "humans"}, "goals of .* must be one of .*, got 'humans': did you mean human"),
        ({"split": "valid"}, "unknown split 'valid'"),
        ({"protocol": "leaky"}, "protocol of .* must be one of .*, got 'leaky'"),
        ({"catalogue": "2000"}, "unknown catalogue '2000'"),
        ({"catalogue": "generated:0"}, "generated:SEED:PRODUCTS"),
        ({"catalogue": "generated:0:0"}, "1 to 100000 products"),
        ({"goals": "human", "catalogue": SMALL}, "no human goals"),
        ({"catalogue": "1000"}, "use goals='synthetic' or 'human'"),
        ({"goals": "synthetic"}, "agentbench install webshop"),
        ({"max_steps": 0}, "max_steps of .* must be a whole number from 1 to .*, got 0"),
        ({"on_bad": "go on"}, "on_bad of .* must be one of stop, skip, got 'go on'"),
    ],
)
def test_wrong_options_say_what_to_do(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        WebShopEnv(**options)


def test_a_split_without_goals_is_refused(write_catalogue: Write) -> None:
    with pytest.raises(UserError, match=r"split 'dev' has no goals: the catalogue has 1 human goals"):
        WebShopEnv(goals="human", data=write_catalogue(), split="dev")


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(UserError, match="unknown task 'generated:0:60:99999'"):
        small().reset(options={"task": "generated:0:60:99999"})
