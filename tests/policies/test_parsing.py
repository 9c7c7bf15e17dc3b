"""Reading answers: an action or a reason, whatever a model writes."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from policies.parsing import Parsed, parse_answer

HOUSE = ["go to desk 1", "look", "take mug 1 from desk 1"]
SHOP = ["search[<query>]", "click[next >]", "click[size <small>]"]


@pytest.mark.parametrize(
    ("text", "admissible", "action"),
    [
        ("<think>the desk</think><action>go to desk 1</action>", HOUSE, "go to desk 1"),
        ("<action> look\n</action> and then more words", HOUSE, "look"),
        ("the template opened the thinking</think>\n<action>look</action>", HOUSE, "look"),
        ("<think>maybe <action>go to desk 1</action></think><action>look</action>", HOUSE, "look"),
        ("<THINK>x</THINK><Action>LOOK</aCTION>", HOUSE, "look"),
        ("<action>look", HOUSE, "look"),  # a stop string was cut off
        ("look", HOUSE, "look"),
        ("<think>hm</think>\n\nGo to desk 1\n", HOUSE, "go to desk 1"),
        ('<tool_call>\n{"name": "act", "arguments": {"action": "look"}}\n</tool_call>', HOUSE, "look"),
        ('<tool_call>{"name": "act", "arguments": "{\\"action\\": \\"look\\"}"}</tool_call>', HOUSE, "look"),
        ("<action>search[red shoes, size <9>]</action>", SHOP, "search[red shoes, size <9>]"),
        ("<action>Click[Next >]</action>", SHOP, "click[next >]"),
        ("<action>print(1)\nprint(2)</action>", None, "print(1)\nprint(2)"),
        ("Here:\n```python\nprint('<b>')\n```\ndone", None, "print('<b>')"),
        ("```python\nprint('```')\nx = 1\n```", None, "print('```')\nx = 1"),
        ("```python\nprint(1)```\n", None, "print(1)"),
        ("<think>İstanbul ǅ ﬁ</think><action>look</action>", HOUSE, "look"),  # lower case is longer for some letters
    ],
)
def test_what_keeps_the_rules_gives_its_action(text: str, admissible: list[str] | None, action: str) -> None:
    assert parse_answer(text, admissible) == Parsed(action, None)


@pytest.mark.parametrize(
    ("text", "admissible", "action", "reason"),
    [
        ("", HOUSE, "", "the answer is empty"),
        ("<think>done</think>  ", HOUSE, "", "the answer is empty"),
        ("I would rather not.", HOUSE, "", "there is no action"),
        ("I would rather not.", None, "", "there is no action"),
        ("<think>I <action>look</action>", HOUSE, "", "the thinking was not closed"),
        ("<think>a</think><think>b", HOUSE, "", "the thinking was not closed"),
        ("<action></action>", HOUSE, "", "the action is empty"),
        ("<action>fly</action>", HOUSE, "fly", "the action is not admissible"),
        ("<action>go to de", HOUSE, "go to de", "the action is not admissible"),
        ("<action>print(1)", None, "print(1)", "the action was not closed"),
        ("I write:\n```python\nprint(1)\nprint(", None, "print(1)\nprint(", "the block was not closed"),
        ("```\nfirst\n```\nand\n```\nsecond\n```", None, "first", "there are 2 actions, the first counts"),
        ("<action>look</action><action>go to desk 1</action>", HOUSE, "look", "there are 2 actions, the first counts"),
        ("<action>search[<query>]</action>", SHOP, "search[<query>]", "search[<query>] was copied and not filled in"),
        ("<action>search[]</action>", SHOP, "search[]", "the action is not admissible"),
        ("<tool_call>look</tool_call>", HOUSE, "", "the tool call has no argument 'action'"),
        (
            '<tool_call>{"arguments": {"action": 3}}</tool_call>',
            HOUSE,
            "",
            "the action of the tool call is not a string",
        ),
        ('<tool_call>{"arguments": [1]}</tool_call>', HOUSE, "", "the tool call has no argument 'action'"),
        ("<tool_call>" + "[" * 100_000, HOUSE, "", "the tool call has no argument 'action'"),
    ],
)
def test_what_breaks_the_rules_gives_a_reason(
    text: str, admissible: list[str] | None, action: str, reason: str
) -> None:
    assert parse_answer(text, admissible) == Parsed(action, reason)


PIECES = st.sampled_from(
    ["<think>", "</think>", "<action>", "</action>", "<tool_call>", "</tool_call>", "```", "\n", "look", "{", '"', "İ"]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES | st.text(max_size=8), max_size=12).map("".join), st.sampled_from([HOUSE, SHOP, [], None]))
def test_no_answer_is_a_crash(text: str, admissible: list[str] | None) -> None:
    parsed = parse_answer(text, admissible)
    assert parsed.action == parsed.action.strip()
    if parsed.reason is None:
        assert parsed.action


@settings(max_examples=100, deadline=None)
@given(st.text(min_size=1, max_size=40).map(str.strip).filter(bool), st.text(max_size=40))
def test_any_offered_action_comes_back_from_tags_and_from_a_tool_call(action: str, thought: str) -> None:
    assume("<" not in action and "<" not in thought)
    call = json.dumps({"name": "act", "arguments": {"action": action}})
    assert parse_answer(f"<think>{thought}</think><action>{action}</action>", ["look around", action]).reason is None
    assert parse_answer(f"<tool_call>{call}</tool_call>", None) == Parsed(action, None)
