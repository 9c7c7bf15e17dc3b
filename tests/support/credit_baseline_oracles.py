"""Baselines of outcomes, and schemes that read one more column, as slow loops written straight from their equations.

A table is a list of dictionaries, one a step. Every function returns one advantage a row, in the list's order.
"""

from __future__ import annotations

import math

import numpy as np
from credit_family_oracles import episode_of, firsts, of_same, whitened
from credit_oracles import grpo, normalized, outcome_of


def siblings(rows, row):
    """The first step of every episode of the row's group."""
    return firsts(of_same(rows, row, "group"))


def others(rows, row):
    return [r for r in siblings(rows, row) if r["episode"] != row["episode"]]


def length_of(rows, row, tokens):
    return sum(r["tokens"] if tokens else 1 for r in episode_of(rows, row))


def snapped(value, samples):
    return 0.0 if abs(value) <= 1e-12 * max(1.0, *(abs(s) for s in samples)) else value


def opo(rows, tokens=False, raw=False):
    out = []
    for row in rows:
        peers = siblings(rows, row)
        weights = [length_of(rows, r, tokens) for r in peers]
        scores = [outcome_of(rows, r) for r in peers]
        baseline = sum(w * s for w, s in zip(weights, scores, strict=True)) / sum(weights)
        own = outcome_of(rows, row)
        out.append(own if raw and len(peers) == 1 else snapped(own - baseline, scores))
    return out


def gpg(rows, nonzero=False, raw=False):
    def deviation(row):
        scores = [outcome_of(rows, r) for r in siblings(rows, row)]
        return normalized(outcome_of(rows, row), scores, std=False, singleton="raw" if raw else "zero")

    starts = firsts(rows)
    if nonzero:
        counted = sum(outcome_of(rows, r) != 0 for r in starts)
    else:
        counted = sum(any(deviation(p) != 0 for p in siblings(rows, r)) for r in starts)
    return [len(starts) / max(1, counted) * deviation(r) for r in rows]


def grpo_passk(rows, std=True):
    out = []
    for row in rows:
        own, rest = outcome_of(rows, row), [outcome_of(rows, r) for r in others(rows, row)]
        lead = snapped(own - max(rest), [own, *rest]) if rest else 0.0
        if lead <= 0:
            out.append(0.0)
            continue
        out.append(lead / (float(np.std([own, *rest], ddof=1)) + 1e-6) if std else lead)
    return out


def max_rl(rows):
    out = []
    for row in rows:
        scores = [outcome_of(rows, r) for r in siblings(rows, row)]
        mean = math.fsum(scores) / len(scores)
        deviation = normalized(outcome_of(rows, row), scores, std=False)
        out.append(deviation / mean if mean > 1e-12 * max(abs(s) for s in scores) else 0.0)
    return out


def single_stream(rows, whiten):
    starts = firsts(rows)
    gaps = [outcome_of(rows, r) - r["baseline"] for r in starts]
    if whiten:
        gaps = whitened(gaps, [1] * len(gaps))
    by_episode = {r["episode"]: gap for r, gap in zip(starts, gaps, strict=True)}
    return [by_episode[r["episode"]] for r in rows]


def rae(rows, own):
    def score(row):
        return sum(r["reward"] for r in of_same(rows, row, "episode") if not own or r["agent"] == row["agent"])

    return [score(r) - r["baseline"] for r in rows]


def progress_advantage(rows, beta, outcome_weight):
    return [beta * r["reference_gap"] + outcome_weight * a for r, a in zip(rows, grpo(rows), strict=True)]


def agentopsd(rows, lam, band, gamma, group_prior):
    def sigmoid(x):
        return 1 / (1 + math.exp(-x))

    out = []
    for row, base in zip(rows, grpo(rows), strict=True):
        won = [outcome_of(rows, r) > 0.5 for r in siblings(rows, row)]
        start = min(max(sum(won) / len(won), 1e-3), 1 - 1e-3) if group_prior else 0.5
        evidence, belief, rises = 0.0, start, []
        for step in episode_of(rows, row):
            evidence = gamma * evidence + step["teacher_gap"]
            after = sigmoid(math.log(start / (1 - start)) + evidence)
            rises.append(np.sign(base) * (after - belief))
            belief = after
        z = normalized(rises[row["step"]], rises, epsilon=1e-6)
        weight = min(max(1 + band * z, 1 - band), 1 + band)
        out.append(base * ((1 - lam) + lam * weight))
    return out


def pure(rows, temperature, gamma, outcome_weight, tokens):
    def weighted(row):
        scores = [r["score"] for r in episode_of(rows, row)]
        powers = [math.exp(-(s - min(scores)) / temperature) for s in scores]
        return [s * p / sum(powers) for s, p in zip(scores, powers, strict=True)]

    out = []
    for row in rows:
        rest, steps = others(rows, row), episode_of(rows, row)
        if not rest:
            out.append(0.0)
            continue
        if tokens:
            share = sum(sum(weighted(r)) for r in rest) / sum(length_of(rows, r, True) for r in rest)
            off = [share * r["tokens"] for r in steps]
        else:
            off = [sum(sum(weighted(r)) / len(weighted(r)) for r in rest) / len(rest)] * len(steps)
        rewards = [p - b for p, b in zip(weighted(row), off, strict=True)]
        mean = sum(outcome_of(rows, r) for r in rest) / len(rest)
        rewards[-1] += outcome_weight * (outcome_of(rows, row) - mean)
        t = row["step"]
        out.append(sum(gamma ** (k - t) * rewards[k] for k in range(t, len(rewards))))
    return out


def turn_credit(rows, gamma, beta, zero, tokens):
    def progress(row):
        scores = [r["score"] for r in episode_of(rows, row)]
        before = [0.0 if zero else scores[0], *scores[:-1]]
        return [s - b for s, b in zip(scores, before, strict=True)]

    out = []
    for row in rows:
        gains = progress(row)
        credit = [0.0] * len(gains)
        for k, gain in enumerate(gains):
            whole = sum(gamma**d for d in range(k + 1))
            for t in range(k + 1):
                credit[t] += gamma ** (k - t) * gain / whole
        weights = [r["tokens"] if tokens else 1 for r in episode_of(rows, row)]
        mean = sum(w * c for w, c in zip(weights, credit, strict=True)) / sum(weights)
        levels = [outcome_of(rows, r) + sum(progress(r)) for r in siblings(rows, row)]
        level = normalized(outcome_of(rows, row) + sum(gains), levels, std=False)
        out.append(level + beta * (credit[row["step"]] - mean))
    return out


def vineppo(rows, gamma, weights=None):
    def difference(row):
        after = [r["value"] for r in episode_of(rows, row) if r["step"] == row["step"] + 1]
        return row["reward"] + gamma * (after[0] if after else 0.0) - row["value"]

    found = [difference(r) for r in rows]
    return found if weights is None else whitened(found, weights)


def vpr(rows, bonus, std, turn):
    def score(row):
        is_last = row["step"] == len(episode_of(rows, row)) - 1
        return row["oracle"] + bonus * (is_last and outcome_of(rows, row) > 0)

    keys = ("step",) if turn else ("group", "choice")
    return [
        normalized(score(r), [score(p) for p in of_same(rows, r, *keys)], std=std, ddof=0, epsilon=1e-8) for r in rows
    ]
