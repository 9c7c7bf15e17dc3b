"""What a language model is asked and what it says: prompts as token ids, sampled ids as responses.

Both engines that sample in this process, of transformers (:mod:`policies.language.policy`) and of vLLM
(:mod:`policies.vllm.engine`), ask and answer through a speaker. It samples nothing itself and needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from policies.contract import Prompt, Response, Turn
from policies.language.constraint import Trie
from policies.language.conversation import Writer, Written
from policies.language.sequences import Sampled
from policies.prompts import Fitted, PromptSettings, fit_messages
from policies.prompts.answers import answer_details
from policies.prompts.parsing import ParsedAnswer


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt as a language model gets it.

    Attributes:
        prompt: what it was made from.
        written: its token ids.
        fitted: its messages, and how many old steps were left out of them.
    """

    prompt: Prompt
    written: Written
    fitted: Fitted


@dataclass(frozen=True)
class Speaker:
    """Writes prompts as token ids, and makes responses of what was sampled.

    Attributes:
        writer: of token ids, with the model's tokenizer and chat template.
        prompts: how messages are written.
        model: who is said to answer (``details.model``).
        limit: most tokens of a prompt; None for any number.
        keep_messages: store the messages with every response (``details.messages``).
    """

    writer: Writer
    prompts: PromptSettings
    model: str
    limit: int | None = None
    keep_messages: bool = False

    def ask(self, prompt: Prompt) -> Asked:
        """Write a prompt; past answers stand in it as the ids that were sampled.

        Raises:
            ContextTooLong: task and observation alone are longer than ``limit``.
        """
        turns = prompt.history if self.prompts.history is None else ()
        answers = [_sampled_ids(turn) for turn in turns]

        def written(messages: Sequence[dict[str, str]]) -> Written:
            shown = (len(messages) - 2) // 2
            return self.writer.write(messages, answers[len(answers) - shown :])

        fitted = fit_messages(prompt, self.prompts, lambda each: len(written(each).ids), self.limit)
        return Asked(prompt, written(fitted.messages), fitted)

    def response(
        self,
        asked: Asked,
        parsed: ParsedAnswer,
        *,
        text: str,
        tokens: Sequence[int],
        log_probs: Sequence[float],
        finish: str | None,
        trie: Trie | None = None,
    ) -> Response:
        """Make the response of a sampled answer.

        Args:
            asked: the prompt.
            parsed: the action that the answer names, and what is wrong with it.
            text: the whole answer.
            tokens: the sampled ids.
            log_probs: of each, as they were sampled.
            finish: why the answer ended, in the words of :attr:`policies.contract.Response.details`.
            trie: the answers that could be given, or None for any.
        """
        written, fitted = asked.written, asked.fitted
        details = answer_details(
            invalid=parsed.reason,
            finish=finish,
            prompt_tokens=len(written.ids),
            answer_tokens=len(tokens),
            model=self.model,
            left_out=fitted.left_out,
            messages=fitted.messages if self.keep_messages else None,
            log_prob=float(sum(log_probs)),
        )
        ids, own = np.array(tokens, np.int32), np.array(log_probs, np.float32)
        return Response(parsed.action, text, details, Sampled(written.ids, ids, own, written.ends, trie))


def _sampled_ids(turn: Turn) -> list[int] | None:
    return turn.trace.answer.tolist() if isinstance(turn.trace, Sampled) else None
