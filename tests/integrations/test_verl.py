"""verl's own registry, batch, advantage step, agent loop and loss, on this machine's processor; no Ray, no server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="verl needs torch")
pytest.importorskip("verl", reason="verl is not installed: pip install -e '.[verl]'")

import dice_environment  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402
from tensordict import TensorDict  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402
from verl import DataProto  # noqa: E402
from verl.experimental.agent_loop.agent_loop import DictConfigWrap, _agent_loop_registry  # noqa: E402
from verl.trainer.ppo import ray_trainer  # noqa: E402
from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY, agg_loss, get_adv_estimator_fn  # noqa: E402
from verl.workers.rollout.replica import TokenOutput  # noqa: E402

from agentbench.integrations import verl as ours  # noqa: E402
from agentbench.runs.episodes import from_line  # noqa: E402
from agentbench.runs.steps import steps_of  # noqa: E402
from credit import SCHEMES, Steps, advantages  # noqa: E402
from envs.base.errors import UserError  # noqa: E402

TURNS = ((2, 1, 3), (4, 2, 1), (1, 1, 2), (3, 3, 1))
"""Of four responses: tokens of each of two answers, with so many of the environment between them (the last)."""


@pytest.fixture(autouse=True)
def enabled() -> Any:
    dice_environment.register()
    ours.enable()
    yield
    ray_trainer.compute_advantage = ours._verls_own


class Server:
    """Answers with the tiny model, as verl's model server would."""

    def __init__(self, model: Any, seed: int) -> None:
        self.model, self.generator = model, torch.Generator().manual_seed(seed)
        self.asked: list[list[int]] = []
        self.requests: list[str] = []

    async def generate(self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any]) -> Any:
        self.asked.append(list(prompt_ids))
        self.requests.append(request_id)
        ids, log_probs = list(prompt_ids), []
        for _ in range(sampling_params["max_tokens"]):
            with torch.no_grad():
                found = self.model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
            token = int(torch.multinomial(found.exp(), 1, generator=self.generator))
            log_probs.append(float(found[token]))
            ids.append(token)
        version = len(self.asked)  # the weights change with every answer
        versions = {"min_global_steps": version, "max_global_steps": version}
        found = log_probs if sampling_params.get("logprobs") else None
        return TokenOutput(token_ids=ids[len(prompt_ids) :], log_probs=found, extra_fields=versions)


def loop(model: Path, server: Any, response_length: int = 4096, **more: Any) -> Any:
    rollout = {"prompt_length": 2048, "response_length": response_length}
    config = OmegaConf.create({"actor_rollout_ref": {"rollout": rollout}, "data": {}})
    return ours.AgentLoop(
        trainer_config=DictConfigWrap(config),
        server_manager=server,
        tokenizer=AutoTokenizer.from_pretrained(model),
        processor=None,
        dataset_cls=None,
        data_config=DictConfigWrap(config.data),
        **{"env": "dice", "max_new_tokens": 4, **more},
    )


def play(model: Path, server: Any, seeds: range, **more: Any) -> list[Any]:
    async def all_of_them() -> list[Any]:
        player = loop(model, server, **more)
        rows = [{"split": "all", "task": f"dice:{seed // 4}", "seed": seed} for seed in seeds]
        return [await player.run({"temperature": 1.0, "logprobs": True}, extra_info=row, raw_prompt=[]) for row in rows]

    return asyncio.run(all_of_them())


def batch_of(outputs: list[Any], uid: list[str]) -> Any:
    """The outputs as verl lays them out: padded on the right, the reward on the last token."""
    width = max(len(each.response_ids) for each in outputs)
    mask, rewards = torch.zeros(len(outputs), width, dtype=torch.long), torch.zeros(len(outputs), width)
    for row, each in enumerate(outputs):
        mask[row, : len(each.response_mask)] = torch.tensor(each.response_mask)
        rewards[row, len(each.response_ids) - 1] = each.reward_score
    tensors = {"response_mask": mask, "token_level_rewards": rewards}
    lines = np.array([each.extra_fields[ours.FIELD] for each in outputs], dtype=object)
    return DataProto(
        batch=TensorDict(tensors, batch_size=len(outputs)),
        non_tensor_batch={"uid": np.array(uid, dtype=object), ours.FIELD: lines},
    )


