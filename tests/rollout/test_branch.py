"""Branches begin exactly where their parents were, whoever plays them, and cost what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from toy_environment import ToyEnv

from agentbench.rollout import Job, PlayOptions, play
from agentbench.rollout.branch import TreeOptions, first_invalid, goes_back, grow, uniform
from agentbench.rollout.contract import Recipe
from agentbench.rollout.pool import Workers
from agentbench.runs.episodes import Episode, from_line, to_line
from agentbench.runs.provenance import stable_seed
from agentbench.runs.trees import whole
from envs import UserError, make
from envs.registry import find
from policies.contract import Policy, Prompt, Response
from policies.registry import make_policy

ENVIRONMENTS = {
    "toy": {"tasks": 4, "max_steps": 8},
    "alfworld": {"split": "generated:3:4", "max_steps": 12},
    "webshop": {"max_steps": 6},
    "appworld": {"max_steps": 4},
}
SEED = 11


class Counting:
    """Plays as another policy does, and keeps what it was asked."""

    name, digest = "counting", "counting-1"

    def __init__(self, inner: Policy) -> None:
        self.inner, self.asked = inner, list[Prompt]()

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        self.asked += prompts
        return self.inner.act(prompts)


def shape(env: str, **settings: Any) -> TreeOptions:
    longest = ENVIRONMENTS[env]["max_steps"]
    assert isinstance(longest, int)
    return TreeOptions(**{"trees": 2, "forks": 2, "rounds": 2, "longest": longest, **settings})


def grown(
    env: str,
    tree: TreeOptions,
    *,
    workers: int = 0,
    policy: Policy | None = None,
    score: Any = None,
    tasks: slice = slice(3),
    **options: Any,
) -> list[Episode]:
    """Play the trees of some tasks, by default at random those of the first three."""
    try:
        chosen = make(env, **ENVIRONMENTS[env]).tasks[tasks]
    except UserError as error:  # AppWorld is installed apart
        pytest.skip(str(error))
    policy = policy or make_policy("random", environment=env)
    with Workers(Recipe(find(env), {**ENVIRONMENTS[env], **options}), inline=workers == 0) as pool:
        playing = PlayOptions(workers=workers or 8, seed=SEED)
        return grow(pool, policy, chosen, tree, playing, score or uniform(SEED))


def by_task(episodes: Sequence[Episode]) -> list[list[Episode]]:
    return [[each for each in episodes if each.task_id == task] for task in dict.fromkeys(e.task_id for e in episodes)]


def lines(episodes: Sequence[Episode]) -> list[str]:
    return [to_line(replace(episode, timing={})) for episode in episodes]


@pytest.mark.parametrize("env", list(ENVIRONMENTS))
def test_every_leaf_replayed_from_the_start_gives_the_same(env: str) -> None:
    episodes = grown(env, shape(env))
    environment = make(env, **ENVIRONMENTS[env])
    branches = 0
    for group in by_task(episodes):
        roots: dict[int, int] = {}
        for episode, course in zip(group, whole(group), strict=True):
            branches += episode.parent is not None
            root = roots[episode.trial] = episode.trial if episode.parent is None else roots[episode.parent]
            seed = stable_seed(SEED, episode.task_id, root)
            observation, info = environment.reset(seed=seed, options={"task": episode.task_name})
            for step in course.steps:
                assert (observation, info["anchor"]) == (step.observation, step.anchor)
                observation, reward, terminated, truncated, info = environment.step(step.action)
                assert (reward, terminated, truncated) == (step.reward, step.terminated, step.truncated)
                assert (info["is_valid"], info["score"]) == (step.is_valid, step.score)
            assert terminated or truncated
            assert (observation, info["anchor"]) == (course.final_observation, course.final_anchor)
            assert from_line(to_line(episode)) == replace(
                episode, steps=[replace(s, trace=None) for s in episode.steps]
            )
    assert branches >= 12
    assert all(step.point is None for episode in episodes for step in episode.steps)


def test_a_tree_without_a_fork_is_a_chain_byte_for_byte() -> None:
    chains: list[Episode] = []
    tasks = make("alfworld", **ENVIRONMENTS["alfworld"]).tasks[:3]
    with Workers(Recipe(find("alfworld"), ENVIRONMENTS["alfworld"]), inline=True) as pool:
        jobs = [Job(task, trial) for task in tasks for trial in range(2)]
        play(
            pool, make_policy("random", environment="alfworld"), jobs, PlayOptions(workers=6, seed=SEED), chains.extend
        )
    chains.sort(key=lambda episode: episode.key)
    assert lines(chains) == lines(grown("alfworld", shape("alfworld", forks=0)))
    # And branches change nothing about the episodes that they go on from.
    forked = grown("alfworld", shape("alfworld"))
    assert lines(chains) == lines([episode for episode in forked if episode.parent is None])


@pytest.mark.parametrize("env", ["toy", "alfworld"])
def test_workers_and_the_way_back_change_nothing(env: str) -> None:
    alone = grown(env, shape(env))
    assert lines(alone) == lines(grown(env, shape(env), workers=2))
    replayed = grown(env, shape(env, snapshots=False), workers=2)
    assert {episode.fork_by for episode in replayed} == {None, "replay"}
    for episode in replayed:
        episode.fork_by = episode.fork_by and "snapshot"
    assert lines(alone) == lines(replayed)


def test_what_is_shared_is_played_and_asked_once() -> None:
    policy = Counting(make_policy("random", environment="alfworld"))
    episodes = grown("alfworld", shape("alfworld"), policy=policy)
    assert len(policy.asked) == sum(len(episode.steps) for episode in episodes)
    starts = {(e.task_id, e.trial): e for e in episodes if e.parent is not None}
    firsts = [prompt for prompt in policy.asked if (prompt.task.id, prompt.trial) in starts]
    for key, episode in starts.items():
        past = [turn.action for turn in min(
            (p for p in firsts if (p.task.id, p.trial) == key), key=lambda p: len(p.history)).history]  # fmt: skip
        (course,) = [each for each in whole([e for e in episodes if e.task_id == key[0]]) if each.trial == key[1]]
        assert past == [step.action for step in course.steps[: episode.fork]]
    assert len({prompt.seed for prompt in policy.asked}) == len(policy.asked), "two steps drew with the same numbers"


@pytest.mark.parametrize("forks", [0, 2])
@pytest.mark.parametrize("budget", [12, 40, 97])
def test_a_budget_is_never_exceeded_and_used_as_far_as_whole_episodes_allow(budget: int, forks: int) -> None:
    tree = shape("alfworld", trees=20 if not forks else 2, forks=forks, rounds=20, budget=budget)
    for group in by_task(grown("alfworld", tree)):
        used = sum(len(episode.steps) for episode in group)
        assert budget - tree.longest < used <= budget or (forks and budget - used < tree.longest)


def test_a_budget_below_one_episode_is_refused() -> None:
    with pytest.raises(UserError, match="step_budget = 11 is below one episode, which may take 12 steps"):
        grown("alfworld", shape("alfworld", budget=11))


def test_no_branch_begins_beyond_the_depth_and_none_twice_at_a_step() -> None:
    episodes = grown("alfworld", shape("alfworld", depth=3, rounds=5))
    forks = [(e.task_id, e.parent, e.fork) for e in episodes if e.parent is not None]
    assert {fork for *_, fork in forks} <= {0, 1, 2} and len(set(forks)) == len(forks)


def test_a_branch_begins_before_the_first_invalid_action() -> None:
    class Dancing(Counting):
        def act(self, prompts: Sequence[Prompt]) -> list[Response]:
            return [Response("dance" if len(p.history) == 2 and p.trial < 2 else "up") for p in prompts]

    policy = Dancing(make_policy("random", environment="toy"))
    episodes = grown(
        "toy", shape("toy", rounds=1, forks=1), policy=policy, score=first_invalid(SEED), tasks=slice(3, 4)
    )
    assert [e.fork for e in episodes if e.parent is not None] == [2, 2]


def test_a_worker_that_dies_costs_nothing(tmp_path: Any) -> None:
    faults = {"faults": {"3": "kill", "2": "kill"}, "times": 2, "folder": str(tmp_path)}
    tree = shape("toy")
    assert lines(grown("toy", tree)) == lines(grown("toy", tree, workers=2, **faults))


def test_an_environment_that_cannot_go_back_is_replayed_and_one_that_cannot_repeat_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment = make("toy", **ENVIRONMENTS["toy"])
    assert goes_back(environment)

    def refuse(self: ToyEnv) -> int:
        raise NotImplementedError

    monkeypatch.setattr(ToyEnv, "_save", refuse)
    assert not goes_back(environment)
    act, calls = ToyEnv._act, iter(range(10**6))

    def restless(self: ToyEnv, action: str) -> Any:
        observation, *rest = act(self, action)
        return (f"{observation}, {next(calls)}", *rest)

    monkeypatch.setattr(ToyEnv, "_act", restless)
    with pytest.raises(UserError, match=r"'toy' has no snapshots and does not repeat an episode.*rollouts = chain"):
        goes_back(environment)
    # One that seemed to repeat and does not: its branches are errors of the machine, never failures of the agent.
    episodes = grown("toy", shape("toy", snapshots=False))
    branches = [episode for episode in episodes if episode.parent is not None and episode.fork]
    assert branches and all(e.outcome == "error" and "does not repeat itself" in (e.error or "") for e in branches)


def test_uniform_scores_are_of_the_seed_and_leave_the_start_to_the_last() -> None:
    episodes = grown("toy", shape("toy", forks=0))
    first, second = uniform(3)(episodes, 0), uniform(4)(episodes, 0)
    assert all((a >= -1).all() and a[0] < 0 and (a[1:] >= 0).all() for a in first)
    assert not np.allclose(first[0], second[0]) and np.allclose(first[0], uniform(3)(episodes, 0)[0])


# -- language models -----------------------------------------------------------------------------------------


def test_the_kept_cache_goes_on_at_a_fork_and_changes_no_answer() -> None:
    pytest.importorskip("transformers", reason="needs transformers: pip install -e '.[language]'")
    import tiny_language as tiny

    tree = shape("alfworld", trees=1, forks=3, rounds=1, longest=5)
    options = {"max_steps": 5}
    with_cache, without = (tiny.policy(cache_mb=size, constrained=True, seed=1) for size in (64, 0))
    found = grown("alfworld", tree, policy=with_cache, tasks=slice(1), **options)
    again = grown("alfworld", tree, policy=without, tasks=slice(1), **options)
    branches = [episode for episode in found if episode.parent is not None]
    assert len(branches) == 3 and all(episode.fork >= 1 for episode in branches)
    actions = [[(episode.key, step.action) for step in episode.steps] for episode in found]
    assert actions == [[(episode.key, step.action) for step in episode.steps] for episode in again]
    assert with_cache.work.prefilled < 0.5 * without.work.prefilled


def test_a_branch_takes_no_token_of_its_beginning_through_the_model_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers", reason="needs transformers: pip install -e '.[language]'")
    import tiny_language as tiny

    from policies.language import policy as language

    asked: dict[bytes, tuple[int, int]] = {}
    decode = language.decode

    def watched(model: Any, requests: Any, *rest: Any) -> Any:
        for each in requests:
            asked[each.ids.tobytes()] = (len(each.ids), each.ends[-1] if each.ends else 0)
        return decode(model, requests, *rest)

    monkeypatch.setattr(language, "decode", watched)
    policy = tiny.policy(cache_mb=64, seed=1)
    found = grown("alfworld", shape("alfworld", trees=2, forks=2, rounds=2, longest=5), policy=policy, max_steps=5)
    forks = [episode.fork for episode in found if episode.parent is not None]
    assert len(forks) >= 8 and sum(fork > 1 for fork in forks) >= 3
    # Every prompt computes what follows the last answer, whose last token was sampled and not yet fed back; a fork at
    # the first step asks the first prompt again, of which the last token is computed for its logits.
    new = sum(tokens - end + (end > 0) for tokens, end in asked.values())
    assert new <= policy.work.prefilled <= new + len(found)
