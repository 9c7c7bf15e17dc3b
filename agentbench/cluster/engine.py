"""vLLM's engines as actors of a Ray cluster: the policy ``vllm:MODEL`` itself, on the machines that have the GPUs.

This process sends prompts and gets responses; it needs neither a GPU nor vLLM. An engine that dies or hangs is started
again, on whichever machine has room, and asked once more: a policy is pure, so its answers are those that were lost.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from agentbench.cluster.gpus import check_places, free_gpus, gpus_of, placed
from agentbench.cluster.machines import beginning_of, is_of_machine
from agentbench.rollout.contract import LOSSES
from agentbench.runs.provenance import stable_seed
from envs.base.errors import UserError
from envs.base.log import log
from envs.base.options import read_options
from envs.base.safe_text import redacted
from envs.registry import load
from policies.contract import Prompt, Response, Turn
from policies.language.sequences import Sampled
from policies.prompts import make_settings
from policies.registry import entry_of
from policies.vllm.engine import EngineError, VllmOptions

ATTEMPTS = 3
"""Failures of an engine in a row, without an answer between them, after which the run stops."""

START_SECONDS = 900.0
"""Time that an engine has to be placed and to load its model."""

UNEQUAL = "the machines of the cluster differ in their versions of vLLM or agentbench: make them equal"

GOES_ON = "what is finished is stored, and the same command continues from there"


class EngineHost:
    """The policy of one actor."""

    def make(self, path: Sequence[str], policy: str, environment: str, options: Mapping[str, Any]) -> tuple[str, str]:
        """Load the engine: ``ok`` and the policy's digest, or ``failed`` and what the user can fix."""
        sys.path += [each for each in path if each not in sys.path]
        # The engine within this very process: whatever ends the actor frees its GPU, also a SIGKILL.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        from policies import make_policy

        try:
            self._policy = make_policy(policy, environment=environment, options=options)
        except Exception as error:  # of vLLM, torch or CUDA, beside our own
            why = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            return "failed", redacted(f"on machine {platform.node()} of the cluster ({sys.executable}): {why}")
        return "ok", self._policy.digest

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Answer a batch; what it raises reaches the caller."""
        try:
            return self._policy.act(prompts)
        except EngineError as error:  # its cause may be of a class that only this machine knows
            raise EngineError(redacted(str(error))) from None


@dataclass(frozen=True, slots=True)
class EngineRecipe:
    """What an engine is made of.

    Attributes:
        policy: ``vllm:MODEL``.
        environment: short name of the environment that it plays.
        options: of the policy.
        gpus: that each holds; 0 on a cluster without any.
        engines: how many there are.
    """

    policy: str
    environment: str
    options: dict[str, Any]
    gpus: int
    engines: int


class RayEngine:
    """One engine: sent a batch, it answers or is replaced until it does."""

    def __init__(self, recipe: EngineRecipe) -> None:
        self._recipe = recipe
        self._failures = self._losses = 0
        self._prompts: list[Prompt] = []
        self._digest: str | None = None
        self._launch()

    def wait(self) -> str:
        """Return the digest of its policy as soon as it is ready.

        Raises:
            UserError: it cannot be started, or was not ready within :data:`START_SECONDS`.
        """
        import ray

        while True:
            try:
                status, found = ray.get(self._made, timeout=max(0.0, self._deadline - time.monotonic()))
            except ray.exceptions.GetTimeoutError:
                raise UserError(self._late()) from None
            except ray.exceptions.RayError as error:
                self._relaunch(error)
                continue
            if status != "ok":
                raise UserError(found)
            if self._digest not in (None, found):
                raise UserError(f"{UNEQUAL}; {GOES_ON}")
            self._digest = found
            return str(found)

    def send(self, prompts: list[Prompt]) -> None:
        """Ask for answers, without waiting."""
        self._prompts = prompts
        self._reply = self._actor.act.remote(prompts)

    def take(self) -> list[Response]:
        """Return the answers, from another engine if this one dies or does not answer in time.

        Raises:
            UserError: it failed :data:`ATTEMPTS` times or was lost :data:`LOSSES` times in a row, or there is no
                machine for it any more.
            Exception: what the policy raised.
        """
        import ray

        seconds = self._recipe.options["timeout"]
        while True:
            try:
                answers: list[Response] = ray.get(self._reply, timeout=seconds)
            except ray.exceptions.GetTimeoutError:
                self._relaunch(EngineError(f"no answer within {seconds:g} s, see --timeout"))
            except ray.exceptions.RayTaskError as error:
                if not isinstance(error.cause, EngineError):
                    raise error.cause from None
                self._relaunch(error.cause)
            except ray.exceptions.RayError as error:
                self._relaunch(error)
            else:
                self._failures = self._losses = 0
                return answers
            self.wait()
            self.send(self._prompts)

    def _launch(self) -> None:
        recipe = self._recipe
        self._actor = placed(EngineHost, recipe.gpus)
        self._made = self._actor.make.remote(sys.path, recipe.policy, recipe.environment, recipe.options)
        self._deadline = time.monotonic() + START_SECONDS

    def _relaunch(self, error: Exception) -> None:
        """Start it again after it failed, unless that was once too often."""
        import ray

        why = str(error) if isinstance(error, EngineError) else f"the Ray actor died ({beginning_of(error)})"
        is_lost = is_of_machine(error)
        self._losses += is_lost
        self._failures += not is_lost
        if self._failures >= ATTEMPTS or self._losses >= LOSSES:
            times = self._failures + self._losses
            raise UserError(f"the engine of {self._recipe.policy} failed {times} times in a row; {GOES_ON}; {why}")
        log.warning("an engine of %s is started again: %s", self._recipe.policy, why)
        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(self._actor)
        try:
            check_places(self._recipe.gpus, self._recipe.engines, self._recipe.policy)
        except UserError as none:
            raise UserError(f"an engine died, and there is no place for another: {none}; {GOES_ON}") from error
        self._launch()

    def _late(self) -> str:
        return (
            f"an engine of {self._recipe.policy} was not ready within {START_SECONDS:g} s: it needs "
            f"{self._recipe.gpus} GPUs on one machine, and {free_gpus()}"
        )


class RayVllmPolicy:
    """The policy ``vllm:MODEL``, answered by one or more engines on the cluster that this process has joined.

    All steps of an episode go to the same engine, whose prefix cache holds its conversation.

    Args:
        policy: ``vllm:MODEL``, or another that runs as an engine (:attr:`policies.entry.PolicyEntry.runs`); a folder
            must be there on the machines of the engines.
        environment: short name of the environment.
        options: those of :class:`policies.vllm.engine.VllmOptions`.

    Raises:
        UserError: a wrong option, no GPUs where the options ask for them, or what an engine says.
    """

    def __init__(self, policy: str, environment: str, options: Mapping[str, Any]) -> None:
        self.name = policy
        entry = entry_of(policy)
        kind: type[VllmOptions] = VllmOptions if entry is None else load(entry.settings)
        chosen = read_options(kind, options)
        if chosen.engines < 1:
            raise UserError(f"engines must be at least 1, got {chosen.engines}")
        gpus = gpus_of(chosen.llm_arguments or {})
        check_places(gpus, chosen.engines, policy)
        recipe = EngineRecipe(policy, environment, {**asdict(chosen), "engines": 1}, gpus, chosen.engines)
        self._engines = [RayEngine(recipe) for _ in range(chosen.engines)]
        digests = {engine.wait() for engine in self._engines}
        if len(digests) > 1:
            raise UserError(UNEQUAL)
        self.digest = digests.pop()
        texts = {name: getattr(chosen, name) for name in ("history", "thinking", "show_actions", "template")}
        self.record = {"prompts": make_settings(environment, **texts).as_dict()}

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Answer each prompt, all engines at the same time.

        Raises:
            UserError: an engine failed too often, or no machine is left for it.
            ContextTooLong: a task and observation that do not fit into the context.
        """
        shares: dict[RayEngine, list[int]] = {}
        for place, prompt in enumerate(prompts):
            engine = self._engines[stable_seed(prompt.task.id, prompt.trial) % len(self._engines)]
            shares.setdefault(engine, []).append(place)
        for engine, share in shares.items():
            engine.send([_light(prompts[place]) for place in share])
        answers: dict[int, Response] = {}
        for engine, share in shares.items():
            answers.update(zip(share, engine.take(), strict=True))
        return [answers[place] for place in range(len(prompts))]


def _light(prompt: Prompt) -> Prompt:
    """Leave out what no answer is made from: the prompts of past answers, which would be most of the message."""
    return replace(prompt, history=tuple(map(_light_turn, prompt.history)))


def _light_turn(turn: Turn) -> Turn:
    if not isinstance(turn.trace, Sampled):
        return turn
    return replace(turn, trace=Sampled(np.zeros(0, np.int32), turn.trace.answer, np.zeros(0, np.float32)))
