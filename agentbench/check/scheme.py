"""Checking a credit scheme: what must hold for every one, and what it claims of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd

from agentbench.check.outcome import Check, Outcome, run_checks
from agentbench.check.tables import random_table, random_trees
from credit.registry import find
from credit.scheme import Claim, Scheme
from credit.steps import FloatArray, MissingColumnError, Steps

IDS = (("group",), ("episode",), ("action",), ("agent",), ("subgoal",), ("state", "next_state"))
BOUNDS = {"min_value": -50.0, "max_value": 50.0}  # of outcomes, for schemes that are defined for bounded ones only
SEEDS = range(4)

Table = pd.DataFrame


def check_scheme(name: str) -> Iterator[Outcome]:
    """Check the scheme called ``name`` on random tables: single rollouts, single steps, one state, many.

    Raises:
        CreditError: unknown name, or a plug-in that cannot be used.
    """
    scheme = find(name)
    checks: list[tuple[str, Check]] = [
        ("one finite float64 a step", partial(_shape, scheme)),
        ("the order of rows does not matter", partial(_row_order, scheme)),
        ("names of groups, states and so on do not matter", partial(_names, scheme)),
        ("an empty table gives an empty advantage", partial(_empty, scheme)),
        ("the table is not changed, and the result repeats", partial(_pure, scheme)),
        ("every needed column is missed by name, and no other is", partial(_needs, scheme)),
        ("its module says what it computes", partial(_documented, scheme)),
    ]
    if "node" in scheme.needs:
        checks.append(("rows of one step of a tree get the same number", partial(_nodes, scheme)))
    checks += [(f"claims {claim}: {CLAIMS[claim][0]}", partial(CLAIMS[claim][1], scheme)) for claim in scheme.claims]
    yield from run_checks(checks)


@cache
def tables() -> tuple[Table, ...]:
    """Return tables of all shapes; nobody changes them."""
    return (
        *(random_table(seed, dense=bool(seed % 2)) for seed in SEEDS),
        random_table(10, rollouts=1),
        random_table(11, longest=1),
        random_table(12, states=1, dense=True),
        random_table(13, groups=1, rollouts=6, states=50),
        random_trees(14, rollouts=6),
        random_trees(15, rollouts=6, dense=True),
    )


def _advantages(scheme: Scheme, table: Table, **options: Any) -> FloatArray:
    known = {name: value for name, value in {**BOUNDS, **options}.items() if name in scheme.options}
    return scheme.function(Steps.from_frame(table), **known)


def _compare(what: str, found: FloatArray, expected: FloatArray, tolerance: float = 1e-6) -> Iterator[str]:
    if found.shape != expected.shape:
        yield f"{what}: shape {found.shape} instead of {expected.shape}"
    elif len(wrong := np.flatnonzero(~np.isclose(found, expected, rtol=tolerance, atol=tolerance))):
        row = wrong[0]
        yield f"{what}: row {row} is {found[row]:g} instead of {expected[row]:g} ({len(wrong)} of {len(found)} differ)"


def _shape(scheme: Scheme) -> Iterator[str]:
    for table in tables():
        found = _advantages(scheme, table)
        if found.shape != (len(table),) or found.dtype != np.float64:
            yield f"{found.dtype} of shape {found.shape} for {len(table)} steps, not float64 of shape ({len(table)},)"
        elif not np.isfinite(found).all():
            yield f"row {int(np.argmin(np.isfinite(found)))} is {found[~np.isfinite(found)][0]}"


def _row_order(scheme: Scheme) -> Iterator[str]:
    for seed, table in enumerate(tables()):
        shuffled = table.sample(frac=1, random_state=seed)
        yield from _compare(
            "in another order", _advantages(scheme, shuffled), _advantages(scheme, table)[shuffled.index], 0
        )


def _names(scheme: Scheme) -> Iterator[str]:
    for seed, table in enumerate(tables()):
        renamed, rng = table.copy(), np.random.default_rng(seed)
        for columns in IDS:
            values = pd.unique(pd.concat([table[column] for column in columns]))
            new = dict(zip(values, rng.permutation(len(values)), strict=True))
            for column in columns:
                renamed[column] = table[column].map(new)
        yield from _compare("with other names", _advantages(scheme, renamed), _advantages(scheme, table))


def _empty(scheme: Scheme) -> Iterator[str]:
    found = _advantages(scheme, random_table(0).iloc[:0])
    if found.shape != (0,):
        yield f"its shape is {found.shape}"


def _pure(scheme: Scheme) -> Iterator[str]:
    steps = Steps.from_frame(random_table(4))
    before, options = steps.to_frame(), {name: value for name, value in BOUNDS.items() if name in scheme.options}
    first = scheme.function(steps, **options).copy()
    yield from _compare("computed again", scheme.function(steps, **options), first, 0)
    if not steps.to_frame().equals(before):
        yield "the table is not what it was before"


def _needs(scheme: Scheme) -> Iterator[str]:
    table = random_table(4)
    always = ["group", "episode", "step", "reward"]
    _advantages(scheme, table[[*always, *scheme.needs]])
    for column in scheme.needs:
        try:
            _advantages(scheme, table.drop(columns=column))
        except MissingColumnError as error:
            if error.column == column:
                continue
        yield f"without {column!r}, which it says it needs, there is no error that names it"


def _nodes(scheme: Scheme) -> Iterator[str]:
    for seed in SEEDS:
        table = random_trees(seed, rollouts=6, dense=True)
        found = _advantages(scheme, table)
        first = pd.Series(found).groupby(table["node"].to_numpy()).transform("first").to_numpy()
        yield from _compare("on another row of the same step", found, first, 0)


def _documented(scheme: Scheme) -> Iterator[str]:
    parts = ("summary", "equation", "symbols", "source", "cost", "use", "evidence")
    if missing := [part.capitalize() for part in parts if not getattr(scheme, part)]:
        yield f"the docstring of its module has no {', '.join(missing)}"


# -- what schemes claim ------------------------------------------------------------------------------


def _ends(table: Table) -> pd.Series[bool]:
    return ~table["episode"].duplicated(keep="last")


def _zero(scheme: Scheme, table: Table) -> Iterator[str]:
    yield from _compare("there is credit", found := _advantages(scheme, table), np.zeros_like(found), 0)


def _without_reward(scheme: Scheme) -> Iterator[str]:
    for table in tables():
        yield from _zero(scheme, table.assign(reward=0.0))


def _when_equal(scheme: Scheme) -> Iterator[str]:
    for table in tables():
        yield from _zero(scheme, table.assign(reward=np.where(_ends(table), 0.3, 0.0)))


def _when_alone(scheme: Scheme) -> Iterator[str]:
    for seed in SEEDS:
        yield from _zero(scheme, random_table(seed, rollouts=1, dense=True))


def _local(scheme: Scheme) -> Iterator[str]:
    for seed, table in enumerate(tables()):
        added = random_table(seed + 50, groups=1, dense=True)
        added = added.assign(group="first", episode="first " + added["episode"])  # sorted before the others
        both = _advantages(scheme, pd.concat([added, table], ignore_index=True))
        yield from _compare("beside another group", both[len(added) :], _advantages(scheme, table))


def _shift(scheme: Scheme) -> Iterator[str]:
    for table in tables():
        shifted = table.assign(reward=table["reward"] + 3.0 * _ends(table))
        yield from _compare("with 3 more at the end", _advantages(scheme, shifted), _advantages(scheme, table))


def _scale(scheme: Scheme) -> Iterator[str]:
    how = {"normalize": "mean", "epsilon": 0.0}
    for table in tables():
        scaled = _advantages(scheme, table.assign(reward=table["reward"] * 3.0), **how)
        yield from _compare("with 3 times the rewards", scaled, 3.0 * _advantages(scheme, table, **how))


def _scale_free(scheme: Scheme) -> Iterator[str]:
    how = {"normalize": "std", "epsilon": 0.0}
    for table in tables():
        scaled = _advantages(scheme, table.assign(reward=table["reward"] * 3.0), **how)
        yield from _compare("with 3 times the rewards", scaled, _advantages(scheme, table, **how))


def _centred(scheme: Scheme) -> Iterator[str]:
    for table in tables():
        first = (table["step"] == 0).to_numpy()
        by_group = pd.Series(_advantages(scheme, table)[first]).groupby(table["group"][first].to_numpy())
        sums: FloatArray = np.asarray(by_group.sum(), dtype=np.float64)
        yield from _compare("sum over a group's first steps", sums, np.zeros_like(sums))


CLAIMS: dict[Claim, tuple[str, Callable[[Scheme], Iterator[str]]]] = {
    "zero_without_reward": ("a group that earned nothing gets 0", _without_reward),
    "zero_when_equal": ("equal outcomes give 0", _when_equal),
    "zero_when_alone": ("a single rollout gets 0", _when_alone),
    "local": ("another group changes nothing", _local),
    "shift": ("a constant added to every outcome changes nothing", _shift),
    "scale": ("it scales with the rewards", _scale),
    "scale_free": ("the scale of the rewards does not matter", _scale_free),
    "centred": ("a group's advantages sum to 0", _centred),
}
