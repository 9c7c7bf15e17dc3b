"""Kendall's rank correlation (tau-b), with what each row adds to it, in n log n steps.

tau = (C - D) / sqrt((P - T_x)(P - T_y)) with P the pairs of rows, C those that x and y put in the same order, D those
in the opposite one, T_x and T_y those that x and y call equal (Kendall 1945, Biometrika 33, 239-251).
"""

from __future__ import annotations

import numpy as np

from credit.steps import FloatArray, IntArray


def pairs(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Sum over the other rows j of sign(x_i - x_j) sign(y_i - y_j), and of both signs' squares, of every row i.

    Args:
        x, y: shape ``(n,)``.

    Returns:
        three float64 of shape ``(n,)``: concordant less discordant partners, partners with another x, with another y.
    """
    a, b = (np.unique(each, return_inverse=True)[1].astype(np.int64) for each in (x, y))
    rows, span = len(a), int(b.max()) + 1
    size_a, size_b = np.bincount(a), np.bincount(b)
    below_a, below_b = (np.append(0, size.cumsum()[:-1]) for size in (size_a, size_b))
    cell, number = np.unique(a * span + b, return_inverse=True)
    size = np.bincount(number)
    # cells in order of (a, b) and of (b, a): how many of the same a lie below in b, and the other way round
    cell_a, cell_b = cell // span, cell % span
    less_b = size.cumsum() - size - below_a[cell_a]
    turned = np.lexsort((cell_a, cell_b))
    less_a = np.empty_like(less_b)
    less_a[turned] = size[turned].cumsum() - size[turned] - below_b[cell_b[turned]]
    order = np.lexsort((-b, a))  # equal a with falling b: none of them counts another as below
    both = np.empty(rows, dtype=np.int64)
    both[order] = _earlier_and_less(b[order])
    low_high = below_a[a] - both - less_a[number]
    high_low = below_b[b] - both - less_b[number]
    above_a = rows - below_a[a] - size_a[a]
    same_b_above = size_b[b] - size[number] - less_a[number]
    high_high = above_a - high_low - same_b_above
    agree = both + high_high - low_high - high_low
    return agree.astype(np.float64), (rows - size_a[a]).astype(np.float64), (rows - size_b[b]).astype(np.float64)


def _earlier_and_less(values: IntArray) -> IntArray:
    """How many earlier entries are less, of each entry: halves of blocks are compared, and the blocks doubled."""
    rows = len(values)
    found, place = np.zeros(rows, dtype=np.int64), np.arange(rows)
    span = int(values.max()) + 1
    width = 1
    while width < rows:
        block, is_right = place // (2 * width), place // width % 2 == 1
        left = np.sort(block[~is_right] * span + values[~is_right])
        starts = np.searchsorted(left, block[is_right] * span)
        found[is_right] += np.searchsorted(left, block[is_right] * span + values[is_right]) - starts
        width *= 2
    return found


def kendall(x: FloatArray, y: FloatArray, group: IntArray, weights: FloatArray) -> FloatArray:
    """tau-b of all rows, for several weights of the groups.

    Weighted sums over pairs are taken to first order in the weights' distance from 1, as every pair of groups would
    have to be kept otherwise: exact for weights of 1, and what a standard error needs.

    Args:
        x, y: shape ``(n,)``.
        group: of each row, in ``[0, G)``, shape ``(n,)``.
        weights: shape ``(replicates, G)``.

    Returns:
        float64 of shape ``(replicates,)``; 0 where x or y is constant.
    """
    agree, in_x, in_y = (
        each.sum() + 2 * (weights - 1) @ np.bincount(group, each, minlength=weights.shape[1]) for each in pairs(x, y)
    )
    if in_x[0] <= 0 or in_y[0] <= 0:
        return np.zeros(len(weights))
    below = np.sqrt(np.maximum(in_x, 0) * np.maximum(in_y, 0))
    return np.asarray(np.divide(agree, below, out=np.full(len(weights), np.nan), where=below > 0))
