"""Baselines of outcomes and schemes with one more column equal the slow loops written from their equations."""

import credit_baseline_oracles as oracle
import numpy as np
from credit_tables import tables
from hypothesis import given, settings
from hypothesis import strategies as st

from credit import Steps, advantages

discounts = st.sampled_from([0.0, 0.5, 0.95, 1.0])
kinds = st.sampled_from(["std", "mean"])
booleans = st.booleans()
examples = settings(max_examples=30, deadline=None)


def check(table, name, expected, tolerance=1e-8, **options):
    found = advantages(name, Steps.from_frame(table), **options)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance, err_msg=name)


def rows_of(table):
    return table.to_dict("records")


@examples
@given(tables, booleans, booleans)
def test_opo(table, tokens, raw):
    how = {"length": "tokens" if tokens else "steps", "singleton": "raw" if raw else "zero"}
    check(table, "opo", oracle.opo(rows_of(table), tokens, raw), **how)


@examples
@given(tables, booleans)
def test_gpg(table, released):
    how = {"compat": "released"} if released else {}
    check(table, "gpg", oracle.gpg(rows_of(table), released, released), **how)


@examples
@given(tables, kinds)
def test_grpo_passk(table, kind):
    check(table, "grpo_passk", oracle.grpo_passk(rows_of(table), kind == "std"), 1e-6, normalize=kind)


@examples
@given(tables)
def test_max_rl(table):
    check(table, "max_rl", oracle.max_rl(rows_of(table)), 1e-6)


@examples
@given(tables, booleans)
def test_single_stream(table, whiten):
    check(table, "single_stream", oracle.single_stream(rows_of(table), whiten), 1e-6, whitened=whiten)


@examples
@given(tables, booleans)
def test_rae(table, own):
    check(table, "rae", oracle.rae(rows_of(table), own), score="own" if own else "outcome")


@examples
@given(tables, st.sampled_from([0.0, 0.5, 2.0]), st.sampled_from([0.0, 1.0]))
def test_progress_advantage(table, beta, weight):
    expected = oracle.progress_advantage(rows_of(table), beta, weight)
    check(table, "progress_advantage", expected, beta=beta, outcome_weight=weight)


@examples
@given(tables, st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.2, 0.9]), discounts, booleans)
def test_agentopsd(table, lam, band, gamma, group):
    expected = oracle.agentopsd(rows_of(table), lam, band, gamma, group)
    how = {"lam": lam, "band": band, "gamma": gamma, "prior": "group" if group else "half"}
    check(table, "agentopsd", expected, 1e-6, **how)


@examples
@given(tables, st.sampled_from([0.1, 2.0]), discounts, st.sampled_from([0.0, 1.0]), booleans)
def test_pure(table, temperature, gamma, weight, tokens):
    expected = oracle.pure(rows_of(table), temperature, gamma, weight, tokens)
    how = {"temperature": temperature, "gamma": gamma, "outcome_weight": weight}
    check(table, "pure", expected, 1e-7, baseline="token" if tokens else "step", **how)


@examples
@given(tables, discounts, st.sampled_from([0.0, 0.5, 1.0]), booleans, booleans)
def test_turn_credit(table, gamma, beta, zero, tokens):
    expected = oracle.turn_credit(rows_of(table), gamma, beta, zero, tokens)
    how = {"gamma": gamma, "beta": beta, "start": "zero" if zero else "first", "count_tokens": tokens}
    check(table, "turn_credit", expected, **how)


@examples
@given(tables, discounts)
def test_vineppo(table, gamma):
    rows = rows_of(table)
    check(table, "vineppo", oracle.vineppo(rows, gamma), gamma=gamma)
    check(table, "vineppo", advantages("gae", table, gamma=gamma, lam=0.0), 1e-9, gamma=gamma)
    check(
        table, "vineppo", oracle.vineppo(rows, gamma, [r["tokens"] for r in rows]), 1e-6, gamma=gamma, compat="released"
    )


@examples
@given(tables, st.sampled_from([0.0, 1.0]), kinds, booleans)
def test_vpr(table, bonus, kind, turn):
    expected = oracle.vpr(rows_of(table), bonus, kind == "std", turn)
    how = {"outcome_bonus": bonus, "normalize": kind, "compare": "turn" if turn else "choice"}
    check(table, "vpr", expected, 1e-6, **how)
