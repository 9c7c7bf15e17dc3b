"""All that a policy or an environment of ours can have, one of a plug-in can have, and is treated the same."""

import copy
import importlib
import json

import numpy as np
import pandas as pd
import pytest
from plugin_packages import agentbench, install_examples, write_package

from agentbench.analysis.truth.run import make_truth
from envs import ENVIRONMENTS, UserError
from policies import POLICIES, PolicyEntry, make_policy
from policies.contract import (
    CountsUsage,
    CutsPieces,
    KnowsProbabilities,
    SaysWhetherMarkov,
    Submits,
    Trainable,
    is_trainable,
    lacking,
)
from policies.registry import entry_of, place_of

SERVED = """
from concurrent.futures import ThreadPoolExecutor
from policies import PolicyEntry, Response

class Served:
    name, digest, record = "served", "served-1", {"prompts": "as they are"}

    def __init__(self):
        self.pool, self.asked = ThreadPoolExecutor(4), 0

    @property
    def usage(self):
        return f"{self.asked} questions asked" if self.asked else None

    def act(self, prompts):
        raise RuntimeError("each prompt is to be asked on its own")

    def submit(self, prompt):
        self.asked += 1
        return self.pool.submit(lambda: Response(prompt.info["admissible_actions"][0]))

SERVED = PolicyEntry("served", "asks elsewhere", lambda argument, environment: Served(), runs="server")
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = install_examples(tmp_path_factory.mktemp("site"))
    return write_package(folder, "served", {"policies": {"served": "served:SERVED"}}, {"served": SERVED})


def test_a_policy_that_submits_is_asked_prompt_by_prompt_and_its_usage_and_record_are_kept(site, tmp_path):
    run = tmp_path / "run"
    played = agentbench(site, "eval", "--env", "guess", "--policy", "served", "--largest", 4, "--out", run)
    assert played.returncode == 0, played.stderr
    frame = pd.read_parquet(run / "episodes.parquet")
    assert frame["outcome"].eq("success").all()
    assert f"{frame['steps'].sum()} questions asked" in played.stderr
    assert json.loads((run / "run.json").read_text())["policy_record"] == {"prompts": "as they are"}
    # Two tasks are a pair: the rate of whole scenarios is told for guessing as it is for AppWorld.
    shown = agentbench(site, "show", run)
    assert "Scenario Goal Completion, overall: 100.0%" in shown.stdout and "%] of 2" in shown.stdout


@pytest.fixture
def registered(site, monkeypatch):
    """Have the examples in this process too: many processes are slow where many run."""
    monkeypatch.syspath_prepend(site)
    monkeypatch.setitem(ENVIRONMENTS, "guess", importlib.import_module("example_states").GUESS)
    monkeypatch.setitem(POLICIES, "halve", importlib.import_module("example_policy").HALVE)


def test_an_environment_that_counts_its_states_has_exact_advantages(registered, tmp_path):
    settings = {"env": "guess", "policy": "halve:0.4", "group_size": 4, "env_options": {"largest": 4, "max_steps": 2}}
    one = make_truth(tmp_path / "exact", method="exact", **settings)
    two = make_truth(tmp_path / "branched", method="monte-carlo", rollouts=64, **settings)
    assert one["method"].eq("exact").all() and one["true_advantage"].abs().max() > 0.5
    assert one["probabilities"].map(sum).sub(1).abs().max() < 1e-12
    error, spread = two["true_advantage"] - one["true_advantage"], two["standard_error"]
    assert (error.abs() <= 4.5 * spread + 0.1).all()


def test_a_trainable_policy_is_trained_saved_and_evaluated(registered, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    from agentbench.train.config import TrainConfig
    from agentbench.train.run import train

    monkeypatch.setitem(POLICIES, "places", importlib.import_module("example_trainable").PLACES)
    settings = {"env": "guess", "split": "all", "policy": "places", "scheme": "grpo", "value_coefficient": 0.0}
    size = {"steps": 2, "tasks_per_step": 4, "group_size": 4, "learning_rate": 0.1, "eval_split": "all"}
    config = TrainConfig(**settings, **size, env_options={"max_steps": 2})
    train(config, tmp_path)
    *_, last = (json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert last["step"] == 2 and "value_loss" not in last and "eval/success" in last
    learned = make_policy(str(tmp_path), environment="guess")
    assert type(learned).__name__ == "PlacesPolicy" and learned.module.weight.abs().max() > 0
    with pytest.raises(UserError, match="lora = 4 is for language models"):
        train(TrainConfig(**settings, **size, lora=4), tmp_path / "other")


def test_every_further_feature_is_asked_for_by_training(registered, tmp_path, monkeypatch):
    """Whole episodes in pieces, forgetting, a frozen reference, adapters, files beside the weights."""
    pytest.importorskip("torch")
    from agentbench.train.config import TrainConfig
    from agentbench.train.run import train

    example = importlib.import_module("example_trainable")
    asked: list[str] = []

    class Full(example.PlacesPolicy):
        name, adapters = "full", 0

        def pieces(self, traces, budget):
            asked.append("pieces")
            return [np.array([place]) for place in range(len(traces))]

        def forget_computed(self):
            asked.append("forget_computed")

        def reference(self):
            asked.append("reference")
            return copy.deepcopy(self)

        def with_adapters(self, rank, source):
            asked.append(f"with_adapters {rank}")
            adapted = copy.deepcopy(self)
            adapted.adapters = rank
            return adapted

        def save_companions(self, folder):
            (folder / "companion.txt").write_text("beside the weights")

    def load(folder, settings, weights, options):
        policy = Full(**settings)
        policy.module.load_state_dict(weights)
        return policy

    entry = PolicyEntry("full", "has it all", lambda argument, environment: Full(), load=load)
    monkeypatch.setitem(POLICIES, "full", entry)
    settings = {"env": "guess", "split": "all", "scheme": "grpo", "value_coefficient": 0.0, "steps": 1}
    settings |= {"tasks_per_step": 4, "group_size": 2, "env_options": {"max_steps": 2}}
    train(TrainConfig(policy="full", kl_coefficient=0.1, **settings), tmp_path / "first")
    assert set(asked) == {"pieces", "forget_computed", "reference"}
    assert [file.read_text() for file in tmp_path.glob("first/policy/companion.txt")] == ["beside the weights"]
    asked.clear()
    train(TrainConfig(policy=str(tmp_path / "first"), lora=4, **settings), tmp_path / "second")
    assert "with_adapters 4" in asked


def test_facts_are_listed(site):
    listed = agentbench(site, "policies").stdout
    assert "draws an action by its place; can be trained" in listed and "asks elsewhere  [behind a server]" in listed
    assert "guess a hidden number  [agentbench/guess-v0; tasks come in scenarios; exact advantages]" in (
        agentbench(site, "envs").stdout
    )


def test_features_are_what_an_object_has():
    policy = make_policy("random", environment="alfworld")
    assert isinstance(policy, KnowsProbabilities) and isinstance(policy, SaysWhetherMarkov)
    assert not isinstance(policy, Submits) and not isinstance(policy, CountsUsage) and not is_trainable(policy)
    assert {"likelihood", "sampled", "with_temperature", "has_critic"} <= set(lacking(policy, Trainable))


def test_the_scorer_is_trainable_and_leaves_the_cutting_of_batches_to_the_trainer():
    pytest.importorskip("torch")
    scorer = make_policy("scorer", environment="alfworld")
    assert is_trainable(scorer) and lacking(scorer, Trainable) == [] and not isinstance(scorer, CutsPieces)


def test_entries_say_where_a_policy_runs(tmp_path):
    specs = ("random", "openai:some-model", "vllm:some-model", "nobody")
    assert [place_of(spec) for spec in specs] == ["here", "server", "engine", "here"]
    assert entry_of("nobody") is None
