"""Anchors: what a scheme counts as the same situation, finer or coarser than what is observed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from credit.similarity import cluster

THRESHOLD = 0.95
"""Least similarity of two texts that count as one, as in ``gigpo``."""


def merged(group: pd.Series, text: pd.Series) -> pd.Series:
    """Replace each text by the first one of its group that is similar enough (:mod:`credit.similarity`).

    Args:
        group: of each row.
        text: in the order in which the texts are met.
    """
    return text.groupby(group.to_numpy(), sort=False).transform(_firsts)


def _firsts(texts: pd.Series) -> pd.Series:
    distinct = list(dict.fromkeys(texts))
    firsts = cluster(distinct, THRESHOLD)
    return texts.map({text: distinct[first] for text, first in zip(distinct, firsts, strict=True)})


def run_anchors(frame: pd.DataFrame, anchor: str) -> pd.DataFrame:
    """Put the anchors before and after every step of a stored run into ``state`` and ``next_state``.

    Args:
        frame: rows sorted by group ``number``, episode and step, with the stored ``anchor`` and ``next_state``, and
            the game's ``state``.
        anchor: ``observation`` (as stored), ``state`` (of the game), ``similarity`` (similar texts are one) or
            ``unique`` (nothing ever comes again).
    """
    last = frame["episode"] != frame["episode"].shift(-1)
    if anchor == "observation":
        return frame.assign(state=frame["anchor"])
    if anchor == "similarity":
        both = pd.concat([frame["anchor"], frame.loc[last, "next_state"]]).sort_index(kind="stable")
        found = merged(frame["number"].reindex(both.index), both)
        ends = both.index.duplicated()
        here, after = found[~ends], found[ends]
    elif anchor == "state":
        here, after = frame["state"], "end: " + frame.loc[last, "next_state"]
    else:
        here = pd.Series(np.arange(len(frame)).astype(str), frame.index)
        after = "end: " + here[last]
    return frame.assign(state=here, next_state=here.shift(-1).where(~last, after.reindex(frame.index)))
