"""The recipes for trainers that cannot be installed beside the tests, against their published interfaces.

Each stand-in below has the names and the calls that the recipe uses, as the trainer publishes them.
"""

from __future__ import annotations

import asyncio
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import credit

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
MASK = np.array([[1, 1, 0, 1, 0], [1, 0, 1, 1, 1], [0, 0, 0, 0, 0]])
REWARD = np.array([[0, 0, 0, 1, 0], [0, 0, 0, 0, 0.5], [0, 0, 0, 0, 0]])


def install(monkeypatch: pytest.MonkeyPatch, name: str, **contents: Any) -> None:
    """Put a module, and the packages it lies in, where an import finds them."""
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        path = ".".join(parts[:length])
        if path not in sys.modules:
            monkeypatch.setitem(sys.modules, path, ModuleType(path))
    for key, value in contents.items():
        monkeypatch.setattr(sys.modules[name], key, value, raising=False)


@pytest.mark.parametrize("recipe", ["advantages_with_skyrl.py", "advantages_with_prime_rl.py"])
def test_a_recipe_is_short(recipe: str) -> None:
    assert len((EXAMPLES / recipe).read_text(encoding="utf-8").splitlines()) <= 40


def test_skyrl_finds_every_scheme_and_calls_it_as_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="SkyRL's tensors need torch: pip install -e '.[train]'")
    known: dict[str, Any] = {}
    registry = SimpleNamespace(register=known.__setitem__)
    install(monkeypatch, "skyrl.backends.skyrl_train.utils.ppo_utils", AdvantageEstimatorRegistry=registry)
    runpy.run_path(str(EXAMPLES / "advantages_with_skyrl.py"))
    batch = {
        "token_level_rewards": torch.as_tensor(REWARD, dtype=torch.float32),
        "response_mask": torch.as_tensor(MASK),
        "index": np.array(["task", "task", "task"]),
        "values": None,
        "grpo_norm_by_std": True,
        "gamma": 1.0,
        "lambd": 1.0,
        "config": None,
    }
    advantages, returns = known["agentbench_mapo"](**batch)
    table = credit.from_tokens(REWARD, MASK, ["task"] * 3)
    wanted = credit.to_tokens(credit.advantages("mapo", table), MASK)
    assert advantages.dtype == torch.float32 and (advantages == returns).all()
    assert np.allclose(advantages.numpy(), wanted) and len(np.unique(wanted[MASK == 1])) > 2
    with pytest.raises(credit.CreditError, match="needs the column 'state'"):
        known["agentbench_gigpo"](**batch)


def trace(observations: list[str], lengths: list[int], reward: float, **info: Any) -> SimpleNamespace:
    """Make a trace as verifiers records it: observation, answer, observation, answer, ..."""
    nodes: list[SimpleNamespace] = []
    for text, tokens in zip(observations, lengths, strict=True):
        parent = len(nodes) - 1 if nodes else None
        nodes.append(SimpleNamespace(parent=parent, message=SimpleNamespace(content=text), mask=[False] * 2))
        said = SimpleNamespace(content="answer")
        nodes.append(SimpleNamespace(parent=len(nodes) - 1, message=said, mask=[True] * tokens))
    return SimpleNamespace(nodes=nodes, reward=reward, info=info)


def test_prime_rl_gets_the_advantage_of_its_turn_on_every_sampled_token(monkeypatch: pytest.MonkeyPatch) -> None:
    assigned: dict[int, list[float]] = {}
    classes: dict[str, type] = {"grpo": object}
    install(monkeypatch, "prime_rl.orchestrator.algo", ALGORITHM_CLASSES=classes)
    install(
        monkeypatch,
        "prime_rl.orchestrator.algo.base",
        Algorithm=type("Algorithm", (), {}),
        iter_trainable_traces=lambda episodes: ((each, one) for each in episodes for one in each.traces),
    )
    install(
        monkeypatch,
        "prime_rl.orchestrator.algo.routing",
        assign_advantages=lambda one, values: assigned.__setitem__(id(one), values),
    )
    runpy.run_path(str(EXAMPLES / "advantages_with_prime_rl.py"))
    won = trace(["a drawer", "it is open"], [2, 1], 1.0, turn_rewards=[0.25, 0.75])
    lost = trace(["a drawer", "it is locked"], [1, 3], 0.0)
    algorithm = classes["grpo"]()
    asyncio.run(algorithm.score_group([SimpleNamespace(traces=[won]), SimpleNamespace(traces=[lost])]))
    table = {
        "group": [0] * 4,
        "episode": [0, 0, 1, 1],
        "step": [0, 1, 0, 1],
        "reward": [0.25, 0.75, 0.0, 0.0],
        "state": ["a drawer", "it is open", "a drawer", "it is locked"],
    }
    a, b, c, d = credit.advantages("gigpo", pd.DataFrame(table), gamma=0.95)
    assert assigned == {id(won): [a, a, b], id(lost): [c, d, d, d]}
    asyncio.run(algorithm.score_group([]))  # a group without a trainable trace
