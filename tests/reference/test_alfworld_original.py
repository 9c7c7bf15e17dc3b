"""The fast engine against the original packages themselves, step for step in random play."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from small_house import small_game

from envs.alfworld import ALFWorldEnv
from envs.alfworld.games import Game
from envs.alfworld.players import FastPlayer
from envs.alfworld.sources import read_games

pytestmark = pytest.mark.original


@pytest.fixture(scope="module")
def original():
    pytest.importorskip("textworld")
    pytest.importorskip("alfworld")
    from envs.alfworld.original import OriginalPlayer

    player = OriginalPlayer()
    yield player
    player.close()


def play_both(original, game: Game, seed: int, steps: int) -> None:
    """Play the same random commands in both engines; prefer rare verbs, and now and then send nonsense."""
    rng = random.Random(seed)
    fast = FastPlayer()
    expected, got = original.start(game.id, game), fast.start(game.id, game)
    prints: dict[str, str] = {}
    for _ in range(steps):
        assert got == expected
        # Both must tell the same situations apart, whatever their hashes are.
        assert prints.setdefault(original.fingerprint(), fast.fingerprint()) == fast.fingerprint()
        verbs = sorted({command.split()[0] for command in expected.commands})
        verb = rng.choice(verbs)
        command = rng.choice([command for command in expected.commands if command.split()[0] == verb])
        command = rng.choice([command] * 18 + [command.upper(), f"  {command} "])
        expected, got = original.act(command), fast.act(command)
    assert got == expected


@pytest.mark.parametrize(("kind", "seed"), [("Pick", 0), ("Look", 1), ("Heat", 2), ("Cool", 3), ("Pick2", 4)])
def test_both_engines_agree_in_the_small_house(original, kind: str, seed: int) -> None:
    play_both(original, small_game(kind), seed, steps=40)


@pytest.mark.reference
def test_both_engines_agree_on_official_games(original, shared: Path) -> None:
    games = list(read_games(shared / "data" / "alfworld" / "alfworld_sample_tree.tar.xz"))
    for seed, game in enumerate(games[::12]):
        assert isinstance(game, Game)
        play_both(original, game, seed, steps=15)


def test_both_engines_agree_on_generated_games(original) -> None:
    generator = pytest.importorskip("envs.alfworld.generator")
    for index in range(2):
        play_both(original, generator.generate(seed=5, index=index), index, steps=15)


@pytest.fixture
def small_tree(tmp_path: Path) -> Path:
    from small_house import write_tree

    return write_tree(tmp_path, [small_game("Heat"), small_game("Pick")])


def test_the_environment_plays_the_original_engine(small_tree: Path) -> None:
    pytest.importorskip("textworld")
    arguments = list(sys.argv)
    options = {"split": "valid_seen", "data": small_tree, "anchor": "state"}
    slow, fast = ALFWorldEnv(engine="textworld", **options), ALFWorldEnv(engine="fast", **options)
    assert slow.digest != fast.digest
    first, expected = slow.reset(seed=3), fast.reset(seed=3)
    assert first[0] == expected[0]
    assert {**first[1], "anchor": ""} == {**expected[1], "anchor": ""}
    for command in first[1]["walkthrough"][:-1]:
        step, expected_step = slow.step(command), fast.step(command)
        assert step[:4] == expected_step[:4]
    saved, info = slow.snapshot(), step[4]
    last = slow.step(first[1]["walkthrough"][-1])
    assert last[1:4] == (1.0, True, False)
    assert slow.restore(saved) == (step[0], info)
    assert slow.step(first[1]["walkthrough"][-1]) == last
    slow.close()
    assert sys.argv == arguments


def test_a_closed_environment_leaves_its_planning_library_to_the_next(small_tree: Path) -> None:
    pytest.importorskip("textworld")
    from envs.alfworld import original as module

    for _ in range(3):
        env = ALFWorldEnv(engine="textworld", split="valid_seen", data=small_tree)
        env.reset(seed=0)
        env.close()
        env.close()
    assert len(module._idle) <= 2


def test_a_game_that_was_played_before_is_not_translated_again_and_goes_the_same(small_tree: Path, monkeypatch) -> None:
    pytest.importorskip("textworld")
    from fast_downward import interface

    from envs.alfworld import original as module

    module._translated.cache_clear()
    theirs, made = interface.pddl2sas, []
    monkeypatch.setattr(interface, "pddl2sas", lambda *given, **how: made.append(how) or theirs(*given, **how))
    env = ALFWorldEnv(engine="textworld", split="valid_seen", data=small_tree)
    first = [env.reset(seed=3), *map(env.step, plan := env.reset(seed=3)[1]["walkthrough"])]
    assert made == [{"optimize": False}, {"optimize": True}]
    again = ALFWorldEnv(engine="textworld", split="valid_seen", data=small_tree)
    assert [again.reset(seed=3), *map(again.step, plan)] == first
    assert len(made) == 2
    env.close()
    again.close()
