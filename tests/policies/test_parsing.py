"""Reading answers: an action or a reason, whatever a model writes."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from policies.prompts.parsing import ParsedAnswer, parse_answer

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
    assert parse_answer(text, admissible) == ParsedAnswer(action, None)


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
        ("<action>go to de", HOUSE, "", "the action was not closed"),
        ("<action>print(1)", None, "", "the action was not closed"),
        ("I go there.\n<acti", HOUSE, "", "there is no action"),
        ("I go there.\n<acti", None, "", "there is no action"),
        ("<action></action> <action> \n</action>", HOUSE, "", "the action is empty"),
        ("<action>...</action>", HOUSE, "", "the action is empty"),
        ("<action>your action here</action>", None, "", "the action is empty"),
        ("```python\n```", None, "", "there is no action"),
        ("```python\n# first I look\n```", None, "# first I look", "there are only comments"),
        ("```\nprint(1)\n```\n~~~\nprint(2)\n~~~", None, "print(1)", "there are 2 actions, the first counts"),
        ("<action>```python\n\n```</action>", None, "", "the action is empty"),
        ("<think>so\n```python\nprint(1)\n```\n</think>I am done.", None, "", "there is no action"),
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
    assert parse_answer(text, admissible) == ParsedAnswer(action, reason)


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("Inside <action></action>, as told: <action>look</action>", "look"),
        ("I answer within <action> </action> tags.\n<action>look</action>", "look"),
        ("The form is <action>...</action>. <action>look</action>", "look"),
        ("Between <action> and </action>: <action>look</action>", "look"),
        ("<action>YOUR ACTION HERE</action><action>look</action>", "look"),
        ("<action><action>look</action></action>", "look"),
        ("<action>\n<Action >look</ACTION >", "look"),
        ("look</action>", "look"),
        ("</action><action>look</action>", "look"),
        ("<action>look</act", "look"),  # only the end of its tag is missing
        ("<action></action>\nlook", "look"),
        ("<thinking>or <action>go to desk 1</action></thinking><action>look</action>", "look"),
    ],
)
def test_tags_that_repeat_the_instruction_or_are_left_over_are_passed_over(text: str, action: str) -> None:
    assert parse_answer(text, HOUSE) == ParsedAnswer(action, None)


def test_what_looks_like_a_placeholder_is_an_action_where_it_is_offered() -> None:
    assert parse_answer("<action>action</action>", ["action"]) == ParsedAnswer("action", None)


def test_an_action_in_an_open_tag_counts_only_where_the_answer_was_not_cut() -> None:
    rooms = ["go to desk 1", "go to desk 12"]
    assert parse_answer("<action>go to desk 1", rooms, cut=False) == ParsedAnswer("go to desk 1", None)
    assert parse_answer("<action>go to desk 1", rooms, cut=True) == ParsedAnswer(
        "", "the answer was cut within the action"
    )
    assert parse_answer("<action>SELECT 1", None, cut=False) == ParsedAnswer("SELECT 1", "the action was not closed")
    assert parse_answer("<action>SELECT 1", None, cut=True).action == ""
    assert parse_answer("<action>go to desk 1</acti", rooms, cut=True) == ParsedAnswer("go to desk 1", None)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "answer",
    [
        "```python\nx = 1\nprint(x)\n```",
        "So:\n\n```py\nx = 1\nprint(x)\n```\n\nThat is all.",
        "```Python3\nx = 1\nprint(x)\n```",
        '``` python title="step.py" linenos\nx = 1\nprint(x)\n```',
        "```{.python .numberLines}\nx = 1\nprint(x)\n```",
        "```\nx = 1\nprint(x)\n```",
        "I write:```python\nx = 1\nprint(x)```",
        "~~~python\nx = 1\nprint(x)\n~~~",
        "`````python\nx = 1\nprint(x)\n`````",
        "1. Do this:\n\n   ```python\n   x = 1\n   print(x)\n   ```\n2. Look.",
        "\t```python\n\tx = 1\n\tprint(x)\n\t```",
        "```python\n    x = 1\n    print(x)\n```",
        "```\n```python\nx = 1\nprint(x)\n```\n```",
        "````markdown\nMy step:\n```python\nx = 1\nprint(x)\n```\n````",
        "```python\n\n```\n```python\nx = 1\nprint(x)\n```",
        "```python\n# a plan\n```\n```python\nx = 1\nprint(x)\n```",
        '```json\n{"plan": 1}\n```\n```python\nx = 1\nprint(x)\n```',
        "```python\nx = 1\nprint(x)\n```\nIt prints:\n```\n1\n```",
        "<think>```python\nprint(0)\n```</think>```python\nx = 1\nprint(x)\n```",
        "<action>\n    x = 1\n    print(x)\n</action>",
        "<action>```python\nx = 1\nprint(x)\n```</action>",
        "<action></action>\n```python\nx = 1\nprint(x)\n```",
    ],
)
def test_code_is_found_as_models_write_it(answer: str, newline: str) -> None:
    assert parse_answer(answer.replace("\n", newline), None) == ParsedAnswer("x = 1\nprint(x)", None)


def test_a_fence_in_a_string_of_the_code_closes_nothing() -> None:
    code = 'note = """\n```\nquoted\n```\n"""\nprint(note)'
    assert parse_answer(f"```python\n{code}\n```\nDone.", None) == ParsedAnswer(code, None)
    assert parse_answer("```python\nprint('one')\n```", None) == ParsedAnswer("print('one')", None)


def test_code_on_the_line_of_its_fences_is_code() -> None:
    assert parse_answer("```python print(1)```", None) == ParsedAnswer("print(1)", None)


@pytest.mark.parametrize("fence", ["```", "~~~~"])
def test_a_block_that_the_end_of_the_answer_cut_is_its_beginning(fence: str) -> None:
    answer = f"I write:\n{fence}python\nprint(1)\nprint("
    for cut in (None, True, False):
        assert parse_answer(answer, None, cut=cut) == ParsedAnswer("print(1)\nprint(", "the block was not closed")


PIECES = st.sampled_from(
    [
        "<think>",
        "</think>",
        "<action>",
        "</action>",
        "<tool_call>",
        "</tool_call>",
        "```",
        "~~~",
        "\n",
        "\r",
        "look",
        "{",
        '"',
        "İ",
    ]
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
    assert parse_answer(f"<tool_call>{call}</tool_call>", None) == ParsedAnswer(action, None)
