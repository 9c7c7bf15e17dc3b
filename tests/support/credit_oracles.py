"""The schemes once more, as slow loops over rows written straight from their equations: oracles for the tests.

A table is a list of dictionaries, one a step. Every function returns one advantage a row, in the list's order.
"""

from __future__ import annotations

import math


def returns_of(rows, gamma, key="reward"):
    out = []
    for row in rows:
        later = [r for r in rows if r["episode"] == row["episode"] and r["step"] >= row["step"]]
        out.append(sum(gamma ** (r["step"] - row["step"]) * r[key] for r in later))
    return out


def outcome_of(rows, row):
    return sum(r["reward"] for r in rows if r["episode"] == row["episode"])


def normalized(value, samples, *, std=True, ddof=1, epsilon=1e-6, singleton="zero"):
    """Normalise one value by a list of samples, in exact terms: what is equal up to rounding is equal."""
    if len(samples) == 1:
        return 0.0 if singleton == "zero" else value / ((1 + epsilon) if std else 1)
    mean = math.fsum(samples) / len(samples)
    deviation = value - mean
    if abs(deviation) < 1e-12 * max(1, *(abs(x) for x in samples)):
        return 0.0
    if not std:
        return deviation
    return deviation / (math.sqrt(math.fsum((x - mean) ** 2 for x in samples) / (len(samples) - ddof)) + epsilon)


def outcome_samples(rows, row, weighting, score):
    """The samples that an outcome is compared with: one an episode of the group, or one a step."""
    group = [(r, s) for r, s in zip(rows, score, strict=True) if r["group"] == row["group"]]
    return [s for r, s in group if weighting == "rows" or r["step"] == 0]


def grpo(rows, weighting="trajectories", penalty=0.0, **how):
    score = [outcome_of(rows, r) - penalty * (not r["is_valid"]) for r in rows]
    return [normalized(s, outcome_samples(rows, r, weighting, score), **how) for r, s in zip(rows, score, strict=True)]


def rloo(rows):
    out = []
    for row in rows:
        others = [
            outcome_of(rows, r)
            for r in rows
            if r["group"] == row["group"] and r["episode"] != row["episode"] and r["step"] == 0
        ]
        out.append(outcome_of(rows, row) - sum(others) / len(others) if others else 0.0)
    return out


def reinforce_plus_plus(rows, tokens=False):
    centred = grpo(rows, std=False)
    weight = [row["tokens"] if tokens else 1 for row in rows]
    total = sum(weight)
    if total == 1:
        return [0.0]
    mean = sum(w * c for w, c in zip(weight, centred, strict=True)) / total
    var = sum(w * (c - mean) ** 2 for w, c in zip(weight, centred, strict=True)) / (total - 1)
    return [(c - mean) / math.sqrt(var + 1e-8) for c in centred]


def gigpo(rows, gamma=0.95, step_weight=1.0, weighting="trajectories", singleton="zero", penalty=0.0, **how):
    returns = [R - penalty * (not r["is_valid"]) for R, r in zip(returns_of(rows, gamma), rows, strict=True)]
    episode = grpo(rows, weighting, penalty, singleton=singleton, **how)
    out = []
    for row, a_e, own in zip(rows, episode, returns, strict=True):
        peers = [
            R for R, r in zip(returns, rows, strict=True) if (r["group"], r["state"]) == (row["group"], row["state"])
        ]
        out.append(a_e + step_weight * normalized(own, peers, **how))
    return out


def past(rows, row, length):
    """The row's last ``length`` states, or None where its episode is younger than that."""
    by_step = {r["step"]: r["state"] for r in rows if r["episode"] == row["episode"]}
    steps = range(row["step"] - length + 1, row["step"] + 1)
    return tuple(by_step[step] for step in steps) if steps[0] >= 0 else None


def hgpo(rows, gamma=0.95, history=2, alpha=1.0, base=False, drop=False, std=True, epsilon=1e-6):
    returns = returns_of(rows, gamma)
    base_terms = grpo(rows, std=std, epsilon=epsilon)
    out = []
    for i, row in enumerate(rows):
        items = [(1.0, base_terms[i])] if base and not (drop and base_terms[i] == 0) else []
        for k in range(1, history + 2):
            context = past(rows, row, k)
            if context is None:
                continue
            peers = [
                R
                for R, r in zip(returns, rows, strict=True)
                if r["group"] == row["group"] and past(rows, r, k) == context
            ]
            if len(peers) < 2:
                continue
            value = normalized(returns[i], peers, std=std, ddof=0, epsilon=epsilon)
            if not (drop and value == 0):
                items.append(((k + 1) ** alpha, value))
        weight = sum(w for w, _ in items)
        out.append(sum(w * a for w, a in items) / (weight + epsilon) if items else 0.0)
    return out


def salt(rows, base="grpo", history=0, least=2, mean="distinct_trajectories", match=("state", "action", "next_state")):
    of_row = rloo(rows) if base == "rloo" else grpo(rows)

    def key(row):
        window = [past(rows, row, k) for k in range(1, history + 2)]
        parts = {"state": [w for w in window if w][-1], "action": row["action"], "next_state": row["next_state"]}
        return (row["group"], *(parts[name] for name in match))

    out = []
    for row, own in zip(rows, of_row, strict=True):
        same = [(r["episode"], a) for r, a in zip(rows, of_row, strict=True) if key(r) == key(row)]
        distinct = dict(same)
        values = list(distinct.values()) if mean == "distinct_trajectories" else [a for _, a in same]
        out.append(sum(values) / len(values) if len(distinct) >= least else own)
    return out


def mapo(rows, alpha=0.5, gamma=1.0, scope="group", column="reward"):
    returns = returns_of(rows, gamma, column)
    out = []
    for row, own in zip(rows, returns, strict=True):
        turn = [G for G, r in zip(returns, rows, strict=True) if (r["group"], r["step"]) == (row["group"], row["step"])]
        immediate = [r[column] for r in rows if scope == "batch" or r["group"] == row["group"]]
        how = {"ddof": 0, "epsilon": 1e-8}
        out.append(alpha * normalized(own, turn, **how) + (1 - alpha) * normalized(row[column], immediate, **how))
    return out
