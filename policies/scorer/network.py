"""The scorer's network: a score for each admissible action, from its relations, words and verb."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from policies.scorer.reading import VERBS, WORDS
from policies.scorer.relations import ACTION_FEATURES, STATE_FEATURES, Features


@dataclass(frozen=True, slots=True)
class Decisions:
    """Several decisions, their actions and the rows that describe them laid end to end.

    Attributes:
        task_words: int64, shape (decisions, words).
        state: float32, shape (decisions, features).
        last_verb: int64, shape (decisions,).
        verbs: int64, shape (rows,).
        words: int64, shape (rows, 2).
        relations: float32, shape (rows, ACTION_FEATURES).
        row_decision: int64, shape (rows,): which decision a row belongs to.
        row_starts: int64, shape (decisions,): first row of each decision.
        row: int64, shape (actions,): the row that describes an action.
        decision: int64, shape (actions,): which decision an action belongs to.
        starts: int64, shape (decisions,): first action of each decision.
    """

    task_words: Tensor
    state: Tensor
    last_verb: Tensor
    verbs: Tensor
    words: Tensor
    relations: Tensor
    row_decision: Tensor
    row_starts: Tensor
    row: Tensor
    decision: Tensor
    starts: Tensor


def collate(decisions: Sequence[Features], device: torch.device | str = "cpu") -> Decisions:
    """Lay decisions end to end as tensors."""
    number = np.arange(len(decisions))
    counts = np.array([(len(each.rows), len(each.verbs)) for each in decisions], np.int64)
    starts, row_starts = (counts.cumsum(0) - counts).T
    row = np.concatenate([each.rows for each in decisions])
    words = np.concatenate([each.task_words for each in decisions]).reshape(len(decisions), -1)

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(device)

    return Decisions(
        task_words=tensor(words[:, : max(1, int((words > 0).sum(1).max()))]),
        state=tensor(np.concatenate([each.state for each in decisions]).reshape(len(decisions), -1)),
        last_verb=tensor(np.fromiter((each.last_verb for each in decisions), np.int64, len(decisions))),
        verbs=tensor(np.concatenate([each.verbs for each in decisions])),
        words=tensor(np.concatenate([each.words for each in decisions])),
        relations=tensor(np.concatenate([each.relations for each in decisions])),
        row_decision=tensor(np.repeat(number, counts[:, 1])),
        row_starts=tensor(row_starts),
        row=tensor(row + np.repeat(row_starts, counts[:, 0])),
        decision=tensor(np.repeat(number, counts[:, 0])),
        starts=tensor(starts),
    )


class ScorerNetwork(nn.Module):
    """Score actions. About 0.2 million parameters at the default sizes.

    The task's words meet the action through attention: the action's verb and words ask which word of the task is
    about them. All else is a perceptron over what stands beside each other.

    Args:
        word_size: length of a word's embedding.
        hidden: width of the hidden layers.
    """

    def __init__(self, word_size: int = 24, hidden: int = 128) -> None:
        super().__init__()
        self.word = nn.Embedding(WORDS, word_size, padding_idx=0)
        self.verb = nn.Embedding(VERBS, word_size)
        self.query = nn.Linear(3 * word_size, word_size)
        self.context = nn.Linear(STATE_FEATURES + 3 * VERBS + 2 * word_size, hidden)
        self.action = nn.Linear(ACTION_FEATURES + 4 * word_size, hidden)
        self.mix = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(hidden, hidden), nn.ReLU(inplace=True))
        self.score = nn.Linear(hidden, 1)
        self.value = nn.Sequential(nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, batch: Decisions) -> tuple[Tensor, Tensor]:
        """Return the log-probability of every action within its decision, and the value of every decision.

        Shapes (actions,) and (decisions,), float32.
        """
        task = self.word(batch.task_words)
        present = batch.task_words > 0
        mean = (task * present[..., None]).sum(1) / present.sum(1, keepdim=True).clamp(min=1)
        context = self.context(torch.cat([batch.state, mean, self.verb(batch.last_verb)], -1))
        own = torch.cat([self.verb(batch.verbs), self.word(batch.words).flatten(1)], -1)
        about = self._about(self.query(own), task, present, batch)
        # index_select and not [], here and below: the backward pass of [] adds the rows of several threads up in the
        # order in which they come, and so differs from run to run. It also takes three times as long.
        given = context.index_select(0, batch.row_decision)
        # In place where nothing reads what was there: these are the largest tensors, and new memory has to be cleared.
        hidden = self.mix(self.action(torch.cat([batch.relations, own, about], -1)).add_(given))
        scores = self.score(hidden).squeeze(-1).index_select(0, batch.row)
        return log_softmax_by(scores, batch), self.value(context).squeeze(-1)

    @staticmethod
    def _about(query: Tensor, task: Tensor, present: Tensor, batch: Decisions) -> Tensor:
        """Attend from every row to the words of its task, in a padded grid of decisions by rows."""
        starts = batch.row_starts.index_select(0, batch.row_decision)
        column = torch.arange(len(query), device=query.device) - starts
        width = int(column.max()) + 1
        place = batch.row_decision * width + column
        grid = query.new_zeros(len(task) * width, query.shape[1]).index_copy(0, place, query)
        grid = grid.view(len(task), width, -1)
        match = (grid @ task.transpose(1, 2)).masked_fill(~present[:, None, :], -1e9).softmax(-1)
        return (match @ task).flatten(0, 1).index_select(0, place)


def log_softmax_by(scores: Tensor, batch: Decisions) -> Tensor:
    """Log-softmax of the scores within each decision. Shape (actions,)."""
    decisions = len(batch.starts)
    scores = scores.float()  # under autocast they come in bfloat16, too coarse for probabilities
    highest = scores.new_full((decisions,), -torch.inf).scatter_reduce(0, batch.decision, scores.detach(), "amax")
    shifted = scores - highest[batch.decision]
    total = scores.new_zeros(decisions).index_add(0, batch.decision, shifted.exp())
    return shifted - total.log().index_select(0, batch.decision)
