"""Exact advantages on an ALFWorld game: all states within the horizon, counted with the fast engine.

The policy must be Markov: its action probabilities depend on the game's state alone (``is_markov``). With h steps
left and V_0 = 0, in a game whose moves are certain and whose only reward is 1 for winning,

    Q_h(s, a) = 1 if a wins, else V_{h-1}(s'),   V_h(s) = sum_a pi(a | s) Q_h(s, a),   A = Q - V
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from credit.steps import FloatArray, IntArray
from envs.alfworld.engine import Engine
from envs.alfworld.problem import State
from envs.base.errors import UserError

_SAME_STATE = frozenset(("look", "inventory", "help", "examine"))
"""Verbs that change nothing but the text."""


class TooManyStatesError(UserError):
    """A game has more states within the horizon than were allowed."""


@dataclass(frozen=True)
class GameValues:
    """Values of the states of a game that can be reached within the horizon.

    Attributes:
        engine: the game.
        number: number of each state.
        value: V with h steps left, shape ``(horizon + 1, states)``; right where a state can be reached in time.
        horizon: steps after which an episode is cut.
    """

    engine: Engine
    number: dict[State, int]
    value: FloatArray
    horizon: int

    def steps(self, actions: Sequence[str]) -> list[tuple[int, float, float]]:
        """Follow an episode from the start.

        Returns:
            of each step: number of the state, true advantage of its action, value of its state.

        Raises:
            UserError: an action was not admissible; a policy with known probabilities never takes one.
        """
        state, found = self.engine.start, []
        for step, name in enumerate(actions):
            commands = self.engine.commands(state)
            if name not in commands:
                raise UserError(f"step {step}: {name!r} is not admissible, so the policy's probabilities are wrong")
            left = self.horizon - step
            value = float(self.value[left, self.number[state]])
            following, _ = self.engine.act(state, commands[name])
            quality = 1.0 if self.engine.won(following) else float(self.value[left - 1, self.number[following]])
            found.append((self.number[state], quality - value, value))
            state = following
        return found


def solve_game(
    engine: Engine, horizon: int, probabilities: Callable[[list[str]], Sequence[float]], limit: int = 200_000
) -> GameValues:
    """Count the states within the horizon, and compute their values by dynamic programming.

    Args:
        engine: the game.
        horizon: steps after which an episode is cut, at least 1.
        probabilities: chance of each of the (sorted) admissible actions.
        limit: most states to count.

    Raises:
        TooManyStatesError: there are more.
    """
    number: dict[State, int] = {engine.start: 0}
    owner, following, chance = array("q"), array("q"), array("d")  # millions of them: no Python objects
    layer = [engine.start]
    for _ in range(horizon):
        reached: list[State] = []
        for state in layer:
            commands = engine.commands(state)
            names = sorted(commands)
            for name, probability in zip(names, probabilities(names), strict=True):
                action = commands[name]
                after = state if action.verb in _SAME_STATE else engine.act(state, action)[0]
                if engine.won(after):
                    place = _WON
                elif (known := number.get(after)) is not None:
                    place = known
                else:
                    place = number[after] = len(number)
                    reached.append(after)
                    if place >= limit:
                        raise TooManyStatesError(_too_many(limit, horizon))
                owner.append(number[state])
                following.append(place)
                chance.append(probability)
        layer = reached
    arrays = np.array(owner), np.array(following), np.array(chance)
    return GameValues(engine, number, _values(*arrays, len(number), horizon), horizon)


def _too_many(limit: int, horizon: int) -> str:
    return (
        f"the game has more than {limit:,} states within {horizon} steps: shorten --max-steps, choose smaller games "
        "(generated:0:20:small), raise --state-limit, or take --method monte-carlo"
    )


_WON = -1


def _values(owner: IntArray, following: IntArray, chance: FloatArray, states: int, horizon: int) -> FloatArray:
    """V of every state by steps left, shape ``(horizon + 1, states)``."""
    value = np.zeros((horizon + 1, states + 1))
    value[:, _WON] = 1.0  # the last column: the goal, worth the reward of reaching it
    for left in range(1, horizon + 1):
        value[left, :-1] = np.bincount(owner, chance * value[left - 1, following], minlength=states)
    return value[:, :-1]
