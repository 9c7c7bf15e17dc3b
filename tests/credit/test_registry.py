"""The list of schemes: every one documented, every mistake in a name or an option answered."""

from pathlib import Path

import numpy as np
import pytest
from credit_tables import random_table

import credit
from credit import SCHEMES, CreditError, Steps, advantages

ROOM = Path(credit.__file__).parent
EVIDENCE = {"code+run", "code", "paper", "second-hand"}


@pytest.fixture(scope="module")
def steps():
    return Steps.from_frame(random_table(2))


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_every_scheme_says_what_it_is(scheme):
    assert scheme.summary
    assert "A" in scheme.equation
    assert scheme.symbols
    assert scheme.cost
    assert scheme.use
    assert "arXiv" in scheme.source or "http" in scheme.source
    assert scheme.evidence.splitlines()[0] in EVIDENCE
    assert scheme.function.__doc__


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_every_preset_sets_options_that_exist_and_can_be_overruled(scheme, steps):
    for preset, values in scheme.presets.items():
        assert set(values) <= set(scheme.options)
        strict = {option: scheme.options[option] for option in values}
        overruled = scheme.function(steps, compat=preset, **strict)
        np.testing.assert_array_equal(overruled, scheme.function(steps))


def test_the_four_and_the_baselines_are_there_by_name():
    names = {"salt", "gigpo", "hgpo", "mapo", "grpo", "dr_grpo", "rloo", "reinforce_plus_plus", "loop"}
    assert names <= set(SCHEMES)
    assert all(callable(getattr(credit, name)) for name in names)


def test_one_line_of_the_catalogue_enlists_a_scheme():
    lines = (ROOM / "catalogue.py").read_text(encoding="utf-8").splitlines()
    listed = [line.split()[1].removeprefix("credit.schemes.") for line in lines if line.startswith("from")]
    assert listed == [name for name in SCHEMES if name not in SCHEMES.plugins]  # in this order
    assert sorted(listed) == sorted(path.stem for path in (ROOM / "schemes").glob("[!_]*.py"))
    assert set(listed) < set(credit.__all__)
    assert all(getattr(credit, name) is SCHEMES[name].function for name in listed)
    assert all(hasattr(credit, name) for name in credit.__all__)


def test_calling_by_name_equals_calling_the_function(steps):
    np.testing.assert_array_equal(advantages("gigpo", steps, gamma=0.9), credit.gigpo(steps=steps, gamma=0.9))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gipgo", {}, "unknown scheme 'gipgo': did you mean gigpo"),
        ("zzz", {}, "unknown scheme 'zzz': there is agentopsd, bi_level_gae, "),
        ("gigpo", {"gama": 0.9}, "unknown option of gigpo 'gama': did you mean gamma"),
        ("gigpo", {"weighting": "row"}, "option 'weighting' is one of 'trajectories', 'rows', got 'row'"),
        ("gigpo", {"weighting": None}, "option 'weighting' is one of 'trajectories', 'rows', got None"),
        ("gigpo", {"gamma": 1.5}, r"number in \[0, 1\], got 1.5"),
        ("gigpo", {"gamma": float("nan")}, r"option 'gamma' is a finite number in \[0, 1\], got nan"),
        ("gigpo", {"gamma": "high"}, r"option 'gamma' is a finite number in \[0, 1\], got 'high'"),
        ("gigpo", {"compat": "verl"}, "option 'compat' is one of 'verl-agent', got 'verl'"),
        (
            "gigpo",
            {"grouping": "similarity", "similarity_threshold": 2.0},
            r"threshold' is a finite number in \[0, 1\]",
        ),
        ("hgpo", {"history_length": 1.5}, r"option 'history_length' is a finite whole number in \[0, .*\], got 1.5"),
        ("hgpo", {"history_length": -1}, r"history_length' is a finite whole number in \[0, "),
        ("hgpo", {"base_group": "yes"}, "option 'base_group' is True or False, got 'yes'"),
        ("salt", {"match": ("sate",)}, "match names some of state, action, next_state"),
        ("salt", {"history": -1}, r"history' is a finite whole number in \[0, "),
        ("mapo", {"alpha": 2}, r"alpha' is a finite number in \[0, 1\]"),
    ],
)
def test_mistakes_are_answered(steps, name, options, message):
    with pytest.raises(CreditError, match=message):
        advantages(name, steps, **options)


def test_a_table_in_place_of_steps_is_answered():
    with pytest.raises(CreditError, match=r"takes a Steps, got DataFrame: make one with Steps.from_frame"):
        credit.gigpo(random_table(2))


@pytest.mark.parametrize("steps", [[1, 2], "abc", None, {"reward": [1.0]}])
def test_what_is_no_table_is_answered(steps):
    for take in (lambda given: advantages("grpo", given), Steps.from_frame):
        with pytest.raises(CreditError, match=r"not as (list|str|NoneType|dict)"):
            take(steps)


def test_similarity_needs_texts():
    table = random_table(2).assign(state=1, next_state=2)
    with pytest.raises(CreditError, match="the table's states are not strings"):
        credit.gigpo(Steps.from_frame(table), grouping="similarity")
