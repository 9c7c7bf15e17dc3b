"""verl: every scheme as an advantage estimator, and an agent loop that plays our environments.

Importing this module registers ``agentbench_NAME`` for every scheme ``NAME``. verl hands an estimator only the rewards
of tokens, the mask of sampled tokens and the groups. The turns are recovered from the mask, which is enough for the
schemes that compare outcomes. Those that compare situations need more: the agent loop records each episode, and
:func:`compute_advantage`, which takes the place of verl's own step of that name, gives the record to the estimator.
"""

from __future__ import annotations

import asyncio
import functools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any
from uuid import uuid4

import numpy as np
import torch

from agentbench.integrations.episode_tokens import spread, step_advantages
from agentbench.integrations.versions import VERL, require
from agentbench.runs.episodes import Episode, from_line, is_judged, make_step, to_line
from agentbench.runs.provenance import stable_seed
from credit import SCHEMES, CreditError, advantages, from_tokens, to_tokens, turns
from envs.base.deadline import within
from envs.base.errors import UserError
from envs.base.extras import how_to_install
from envs.contract import Info, TextEnv
from envs.registry import make
from policies.contract import Prompt, Response
from policies.language.conversation import Writer
from policies.prompts import build_messages, make_settings
from policies.prompts.parsing import parse_answer

require("verl", VERL, "verl")

try:
    from verl.experimental.agent_loop.agent_loop import (
        AgentLoopBase,
        AgentLoopMetrics,
        AgentLoopOutput,
        register,
    )
    from verl.trainer.ppo import ray_trainer
    from verl.trainer.ppo.core_algos import register_adv_est
except ModuleNotFoundError as error:  # verl does not ask for all that it imports
    raise UserError(f"verl needs the module {error.name}: {how_to_install('verl')}") from error

PREFIX = "agentbench_"
FIELD = "agentbench_episode"
"""The extra field of an agent loop's output that holds the episode as a line of :mod:`agentbench.runs.episodes`."""

FIRST, LAST = "min_global_steps", "max_global_steps"
"""Extra fields from which verl's trainers of generation v1 see by how old weights an episode was sampled."""

_recorded: ContextVar[Sequence[Episode] | None] = ContextVar("recorded", default=None)
_verls_own = ray_trainer.compute_advantage


@contextmanager
def recorded(episodes: Sequence[Episode]) -> Iterator[None]:
    """Let the estimators that are called inside know the episodes of the batch, in its order."""
    token = _recorded.set(episodes)
    try:
        yield
    finally:
        _recorded.reset(token)


def compute_advantage(data: Any, *args: Any, **kwargs: Any) -> Any:
    """Compute advantages as ``verl.trainer.ppo.ray_trainer.compute_advantage``, with the recorded episodes at hand."""
    lines = data.non_tensor_batch.get(FIELD)
    if lines is None:
        return _verls_own(data, *args, **kwargs)
    with recorded([from_line(line) for line in lines]):
        return _verls_own(data, *args, **kwargs)


def with_records(step: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``_compute_advantage`` of verl's trainers of generation v1, which leave the records in their queue."""

    @functools.wraps(step)
    def wrapped(trainer: Any, batch: Any, metrics: Any) -> Any:
        import transfer_queue

        found = transfer_queue.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=["extra_fields"]
        )
        lines = [fields.get(FIELD) for fields in found["extra_fields"]]
        if None in lines:
            return step(trainer, batch, metrics)
        with recorded([from_line(line) for line in lines]):
            return step(trainer, batch, metrics)

    return wrapped


def enable() -> None:
    """Hand the recorded episodes to the estimators, in the process of the trainer; calling it again changes nothing."""
    ray_trainer.compute_advantage = compute_advantage
    try:
        from verl.trainer.ppo.v1.trainer_base import PPOTrainer
    except ModuleNotFoundError as error:
        if error.name != "transfer_queue":  # of the trainers of generation v1 alone
            raise
        return
    if not hasattr(PPOTrainer._compute_advantage, "__wrapped__"):
        PPOTrainer._compute_advantage = with_records(PPOTrainer._compute_advantage)


