"""What the scorer sees of a decision: read off the texts, and the same whatever it remembers of earlier calls."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.contract import Task
from policies.contract import Prompt, Response, Turn
from policies.scorer import past as memory
from policies.scorer.reading import in_task, is_code, parse, passages, run_in_task
from policies.scorer.relations import Features, features, features_of

TASK = Task("id", "name", "Pick", 0)
INSTRUCTION = "put some mug on desk."
OBSERVATIONS = [
    "You see a desk 1, a shelf 1.",
    "On the shelf 1, you see a mug 1.",
    "You pick up the mug 1.",
    "Nothing.",
]
ACTIONS = ["go to shelf 1", "take mug 1 from shelf 1", "look"]
OFFER = ["go to desk 1", "go to shelf 1", "take mug 1 from shelf 1", "look"]


def prompt(step: int) -> Prompt:
    history = tuple(Turn(seen, done) for seen, done in zip(OBSERVATIONS[:step], ACTIONS[:step], strict=True))
    return Prompt(TASK, OBSERVATIONS[step], {"instruction": INSTRUCTION}, history, seed=0)


def test_what_is_remembered_changes_no_feature() -> None:
    memory._known.clear()
    on_the_way = [features(prompt(step), OFFER) for step in range(4)]
    for step in (3, 1, 2, 0):
        memory._known.clear()
        alone = features(prompt(step), OFFER)
        assert np.array_equal(alone.relations, on_the_way[step].relations)
        assert np.array_equal(alone.state, on_the_way[step].state)
        assert alone.last_verb == on_the_way[step].last_verb


def course(actions: list[str]) -> list[Prompt]:
    """The prompts of one episode, each made of the one before, as rollouts make them."""
    prompts = [Prompt.first(TASK, OBSERVATIONS[0], {"instruction": INSTRUCTION})]
    for action, seen in zip(actions, OBSERVATIONS[1:], strict=True):
        prompts.append(prompts[-1].after(Response(action), seen, {"instruction": INSTRUCTION}))
    return prompts


def equal(one: Features, other: Features) -> bool:
    arrays: list[Any] = [*zip(one, other, strict=True)]
    return all(np.array_equal(own, its) for own, its in arrays)


def test_decisions_described_together_and_in_turn_are_those_described_alone() -> None:
    prompts = [each for actions in (ACTIONS, ["look", "look", ACTIONS[0]]) for each in course(actions)]
    offered = [OFFER[: 2 + place % 3] for place in range(len(prompts))]
    memory._known.clear()
    together = features_of(prompts, offered)
    for each, actions, found in zip(prompts, offered, together, strict=True):
        assert equal(features(each, actions), found)  # its past is known
        memory._known.clear()
        assert equal(features(each, actions), found)


def test_a_turn_that_stands_in_another_past_is_not_taken_for_its_own() -> None:
    first, second = course(ACTIONS), course(["look", *ACTIONS[1:]])
    features_of(first, [OFFER] * 4)
    other = replace(first[3], history=(second[3].history[0], *first[3].history[1:]))
    found = features(other, OFFER)
    memory._known.clear()
    assert equal(features(other, OFFER), found)
    assert not np.array_equal(features(first[3], OFFER).relations, found.relations)


def test_two_episodes_with_the_same_beginning_do_not_disturb_each_other() -> None:
    memory._known.clear()
    first, twin = features(prompt(1), OFFER), features(prompt(1), OFFER)
    assert np.array_equal(first.relations, twin.relations)
    ahead, behind = features(prompt(2), OFFER), features(prompt(2), OFFER)
    assert np.array_equal(ahead.relations, behind.relations)


def test_actions_are_told_apart_by_what_was_done_before() -> None:
    shelf, take = OFFER.index("go to shelf 1"), OFFER.index("take mug 1 from shelf 1")
    before, after = features(prompt(0), OFFER).relations, features(prompt(2), OFFER).relations
    assert before[shelf, 0] == 0.0 and after[shelf, 0] == 1.0  # taken before
    assert after[shelf, 2] == 0.5 and after[take, 2] == 1.0  # two turns ago, and the last turn


@pytest.mark.parametrize(
    ("action", "phrases"),
    [
        ("take mug 1 from desk 2", (("mug", "1"), ("desk", "2"))),
        ("go to desk 1", (("desk", "1"), ("desk", "1"))),
        ("click[x-large]", (("x", "large"), ("x", "large"))),
        ("look", ((), ())),
    ],
)
def test_an_action_is_a_verb_and_phrases(action: str, phrases: object) -> None:
    assert parse(action).phrases == phrases


def test_a_phrase_of_the_task_counts_only_as_a_whole() -> None:
    wanted = "shirt with size: x-large tall"
    assert in_task(("large",), wanted)[0] == in_task(("x", "large"), wanted)[0] == 1.0
    assert run_in_task(("x", "large"), wanted) == 2
    assert run_in_task(("large", "x"), wanted) == run_in_task((), wanted) == 0


def test_what_a_page_says_of_a_product_is_found_behind_its_number() -> None:
    page = "Next >\nB01\nRed wool hat\n$9\nB02\nBlue cap for men\n$5"
    said = passages(page, [("b01",), ("b02",), ("next",), ("b03",)])
    assert said == {("b01",): {"red", "wool", "hat"}, ("b02",): {"blue", "cap", "men"}, ("next",): frozenset()}


def test_a_product_is_read_by_its_place_among_those_on_offer_and_not_by_its_number() -> None:
    def shown(first: str, second: str, codes: str = "place") -> Features:
        page = f"Next >\n{first}\nRed wool hat\n$9\n{second}\nBlue cap for men\n$5"
        here = Prompt(TASK, page, {"instruction": "a blue cap"}, (), seed=0)
        return features(here, ["click[next >]", f"click[{first.lower()}]", f"click[{second.lower()}]"], codes)

    seen, other = shown("B09RVF4JP1", "B07T3VMGDG"), shown("B08XYZ1234", "B01HQTWL6S")
    assert all(np.array_equal(one, two) for one, two in zip(seen, other, strict=True))
    assert len(set(seen.words[seen.rows, 0].tolist())) == 3
    as_word, other_word = (
        shown(*pair, codes="word") for pair in (("B09RVF4JP1", "B07T3VMGDG"), ("B08XYZ1234", "B01HQTWL6S"))
    )
    assert not np.array_equal(as_word.words, other_word.words)


@pytest.mark.parametrize(
    ("word", "code"), [("b09rvf4jp1", True), ("countertop", False), ("3x", False), ("12345678", False)]
)
def test_a_code_is_long_and_mixes_letters_with_digits(word: str, code: bool) -> None:
    assert is_code(word) is code


def test_a_scorer_that_was_saved_before_reads_codes_as_it_was_trained(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the scorer needs torch: pip install -e '.[train]'")
    from envs.base.digest import sealed
    from policies.registry import load_policy
    from policies.scorer import ScorerPolicy
    from policies.trainable import save_policy

    for name in ("place", "word"):
        save_policy(ScorerPolicy(codes=name), tmp_path / name)
        assert load_policy(tmp_path / name).codes == name
    file = tmp_path / "word" / "policy.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    del record["seal"], record["settings"]["codes"]
    file.write_text(json.dumps(sealed(record)), encoding="utf-8")
    assert load_policy(tmp_path / "word").codes == "word"
    assert load_policy(tmp_path / "word").digest == ScorerPolicy(codes="word").digest != ScorerPolicy().digest
