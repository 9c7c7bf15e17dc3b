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
    group, code = groups[distinct.first], codes[distinct.first]
    merged = np.empty(distinct.count, dtype=np.int64)
    together = np.argsort(group, kind="stable")
    for members in np.split(together, np.flatnonzero(np.diff(group[together])) + 1):
        merged[members] = code[members][cluster([texts[member] for member in code[members]], threshold)]
    return merged[distinct.code]


def cluster(texts: list[str], threshold: float) -> IntArray:
    """Put each text into the first cluster whose first member is similar enough, else open a cluster.

    Two texts cannot be more similar than the letters they have in common, whatever their order. That bound is
    taken against all clusters at once, so that the costly comparison runs only where it can succeed.

    Returns:
        For each text the index of its cluster's first member, int64.
    """
    letters = _letter_counts(texts)
    length = letters.sum(axis=1)
    firsts: list[int] = []
    matchers: list[SequenceMatcher[str]] = []
    result = np.empty(len(texts), dtype=np.int64)
    for index, text in enumerate(texts):
        total = np.maximum(length[firsts] + length[index], 1)
        in_common = np.minimum(letters[firsts], letters[index]).sum(axis=1)
        possible = (2.0 * in_common / total >= threshold) | (length[firsts] + length[index] == 0)
        for place in np.flatnonzero(possible):
            matchers[place].set_seq1(text)
            if matchers[place].ratio() >= threshold:
                result[index] = firsts[place]
                break
        else:
            firsts.append(index)
            matchers.append(SequenceMatcher(None, "", text))
            result[index] = index
    return result


def _letter_counts(texts: list[str]) -> IntArray:
    """How often each text has each letter that occurs in any of them, shape ``(texts, letters)``."""
    points = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    alphabet, letter = np.unique(points, return_inverse=True)
    row = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    counts = np.bincount(row * len(alphabet) + letter, minlength=len(texts) * len(alphabet))
    return counts.reshape(len(texts), len(alphabet)).astype(np.int64)
