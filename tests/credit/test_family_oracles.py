"""The further schemes equal the slow loops written from their equations, on tables of all shapes."""

import credit_family_oracles as oracle
import numpy as np
import pytest
from credit_tables import random_table, tables
from hypothesis import given, settings
from hypothesis import strategies as st

from credit import Steps, advantages
from credit.schemes.seeupo import turn_batches

discounts = st.sampled_from([0.0, 0.5, 0.95, 1.0])
kinds = st.sampled_from(["std", "mean"])
booleans = st.booleans()
examples = settings(max_examples=30, deadline=None)


def rows_of(table):
    return table.to_dict("records")


def check(table, name, expected, tolerance=1e-8, extra=(), **options):
    found = advantages(name, Steps.from_frame(table, extra=extra), **options)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance, err_msg=name)


@examples
@given(tables, st.sampled_from([1.0, 10.0]), st.integers(0, 2), kinds)
def test_ngrpo(table, best, virtual, kind):
    expected = oracle.ngrpo(rows_of(table), best, virtual, kind == "std")
    check(table, "ngrpo", expected, max_reward=best, virtual_samples=virtual, normalize=kind)


@examples
@given(tables, booleans)
def test_mcgrpo(table, rescale):
    check(table, "mcgrpo", oracle.mcgrpo(rows_of(table), rescale), rescale=rescale)


@examples
@given(tables, st.sampled_from([(1.0, 1.0), (0.5, 2.0)]), booleans)
def test_gdpo(table, weights, whiten):
    components = ("reward", "score")
    expected = oracle.gdpo(rows_of(table), components, weights, whiten)
    check(table, "gdpo", expected, 1e-6, components=components, weights=weights, whitened=whiten)


@examples
@given(tables)
def test_bnpo(table):
    check(table, "bnpo", oracle.bnpo(rows_of(table), -20.0, 20.0), 1e-6, min_value=-20.0, max_value=20.0)


@examples
@given(tables, discounts, discounts, st.sampled_from(["zero", "value"]), booleans)
def test_gae_and_its_whitened_forms(table, gamma, lam, after, tokens):
    rows = rows_of(table)
    plain = oracle.gae(rows, gamma, lam, after)
    check(table, "gae", plain, gamma=gamma, lam=lam, after_truncation=after)
    check(table, "turn_ppo", plain, gamma=gamma, lam=lam, after_truncation=after, whitened=False)
    white = oracle.whitened(plain, [r["tokens"] if tokens else 1 for r in rows])
    how = {"lam": lam, "after_truncation": after, "count_tokens": tokens}
    check(table, "turn_ppo", white, 1e-6, gamma=gamma, **how)
    check(table, "bi_level_gae", white, 1e-6, gamma_turn=gamma, **how)


@examples
@given(
    tables,
    st.sampled_from(["low", "high", "term"]),
    st.sampled_from([0.5, 0.99]),
    discounts,
    discounts,
    st.sampled_from([("fixed", -0.3), ("normalized", -3.5)]),
    st.sampled_from([0.0, -0.3]),
    booleans,
)
def test_hiper(table, stream, gamma, lam_turn, lam_segment, keep, consistency, bootstrap):
    expected = oracle.hiper(
        rows_of(table), stream, gamma, lam_turn, lam_segment, keep[1], keep[0], consistency, bootstrap
    )
    check(
        table,
        "hiper",
        expected,
        stream=stream,
        gamma=gamma,
        lambda_turn=lam_turn,
        lambda_segment=lam_segment,
        keep_penalty=keep[1],
        keep_penalty_mode=keep[0],
        keep_consistency_penalty=consistency,
        bootstrap_truncated=bootstrap,
    )


@examples
@given(tables, st.sampled_from([0.1, 0.5, 1.0]), booleans, kinds)
def test_graphgpo(table, gamma, relative, kind):
    expected = oracle.graphgpo(rows_of(table), gamma, relative, kind == "std")
    check(table, "graphgpo", expected, gamma=gamma, normalize_distance=relative, normalize=kind)