def estimate(
    scheme: str,
    token_level_rewards: torch.Tensor,
    response_mask: torch.Tensor,
    config: Any = None,
    index: Any = None,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the advantages of a batch under a scheme, as verl calls an estimator.

    Args:
        scheme: of :data:`credit.SCHEMES`.
        token_level_rewards: float, shape (episodes, tokens); read only where no episodes were recorded.
        response_mask: shape (episodes, tokens), 1 where the policy sampled.
        config: verl's ``algorithm``; ``config["agentbench"]`` may hold ``options`` of the scheme, and
            ``invalid_penalty``.
        index: shape (episodes,): episodes with the same entry are a group.

    Returns:
        advantages and returns (the same numbers), float32, shape (episodes, tokens), 0 where nothing was sampled.

    Raises:
        UserError: no groups, a scheme that needs what verl does not hand over, a record that does not fit, or tokens
            that were rejected before.
    """
    if index is None:
        raise UserError(f"{PREFIX}{scheme} needs to know which episodes are a group: verl's batch has no 'uid'")
    config = {} if config is None else config
    settings = config.get("agentbench", None) or {}
    correction = config.get("rollout_correction", None) or {}
    if correction.get("rollout_rs", None) and not correction.get("bypass_mode", False):
        raise UserError(
            "algorithm.rollout_correction.rollout_rs takes tokens out of the mask that separates turns: set it "
            "to null, or bypass_mode to true (verl then rejects in the loss)"
        )
    mask = response_mask.cpu().numpy()
    options = dict(settings.get("options", None) or {})
    episodes = _recorded.get()
    try:
        if episodes is None:
            table = from_tokens(token_level_rewards.cpu().numpy(), mask, np.asarray(index))
            per_token = to_tokens(advantages(scheme, table, **options), mask)
        else:
            numbers, penalty = turns(mask), settings.get("invalid_penalty", 0.0)
            per_row = _of_records(scheme, options, episodes, numbers, index, penalty)
            per_token = np.stack([spread(values, turn) for values, turn in zip(per_row, numbers, strict=True)])
    except CreditError as error:
        hint = ": play with the agent loop 'agentbench' and call agentbench.integrations.verl.enable()"
        raise UserError(f"{error}{hint if episodes is None else ''}") from error
    found = torch.as_tensor(per_token, dtype=torch.float32, device=response_mask.device)
    return found, found.clone()


def _of_records(
    scheme: str,
    options: Mapping[str, Any],
    episodes: Sequence[Episode],
    numbers: Any,
    index: Any,
    penalty: float,
) -> list[Any]:
    """Return each row's advantages, one a step, from the recorded episodes."""
    rows: dict[Any, list[int]] = defaultdict(list)
    for row, (episode, turn) in enumerate(zip(episodes, numbers, strict=True)):
        count = int(turn.max(initial=-1)) + 1
        if count == 0:  # an error, or a row with which verl fills a batch up: it has the record of another row
            continue
        if is_judged(episode.outcome) and count != len(episode.steps):
            raise UserError(
                f"row {row} of the batch has {count} turns and its record {len(episode.steps)}: "
                "the response was cut, or was not made by the agent loop 'agentbench'"
            )
        rows[index[row]].append(row)
    found = step_advantages([[episodes[row] for row in group] for group in rows.values()], scheme, options, penalty)
    order = [row for group in rows.values() for row in group]
    values = [each for group in found for each in group]
    by_row = dict(zip(order, values, strict=True))
    return [by_row.get(row, np.zeros(1)) for row in range(len(numbers))]


for _name in SCHEMES:
    register_adv_est(PREFIX + _name)(functools.partial(estimate, _name))


@register("agentbench")
class AgentLoop(AgentLoopBase):  # type: ignore[misc]
    """Plays one episode of an environment with verl's model server.

    A row of the data set names its task in ``extra_info``: ``{"split": …, "task": name or id}``, and a ``"seed"`` where
    the environment draws. The environment plays in a thread of verl's worker. The rest stands in the file of
    ``actor_rollout_ref.rollout.agent.agent_loop_config_path``, beside ``_target_``, as the arguments below.

    Args:
        env: short name of the environment.
        env_options: of the environment.
        max_new_tokens: longest answer.
        thinking, show_actions: see :func:`policies.prompts.make_settings`.
        step_timeout: seconds that one ``reset`` or ``step`` of the environment may take.
    """

    def __init__(
        self,
        *args: Any,
        env: str = "alfworld",
        env_options: Mapping[str, Any] | None = None,
        max_new_tokens: int = 256,
        thinking: bool = False,
        show_actions: bool = True,
        step_timeout: float = 60.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.step_timeout = step_timeout
        self.env, self.env_options, self.max_new_tokens = env, dict(env_options or {}), max_new_tokens
        self.writer = Writer(self.tokenizer, thinking)
        self.prompts = make_settings(env, history="all", thinking=thinking, show_actions=show_actions, template=None)

    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> AgentLoopOutput:
        """Play the episode of a row; what the environment fails at is an episode that teaches nothing."""
        about = kwargs["extra_info"]
        environment = await asyncio.to_thread(make, self.env, **{**self.env_options, "split": about["split"]})
        try:
            return await self._play(environment, about, sampling_params)
        except _EnvironmentFailure as failure:
            log_probs = [0.0] if sampling_params.get("logprobs") else None
            version = kwargs.get("global_steps")
            return _failed(str(about["task"]), str(failure), self.tokenizer.eos_token_id, log_probs, version)
        finally:
            with suppress(_EnvironmentFailure):  # the episode is over: that its end fails, or hangs, costs nothing
                await self._in_time(environment.close)

    async def _play(self, environment: TextEnv, about: Mapping[str, Any], params: dict[str, Any]) -> AgentLoopOutput:
        task = environment.find_task(str(about["task"]))
        seed = stable_seed("verl", task.id, about.get("seed", 0)) % 2**31
        observation, info = await self._in_time(environment.reset, seed=seed, options={"task": task.id})
        episode = Episode(task.id, task.name, task.type, info["instruction"], 0, "failure", False, 0.0, [])
        prompt = Prompt.first(task, observation, info)
        answers: list[list[int]] = []
        start, ids, mask, log_probs = 0, list[int](), list[int](), list[float]()
        request, first, last = uuid4().hex, None, None
        while not episode.steps or not (episode.steps[-1].terminated or episode.steps[-1].truncated):
            written = self.writer.write(build_messages(prompt, self.prompts), answers).ids.tolist()
            start = start or len(written)
            if self._is_full(written, start):
                if not episode.steps:
                    raise UserError(f"the first prompt has {start} tokens: raise data.max_prompt_length")
                episode.steps[-1].truncated = True
                break
            mask += [0] * (len(written) - start - len(mask))
            log_probs += [0.0] * (len(mask) - len(log_probs))
            answer = await self.server_manager.generate(
                request_id=request,  # by it verl's router sends all turns to one server, whose cache has the beginning
                prompt_ids=written,
                sampling_params={**params, "max_tokens": self.max_new_tokens},
            )
            first = answer.extra_fields.get(FIRST) if first is None else first
            last = answer.extra_fields.get(LAST)
            ids = (written + list(answer.token_ids))[start:]
            mask += [1] * len(answer.token_ids)
            log_probs += answer.log_probs if params.get("logprobs") else [0.0] * len(answer.token_ids)
            answers.append(list(answer.token_ids))
            text = self.tokenizer.decode(answer.token_ids, skip_special_tokens=True)
            action = parse_answer(text, prompt.info.get("admissible_actions")).action
            observation, reward, terminated, truncated, info = await self._in_time(environment.step, action)
            seen = (prompt.observation, prompt.info)
            episode.steps.append(make_step(*seen, action, float(reward), terminated, truncated, info, text=text))
            prompt = prompt.after(Response(action, text), observation, info)
        _finish(episode, prompt.observation, prompt.info)
        return AgentLoopOutput(
            prompt_ids=written[:start],
            response_ids=ids,
            response_mask=mask[: len(ids)],
            # None where verl did not ask for them: zeros would pass for probabilities of 1.
            response_logprobs=log_probs[: len(ids)] if params.get("logprobs") else None,
            reward_score=sum(step.reward for step in episode.steps),
            num_turns=2 * len(episode.steps),
            metrics=AgentLoopMetrics(),
            extra_fields={FIELD: to_line(episode), FIRST: first, LAST: last},
        )

    async def _in_time(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            ready = functools.partial(call, *args, **kwargs)
            return await asyncio.to_thread(within, self.step_timeout, ready, "see step_timeout of the agent loop")
        except UserError:
            raise
        except Exception as error:
            raise _EnvironmentFailure(f"the environment failed: {type(error).__name__}: {error}") from error

    def _is_full(self, written: Sequence[int], start: int) -> bool:
        limits = self.rollout_config
        room = int(limits.response_length) - (len(written) - start)
        return start > int(limits.prompt_length) or self.max_new_tokens > room


class _EnvironmentFailure(Exception):  # noqa: N818  (a failure of the infrastructure, not of the agent)
    """The environment raised, or did not answer in time; the text says what."""


def _failed(task: str, error: str, token: int, log_probs: list[float] | None, version: Any) -> AgentLoopOutput:
    """Return an episode that could not be played: one token, which is in no loss, and a record that says why."""
    episode = Episode(task, task, "", "", 0, "error", won=False, score=0.0, steps=[], error=error)
    return AgentLoopOutput(
        prompt_ids=[token],
        response_ids=[token],
        response_mask=[0],
        response_logprobs=log_probs,
        reward_score=0.0,
        num_turns=0,
        metrics=AgentLoopMetrics(),
        extra_fields={FIELD: to_line(episode), FIRST: version, LAST: version},
    )


def _finish(episode: Episode, observation: str, info: Info) -> None:
    episode.won, episode.score = bool(info["won"]), float(info["score"])
    episode.outcome = "success" if episode.won else "failure"
    episode.final_observation, episode.final_anchor = observation, str(info["anchor"])
