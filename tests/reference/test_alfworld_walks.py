"""The fast engine against recorded episodes of the original, and the official games as a whole."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
from small_house import as_compact, small_game

from envs.alfworld.games import SPLITS, Game
from envs.alfworld.manifest import official_ids
from envs.alfworld.players import FastPlayer
from envs.alfworld.sources import read_games
from envs.alfworld.verify import verify
from envs.base.errors import UserError


@pytest.mark.reference
def test_every_recorded_episode_is_reproduced(shared: Path) -> None:
    lines: list[str] = []
    mismatches, summary = verify(shared / "reference" / "alfworld", lines.append)
    assert (mismatches, lines) == (0, [])
    assert "467 recorded episodes of 90 games, 11844 steps" in summary


@pytest.mark.reference
def test_every_official_walkthrough_wins_with_its_last_command(shared: Path) -> None:
    from envs.alfworld.verify import wins

    count, won = Counter[str](), Counter[str]()
    ids = {split: set() for split in SPLITS}
    for game in read_games(shared / "data" / "alfworld" / "alfworld_games.jsonl.xz"):
        assert isinstance(game, Game)
        count[game.split] += 1
        won[game.split] += wins(FastPlayer(), game)
        ids[game.split].add(game.id)
    assert dict(won) == dict(count) == SPLITS
    assert ids == official_ids()
    assert len(set().union(*ids.values())) == sum(SPLITS.values())


# -- the checker itself: it must find what is wrong ------------------------------------------------------


def recorded(folder: Path, change=lambda walk: None) -> Path:
    """Record an episode of the small house with the fast engine, changed by ``change``; return its folder."""
    game, player = small_game("Heat"), FastPlayer()

    def turn(command: str | None) -> dict:
        got = player.act(command) if command else player.start(game.id, game)
        shown = {"observation": got.observation, "admissible": got.commands, "won": got.won}
        return {**shown, "action": command, "score": int(got.won), "done": got.won} if command else shown

    walk = {"game": game.name, "policy": "walkthrough", "reset": turn(None)}
    walk["steps"] = [turn(command) for command in game.walkthrough]
    change(walk)
    reference = folder / "reference" / "alfworld"
    reference.mkdir(parents=True)
    (reference / "walks.jsonl.gz").write_bytes(gzip.compress(json.dumps(walk).encode() + b"\n"))
    (folder / "data" / "alfworld").mkdir(parents=True)
    as_compact(folder / "data" / "alfworld" / "games.jsonl.xz", [game])
    return reference


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda walk: walk["steps"][1].update(observation="You fly."),
            "step 2 after .*: observation: expected 'You fly",
        ),
        (
            lambda walk: walk["reset"]["admissible"].remove("help"),
            r"reset: commands: missing \[\], too many \['help'\]",
        ),
        (lambda walk: walk["reset"]["admissible"].reverse(), "reset: commands: another order from place 0"),
        (lambda walk: walk["steps"][-1].update(won=False), "step 6 after .*: won: expected False, got True"),
        (lambda walk: walk["steps"][0].update(score=1), "step 1 after .*: score: expected 1, got 0.0"),
        (lambda walk: walk["steps"][0].update(done=True), "step 1 after .*: done: expected True, got False"),
    ],
)
def test_every_kind_of_difference_is_found_and_shown(tmp_path: Path, change, message: str) -> None:
    import re

    lines: list[str] = []
    mismatches, summary = verify(recorded(tmp_path, change), lines.append)
    assert mismatches == len(lines) == 1 and "1 of 7 turns differ" in summary
    assert re.search(message, lines[0])


def test_an_equal_episode_has_no_difference_and_the_list_is_kept_short(tmp_path: Path) -> None:
    assert verify(recorded(tmp_path / "a"), print)[0] == 0

    def spoil(walk: dict) -> None:
        walk["steps"] = [{**walk["steps"][0], "observation": "?"}] * 30

    lines: list[str] = []
    mismatches, _ = verify(recorded(tmp_path / "b", spoil), lines.append)
    assert mismatches == 30 and len(lines) == 21 and lines[-1] == "... and 10 more"


def test_recordings_that_cannot_be_checked_are_an_error_and_never_passed_over(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no recorded episodes"):
        verify(tmp_path, print)
    other = recorded(tmp_path / "other", lambda walk: walk.update(game="train/none/trial"))
    with pytest.raises(UserError, match="1 recorded games, first train/none/trial, are not installed"):
        verify(other, print)
    incomplete = recorded(tmp_path / "incomplete", lambda walk: walk.pop("steps"))
    with pytest.raises(UserError, match="line 1: no field 'steps'"):
        verify(incomplete, print)
    turnless = recorded(tmp_path / "turnless", lambda walk: walk["steps"][0].pop("score"))
    with pytest.raises(UserError, match=r"line 1: .* no field 'score'"):
        verify(turnless, print)
    cut = recorded(tmp_path / "cut")
    (cut / "walks.jsonl.gz").write_bytes((cut / "walks.jsonl.gz").read_bytes()[:-20])
    with pytest.raises(UserError, match="cannot be read after line 0"):
        verify(cut, print)