@settings(max_examples=15, deadline=None)
@given(tables, st.sampled_from([0.0, 0.5, 0.99, 1.0]))
def test_graph_value(table, gamma):
    check(table, "graph_value", oracle.graph_value(rows_of(table), gamma), gamma=gamma)


@examples
@given(tables, st.sampled_from(["rows", "trajectories"]))
def test_rtmc(table, weighting):
    check(table, "rtmc", oracle.rtmc(rows_of(table), weighting == "trajectories"), weighting=weighting)


@examples
@given(tables, kinds, st.sampled_from([("state", "action"), ("action",)]))
def test_tempo(table, kind, columns):
    check(table, "tempo", oracle.tempo(rows_of(table), kind == "std", columns), normalize=kind, prefix_token=columns)


@examples
@given(tables, discounts, st.sampled_from([0.0, 0.5, 1.0]))
def test_matchtir(table, gamma, share):
    check(table, "matchtir", oracle.matchtir(rows_of(table), gamma, share), gamma=gamma, turn_weight=share)


@examples
@given(tables, st.sampled_from([0.5, 3.0]), st.sampled_from([(0.8, 1.2), (0.9, 0.95), (1.1, 2.0)]), st.integers(0, 99))
def test_seeupo_with_carried_ratios(table, clamp, bounds, seed):
    table = table.assign(log_ratio=np.random.default_rng(seed).normal(scale=0.2, size=len(table)))
    expected = oracle.seeupo(rows_of(table), clamp, *bounds)
    how = {"clamp": clamp, "ratio_min": bounds[0], "ratio_max": bounds[1]}
    check(table, "seeupo", expected, 1e-6, extra=("log_ratio",), **how)


@given(tables)
def test_seeupo_takes_the_last_turn_first(table):
    batches = turn_batches(Steps.from_frame(table))
    turns = [set(table["step"].to_numpy()[rows]) for rows in batches]
    assert turns == [{turn} for turn in range(int(table["step"].max()), -1, -1)]
    assert sorted(np.concatenate(batches)) == list(range(len(table)))


@examples
@given(tables, st.sampled_from([0.5, 2.0]), st.sampled_from([0.5, 1.0]), st.sampled_from([0.0, 0.1]))
def test_empg(table, k, k_future, zeta):
    check(table, "empg", oracle.empg(rows_of(table), k, k_future, zeta), k=k, k_future=k_future, zeta=zeta)


@examples
@given(tables, discounts, kinds)
def test_igpo(table, gamma, kind):
    check(table, "igpo", oracle.igpo(rows_of(table), gamma, kind == "std"), gamma=gamma, normalize=kind)


@examples
@given(tables, st.sampled_from([0.5, 1.0]), booleans)
def test_ocar(table, tau, reference):
    surprise = "theta_minus_ref" if reference else "theta"
    check(table, "ocar", oracle.ocar(rows_of(table), tau, reference), tau=tau, surprise=surprise)


@examples
@given(tables)
def test_drmas(table):
    check(table, "drmas", oracle.drmas(rows_of(table)))


@examples
@given(tables, st.sampled_from(["outcome", "own"]))
def test_mgrpo(table, score):
    check(table, "mgrpo", oracle.mgrpo(rows_of(table), score == "own"), score=score)


@examples
@given(tables, discounts, st.sampled_from(["batch", "group"]), booleans)
def test_mars(table, gamma, scope, unique):
    expected = oracle.mars(rows_of(table), gamma, scope == "group", unique)
    check(table, "mars", expected, 1e-6, gamma=gamma, scope=scope, unique_values=unique)


@pytest.mark.parametrize("name", ["gae", "igpo", "matchtir", "graph_value", "graphgpo", "mars"])
def test_a_discount_out_of_range_is_refused(name):
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        advantages(name, Steps.from_frame(random_table(1)), gamma=1.5)
