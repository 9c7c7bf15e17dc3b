"""What an action may be, and what is told of code that does no harm and cannot simply be shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from agentbench.evaluation.evaluate import evaluate
from envs.appworld import AppWorldEnv
from envs.appworld.env import MAX_DEATHS
from policies.contract import Prompt, Response
from policies.prompts.parsing import parse_answer

MakeEnv = Callable[..., AppWorldEnv]
NO_ACTION = [
    "",
    " \n\t",
    "# I am done",
    "```python\n```",
    "~~~\r\n# only a plan\r\n~~~",
    "I am done.",
    "I see:\n```\n\n```",
]


@pytest.mark.parametrize("action", NO_ACTION)
def test_an_answer_without_an_action_is_invalid_and_changes_nothing(make_env: MakeEnv, action: str) -> None:
    env = make_env(anchor="database")
    _, before = env.reset(options={"task": "alarmoff_1"})
    env.step("kept = 1")
    observation, reward, terminated, _, info = env.step(action)
    assert not info["is_valid"] and info["error"] == observation and observation.startswith("Execution failed.")
    assert (reward, terminated) == (0.0, False) and info["anchor"] == before["anchor"]
    assert env.restore(env.snapshot())[1]["is_valid"] is False
    assert env.step("print(kept)")[0] == "1"


@pytest.mark.parametrize("action", ["So:\n```py\r\nprint(7)\r\n```", "~~~\nprint(7)\n~~~", "print(7)\r# seven\r"])
def test_code_is_found_in_an_answer(make_env: MakeEnv, action: str) -> None:
    env = make_env()
    env.reset(options={"task": "alarmoff_1"})
    assert env.step(action)[0] == "7"


HARMLESS = {
    "halves of a character": ("print('\\ud83d\\ude00', '\\ud800')", True, ""),
    "a very long output": ("print('a' * 17_000_000)", True, "left out"),
    "an interrupt": ("raise KeyboardInterrupt", False, "KeyboardInterrupt"),
    "an exception of its own kind": ("class Stop(BaseException): pass\nraise Stop('here')", False, "Stop: here"),
    "an exception with half a character": ("raise Exception('\\ud800')", False, "Exception: ?"),
    "an argument that is no data": ("apis.phone.login(username=object(), password=1)", False, "Traceback"),
    "an answer that is no data": ("apis.supervisor.complete_task(answer=object())", False, "TypeError"),
    "a function of Python's changed": ("import builtins\nbuiltins.len = lambda _: 7", False, ""),
    "the words of a failure": ("print('Execution failed. Or so it says')", True, "so it says"),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_harmless_code_is_told_as_what_it_is_and_is_no_strike(make_env: MakeEnv, case: str) -> None:
    code, is_valid, expected = HARMLESS[case]
    env = make_env()
    env.reset(options={"task": "alarmoff_1"})
    for number in range(MAX_DEATHS + 1):
        observation, _, terminated, _, info = env.step(f"kept{number} = {number}\n{code}")
        assert "ended the interpreter" not in observation and not terminated
        assert expected in observation and info["is_valid"] == is_valid
    assert env.step("print(len([]))")[0] == "0"
    if case != "a function of Python's changed":  # the guard may refuse that before anything is done
        assert env.step(f"print(kept{MAX_DEATHS})")[0] == str(MAX_DEATHS)


@pytest.mark.parametrize("answer", ["float('nan')", "float('-inf')", "'\\ud800'"])
def test_an_answer_that_cannot_be_read_back_ends_the_task_as_a_wrong_one(make_env: MakeEnv, answer: str) -> None:
    env = make_env()
    env.reset(options={"task": "countnotes_1"})
    observation, reward, terminated, _, info = env.step(f"apis.supervisor.complete_task(answer={answer})")
    assert terminated and reward == 0.0 and not info["won"] and "interpreter" not in observation


def test_a_step_after_the_third_strike_is_no_assertion(make_env: MakeEnv) -> None:
    env = make_env(guard=False, step_seconds=4, memory_mb=2048)
    env.reset(options={"task": "alarmoff_1"})
    for _ in range(MAX_DEATHS):
        terminated = env.step("import os\nos._exit(0)")[2]
    assert terminated
    _, reward, terminated, truncated, info = env.step("print(1)")
    assert (reward, terminated, truncated, info["won"]) == (0.0, True, False, False)


def test_info_is_not_shared_between_steps(make_env: MakeEnv) -> None:
    env = make_env()
    _, first = env.reset(options={"task": "alarmoff_1"})
    for name in ("supervisor", "apps"):
        first[name].clear()
    info = env.step("pass")[4]
    assert info["supervisor"] and info["apps"]


class Wordy:
    """Answers in words first, then says with a block that it is done."""

    name = digest = "wordy"

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        texts = ["```\napis.supervisor.complete_task()" if prompt.history else "Let me think." for prompt in prompts]
        parsed = [parse_answer(text, None, cut=True) for text in texts]
        return [Response(each.action, text, {"invalid": each.reason}) for text, each in zip(texts, parsed, strict=True)]


def test_an_answer_without_an_action_counts_as_invalid_in_a_run(make_env: MakeEnv, tmp_path: Path) -> None:
    make_env()
    result = evaluate("appworld", Wordy(), split="mini", out=tmp_path / "run", tasks=["alarmoff_1"], inline=True)
    assert list(result.frame["invalid_actions"]) == [1]
    (episode,) = result.run.read_episodes()
    assert [step.is_valid for step in episode.steps] == [False, True]
    assert [step.details["invalid"] for step in episode.steps] == ["there is no action", "the block was not closed"]