def expected(outputs: list[Any], groups: list[list[int]], scheme: str, **options: Any) -> list[list[float]]:
    """The advantage of every token, from ``credit`` alone."""
    episodes = [from_line(each.extra_fields[ours.FIELD]) for each in outputs]
    values = advantages(scheme, steps_of([[episodes[row] for row in group] for group in groups]), **options)
    queue = list(values)
    found: list[list[float]] = [[] for _ in outputs]
    for row in [row for group in groups for row in group]:
        own, before = [], 0
        for bit in outputs[row].response_mask:
            own.append(queue.pop(0) if bit and not before else (own[-1] if bit else 0.0))
            before = bit
        found[row] = [float(np.float32(each)) for each in own]
    assert not queue
    return found


def test_every_scheme_is_registered() -> None:
    assert {f"agentbench_{name}" for name in SCHEMES} <= set(ADV_ESTIMATOR_REGISTRY)
    assert _agent_loop_registry["agentbench"]["_target_"] == "agentbench.integrations.verl.AgentLoop"


@pytest.mark.parametrize(("scheme", "options"), [("gigpo", {"gamma": 0.9}), ("grpo", {}), ("hgpo", {}), ("mapo", {})])
def test_verls_advantage_step_gives_the_schemes_numbers(tiny_model: Path, scheme: str, options: dict[str, Any]) -> None:
    outputs = play(tiny_model, Server(AutoModelForCausalLM.from_pretrained(tiny_model), 0), range(8))
    order = [0, 4, 1, 5, 2, 6, 3, 7]  # verl balances its batches: groups need not lie together
    uid = ["ab"[row // 4] for row in order]
    data = batch_of([outputs[row] for row in order], uid)
    config = OmegaConf.create({"agentbench": {"options": options}})
    found = ray_trainer.compute_advantage(data, adv_estimator=f"agentbench_{scheme}", config=config).batch
    groups = [[0, 2, 4, 6], [1, 3, 5, 7]]
    wanted = expected([outputs[row] for row in order], groups, scheme, **options)
    for row, values in enumerate(wanted):
        assert found["advantages"][row, : len(values)].tolist() == values
        assert not found["advantages"][row, len(values) :].any()
    assert float(found["advantages"].abs().max()) > 0.1


def test_the_agent_loop_keeps_every_token(tiny_model: Path) -> None:
    server = Server(AutoModelForCausalLM.from_pretrained(tiny_model), 1)
    (output,) = play(tiny_model, server, range(1))
    episode = from_line(output.extra_fields[ours.FIELD])
    ids = output.prompt_ids + output.response_ids
    for number, prompt in enumerate(server.asked):  # each prompt is the beginning of the sequence that is trained
        assert ids[: len(prompt)] == prompt
        place = slice(len(prompt) - len(output.prompt_ids), len(prompt) - len(output.prompt_ids) + 4)
        assert output.response_mask[place] == [1] * 4, number
    assert sum(output.response_mask) == 4 * len(episode.steps) == 4 * len(server.asked)
    with torch.no_grad():
        whole = server.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    judged = [float(whole[place - 1, ids[place]]) for place in range(len(output.prompt_ids), len(ids))]
    gaps = [abs(a - b) for a, b, bit in zip(judged, output.response_logprobs, output.response_mask, strict=True) if bit]
    assert max(gaps) < 1e-4
    assert output.reward_score == sum(step.reward for step in episode.steps)


@pytest.mark.parametrize("options", [{}, {"broken": 0}])
def test_the_agent_loop_says_what_trainers_of_generation_v1_count(tiny_model: Path, options: dict[str, Any]) -> None:
    server = Server(AutoModelForCausalLM.from_pretrained(tiny_model), 1)
    row = {"split": "all", "task": "dice:0"}
    output = asyncio.run(
        loop(tiny_model, server, env_options=options).run(
            {"logprobs": True}, extra_info=row, raw_prompt=[], global_steps=3
        )
    )
    fields = output.as_dict()  # what verl puts into its queue: a field that nobody set is missing there
    versions = [fields["extra_fields"][name] for name in ("min_global_steps", "max_global_steps")]
    assert versions == ([3, 3] if options else [1, len(server.asked)])
    assert fields["num_turns"] == 2 * len(server.asked)


def test_all_turns_of_an_episode_are_one_request_to_verls_router(tiny_model: Path) -> None:
    server = Server(AutoModelForCausalLM.from_pretrained(tiny_model), 1)
    turns = [len(from_line(each.extra_fields[ours.FIELD]).steps) for each in play(tiny_model, server, range(4))]
    starts = np.cumsum([0, *turns])
    per_episode = [set(server.requests[start:end]) for start, end in pairwise(starts)]
    assert max(turns) > 1
    assert [len(each) for each in per_episode] == [1] * 4
    assert len(set.union(*per_episode)) == 4


@pytest.mark.parametrize("options", [{}, {"broken": 0}])
def test_log_probabilities_that_nobody_asked_for_are_none(tiny_model: Path, options: dict[str, Any]) -> None:
    player = loop(tiny_model, Server(AutoModelForCausalLM.from_pretrained(tiny_model), 1), env_options=options)
    row = {"split": "all", "task": "dice:0"}
    for asked in (True, False):
        output = asyncio.run(player.run({"logprobs": asked}, extra_info=row, raw_prompt=[]))
        assert (output.response_logprobs is not None) == asked  # else verl would take them for those of the sampler


def test_an_episode_that_does_not_fit_is_cut_between_two_steps(tiny_model: Path) -> None:
    server = Server(AutoModelForCausalLM.from_pretrained(tiny_model), 1)
    outputs = play(tiny_model, server, range(8), response_length=60)
    episodes = [from_line(each.extra_fields[ours.FIELD]) for each in outputs]
    assert all(len(each.response_ids) <= 60 for each in outputs)
    assert any(len(each.steps) == 1 and each.steps[-1].truncated for each in episodes)
    with pytest.raises(UserError, match="max_prompt_length"):
        asyncio.run(_first_prompt_too_long(tiny_model, server))


async def _first_prompt_too_long(model: Path, server: Any) -> None:
    player = loop(model, server, response_length=2)
    await player.run({}, extra_info={"split": "all", "task": "dice:0"}, raw_prompt=[])


def test_a_failing_environment_is_no_failing_agent(tiny_model: Path) -> None:
    server = Server(AutoModelForCausalLM.from_pretrained(tiny_model), 2)
    outputs = play(tiny_model, server, range(8), env_options={"broken": 0})
    assert [from_line(each.extra_fields[ours.FIELD]).outcome for each in outputs[:4]] == ["error"] * 4
    data = batch_of(outputs, ["a"] * 4 + ["b"] * 4)
    found = ray_trainer.compute_advantage(data, adv_estimator="agentbench_grpo", config=OmegaConf.create({})).batch
    assert not found["advantages"][:4].any()
    wanted = expected(outputs[4:], [[0, 1, 2, 3]], "grpo")
    assert found["advantages"][4, : len(wanted[0])].tolist() == wanted[0]


def test_an_environment_that_hangs_is_given_up(tiny_model: Path) -> None:
    server = Server(AutoModelForCausalLM.from_pretrained(tiny_model), 1)
    outputs = play(tiny_model, server, range(3, 5), env_options={"stuck": 0}, step_timeout=2.0)
    first, second = (from_line(each.extra_fields[ours.FIELD]) for each in outputs)
    assert (first.outcome, second.is_judged) == ("error", True)
    assert "no answer within 2 s, see step_timeout of the agent loop" in str(first.error)


def hand_made() -> tuple[Any, Any]:
    mask, rewards = torch.zeros(4, 10, dtype=torch.long), torch.zeros(4, 10)
    for row, (first, second, between) in enumerate(TURNS):
        mask[row, :first] = 1
        mask[row, first + between : first + between + second] = 1
        rewards[row, first] = row % 2  # on a token of the environment: it belongs to the turn before
        rewards[row, first + between + second - 1] = float(row)
    return mask, rewards


def test_without_a_record_the_turns_come_from_the_mask() -> None:
    mask, rewards = hand_made()
    config = OmegaConf.create({"agentbench": {"options": {"gamma": 0.5}}})
    found, _ = get_adv_estimator_fn("agentbench_reinforce_plus_plus")(
        token_level_rewards=rewards, response_mask=mask, config=OmegaConf.create({}), index=np.array(list("aabb"))
    )
    steps = Steps(
        group=np.array([0, 0, 0, 0, 1, 1, 1, 1]),
        episode=np.repeat([0, 1, 2, 3], 2),
        step=np.tile([0, 1], 4),
        reward=np.array([0, 0, 1, 1, 0, 2, 1, 3], np.float64),
    )
    values = advantages("reinforce_plus_plus", steps).astype(np.float32)
    for row, (first, second, between) in enumerate(TURNS):
        wanted = [values[2 * row]] * first + [0.0] * between + [values[2 * row + 1]] * second
        assert found[row].tolist() == [float(each) for each in wanted + [0.0] * (10 - len(wanted))]
    with pytest.raises(UserError, match=r"state.*enable\(\)"):
        get_adv_estimator_fn("agentbench_gigpo")(
            token_level_rewards=rewards, response_mask=mask, config=config, index=np.array(list("aabb"))
        )
    rejecting = {"rollout_correction": {"rollout_rs": "token_k1"}}
    with pytest.raises(UserError, match="rollout_rs"):  # a rejected token in an answer would make two turns of it
        get_adv_estimator_fn("agentbench_grpo")(
            token_level_rewards=rewards,
            response_mask=mask,
            config=OmegaConf.create(rejecting),
            index=np.array(list("aabb")),
        )
    with pytest.raises(UserError, match="uid"):
        get_adv_estimator_fn("agentbench_grpo")(token_level_rewards=rewards, response_mask=mask)


def test_trainers_of_generation_v1_find_the_record_in_their_queue(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transfer_queue as queue
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer
    from verl.trainer.ppo.v1.utils import compute_advantage_for_multi_trajectories
    from verl.utils.tensordict_utils import list_of_dict_to_tensordict

    assert hasattr(PPOTrainer._compute_advantage, "__wrapped__")
    outputs = play(tiny_model, Server(AutoModelForCausalLM.from_pretrained(tiny_model), 5), range(4))
    data = batch_of(outputs, ["a"] * 4)
    records = list_of_dict_to_tensordict([{"extra_fields": each.extra_fields} for each in outputs])  # as it keeps them
    del data.non_tensor_batch[ours.FIELD]
    batch = SimpleNamespace(keys=[f"a_{row}_0" for row in range(4)], partition_id="train")

    def get(keys: list[str], partition_id: str, select_fields: list[str]) -> Any:
        assert (keys, partition_id, select_fields) == (batch.keys, "train", ["extra_fields"])
        return records

    def step(trainer: Any, batch: Any, metrics: Any) -> Any:  # the heart of verl's own
        return compute_advantage_for_multi_trajectories(
            data, batch.keys, adv_estimator="agentbench_gigpo", config=OmegaConf.create({})
        )

    monkeypatch.setattr(queue, "kv_batch_get", get)
    found = ours.with_records(step)(None, batch, {}).batch["advantages"]
    for row, values in enumerate(expected(outputs, [[0, 1, 2, 3]], "gigpo")):
        assert found[row, : len(values)].tolist() == values


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import runpy

    from typer.testing import CliRunner

    from agentbench.cli import app

    run = ["eval", "--env", "alfworld", "--split", "generated:0:2", "--policy", "mixed:0.5", "--trials", "4"]
    assert CliRunner().invoke(app, [*run, "--out", str(tmp_path / "run")]).exit_code == 0
    script = Path(__file__).parents[2] / "docs/examples/advantages_with_verl.py"
    monkeypatch.setattr("sys.argv", [str(script), str(tmp_path / "run"), "gigpo"])
    runpy.run_path(str(script), run_name="__main__")
    assert len(capsys.readouterr().out.splitlines()) == 8


def test_rows_that_fill_a_batch_up_change_nothing(tiny_model: Path) -> None:
    outputs = play(tiny_model, Server(AutoModelForCausalLM.from_pretrained(tiny_model), 3), range(4))
    filler = outputs[0].model_copy(update={"response_ids": [0], "response_mask": [0], "reward_score": 0.0})
    data = batch_of([*outputs, filler], ["a"] * 4 + ["pad"])  # verl's own have the record of the first row
    given = ray_trainer.compute_advantage(data, adv_estimator="agentbench_gigpo", config=OmegaConf.create({})).batch
    for row, values in enumerate(expected(outputs, [[0, 1, 2, 3]], "gigpo")):
        assert given["advantages"][row, : len(values)].tolist() == values
    assert not given["advantages"][4].any()


def test_a_record_of_another_batch_is_refused(tiny_model: Path) -> None:
    outputs = play(tiny_model, Server(AutoModelForCausalLM.from_pretrained(tiny_model), 3), range(4))
    data = batch_of(outputs, ["a"] * 4)
    data.batch["response_mask"][:] = 0
    data.batch["response_mask"][:, 0] = 1
    data.batch["response_mask"][0, 2::2] = 1
    with pytest.raises(UserError, match="turns and its record"):
        ray_trainer.compute_advantage(data, adv_estimator="agentbench_gigpo", config=OmegaConf.create({}))


def test_one_optimizer_step_with_verls_loss(tiny_model: Path) -> None:
    from verl.trainer.ppo.core_algos import compute_policy_loss_vanilla

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    outputs = play(tiny_model, Server(model, 4), range(4))
    data = batch_of(outputs, ["a"] * 4)
    config = OmegaConf.create({"agentbench": {"options": {"gamma": 0.9}}})
    given = ray_trainer.compute_advantage(data, adv_estimator="agentbench_gigpo", config=config).batch
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def new_log_probs() -> Any:
        found = torch.zeros_like(given["advantages"])
        for row, each in enumerate(outputs):
            ids = torch.tensor([each.prompt_ids + each.response_ids])
            scores = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
            found[row, : len(each.response_ids)] = scores[len(each.prompt_ids) - 1 :]
        return found

    def loss(old: Any) -> Any:
        actor = SimpleNamespace(
            clip_ratio=0.2,
            clip_ratio_low=0.2,
            clip_ratio_high=0.2,
            global_batch_info={},
            get=lambda _, default: default,
        )
        return compute_policy_loss_vanilla(
            old, new_log_probs(), given["advantages"], given["response_mask"], config=actor
        )[0]

    old = new_log_probs().detach()
    first = loss(old)
    wanted = agg_loss(-given["advantages"], given["response_mask"], "token-mean")
    assert float(first) == pytest.approx(float(wanted), abs=1e-6)  # the ratio is 1 before the first step
    first.backward()
    optimizer.step()
    assert float(loss(old)) < float(first)


def test_what_verl_itself_lacks_is_named() -> None:
    code = "import sys; sys.modules['uvicorn'] = None; import agentbench.integrations.verl"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "UserError: verl needs the module uvicorn: pip install -e '.[verl]'" in done.stderr
