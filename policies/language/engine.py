"""The contract of whoever samples answers for a language model: tokens in, tokens and their log-probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from policies.language.decode import Answer, Request, Rules


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
