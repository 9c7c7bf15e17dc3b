"""From chat messages to token ids, with past answers as the very ids that were sampled.

The ids of a conversation only grow: those of a step begin with the ids of the step before and its sampled answer. So
nothing that was sampled is ever decoded and encoded again, which would not always give the same ids back, and what
was computed for the beginning can be kept. Messages are encoded apart from the chat template's own text: what looks
like a special token in an observation stays text, and cannot pretend to be the end of a turn.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.base.errors import UserError
from policies.prompts import Message

if TYPE_CHECKING:
    from policies.language.cache import Ids

_SLOT = re.compile(r"@@SLOT-(\d+)@@")


@dataclass(frozen=True, slots=True)
class Written:
    """A prompt as token ids.

    Attributes:
        ids: int32, shape (tokens,).
        ends: behind which position each past answer ends, ascending.
    """

    ids: Ids
    ends: tuple[int, ...]


class Writer:
    """Writes conversations with one tokenizer and its chat template.

    Args:
        tokenizer: a fast tokenizer of transformers.
        thinking: handed to the template as ``enable_thinking``.

    Raises:
        UserError: the tokenizer has no chat template, or one that cannot be used.
    """

    def __init__(self, tokenizer: Any, thinking: bool) -> None:
        self.tokenizer, self.thinking = tokenizer, thinking
        if not getattr(tokenizer, "chat_template", None):
            raise UserError(
                f"the tokenizer of {tokenizer.name_or_path} has no chat template: use a chat model, or put a "
                "chat_template.jinja beside its tokenizer"
            )
        self.with_system = self._takes_system()
        between = self._skeleton(["user", "assistant", "user"])
        # Only what stands behind the assistant's words: the end of that turn, the user's words, the next beginning.
        answer = next(place for place, part in enumerate(between) if part == 1)
        self._between = between[answer + 1 :]
        self._opening = self._skeleton(["system", "user"] if self.with_system else ["user"])
        self.encode = functools.lru_cache(maxsize=20_000)(self._encode)
        self._fixed = functools.lru_cache(maxsize=1_000)(self._encode_template)

    @property
    def turn_end(self) -> int | None:
        """The special token with which the template ends an answer; None where it ends with ordinary text."""
        after = self._between[0] if self._between else ""
        ids = self._fixed(after) if isinstance(after, str) else []
        return ids[0] if ids and ids[0] in self.tokenizer.added_tokens_decoder else None

    def write(self, messages: Sequence[Message], answers: Sequence[Sequence[int] | None] = ()) -> Written:
        """Write messages: a system message, then user and assistant in turn, a user's last.

        Args:
            messages: the conversation.
            answers: the sampled ids of each assistant message, None where there are none: its text is encoded then.
        """
        system, *turns = [message["content"] for message in messages]
        opening = [system, turns[0]] if self.with_system else [f"{system}\n\n{turns[0]}"]
        ids: list[int] = []
        for part in self._opening:
            ids += self._fixed(part) if isinstance(part, str) else self.encode(opening[part])
        ends = []
        for number, (said, asked) in enumerate(zip(turns[1::2], turns[2::2], strict=True)):
            sampled = answers[number] if number < len(answers) else None
            answer = self.encode(said) if sampled is None else sampled
            ids += answer
            ends.append(len(ids))
            for place, part in enumerate(self._between):
                new = self._fixed(part) if isinstance(part, str) else self.encode(asked)
                # A model that ended its turn itself has sampled the token that the template would put there.
                repeated = place == 0 and len(answer) > 0 and len(new) > 0 and new[0] == answer[-1]
                ids += new[1:] if repeated else new
        return Written(np.array(ids, np.int32), tuple(ends))

    def _takes_system(self) -> bool:
        try:
            return 0 in self._skeleton(["system", "user"])
        except UserError:
            return False

    def _skeleton(self, roles: Sequence[str]) -> list[str | int]:
        """Return the template's own text, with the number of a message in place of its words."""
        messages = [{"role": role, "content": f"@@SLOT-{number}@@"} for number, role in enumerate(roles)]
        try:
            text = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, enable_thinking=self.thinking
            )
        except Exception as error:  # a template is a program of whoever made the model: it may raise anything
            raise UserError(f"the chat template of {self.tokenizer.name_or_path} fails: {error}") from error
        parts = _SLOT.split(text)
        if [int(part) for part in parts[1::2]] != list(range(len(roles))):
            raise UserError(f"the chat template of {self.tokenizer.name_or_path} does not write each message once")
        return [int(part) if place % 2 else part for place, part in enumerate(parts) if part]

    def _encode(self, text: str) -> list[int]:
        """Encode words of a message: nothing in them is a special token."""
        found: list[int] = self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        return found

    def _encode_template(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return found
