"""How fast the fast ALFWorld engine is, beside the original one, in CPU time of one process.

    python tests/benchmarks/bench_alfworld.py --data GAMES --walks WALKS [--games 6] [--output FILE.md]

Both engines play the same recorded commands of the same games through the same environment, each step with
observation, list of admissible commands and success; all three are compared as they go. GAMES is what the
environment takes as ``data``, WALKS the folder of recorded episodes.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envs.alfworld.original import OriginalPlayer, original_version
from envs.alfworld.players import FastPlayer, Player
from envs.alfworld.verify import find_games, read_walks


@dataclass
class Clock:
    """CPU seconds and counts of one engine."""

    load_seconds: float = 0.0
    loads: int = 0
    step_seconds: float = 0.0
    steps: int = 0
    turns: list[Any] = field(default_factory=list)

    @property
    def milliseconds_a_load(self) -> float:
        return self.load_seconds / self.loads * 1e3

    @property
    def steps_a_second(self) -> float:
        return self.steps / self.step_seconds


def play(player: Player, games: list[Any], walks: dict[str, list[dict[str, Any]]], clock: Clock) -> None:
    """Load every game once for each of its walks and play the walk."""
    for game in games:
        for number, walk in enumerate(walks[game.name]):
            key = f"{game.id} {number}"  # another key each time: nothing that was parsed may be used again
            begin = time.process_time()
            turn = player.start(key, game)
            clock.load_seconds += time.process_time() - begin
            clock.loads += 1
            clock.turns.append(turn)
            commands = [step["action"] for step in walk["steps"]]
            begin = time.process_time()
            turns = [player.act(command) for command in commands]
            clock.step_seconds += time.process_time() - begin
            clock.steps += len(commands)
            clock.turns += turns


def table(fast: Clock, original: Clock, all_walks: Clock) -> str:
    """Return the result as a Markdown table."""
    faster = fast.steps_a_second / original.steps_a_second
    sooner = original.milliseconds_a_load / fast.milliseconds_a_load
    return "\n".join(
        [
            "| | fast | original | ratio |",
            "|---|---|---|---|",
            f"| steps a CPU second | {fast.steps_a_second:,.0f} | {original.steps_a_second:,.1f} | {faster:,.0f} |",
            f"| load and reset, CPU ms | {fast.milliseconds_a_load:.2f} | {original.milliseconds_a_load:,.0f} "
            f"| {sooner:,.0f} |",
            "",
            f"The same {fast.steps} steps in {fast.loads} episodes, all turns equal. Over all recorded walks "
            f"({all_walks.loads} episodes, {all_walks.steps} steps) the fast engine makes "
            f"{all_walks.steps_a_second:,.0f} steps a CPU second and {all_walks.milliseconds_a_load:.2f} ms a load.",
        ]
    )


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--walks", type=Path, required=True)
    parser.add_argument("--games", type=int, default=6, help="how many games the original engine plays")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()

    walks: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for walk in read_walks(options.walks):
        walks[walk["game"]].append(walk)
    found = find_games(set(walks), options.walks, options.data)
    games = [found[name] for name in sorted(found)]
    chosen = games[:: max(1, len(games) // options.games)][: options.games]
    few = {game.name: [w for w in walks[game.name] if w["policy"] in ("walkthrough", "random")] for game in chosen}

    fast, original, all_walks = Clock(), Clock(), Clock()
    play(FastPlayer(), games, walks, all_walks)
    play(FastPlayer(), chosen, few, fast)
    player = OriginalPlayer()
    player.start("warm-up", chosen[0])  # its imports and its library are loaded once and not counted
    play(player, chosen, few, original)
    if fast.turns != original.turns:
        sys.exit("the engines differ: see `agentbench verify alfworld`")

    text = "\n".join(
        [
            "# ALFWorld: the fast engine beside the original",
            "",
            table(fast, original, all_walks),
            "",
            f"Python {platform.python_version()}, {original_version()}, one core, CPU time "
            "(`time.process_time`), games not seen before. Made by",
            "",
            "```",
            f"python tests/benchmarks/bench_alfworld.py --data GAMES --walks WALKS --games {options.games}",
            "```",
            "",
        ]
    )
    print(text)
    if options.output:
        options.output.write_text(text)


if __name__ == "__main__":
    main()
