"""The messages that a language model is sent: they only grow, or show a window, and always fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.base.errors import UserError
from envs.contract import Task
from policies.contract import Prompt, Turn
from policies.prompts import ContextTooLong, Message, build_messages, fit_messages, make_settings

TASK = Task("id", "name", "type", 0)


def prompt(steps: int, text: bool = True) -> Prompt:
    """Return the prompt after some steps of an episode; the actions offered differ from step to step."""
    turns = [
        Turn(f"saw {k}", f"do {k}", f"<think>why {k}</think><action>do {k}</action>", (f"do {k}", "look"))
        for k in range(1, steps + 1)
    ]
    if not text:
        turns = [Turn(turn.observation, turn.action) for turn in turns]
    info = {"instruction": "find the mug", "admissible_actions": [f"do {steps + 1}", "look"]}
    return Prompt(TASK, f"saw {steps + 1}", info, turns, seed=0)


def length(messages: Sequence[Message]) -> int:
    return sum(len(message["content"]) for message in messages)


@pytest.mark.parametrize("environment", ["alfworld", "webshop", "anything"])
def test_a_conversation_only_grows(environment: str) -> None:
    wanted = make_settings(environment)
    before = build_messages(prompt(0), wanted)
    assert [message["role"] for message in before] == ["system", "user"]
    for steps in range(1, 5):
        now = build_messages(prompt(steps), wanted)
        answer = f"<think>why {steps}</think><action>do {steps}</action>"
        assert now[:-1] == [*before, {"role": "assistant", "content": answer}]
        assert f"saw {steps + 1}" in now[-1]["content"] and f"- do {steps + 1}\n- look" in now[-1]["content"]
        before = now
    assert sum("find the mug" in message["content"] for message in before) == 1


def test_a_window_shows_the_last_steps_and_the_task_in_one_message() -> None:
    system, user = build_messages(prompt(5), make_settings("alfworld", history=2))
    assert (system["role"], user["role"]) == ("system", "user")
    told = user["content"]
    assert told.startswith("Task: find the mug")
    assert [f"saw {k}" in told for k in range(1, 7)] == [False, False, False, True, True, True]
    assert "Action 5: do 5" in told and "Steps before 4 are left out" in told and "why" not in told
    _, alone = build_messages(prompt(5), make_settings("alfworld", history=0))
    assert "saw 5" not in alone["content"] and "saw 6" in alone["content"]
    _, early = build_messages(prompt(1), make_settings("alfworld", history=2))
    assert "left out" not in early["content"]


def test_thinking_and_the_list_of_actions_can_be_turned_off() -> None:
    with_all = build_messages(prompt(1), make_settings("webshop"))
    without = build_messages(prompt(1), make_settings("webshop", thinking=False, show_actions=False))
    assert all("<think>" in message["content"] for message in with_all)
    assert not any("<think>" in without[k]["content"] for k in (0, 1, 3))
    assert "Admissible" in with_all[-1]["content"] and "Admissible" not in without[-1]["content"]


def test_actions_that_cannot_be_listed_are_not_mentioned() -> None:
    free = Prompt(TASK, "saw", {"instruction": "t", "admissible_actions": None}, [Turn("a", "b")], seed=0)
    messages = build_messages(free, make_settings("anything"))
    assert not any("Admissible" in message["content"] for message in messages[1:])


def test_an_action_of_another_policy_is_put_into_tags() -> None:
    assert build_messages(prompt(1, text=False), make_settings("alfworld"))[2]["content"] == "<action>do 1</action>"


def test_what_an_observation_says_is_never_read_as_a_template() -> None:
    sly = Prompt(TASK, "{{ task }} {% raw %} <b>&", {"instruction": "t", "admissible_actions": None}, [], seed=0)
    assert "{{ task }} {% raw %} <b>&" in build_messages(sly, make_settings("alfworld"))[-1]["content"]


# -- the context limit ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("history", ["all", 4])
def test_the_oldest_steps_go_first_and_the_task_never(history: Any) -> None:
    wanted = make_settings("alfworld", history=history)
    whole = length(build_messages(prompt(6), wanted))
    fitted = fit_messages(prompt(6), wanted, length, whole - 1)
    shown = "".join(message["content"] for message in fitted.messages)
    oldest = 1 if history == "all" else 3
    assert fitted.left_out == 1 and length(fitted.messages) < whole
    assert f"saw {oldest}" not in shown and f"saw {oldest + 1}" in shown and "saw 7" in shown
    assert "Task: find the mug" in fitted.messages[1]["content"]
    assert f"Steps before {oldest + 1} are left out" in fitted.messages[1]["content"]


def test_without_need_nothing_is_cut() -> None:
    wanted = make_settings("alfworld")
    for limit in (None, length(build_messages(prompt(3), wanted))):
        fitted = fit_messages(prompt(3), wanted, length, limit)
        assert fitted.left_out == 0 and fitted.messages == build_messages(prompt(3), wanted)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 12), st.sampled_from(["all", 0, 1, 3, 20]), st.integers(1, 6000))
def test_what_is_sent_fits_and_nothing_is_cut_in_vain(steps: int, history: Any, limit: int) -> None:
    wanted = make_settings("webshop", history=history)
    try:
        fitted = fit_messages(prompt(steps), wanted, length, limit)
    except ContextTooLong:
        assert length(build_messages(prompt(steps), wanted, steps)) > limit
        return
    assert length(fitted.messages) <= limit
    assert fitted.messages[0]["role"] == "system" and "find the mug" in fitted.messages[1]["content"]
    assert f"saw {steps + 1}" in fitted.messages[-1]["content"]
    if fitted.left_out:
        hidden = 0 if history == "all" else max(0, steps - history)
        assert length(build_messages(prompt(steps), wanted, hidden + fitted.left_out - 1)) > limit


# -- templates from a file -------------------------------------------------------------------------------------


def test_a_file_replaces_the_texts(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("user = '''{{ task }}|{{ observation }}|{{ actions | join(',') }}'''\n")
    mine = make_settings("alfworld", template=path)
    system, user, *_ = build_messages(prompt(0), mine)
    assert user["content"] == "find the mug|saw 1|do 1,look"
    assert system == build_messages(prompt(0), make_settings("alfworld"))[0]
    assert mine.as_dict() != make_settings("alfworld").as_dict()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("user = '{{ observation }'", "is wrong"),
        ("user = '{{ observaton }}'", "is wrong: 'observaton' is undefined"),
        ("user = 'nothing'", "never shows the observation"),
        ("users = 'x'", "did you mean user"),
        ("user = 3", "must be a string"),
        ("user = ", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_template_is_told_before_anything_is_played(tmp_path: Path, text: str | None, problem: str) -> None:
    path = tmp_path / "mine.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=problem):
        make_settings("alfworld", template=path)


@pytest.mark.parametrize("history", [-1, "some", True, 1.5])
def test_a_history_is_a_number_of_steps_or_all(history: Any) -> None:
    with pytest.raises(UserError, match="number of steps or 'all'"):
        make_settings("alfworld", history=history)
