"""The mixed policy: how often it is random, and that nothing but the prompt's seed decides."""

import pytest

from envs import Task, UserError
from policies import Prompt, Response, make_policy
from policies.plain.mixed import MixedPolicy


class Steady:
    name, digest = "steady", "steady-1"

    def act(self, prompts):
        return [Response(f"steady {prompt.seed}") for prompt in prompts]


def prompts(count):
    task, info = Task("t", "a task", "Kind", 0), {"admissible_actions": ["a", "b", "c"]}
    return [Prompt(task, "seen", info, (), seed) for seed in range(count)]


def actions(policy, asked):
    return [response.action for response in policy.act(asked)]


def test_the_share_of_random_actions_is_kept():
    chosen = actions(MixedPolicy(Steady(), 0.3), prompts(4000))
    random = [action for action in chosen if not action.startswith("steady")]
    assert 0.27 < len(random) / 4000 < 0.33
    assert all(300 < random.count(action) < 500 for action in "abc")


def test_the_answer_depends_on_the_prompt_alone():
    policy, asked = MixedPolicy(Steady()), prompts(50)
    together = actions(policy, asked)
    assert together == [action for prompt in asked for action in actions(policy, [prompt])]
    assert all(
        action in "abc" or action == f"steady {prompt.seed}" for action, prompt in zip(together, asked, strict=True)
    )


def test_the_ends_of_the_range_are_the_two_policies():
    assert actions(MixedPolicy(Steady(), 0.0), prompts(3)) == ["steady 0", "steady 1", "steady 2"]
    assert set(actions(MixedPolicy(Steady(), 1.0), prompts(30))) == {"a", "b", "c"}
    with pytest.raises(UserError, match=r"must be in \[0, 1\], got 1.5"):
        MixedPolicy(Steady(), 1.5)


def test_it_is_made_by_name_and_its_digest_knows_the_share():
    half, default = make_policy("mixed:0.5", environment="alfworld"), make_policy("mixed", environment="alfworld")
    assert half.digest == default.digest != make_policy("mixed:0.25", environment="alfworld").digest
    with pytest.raises(UserError, match="takes the share of random actions, got 'often'"):
        make_policy("mixed:often", environment="alfworld")
    with pytest.raises(UserError, match="no policy 'mixed' for environment 'toy'"):
        make_policy("mixed", environment="toy")


def test_without_a_list_of_actions_it_says_so():
    prompt = Prompt(Task("t", "a task", "Kind", 0), "seen", {"admissible_actions": None}, (), 0)
    with pytest.raises(UserError, match="task a task gives none"):
        MixedPolicy(Steady(), 1.0).act([prompt])
