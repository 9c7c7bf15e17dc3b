"""Whole episodes as sequences of tokens, and advantages of their steps spread over the tokens that were sampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agentbench.runs.episodes import Episode, Step
from agentbench.runs.steps import steps_of
from credit import CreditError, advantages
from credit.steps import FloatArray
from envs.base.errors import UserError
from policies.language.sequences import Sampled

Turns = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EpisodeTokens:
    """One episode as one sequence.

    Attributes:
        prompt: ids before the first sampled token.
        completion: ids from there on: what was sampled, and what the environment wrote between.
        log_probs: of every completion token as it was sampled; 0 where the environment wrote.
        turn: int64, shape (completion tokens,): the step whose answer a token belongs to, -1 where the environment
            wrote.
        steps_left_out: the last steps, which no longer continue the sequence (the conversation outgrew the context).
    """

    prompt: list[int]
    completion: list[int]
    log_probs: list[float]
    turn: Turns
    steps_left_out: int = 0


def join_steps(traces: Sequence[Sampled]) -> EpisodeTokens:
    """Lay the steps of an episode behind each other, token for token as they were sampled.

    Args:
        traces: of the steps, in order; at least one. Each prompt begins with the one before and its answer. From the
            first that does not (older steps no longer fitted into the context), steps are left out.
    """
    kept = 1
    while kept < len(traces) and _continues(traces[kept - 1], traces[kept]):
        kept += 1
    start = len(traces[0].prompt)
    ids = traces[kept - 1].ids[start:]
    turn = np.full(len(ids), -1, np.int64)
    log_probs = np.zeros(len(ids), np.float32)
    for number, trace in enumerate(traces[:kept]):
        place = slice(len(trace.prompt) - start, len(trace.prompt) - start + trace.tokens)
        turn[place], log_probs[place] = number, trace.log_probs
    return EpisodeTokens(traces[0].prompt.tolist(), ids.tolist(), log_probs.tolist(), turn, len(traces) - kept)


def spread(per_step: FloatArray, turn: Turns) -> FloatArray:
    """Give every sampled token the advantage of its step, and every other token 0.

    Args:
        per_step: float64, shape (steps,).
        turn: int64, shape (tokens,), in [-1, steps).
    """
    return np.where(turn >= 0, per_step[np.maximum(turn, 0)], 0.0)


def step_advantages(
    groups: Sequence[Sequence[Episode]], scheme: str, options: Mapping[str, Any], invalid_penalty: float = 0.0
) -> list[list[FloatArray]]:
    """Compute the advantages of groups of episodes under a scheme.

    Episodes without steps, and those whose outcome is ``error``, are left out: they were not judged.

    Args:
        groups: the episodes of each group.
        scheme: as in :func:`credit.advantages`.
        options: of the scheme.
        invalid_penalty: taken off the reward of an invalid action.

    Returns:
        for each episode float64 of shape (steps,); 0 for those that were left out.
    """
    judged = [[each for each in group if each.is_judged] for group in groups]
    judged = [group for group in judged if group]
    found = [[np.zeros(len(episode.steps)) for episode in group] for group in groups]
    if not judged:
        return found
    values = advantages(scheme, steps_of(judged, penalty=invalid_penalty), **options)
    lengths = [len(episode.steps) for group in judged for episode in group]
    parts = iter(np.split(values, np.cumsum(lengths)[:-1]))
    return [
        [next(parts) if each.is_judged else zeros for each, zeros in zip(*both, strict=True)]
        for both in zip(groups, found, strict=True)
    ]


def refuse_unfit_scheme(scheme: str, options: Mapping[str, Any]) -> None:
    """Find out before anything is played whether a scheme can be computed from what an episode records.

    Raises:
        UserError: no such scheme or option, or a scheme that needs a critic's values or other measurements.
    """
    step = Step("", "", None, "", 1.0, True, terminated=True, truncated=False, score=1.0)
    episode = Episode("", "", "", "", 0, "success", won=True, score=1.0, steps=[step])
    try:
        step_advantages([[episode, episode]], scheme, options)
    except CreditError as error:
        raise UserError(str(error)) from error


def _continues(before: Sampled, after: Sampled) -> bool:
    return len(after.prompt) > before.prompt.size + before.tokens and bool(
        np.array_equal(after.prompt[: before.prompt.size + before.tokens], before.ids)
    )
