"""The contract of whoever samples answers for a language model: tokens in, tokens and their log-probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from policies.contract import TemperedPolicy

if TYPE_CHECKING:
    from torch import nn

    from policies.language.decode import Answer, Request, Rules
    from policies.language.settings import LanguageSettings
    from policies.language.weights import Weights


class Engine(Protocol):
    """Samples with a copy of the weights that whoever trains them hands over.

    Attributes:
        concurrency: how many requests it takes at once, each from a thread of its own.
    """

    concurrency: int

    def answer(self, requests: Sequence[Request], rules: Rules) -> list[Answer]:
        """Answer every request; called from many threads.

        Raises:
            UserError: it cannot work at all.
        """


@runtime_checkable
class Servable(Protocol):
    """A language model of transformers that can be written as a folder, and whose answers an engine can sample from it.

    :mod:`agentbench.train` asks for it where ``engine`` is vLLM; any other policy samples its answers itself.
    """

    @property
    def options(self) -> LanguageSettings:
        """Which model it is, and how it is used."""

    @property
    def tokenizer(self) -> Any:
        """A tokenizer of transformers."""

    @property
    def weights(self) -> Weights:
        """The model."""

    @property
    def module(self) -> nn.Module:
        """The weights, by whose names others are handed over."""

    def sampled_by(self, engine: Engine) -> TemperedPolicy:
        """Return this policy with its answers sampled by an engine, which is given the weights by other means.

        Raises:
            UserError: its answers cannot be sampled by another engine.
        """
