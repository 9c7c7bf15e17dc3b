"""The twelve configurations on a pretended GPU: as on the processor, without a stray tensor, with few waits.

The counts are bounds with a little room above what was measured: one operation more a row or a layer breaks them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")
pytest.importorskip("transformers", reason="language models need transformers: pip install -e '.[language]'")
pytest.importorskip("peft", reason="adapters need peft: pip install -e '.[language]'")

import tiny_language as tiny  # noqa: E402
from pretended_device import Counts, PretendedDevice  # noqa: E402
from twelve_configurations import CONFIGURATIONS, configuration, run, save_model  # noqa: E402

from agentbench.train.batch import Batch  # noqa: E402
from agentbench.train.gap import correct_batch  # noqa: E402
from agentbench.train.run import estimate  # noqa: E402
from policies.registry import load_policy  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("name", [*CONFIGURATIONS])
def test_it_trains_evaluates_stops_and_goes_on_as_on_the_processor(tmp_path: Path, model: Path, name: str) -> None:
    config = configuration(name, model, "cuda")
    # A captured step reads more columns, of weight 0, so its sums are rounded otherwise. Two configurations enlarge
    # that: 8 bits of fraction, and rewards that in the first step are the rounding of a KL term, over its deviation.
    if not (has_graphs := name not in ("bfloat16", "kl-in-reward")):
        config = config.model_copy(update={"policy_options": {**config.policy_options, "cuda_graphs": False}})
    with PretendedDevice() as device:
        found = run(config, tmp_path / "there")
    expected = run(configuration(name, model, "cpu"), tmp_path / "here")
    assert device.counts.launches > 1000
    assert len(found) == len(expected)
    for there, here in zip(found, expected, strict=True):
        for key in ("grad_norm", "sampler_gap", "loss", "success", "eval/success"):
            if key in here:
                assert there[key] == pytest.approx(here[key], rel=1e-3, abs=1e-6), key
        assert ("decode/graph_share" in there) == ("scorer" not in name and there["step"] > 0)
        assert "decode/graph_share" not in here
        if name != "overlap" and "sampler_gap" in there:  # whose rollouts are of older weights
            assert there["sampler_gap"] < (0.05 if "16" in name or "autocast" in name else 1e-5)
    shares = [row["decode/graph_share"] for row in found if "decode/graph_share" in row]
    if "scorer" not in name:
        is_captured = has_graphs and name != "constrained"
        assert max(shares) > 0.5 if is_captured else max(shares) == device.counts.captures == 0
    assert json.loads((tmp_path / "there" / "run.json").read_text())["float32_matmul"] == "high"
    # What was trained there is loaded here.
    player: Any = load_policy(tmp_path / "there")
    assert next(player.module.parameters()).device == CPU


def talk(rows: int, tokens: int, turns: int = 1, **options: Any) -> tuple[Counts, Counts, Counts]:
    """Let a policy of two layers talk; return the counts of its turns, of one gradient and of one correction."""
    with PretendedDevice() as device:
        player = tiny.policy(tiny.model().to("cuda"), device="cuda", max_tokens=tokens, stop=(), **options)
        with device.counted() as turn:
            traces = tiny.traces(tiny.play(player, range(rows), turns))
        with device.counted() as gradient:
            player.likelihood(traces).log_probs.sum().backward()
        count = np.array([trace.tokens for trace in traces], np.int64)
        zeros = np.zeros(len(traces))
        episode = np.repeat(np.arange(rows), turns)
        batch = Batch(traces, zeros, zeros, episode, count, None)  # type: ignore[arg-type]
        config = configuration("correction", Path("unused"), "cuda")
        settings = config.correction_settings()
        assert settings is not None
        with device.counted() as correction:
            correct_batch(player, batch, config, settings)
    return turn, gradient, correction


@pytest.mark.parametrize(("rows", "constrained"), [(2, False), (8, False), (8, True)])
def test_a_decode_step_takes_as_many_launches_for_all_rows_as_for_one(rows: int, constrained: bool) -> None:
    options = {"constrained": True} if constrained else {"cuda_graphs": False}
    (few, *_), (many, *_) = talk(rows, 4, **options), talk(rows, 12, **options)
    steps = 8
    if constrained:  # its answers end by themselves: at most a dozen steps in all
        assert few == many and many.launches <= 1300 and many.waits <= 35
        return
    assert (many.launches - few.launches) / steps <= 150
    # The host looks once in four tokens.
    assert (many.reads - few.reads) / steps <= 0.25
    assert (many.uploads - few.uploads) / steps <= 0.25


@pytest.mark.parametrize("rows", [2, 8])
def test_a_decode_step_that_is_replayed_is_a_few_launches(rows: int) -> None:
    (few, *_), (many, *_) = talk(rows, 4), talk(rows, 12)
    steps = 8
    assert many.replays - few.replays == steps and many.captures == few.captures == 1
    # The draws in, the graph, what it says out; and a few once in four tokens.
    assert (many.launches - few.launches) / steps <= 5
    assert (many.reads - few.reads) / steps <= 0.25
    assert (many.uploads - few.uploads) / steps <= 0.25


def test_a_turn_that_finds_its_keys_and_values_costs_no_more_than_the_first() -> None:
    (first, *_), (both, *_) = talk(8, 12, turns=1), talk(8, 12, turns=2)
    assert both.launches - first.launches <= 1800
    assert both.waits - first.waits <= 12


def test_more_conversations_take_no_more_launches() -> None:
    (few, *_), (many, *_) = talk(8, 4, turns=2), talk(32, 4, turns=2)
    assert many.launches <= 1.05 * few.launches and many.waits <= few.waits + 2


@pytest.mark.parametrize(("rows", "turns"), [(2, 1), (8, 2)])
def test_an_update_takes_as_many_launches_for_many_answers_as_for_few(rows: int, turns: int) -> None:
    _, gradient, correction = talk(rows, 12, turns)
    assert gradient.launches <= 380 and gradient.waits <= 10
    assert correction.launches <= 210 and correction.waits <= 10
    _, gradient, correction = talk(rows, 12, turns, constrained=True)
    assert gradient.launches <= 400 and gradient.waits <= 14
    assert correction.waits <= 14


def test_without_a_bonus_nothing_goes_back_through_the_entropy(model: Path) -> None:
    """One training step of the scorer, whose loss is computed as every other one."""

    def launches(coefficient: float) -> int:
        from agentbench.train.loss import LossSettings, policy_loss

        with PretendedDevice() as device:
            there = {"device": "cuda", "requires_grad": True}
            new, entropy = torch.zeros(4, 3, **there), torch.ones(4, 3, **there)
            mask, ones = torch.ones(4, 3, dtype=torch.bool, device="cuda"), torch.ones(4, device="cuda")
            number = torch.arange(4, device="cuda")
            settings = LossSettings(entropy_coefficient=coefficient)
            found = policy_loss(new, new.detach(), ones, mask, ones, number, settings, entropy=entropy)
            with device.counted() as backward:
                found.loss.backward()
            assert (entropy.grad is None) == (coefficient == 0)
            assert float(found.entropy) == 12.0
        return backward.launches

    assert launches(0.0) < launches(0.1)


def test_the_dry_run_on_a_gpu_counts_turns_and_not_rows(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(self: Any) -> dict[str, float]:
        return {"seconds": 10.0, "seconds/rollout": 8.0, "environment_steps": 4, "memory_mb": 1.0}

    monkeypatch.setattr("agentbench.train.trainer.Trainer.train_step", measured)
    small = configuration("scorer", model, "cpu").model_copy(update={"tasks_per_step": 16, "group_size": 8, "steps": 1})
    assert estimate(small)["seconds"] == 10.0 * 8
    with PretendedDevice():
        assert estimate(small.model_copy(update={"device": "cuda"}))["seconds"] == 8.0 + 2.0 * 8


def test_what_is_kept_between_turns_and_a_pass_follow_from_the_memory_of_the_gpu() -> None:
    from agentbench.train.memory import usual_budget

    def sizes(free: int) -> tuple[int, int]:
        with PretendedDevice(free=free):
            player = tiny.policy(tiny.model().to("cuda"), device="cuda")
            return player.reference()._cache.limit, usual_budget(player)

    small, large = sizes(2**33), sizes(2**37)
    assert (small[0], large[0]) == (2**31, 2**35)
    assert 15 < large[1] / small[1] < 17
    assert tiny.policy().reference()._cache.limit == 2**30
