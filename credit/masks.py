"""Between the matrices of tokens that trainers hold and the step table, one turn a step.

``from_tokens`` makes a table of a batch, :func:`credit.advantages` gives every row of it a number, and ``to_tokens``
puts the numbers on the tokens. The mask is nonzero where the policy sampled. A turn is an unbroken run of such tokens
in a row, because the environment writes at least one token between two answers. So a row may hold a whole episode or a
single step of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from credit.steps import CreditError, FloatArray, IntArray

if TYPE_CHECKING:
    import pandas as pd


def turns(mask: ArrayLike) -> IntArray:
    """Number the turns of every row.

    Args:
        mask: shape (…, tokens), nonzero where the policy sampled.

    Returns:
        int64 of the mask's shape: number of the turn in its row, from 0; -1 where the policy did not sample.
    """
    sampled = np.asarray(mask) != 0
    before = np.concatenate([np.zeros_like(sampled[..., :1]), sampled[..., :-1]], axis=-1)
    return np.where(sampled, np.cumsum(sampled & ~before, axis=-1) - 1, -1)


def from_tokens(reward: ArrayLike, mask: ArrayLike, group: ArrayLike, *, turn: ArrayLike | None = None) -> pd.DataFrame:
    """Make a step table of a batch whose rows are episodes.

    Args:
        reward: float, shape (rows, tokens). A turn earns all that stands before the next turn begins.
        mask: shape (rows, tokens), nonzero where the policy sampled.
        group: shape (rows,): rows with the same entry are compared with each other.
        turn: as :func:`turns` returns it, where the mask alone does not tell turns apart.

    Returns:
        the columns group, episode (the row's number), step and reward; one row a turn, those of an episode together and
        in order. Rows of the batch in which nothing was sampled are left out. Add what else a scheme needs (``state``).

    Raises:
        CreditError: shapes that do not fit each other.
    """
    number = _turns_of(mask, turn)
    earned = np.asarray(reward, dtype=np.float64)
    names = np.asarray(group)
    if earned.shape != number.shape or names.shape != number.shape[:1]:
        raise CreditError(
            f"reward {earned.shape}, mask {number.shape} and group {names.shape} do not fit each other: "
            "they are (rows, tokens), (rows, tokens) and (rows,)"
        )
    counts = number.max(axis=1, initial=-1) + 1
    row, step = np.repeat(np.arange(len(counts)), counts), _numbers(counts)
    owner = np.maximum(np.maximum.accumulate(number, axis=1), 0) + (np.cumsum(counts) - counts)[:, None]
    of_turns = np.broadcast_to((counts > 0)[:, None], number.shape)
    per_turn = np.bincount(owner[of_turns], earned[of_turns], minlength=len(row))
    import pandas as pd

    return pd.DataFrame({"group": names[row], "episode": row, "step": step, "reward": per_turn})


def to_tokens(values: ArrayLike, mask: ArrayLike, *, turn: ArrayLike | None = None) -> FloatArray:
    """Give every sampled token the advantage of its turn, and every other token 0.

    Args:
        values: shape (turns,), in the order of the mask: row by row, in a row turn by turn, as the rows of
            :func:`from_tokens` lie.
        mask: shape (rows, tokens), nonzero where the policy sampled.
        turn: as :func:`turns` returns it, where the mask alone does not tell turns apart.

    Returns:
        float64 of shape (rows, tokens).

    Raises:
        CreditError: not as many values as the mask has turns.
    """
    number = _turns_of(mask, turn)
    given = np.asarray(values, dtype=np.float64)
    counts = number.max(axis=1, initial=-1) + 1
    if given.shape != (counts.sum(),):
        raise CreditError(
            f"there are {counts.sum()} turns in the mask and values of shape {given.shape}: one value a turn "
            "(where two turns touch, say with turn= which token belongs to which)"
        )
    found = np.zeros(number.shape)
    place = (np.cumsum(counts) - counts)[:, None] + number
    found[number >= 0] = given[place[number >= 0]]
    return found


def _turns_of(mask: ArrayLike, turn: ArrayLike | None) -> IntArray:
    shape = np.asarray(mask).shape
    if len(shape) != 2:
        raise CreditError(f"the mask has shape {shape}, expected (rows, tokens)")
    if turn is None:
        return turns(mask)
    number = np.asarray(turn)
    if number.shape != shape or number.dtype.kind not in "iu":
        raise CreditError(f"turn is {number.dtype} of shape {number.shape}, expected integers of the mask's {shape}")
    number = np.where(np.asarray(mask) != 0, number, -1).astype(np.int64)
    if (np.diff(np.maximum.accumulate(number, axis=1), axis=1, prepend=-1) > 1).any():
        raise CreditError("turn skips a number: in every row turns count from 0 without gaps, and time runs forward")
    return number


def _numbers(counts: IntArray) -> IntArray:
    """Return 0 … count-1 for every count, end to end."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
