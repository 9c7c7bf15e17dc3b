"""What a step leaves for training, and how steps are laid out as sequences.

Two layouts give the same loss and gradient. *Step*: each step's prompt and answer are a sequence. *Episode*: steps
whose prompts continue each other are one sequence, and only the positions of their answers count. With causal
attention a token sees the same beginning in both, so 15 steps of a growing conversation cost one sequence, not 15.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from policies.language.constraint import Trie

if TYPE_CHECKING:
    from policies.language.cache import Ids


@dataclass(frozen=True, slots=True)
class Sampled:
    """The trace of one answer: exactly what the model saw and sampled.

    Attributes:
        prompt: int32, shape (prompt tokens,).
        answer: int32, shape (tokens,): the sampled ids, never decoded and encoded again.
        log_probs: float32, shape (tokens,): as they were sampled.
        ends: where earlier answers ended in the prompt, ascending.
        trie: the answers that could be given, or None for any.
    """

    prompt: Ids
    answer: Ids
    log_probs: npt.NDArray[np.float32]
    ends: tuple[int, ...] = ()
    trie: Trie | None = None

    @property
    def tokens(self) -> int:
        """Number of sampled tokens."""
        return len(self.answer)

    @property
    def ids(self) -> Ids:
        """Prompt and answer."""
        return np.concatenate([self.prompt, self.answer])


@dataclass(slots=True)
class TokenSequence:
    """One sequence for the model, and the steps that are in it.

    Attributes:
        ids: int32, shape (tokens,).
        steps: numbers of the traces whose answers lie in it.
    """

    ids: Ids
    steps: list[int]


def lay_out(traces: Sequence[Sampled], whole_episodes: bool) -> list[TokenSequence]:
    """Lay traces out as sequences.

    Args:
        traces: the steps, of any episodes in any order.
        whole_episodes: put a step behind another one whose prompt and answer its own prompt begins with.
    """
    if not whole_episodes:
        return [TokenSequence(trace.ids, [number]) for number, trace in enumerate(traces)]
    made: list[TokenSequence] = []
    grow: dict[bytes, list[TokenSequence]] = {}
    for number in sorted(range(len(traces)), key=lambda each: len(traces[each].prompt)):
        trace = traces[number]
        before = (grow.get(trace.prompt[:end].tobytes()) for end in reversed(trace.ends))
        found = next((waiting for waiting in before if waiting), None)
        if found is None:
            sequence = TokenSequence(trace.ids, [number])
            made.append(sequence)
        else:
            sequence = found.pop()
            sequence.ids = trace.ids
            sequence.steps.append(number)
        grow.setdefault(sequence.ids.tobytes(), []).append(sequence)
    return made


def batches(sequences: Sequence[TokenSequence], padded_tokens: int) -> list[list[TokenSequence]]:
    """Put sequences of similar length together, at most ``padded_tokens`` with padding (a longer one stands alone).

    At most a quarter of a batch is padding.
    """
    parts: list[list[TokenSequence]] = []
    for sequence in sorted(sequences, key=lambda each: (-len(each.ids), each.steps)):
        if parts:
            longest = len(parts[-1][0].ids)
            if 4 * len(sequence.ids) >= 3 * longest and (len(parts[-1]) + 1) * longest <= padded_tokens:
                parts[-1].append(sequence)
                continue
        parts.append([sequence])
    return parts


def pieces(sequences: Sequence[TokenSequence], budget: int) -> list[npt.NDArray[np.int64]]:
    """Cut steps into pieces of at most ``budget`` tokens, sequences whole (a longer one is a piece of its own)."""
    found: list[list[int]] = []
    used = budget
    for sequence in sorted(sequences, key=lambda each: min(each.steps)):
        if used + len(sequence.ids) > budget:
            found.append([])
            used = 0
        found[-1] += sequence.steps
        used += len(sequence.ids)
    return [np.array(sorted(each), np.int64) for each in found]
