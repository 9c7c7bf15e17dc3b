"""Steps whose advantage is 0 are not scored, and the update is the one in which they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")
pytest.importorskip("transformers", reason="language models need transformers: pip install -e '.[language]'")

import tiny_language as tiny  # noqa: E402

from agentbench.train.batch import Batch  # noqa: E402
from agentbench.train.config import TrainConfig  # noqa: E402
from agentbench.train.update import update  # noqa: E402
from policies.scorer import ScorerPolicy  # noqa: E402

EPISODE = np.repeat(np.arange(4), 3)
EQUAL_GROUP = np.array([0, 0, 0, 0, 0, 0, 1.0, 1.0, 1.0, -0.5, -0.5, -0.5])
SINGLE_STEPS = np.array([0, 0.5, 0, 0, 0, 0, 1.0, 0, -2.0, 0, 0, 0])


@pytest.fixture(scope="module", name="traces")
def play_traces() -> list[Any]:
    return list(tiny.traces(tiny.play(tiny.policy(), range(4), turns=3)))


def improve(
    traces: list[Any], advantages: Any, times: int = 1, **settings: Any
) -> tuple[dict[str, float], Any, list[int]]:
    """Update a policy; return the metrics, its weights, and how many steps each forward pass scored."""
    player = tiny.policy()
    scored: list[int] = []
    likelihood = player.likelihood

    def counted(those: Sequence[Any]) -> Any:
        scored.append(len(those))
        return likelihood(those)

    player.likelihood = counted  # type: ignore[method-assign]
    config = TrainConfig(env="alfworld", **{"minibatches": 1, "learning_rate": 1e-3, **settings})
    tokens = np.array([trace.tokens for trace in traces], np.int64)
    batch = Batch(traces, advantages, advantages, EPISODE, tokens, table=None)  # type: ignore[arg-type]
    optimizer = torch.optim.SGD(player.module.parameters(), lr=1e-3, momentum=0.9)
    reference = tiny.policy() if config.kl_coefficient else None
    for step in range(times):
        found = update(player, optimizer, batch, config, step, reference)
    return found, [each.detach().clone() for each in player.module.parameters()], scored


@pytest.mark.parametrize("advantages", [EQUAL_GROUP, SINGLE_STEPS])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"aggregation": "token"},
        {"aggregation": "episode", "ratio": "step"},
        {"ratio": "sequence"},
        {"minibatches": 4, "epochs": 2},
        {"token_budget": 1},
    ],
)
def test_the_update_is_the_same_for_less_work(traces: list[Any], advantages: Any, settings: dict[str, Any]) -> None:
    few, own, scored = improve(traces, advantages, times=2, **settings)
    all_, other, every = improve(traces, advantages, times=2, skip_zero_advantages=False, **settings)
    assert sum(scored) < sum(every)
    for name in ("loss", "policy", "grad_norm", "clip_share"):
        assert few[name] == pytest.approx(all_[name], abs=1e-5), name
    for one, two in zip(own, other, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)
    assert 0 < few["scored_share"] < 1 and "scored_share" not in all_


def test_means_are_those_of_the_steps_that_were_scored(traces: list[Any]) -> None:
    rows = np.flatnonzero(EQUAL_GROUP)
    few, _, scored = improve(traces, EQUAL_GROUP)
    assert scored == [len(rows)] and few["scored_share"] == 0.5
    alone = np.where(EQUAL_GROUP == 0, 0.0, 1.0)
    player = tiny.policy()
    with torch.no_grad():
        judged = player.likelihood([traces[row] for row in rows])
    by_hand = float((judged.entropy.sum(1) / judged.mask.sum(1)).mean())
    assert alone.sum() == len(rows) and few["entropy"] == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.parametrize(
    "settings", [{"entropy_coefficient": 0.01}, {"kl_coefficient": 0.1}, {"skip_zero_advantages": False}]
)
def test_where_every_step_has_a_gradient_all_are_scored(traces: list[Any], settings: dict[str, Any]) -> None:
    found, _, scored = improve(traces, EQUAL_GROUP, **settings)
    assert scored == [len(traces)] and "scored_share" not in found


def test_a_batch_without_advantages_moves_nothing(traces: list[Any]) -> None:
    found, weights, scored = improve(traces, np.zeros(len(traces)))
    assert scored == [1] and found["grad_norm"] == 0 and found["loss"] == 0
    for one, two in zip(weights, tiny.policy().module.parameters(), strict=True):
        assert torch.equal(one, two)


def test_small_networks_score_all_unless_asked() -> None:
    assert TrainConfig().skip_zero_advantages is None
    assert not hasattr(ScorerPolicy(seed=0), "pieces"), "the default asks whether a policy cuts pieces itself"
