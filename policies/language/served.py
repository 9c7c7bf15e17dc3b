"""A language model's policy whose answers another engine samples, which is given the weights by other means."""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from policies.contract import Prompt, Response
from policies.language.decode import Answer, Request, Rules
from policies.language.engine import Engine
from policies.language.speaker import Asked, Speaker


class Speaks(Protocol):
    """What of a language model's policy is needed where somebody else samples."""

    @property
    def name(self) -> str:
        """Name of the policy."""

    @property
    def digest(self) -> str:
        """Digest of all that decides its answers."""

    @property
    def speaker(self) -> Speaker:
        """Who writes the prompts."""

    def rules(self) -> Rules:
        """Return how answers are sampled."""

    def read(self, asked: Asked, answer: Answer) -> Response:
        """Make a response of an answer."""

    def with_temperature(self, temperature: float) -> Speaks:
        """Return it with its answers sampled at another temperature."""


class ServedPolicy:
    """Asks and reads as the policy does; may be asked from many threads.

    Args:
        policy: whose prompts, settings and tokenizer these are; its answers are not constrained.
        engine: who samples.
    """

    def __init__(self, policy: Speaks, engine: Engine) -> None:
        self._policy, self._engine = policy, engine
        self._threads = ThreadPoolExecutor(engine.concurrency)
        # A tokenizer is set before each call whether to see special tokens: one thread at a time.
        self._tokenizing = threading.Lock()

    @property
    def name(self) -> str:
        """That of the policy."""
        return self._policy.name

    @property
    def digest(self) -> str:
        """That of the policy: who samples changes nothing that it would say."""
        return self._policy.digest

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Answer each prompt.

        Raises:
            ContextTooLong: task and observation alone are longer than the model's context.
            UserError: the engine cannot work at all.
        """
        policy = self._policy
        with self._tokenizing:
            asked = [policy.speaker.ask(prompt) for prompt in prompts]
        requests = [Request(each.written.ids, each.written.ends, each.prompt.seed) for each in asked]
        answers = self._engine.answer(requests, policy.rules())
        with self._tokenizing:
            return [policy.read(one, answer) for one, answer in zip(asked, answers, strict=True)]

    def submit(self, prompt: Prompt) -> Future[Response]:
        """Ask for one prompt without waiting; its answer comes later, or one of the exceptions of :meth:`act`."""
        return self._threads.submit(lambda: self.act([prompt])[0])

    def with_temperature(self, temperature: float) -> ServedPolicy:
        """Return this policy with its answers sampled at another temperature, by the same engine."""
        other = copy.copy(self)
        other._policy = self._policy.with_temperature(temperature)
        return other
