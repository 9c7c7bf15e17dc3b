"""Decoding nothing but some given answers: which tokens may come next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from envs.base.errors import UserError

Ids = tuple[int, ...]


class Trie:
    """The answers that may be given, as token sequences sharing their beginnings.

    Args:
        answers: token ids of each answer; none may be the beginning of another.
    """

    def __init__(self, answers: Sequence[Ids]) -> None:
        self.answers = tuple(sorted(set(answers)))

    def allowed(self, so_far: Sequence[int]) -> list[int]:
        """Return the tokens that may follow ``so_far``, sorted; empty where an answer is complete."""
        depth, begun = len(so_far), tuple(so_far)
        return sorted({answer[depth] for answer in self.answers if len(answer) > depth and answer[:depth] == begun})

    def rest(self, so_far: Sequence[int]) -> Ids | None:
        """Return what must follow ``so_far`` where only one answer is left, else None."""
        depth, begun = len(so_far), tuple(so_far)
        left = [answer for answer in self.answers if answer[:depth] == begun]
        return left[0][depth:] if len(left) == 1 else None


class Offered:
    """The actions that may be taken under a constraint.

    Args:
        actions: by the token ids that an answer must then have.

    Raises:
        UserError: one answer is the beginning of another, so that nothing would say where it ends.
    """

    def __init__(self, actions: Mapping[Ids, str]) -> None:
        self.actions, self.trie = actions, Trie(tuple(actions))
        for short, long in pairwise(self.trie.answers):
            if long[: len(short)] == short:
                raise UserError(
                    f"the answer of {actions[short]!r} is the beginning of that of {actions[long]!r}: end 'answer' in "
                    'the template with a mark, as in answer = "{{ action }};"'
                )
