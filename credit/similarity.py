"""Counting similar texts as the same state, by the ratio of matching characters.

Texts of a group are taken in order (episode, step). A text joins the first cluster whose first member is similar
enough, else it opens a cluster. So the result depends on that order, and similarity is not transitive.
"""

from __future__ import annotations

from difflib import SequenceMatcher

import numpy as np

from credit.grouping import Groups
from credit.steps import CreditError, IntArray, Steps


def merge_similar(steps: Steps, codes: IntArray, groups: IntArray, threshold: float) -> IntArray:
    """Replace each state by the first member of its cluster.

    The same text meets the same clusters in the same order, so each text of a group is compared once.

    Args:
        steps: the table that holds the states' texts.
        codes: states, in the order in which they are to be taken, shape ``(m,)``.
        groups: group of each, shape ``(m,)``.
        threshold: least ratio of matching characters, in [0, 1] (difflib's ratio of text to first member).

    Returns:
        int64 of shape ``(m,)``.

    Raises:
        CreditError: the states are not texts, or the threshold is out of range.
    """
    if not 0.0 <= threshold <= 1.0:
        raise CreditError(f"similarity_threshold must be in [0, 1], got {threshold}")
    texts = steps.labels.get("state")
    if texts is None or not all(isinstance(text, str) for text in texts):
        raise CreditError("grouping='similarity' compares the states' texts, but the table's states are not strings")
    distinct = Groups.by(groups, codes)
    first = distinct.first
    merged = np.empty(distinct.count, dtype=np.int64)
    clusters: dict[int, list[tuple[int, SequenceMatcher[str]]]] = {}
    for place, (group, code) in enumerate(zip(groups[first].tolist(), codes[first].tolist(), strict=True)):
        known = clusters.setdefault(group, [])
        merged[place] = _representative(texts, code, known, threshold)
    return merged[distinct.code]


def _representative(
    texts: np.ndarray, code: int, known: list[tuple[int, SequenceMatcher[str]]], threshold: float
) -> int:
    """Find the first cluster that the text belongs to, or open one; return the code of its first member."""
    text = texts[code]
    for representative, matcher in known:
        matcher.set_seq1(text)
        # the two quick ratios are upper bounds, so skipping on them changes nothing
        if (
            matcher.real_quick_ratio() >= threshold
            and matcher.quick_ratio() >= threshold
            and matcher.ratio() >= threshold
        ):
            return representative
    known.append((code, SequenceMatcher(None, "", text)))
    return code
