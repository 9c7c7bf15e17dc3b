"""Groups of episodes with the truth of every step: what the quality of a scheme is measured on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from agentbench.analysis.columns import KEY, candidates, check_keys, read_columns
from agentbench.analysis.quality.anchors import run_anchors
from agentbench.analysis.quality.inputs import entropy, reference_gap, surprise, with_inputs
from agentbench.analysis.truth.table import read_truth
from agentbench.runs.run import open_run
from credit import SCHEMES, Steps, advantages
from credit.steps import BoolArray, FloatArray, IntArray
from envs.base.errors import UserError, unknown

BATCH = 16
"""Groups that a scheme sees at once, as in a training step: some schemes normalise over the batch."""


@dataclass(frozen=True)
class Sample:
    """Steps of G groups, rows sorted by group, episode and step.

    Attributes:
        name: of the problem or the run.
        batches: the rows in order, as the schemes take them, :data:`BATCH` groups each.
        truth: true advantage, shape ``(n,)``.
        standard_error: of the truth, shape ``(n,)``; 0 where it is exact.
        group: number of the group, 0 … G-1, shape ``(n,)``.
        episode: number of the episode, no two groups having the same, shape ``(n,)``.
        success: whether the row's episode succeeded, shape ``(n,)``.
        cell: rows of one cell have the same situation, step and action, shape ``(n,)``.
        features: derivative of log pi(action) by the logits of all observations, shape ``(n, P)``; None if the
            policy does not say its probabilities.
        reference: exact policy gradient, shape ``(P,)``; None where only the steps played are known.
        task: number of the task of each group, shape ``(G,)``.
        group_size: episodes a group.
        given: further estimates of the advantage by name, each of shape ``(n,)``: columns of a file of the user's.
        own: of trees, whose batches hold the whole course of every episode: the rows of the steps that their episode
            played itself, n of them; None: all.
    """

    name: str
    batches: list[Steps]
    truth: FloatArray
    standard_error: FloatArray
    group: IntArray
    episode: IntArray
    success: BoolArray
    cell: IntArray
    features: sparse.csr_array | None
    reference: FloatArray | None
    task: IntArray
    group_size: int
    given: Mapping[str, FloatArray] = field(default_factory=dict)
    own: BoolArray | None = None

    @property
    def groups(self) -> int:
        """Number of groups."""
        return len(self.task)

    @property
    def reliability(self) -> float:
        """Share of the truth's variance that is not its own sampling error, in [0, 1]."""
        spread = float(self.truth.var())
        return max(0.0, 1 - float((self.standard_error**2).mean()) / spread) if spread else 0.0


def estimate(sample: Sample, scheme: str, **options: Any) -> tuple[FloatArray, float]:
    """Compute a scheme on every batch.

    Returns:
        the advantage of each row, and the milliseconds of processor time that a step took.

    Raises:
        CreditError: the scheme lacks a column, or an option is wrong.
    """
    start = time.process_time()
    found = np.concatenate([advantages(scheme, batch, **options) for batch in sample.batches])
    seconds = time.process_time() - start
    return found if sample.own is None else found[sample.own], 1000 * seconds / len(found)


def cut(frame: pd.DataFrame) -> list[Steps]:
    """Cut a table with the columns ``number`` (of the group) and those of the schemes into batches."""
    batch = frame["number"] // BATCH
    return [Steps.from_frame(part.drop(columns="number")) for _, part in frame.groupby(batch, sort=True)]


def features_of(
    observation: IntArray, action: IntArray, probabilities: list[FloatArray] | FloatArray, observations: int
) -> sparse.csr_array:
    """Derivative of log pi(action | observation) by softmax logits, one for each observation and action.

    ``onehot(action) - pi(. | observation)`` at the logits of the observation, shape ``(n, observations * actions)``.

    Args:
        observation: numbered from 0, shape ``(n,)``.
        action: place of the action among those offered, shape ``(n,)``.
        probabilities: of the actions offered in each row.
        observations: how many there are.
    """
    counts = np.fromiter((len(row) for row in probabilities), np.int64, len(probabilities))
    width = int(counts.max())
    rows = np.repeat(np.arange(len(counts)), counts)
    places = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    values = -np.concatenate([np.asarray(row, dtype=np.float64) for row in probabilities])
    values += places == action[rows]
    columns = observation[rows] * width + places
    shape = len(counts), observations * width
    return sparse.csr_array((values, (rows, columns)), shape=shape)


CONTROLS = ("exact", "random", "constant")
"""Rows of the table that are no scheme: the truth as its own estimate, noise, and -1 everywhere."""
RUN_ANCHORS = ("observation", "state", "similarity", "unique")
"""Anchors of :func:`run_sample`; see :func:`agentbench.analysis.quality.anchors.run_anchors`."""


