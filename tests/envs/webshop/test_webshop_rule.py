"""The rule agent: reads either mode, chooses what the instruction names, and beats a random shopper."""

from __future__ import annotations

from typing import Any

import pytest

from envs.webshop import WebShopEnv
from policies.contract import Policy, Prompt, Turn
from policies.experts.webshop import WebshopRule, mentioned_options, page_lines, query_of
from policies.plain.random_policy import RandomPolicy


def play(env: WebShopEnv, policy: Policy, task: Any) -> tuple[float, list[str]]:
    observation, info = env.reset(options={"task": task.id})
    history: list[Turn] = []
    while True:
        response = policy.act([Prompt(task, observation, info, history, seed=len(history))])[0]
        history.append(Turn(observation, response.action))
        observation, _, terminated, truncated, info = env.step(response.action)
        if terminated or truncated:
            return info["score"], [turn.action for turn in history]


def test_it_plays_the_same_in_both_modes_and_well_above_chance() -> None:
    modes = [WebShopEnv(mode=mode, split="test") for mode in ("text", "text_rich")]
    scores = {"rule": 0.0, "random": 0.0}
    for task in modes[0].tasks[::10]:
        (score, actions), other = (play(env, WebshopRule(), task) for env in modes)
        assert (score, actions) == other
        scores["rule"] += score
        scores["random"] += play(modes[0], RandomPolicy(), task)[0]
    assert scores["rule"] > 2 * scores["random"]


def test_it_buys_after_choosing_each_named_option_once() -> None:
    env = WebShopEnv(split="test")
    task = next(t for t, goal in zip(env.tasks, env.goals, strict=True) if len(goal.options) == 2)
    _, actions = play(env, WebshopRule(), task)
    assert actions[0].startswith("search[")
    assert actions[-1] == "click[buy now]"
    assert len(set(actions)) == len(actions)


@pytest.mark.parametrize(
    ("wish", "chosen"),
    [
        ("a dark red shirt in x-large", ["dark red", "x-large"]),
        ("a red shirt, large", ["red", "large"]),
        ("a shirt", []),
        ("an extra-largesse of redness", []),
    ],
)
def test_the_longest_named_value_of_each_option_is_chosen(wish: str, chosen: list[str]) -> None:
    page = "Instruction: [SEP] x [SEP] Back to Search [SEP] < Prev [SEP] color [SEP] red [SEP] dark red [SEP] size "
    page += "[SEP] large [SEP] x-large [SEP] A Shirt [SEP] Price: $5.0 [SEP] Rating: N.A. [SEP] Buy Now"
    names = ["back to search", "< prev", "buy now", "red", "dark red", "large", "x-large"]
    assert mentioned_options(page_lines(page), names, wish) == chosen


@pytest.mark.parametrize(
    ("instruction", "query"),
    [
        ("Find me red shoes with laces, and price lower than 40.00 dollars", "red shoes with laces"),
        ("i want [new] shoes", "i want new shoes"),
        ("", "product"),
    ],
)
def test_the_query_is_the_instruction_without_its_clauses(instruction: str, query: str) -> None:
    assert query_of(instruction) == query


def test_a_search_without_a_hit_is_tried_again_shorter() -> None:
    env = WebShopEnv(split="test")
    task = env.tasks[0]
    observation, info = env.reset(options={"task": task.id})
    empty, *_, info_empty = env.step("search[zzzz]")
    first = WebshopRule().act([Prompt(task, observation, info, [], 0)])[0].action
    again = WebshopRule().act([Prompt(task, empty, info_empty, [Turn(observation, first)], 0)])[0].action
    assert again.startswith("search[")
    assert first.startswith(again.removesuffix("]"))
    assert len(again) < len(first)
