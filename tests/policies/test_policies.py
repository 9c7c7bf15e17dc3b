"""The policies that play any environment, and the list of policies: what they answer, and how they refuse."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from envs import Task, UserError, make
from policies import POLICIES, Policy, Prompt, Turn, make_policy
from policies.plain.human import HumanPolicy
from policies.plain.random_policy import RandomPolicy
from policies.plain.replay import ReplayPolicy
from policies.plain.walkthrough import WalkthroughPolicy

TASK = Task("pick-1", "toy:1", "Pick", 0)
PAST = Turn("a room", "look")


def prompt(seed: int = 0, trial: int = 0, history: tuple[Turn, ...] = (), task: Task = TASK, **info: Any) -> Prompt:
    return Prompt(task, "a room", info, history, seed, trial)


def answer(policy: Policy, question: Prompt) -> str:
    [response] = policy.act([question])
    return response.action


# -- random ----------------------------------------------------------------------------------------------


def test_random_draws_all_actions_equally_often() -> None:
    actions = ["look", "wait", "go north"]
    responses = RandomPolicy().act([prompt(seed, admissible_actions=actions) for seed in range(3000)])
    counts = Counter(response.action for response in responses)
    # Standard deviation of a count is 26: six of them.
    assert set(counts) == set(actions) and all(abs(count - 1000) < 155 for count in counts.values())


def test_random_depends_on_the_prompts_seed_alone() -> None:
    policy, actions = RandomPolicy(), [str(number) for number in range(100)]
    questions = [prompt(seed, admissible_actions=actions) for seed in range(20)]
    forward = [response.action for response in policy.act(questions)]
    backward = [response.action for response in policy.act(questions[::-1])]
    assert forward == backward[::-1] == [answer(RandomPolicy(), question) for question in questions]
    assert len(set(forward)) > 10


@pytest.mark.parametrize("actions", [None, []])
def test_random_refuses_an_environment_that_lists_no_actions(actions: list[str] | None) -> None:
    with pytest.raises(UserError, match=r"needs a list of admissible actions.*toy:1.*choose another policy"):
        answer(RandomPolicy(), prompt(admissible_actions=actions))


# -- walkthrough -------------------------------------------------------------------------------------------


def test_walkthrough_plays_action_i_at_step_i() -> None:
    policy, solution = WalkthroughPolicy(), ("go", "take", "put")
    for step, action in enumerate(solution):
        assert answer(policy, prompt(history=(PAST,) * step, walkthrough=solution)) == action


def test_walkthrough_refuses_without_a_solution_and_after_its_end() -> None:
    with pytest.raises(UserError, match="toy:1 gives none"):
        answer(WalkthroughPolicy(), prompt())
    with pytest.raises(UserError, match="ends after 1 actions"):
        answer(WalkthroughPolicy(), prompt(history=(PAST,), walkthrough=("go",)))


def test_walkthrough_wins_every_generated_game_of_alfworld() -> None:
    env, policy = make("alfworld", split="generated:0:18"), WalkthroughPolicy()
    for task in env.tasks:
        observation, info = env.reset(options={"task": task.id})
        history: list[Turn] = []
        while not info["won"]:
            action = answer(policy, Prompt(task, observation, info, tuple(history), seed=0))
            history.append(Turn(observation, action))
            observation, _, _, truncated, info = env.step(action)
            assert info["is_valid"] and not truncated


# -- replay ------------------------------------------------------------------------------------------------


def test_replay_plays_the_recorded_actions_of_the_same_trial() -> None:
    policy = ReplayPolicy({("pick-1", 0): ["a", "b"], ("pick-1", 1): ["c"]})
    assert answer(policy, prompt()) == "a"
    assert answer(policy, prompt(history=(PAST,))) == "b"
    assert answer(policy, prompt(trial=1)) == "c"


def test_replay_refuses_what_was_not_recorded() -> None:
    policy = ReplayPolicy({("pick-1", 0): ["a"]})
    with pytest.raises(UserError, match=r"trial 1 of task toy:1 .* is not in the replayed run"):
        answer(policy, prompt(trial=1))
    with pytest.raises(UserError, match="recorded with 1 actions"):
        answer(policy, prompt(history=(PAST,)))


def test_replay_reads_a_run_and_passes_over_a_torn_line(tmp_path: Path) -> None:
    lines = [
        {"task_id": "pick-1", "trial": 0, "steps": [{"action": "old"}]},
        {"task_id": "pick-1", "trial": 0, "steps": [{"action": "new"}]},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"task_id": "pick-2", "tri'
    (tmp_path / "episodes.jsonl").write_text(text)
    assert answer(make_policy(f"replay:{tmp_path}", environment="alfworld"), prompt()) == "new"


def test_replay_refuses_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no episodes\.jsonl"):
        ReplayPolicy.from_run(tmp_path)
    (tmp_path / "episodes.jsonl").write_text("\n")
    with pytest.raises(UserError, match="nothing to replay"):
        ReplayPolicy.from_run(tmp_path)


def test_the_digest_of_replay_changes_with_the_actions_and_not_with_their_order() -> None:
    one, two = {("pick-1", 0): ["a"]}, {("pick-2", 0): ["b"]}
    assert ReplayPolicy(one | two).digest == ReplayPolicy(two | one).digest
    assert ReplayPolicy(one).digest != ReplayPolicy({("pick-1", 0): ["b"]}).digest


# -- human -------------------------------------------------------------------------------------------------


def ask_human(monkeypatch: pytest.MonkeyPatch, typed: str, actions: list[str] | None) -> tuple[str, str]:
    """Return the answer of the human policy to what is typed, and what it wrote."""
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    written = io.StringIO()
    chosen = answer(HumanPolicy(Console(file=written, width=80)), prompt(admissible_actions=actions))
    return chosen, written.getvalue()


def test_human_takes_a_number_or_an_action(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, written = ask_human(monkeypatch, "2\n", ["look", "go [north]"])
    assert chosen == "go [north]" and "2 go [north]" in written and "a room" in written
    assert ask_human(monkeypatch, "think hard\n", ["look"])[0] == "think hard"
    assert ask_human(monkeypatch, "7\n", None)[0] == "7"


def test_human_asks_again_after_a_wrong_number_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, written = ask_human(monkeypatch, "\n0\n3\n1\n", ["look", "wait"])
    assert chosen == "look" and written.count("There are 2 actions") == 2


def test_human_says_so_when_the_input_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="the input ended"):
        ask_human(monkeypatch, "", ["look"])


# -- the list ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["random", "walkthrough", "expert", "human"])
def test_policies_are_made_by_name_and_have_their_own_digest(name: str) -> None:
    policy = make_policy(name, environment="alfworld")
    others = [make_policy(other, environment="alfworld") for other in ("random", "walkthrough", "expert", "human")]
    assert policy.name == name == POLICIES[name].name
    assert policy.digest == make_policy(name, environment="alfworld").digest
    assert len({other.digest for other in others}) == len(others)


def test_a_misspelt_policy_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(UserError, match="unknown policy 'experts': did you mean expert"):
        make_policy("experts", environment="alfworld")


def test_an_environment_without_an_expert_is_told_so() -> None:
    with pytest.raises(UserError, match="no policy 'expert' for environment 'webshop', only for alfworld"):
        make_policy("expert", environment="webshop")
    with pytest.raises(UserError, match="no policy 'rule' for environment 'alfworld', only for webshop"):
        make_policy("rule", environment="alfworld")


def test_a_needless_or_missing_argument_is_refused() -> None:
    with pytest.raises(UserError, match="takes no argument, got 'fast'"):
        make_policy("random:fast", environment="alfworld")
    with pytest.raises(UserError, match="write replay:FOLDER"):
        make_policy("replay", environment="alfworld")