def run_sample(
    folder: Path, group_size: int | None = None, anchor: str = "observation", columns: Path | None = None
) -> Sample:
    """Read a run with its truth.

    Args:
        folder: of the run, with ``truth.parquet``.
        group_size: episodes a group; None for the run's own. Each task's trials are cut into groups in order, and
            what is left over is left out.
        anchor: what the schemes see as the same situation, one of :data:`RUN_ANCHORS`.
        columns: a file with a row for every step that has a truth; its further columns become ``given``.

    Raises:
        UserError: no run or no truth there; no task has enough episodes; an unknown anchor; a file that does not fit.
    """
    if anchor not in RUN_ANCHORS:
        raise unknown("anchor", anchor, RUN_ANCHORS)
    truth, settings = read_truth(folder)
    size = group_size or int(settings["group_size"])
    steps = open_run(folder).judged_steps().rename(columns={"state": "anchor"}).drop(columns="episode")
    truth = truth.rename(columns={"task_id": "group"})
    frame = steps.merge(truth, on=["group", "trial", "step"], how="inner", validate="one_to_one")
    more = None if columns is None else _given(columns, frame, folder)
    frame = _numbered(frame, size)
    if frame.empty:
        raise UserError(f"no task in {folder} has {size} judged episodes: choose a smaller group size")
    first = frame.drop_duplicates("number")
    situation = frame["state"].fillna(frame["anchor"])
    cell = frame.groupby([frame["group"], situation, frame["step"], frame["action"]]).ngroup()
    return Sample(
        name=folder.name,
        batches=cut(_scheme_table(frame, anchor)),
        truth=frame["true_advantage"].to_numpy(),
        standard_error=frame["standard_error"].to_numpy(),
        group=frame["number"].to_numpy(),
        episode=np.asarray(frame.groupby(["number", "trial"]).ngroup(), dtype=np.int64),
        success=frame.groupby("episode")["reward"].transform("sum").to_numpy() >= 1,
        cell=np.asarray(cell, dtype=np.int64),
        features=_run_features(frame),
        reference=None,
        task=pd.factorize(first["group"])[0],
        group_size=size,
        given={} if more is None else _in_rows_of(frame, more),
    )


def _given(path: Path, frame: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Read the candidates of a file: the key, with the task as ``group``, and a column each."""
    found = read_columns(path)
    check_keys(path, found, frame.rename(columns={"group": "task_id"}), open_run(folder).step_table)
    values = candidates(path, found, taken=(*SCHEMES, *CONTROLS))
    return found[KEY].assign(**values).rename(columns={"task_id": "group"})


def _in_rows_of(frame: pd.DataFrame, more: pd.DataFrame) -> dict[str, FloatArray]:
    key = ["group", "trial", "step"]
    joined = frame[key].merge(more, on=key, how="left", validate="one_to_one")
    return {name: joined[name].to_numpy(dtype=np.float64) for name in more.columns if name not in key}


def _numbered(frame: pd.DataFrame, size: int) -> pd.DataFrame:
    """Number the groups, the first groups of all tasks before the second ones, and sort by them."""
    trial = frame.groupby("group")["trial"].rank(method="dense").astype(int) - 1
    within = trial // size
    full = frame.groupby([frame["group"], within])["trial"].transform("nunique") == size
    frame, within = frame[full], within[full]
    return frame.assign(number=frame.groupby([within, frame["group"]]).ngroup()).sort_values(
        ["number", "trial", "step"], kind="stable", ignore_index=True
    )


def _scheme_table(frame: pd.DataFrame, anchor: str) -> pd.DataFrame:
    """Keep what the schemes may see.

    The value is the critic's: one that was measured with the truth shares its errors, and would look too good.
    """
    table = run_anchors(frame, anchor).assign(group=frame["number"])
    table = table.drop(columns="value").rename(columns={"critic": "value"})
    if "value" in table and table["value"].isna().any():
        table = table.drop(columns="value")
    if frame["probabilities"].notna().all():
        places = _places(frame)
        chance = np.array([row[place] for row, place in zip(frame["probabilities"], places, strict=True)])
        entropies = [entropy(np.asarray(row)) for row in frame["probabilities"]]
        gap = reference_gap(frame["probabilities"], places)
        table = table.assign(entropy=entropies, surprise=surprise(chance, frame["step"]), reference_gap=gap)
    hidden = ["true_advantage", "standard_error", "method", "probabilities", "anchor", "trial"]
    return with_inputs(table.drop(columns=hidden))


def _places(frame: pd.DataFrame) -> IntArray:
    """Place of each row's action among those offered, -1 if it is not one of them."""
    offered = zip(frame["admissible_actions"], frame["action"], strict=True)
    return np.array([list(actions).index(chosen) if chosen in actions else -1 for actions, chosen in offered])


def _run_features(frame: pd.DataFrame) -> sparse.csr_array | None:
    """Features with logits of their own for each anchor state of a task; None where probabilities are missing."""
    if frame["probabilities"].isna().any():
        return None
    observation = np.asarray(frame.groupby(["group", "anchor"]).ngroup(), dtype=np.int64)
    return features_of(observation, _places(frame), list(frame["probabilities"]), int(observation.max()) + 1)
