"""Policies that say how likely their answers are: the answers come that often."""

from collections import Counter

import numpy as np
import pytest

from envs.registry import make
from policies import Prompt, make_policy


@pytest.mark.parametrize("spec", ["random", "mixed:0.3", "guided:5"])
def test_answers_come_as_often_as_the_policy_says(spec):
    environment = make("alfworld", split="generated:0:1:small")
    observation, info = environment.reset(seed=0)
    policy = make_policy(spec, environment="alfworld")
    draws = 3000
    seeds = np.random.default_rng(0).integers(2**62, size=draws)
    prompts = [Prompt(environment.tasks[0], observation, info, (), int(seed)) for seed in seeds]
    expected = np.array(policy.probabilities(prompts[0]))
    assert expected.sum() == pytest.approx(1) and len(expected) == len(info["admissible_actions"])
    counted = Counter(response.action for response in policy.act(prompts))
    found = np.array([counted[action] / draws for action in info["admissible_actions"]])
    assert (np.abs(found - expected) < 4.5 * np.sqrt(expected * (1 - expected) / draws) + 1e-9).all()


def test_only_policies_without_a_memory_are_markov():
    known = {spec: make_policy(spec, environment="alfworld").is_markov for spec in ("random", "guided", "mixed")}
    assert known == {"random": True, "guided": True, "mixed": False}


def test_the_scorer_says_what_it_draws_with():
    pytest.importorskip("torch")
    environment = make("alfworld", split="generated:0:1:small")
    observation, info = environment.reset(seed=0)
    policy = make_policy("scorer", environment="alfworld")
    prompt = Prompt(environment.tasks[0], observation, info, (), 12345)
    response = policy.act([prompt])[0]
    chances = dict(zip(info["admissible_actions"], policy.probabilities(prompt), strict=True))
    assert sum(chances.values()) == pytest.approx(1)
    assert np.log(chances[response.action]) == pytest.approx(response.details["log_prob"], abs=1e-5)
