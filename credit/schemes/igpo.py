"""IGPO: every turn is rewarded by how much more probable it made the right answer, the last by the outcome.

Equation: A_t = sum_{k >= t} gamma^(k-t) (q_k - mean_g(q)) / (std_g(q) + epsilon)
    q_t = p(answer | h_t) - p(answer | h_{t-1}), the column ``info_gain``;   q_T = outcome, at the last turn
Symbols: h_t what the agent has seen up to turn t; p exponential of the mean log-probability of the right answer's
    tokens; mean and std over all turns of the group.
Source: IGPO, information gain-based policy optimization (arXiv 2510.14967).
Cost: a forward pass over the right answer a turn
Use: question answering with a known answer
Evidence: paper
    The released code, which differs (:func:`igpo_released`): code+run.

The right answer must be known, and each turn costs a forward pass over it. The paper does not give the variance's
divisor nor an epsilon; they are options here. The release differs: it begins returns anew at every token that the
policy did not choose, so that nothing flows from turn to turn, and its baseline is the mean return at the same
token index of the group's rows, padding included.
"""

from __future__ import annotations

import numpy as np

from credit.grouping import Groups
from credit.normalize import Normalize, Singleton, normalize_within
from credit.returns import check_discount, outcomes, step_returns
from credit.scheme import Ddof, Epsilon, Share, scheme
from credit.steps import FloatArray, Steps
from credit.tokens import Tokens, TokenValues, reverse_sum


@scheme(needs=("info_gain",), claims=("local",))
def igpo(
    steps: Steps,
    *,
    gamma: Share = 1.0,
    normalize: Normalize = "std",
    ddof: Ddof = 1,
    epsilon: Epsilon = 1e-6,
    singleton: Singleton = "zero",
) -> FloatArray:
    """IGPO advantage of every step.

    Args:
        steps: the step table; ``info_gain`` of an episode's last step is not read.
        gamma: discount of the normalised rewards, in [0, 1].
        normalize: divide by the standard deviation, or only subtract the mean.
        ddof: the variance divides by the number of turns minus this.
        epsilon: added to the standard deviation.
        singleton: a group of one turn gives 0, or its own reward.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    reward = np.where(steps.is_last, steps.per_step(outcomes(steps)), steps.column("info_gain"))
    normal = normalize_within(
        reward, Groups.by(steps.group), normalize=normalize, ddof=ddof, epsilon=epsilon, singleton=singleton
    )
    return step_returns(steps, normal, gamma=gamma)


def igpo_released(tokens: Tokens, *, gamma: float = 1.0) -> TokenValues:
    """IGPO per token as in the released code: return within the turn, less the group's mean at the same index.

    The mean takes in what the recursion leaves at tokens that were not chosen: there, the return of a turn that
    begins with the next token.
    """
    check_discount("gamma", gamma)
    decay = np.zeros(tokens.mask.shape)
    decay[:, :-1] = gamma * tokens.mask[:, 1:]
    returned = reverse_sum(tokens.reward, decay)
    rows, length = tokens.mask.shape
    index = Groups.by(np.repeat(tokens.group, length), np.tile(np.arange(length), rows))
    baseline = index.mean(returned.ravel())[index.code].reshape(rows, length)
    return (returned - baseline) * tokens.mask + 0.0, returned * tokens.mask + 0.0
