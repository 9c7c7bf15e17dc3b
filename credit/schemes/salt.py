"""SALT: an episode's advantage, averaged with that of the other episodes that made the same transition.

Equation: A_{i,t} = mean of A_j over the episodes j that contain (s_t, a_t, s_{t+1});  A_i where only i does
Symbols: A_i trajectory-level advantage of episode i within its group (GRPO or RLOO, one sample an episode);
    s_t anchor state, a_t action.
Source: SALT: step-level advantage assignment from trajectory graphs (arXiv 2510.20022), as the appendix of the
    GRAFT paper (arXiv 2609.28963) describes it. No official code is public.
Cost: none
Use: sparse outcomes, states and actions that recur exactly; a light correction of GRPO
Evidence: second-hand

What the sources leave open is an option here: how much history a state includes (``history``), whether states
must be equal or may be similar (``grouping``), what identifies a transition (``match``), and whether an episode
that repeats a transition counts once (``merge_mean="distinct_trajectories"``, assumed) or each time (``"rows"``).

For a policy that sees only the merged state, averaging over rows leaves the summed policy gradient unchanged:
equal score vectors, equal sum. It then matters only through history in the prompt, clipping and loss aggregation.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from credit.grouping import Groups, contexts
from credit.scheme import OF_OUTCOMES, AtLeastOne, Count, Ddof, Epsilon, Share, scheme
from credit.schemes.grpo import grpo
from credit.schemes.rloo import rloo
from credit.similarity import merge_similar
from credit.steps import CreditError, FloatArray, IntArray, Steps

TRANSITION = ("state", "action", "next_state")


@scheme(
    needs=TRANSITION,
    compares=("group", *TRANSITION),
    claims=(*OF_OUTCOMES, "scale_free"),
)
def salt(
    steps: Steps,
    *,
    base: Literal["grpo", "rloo"] = "grpo",
    match: tuple[str, ...] = TRANSITION,
    history: Count = 0,
    min_trajectories: AtLeastOne = 2,
    merge_mean: Literal["distinct_trajectories", "rows"] = "distinct_trajectories",
    grouping: Literal["exact", "similarity"] = "exact",
    similarity_threshold: Share = 0.95,
    normalize: Literal["std", "mean"] = "std",
    ddof: Ddof = 1,
    epsilon: Epsilon = 1e-6,
) -> FloatArray:
    """SALT advantage of every step.

    Args:
        steps: the step table.
        base: where the episodes' advantages come from.
        match: columns that make two transitions of a group the same; some of state, action, next_state.
        history: number of earlier states that count as part of ``state``.
        min_trajectories: a transition is merged when at least this many distinct episodes contain it.
        merge_mean: mean over the distinct episodes, or over all steps with the transition.
        grouping: equal states, or states with similar text (see :mod:`credit.similarity`).
        similarity_threshold: least similarity of two texts.
        normalize, ddof, epsilon: of the base ``"grpo"``.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    if not match or not set(match) <= set(TRANSITION):
        raise CreditError(f"salt: match names some of {', '.join(TRANSITION)}, got {match!r}")
    if history < 0 or min_trajectories < 1:
        raise CreditError("salt: history must be at least 0, and min_trajectories at least 1")
    of_episode = rloo(steps) if base == "rloo" else grpo(steps, normalize=normalize, ddof=ddof, epsilon=epsilon)
    columns = _transition(steps, history, similarity_threshold if grouping == "similarity" else None)
    same = Groups.by(steps.group, *(columns[name] for name in match))
    distinct = Groups.by(same.code, steps.episode).first
    episodes = same.rows(distinct)
    mean = same.mean(of_episode) if merge_mean == "rows" else episodes.mean(of_episode[distinct])
    return np.where((episodes.size >= min_trajectories)[same.code], mean[same.code], of_episode)


def _transition(steps: Steps, history: int, threshold: float | None) -> dict[str, IntArray]:
    state, following = steps.column("state"), steps.column("next_state")
    if threshold is not None:
        both = np.concatenate([state, following])
        state, following = np.split(merge_similar(steps, both, np.tile(steps.group, 2), threshold), 2)
    if history:
        state = list(contexts(steps, state, history + 1))[-1].code
    return {"state": state, "action": steps.column("action"), "next_state": following}
