"""Answers that never end: told before anything is played where it can be foreseen, else after the first few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from envs.base.log import log
from policies.language.conversation import Writer
from policies.language.decode import Answer, Rules

FIRST = 8
"""Answers, all cut at their longest, after which that is said."""


def warn_of_endless_answers(model: str, writer: Writer, rules: Rules) -> None:
    """Warn where the chat template ends a turn with a token that ends no answer: that of a base model, mostly."""
    end = writer.turn_end
    if end is None or end in rules.end_tokens or rules.stop:
        return
    tokenizer: Any = writer.tokenizer
    name, known = tokenizer.decode([end]), ", ".join(tokenizer.decode([each]) for each in sorted(rules.end_tokens))
    log.warning(
        "the chat template of %s ends an answer with %s, and its model with %s: is it a base model? Its answers may "
        "all run to max_tokens = %d; take the chat model, or set stop to %s",
        model,
        name,
        known or "nothing",
        rules.max_new_tokens,
        name,
    )


@dataclass
class CutAnswers:
    """Counts the first answers that are cut at their longest, until one is not.

    Attributes:
        count: how many were, so far.
        told: whether nothing more is to be told.
    """

    count: int = 0
    told: bool = False

    def note(self, answers: Sequence[Answer], longest: int) -> None:
        """Take in answers of at most ``longest`` tokens; warn once if the first ones were all cut."""
        if self.told:
            return
        cut = sum(each.finish == "length" for each in answers)
        self.count += cut
        self.told = cut < len(answers)
        if not self.told and self.count >= FIRST:
            self.told = True
            log.warning(
                "the first %d answers were all cut at max_tokens = %d: raise it, set thinking = off or a stop string, "
                "or take a model that ends its answers",
                self.count,
                longest,
            )
