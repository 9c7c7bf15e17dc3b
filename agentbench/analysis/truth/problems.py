"""Four small problems whose advantages are known exactly: chain, key-door, aliased, stochastic.

All start in one state, end with reward 1 at a goal, and are cut at a horizon. The policy takes a good action with a
probability around ``skill`` (it differs from observation to observation) and is otherwise anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from credit.steps import BoolArray, FloatArray, IntArray
from credit.tools.exact import Process, solve
from envs.base.errors import UserError, unknown
from envs.base.options import Option, declared, resolve

Length = Annotated[int, Field(ge=2, le=10_000)]
States = Annotated[int, Field(ge=3, le=10_000)]
Horizon = Annotated[int, Field(ge=1, le=100_000)]
Chance = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0)]

FORWARD, BACK, STAY, PICK_UP = range(4)
_SPREAD = 12.0
"""Concentration of the policy's probabilities around their mean: the higher, the more alike its observations."""


@dataclass(frozen=True)
class Problem:
    """A tabular problem.

    Attributes:
        name: one of :data:`PROBLEMS`.
        settings: the arguments that it was made with.
        process: the decision process with its policy.
        valid: whether an action is understood, shape ``(A,)``; one that is not changes nothing.
    """

    name: str
    settings: dict[str, Any]
    process: Process
    valid: BoolArray


def make_problem(name: str, **settings: Any) -> Problem:
    """Make a problem by name.

    Args:
        name: one of :data:`PROBLEMS`.
        settings: the arguments of its function there, and ``success`` instead of ``skill``: the skill is then
            chosen so that the policy succeeds with this probability.

    Raises:
        UserError: unknown name or setting, a number out of range, a success that no skill reaches.
    """
    if name not in PROBLEMS:
        raise unknown("problem", name, list(PROBLEMS))
    known = {**declared(PROBLEMS[name]), "success": Option("success", Annotated[float, Field(ge=0, le=1)])}
    settings = resolve(f"problem {name!r}", known, settings)
    success = settings.pop("success", None)
    if success is not None and "skill" in settings:
        raise UserError("a problem takes success or skill, not both")
    return PROBLEMS[name](**settings) if success is None else _with_success(name, success, settings)


def chain(
    length: Length = 8, horizon: Horizon = 16, skill: Chance = 0.5, invalid: Chance = 0.0, seed: Seed = 0
) -> Problem:
    """Make a corridor of ``length`` cells: forward, back, stay; the goal is the last cell."""
    _check("length", length, 2)
    following = np.tile(np.arange(length)[:, None], (1, 3))
    following[:-1, FORWARD] += 1
    following[1:, BACK] -= 1
    settings = {"length": length, "horizon": horizon, "skill": skill, "invalid": invalid, "seed": seed}
    return _problem("chain", settings, following, [(FORWARD,)] * length, np.arange(length), 0, length - 1)


def key_door(
    length: Length = 6, horizon: Horizon = 20, skill: Chance = 0.6, invalid: Chance = 0.0, seed: Seed = 0
) -> Problem:
    """Make a corridor with a key at one end and a door at the other; the start is in the middle.

    Picking up works where the key lies; going through the door (forward in the last cell) needs the key.
    State ``2 cell + key``; what the agent observes is the state.
    """
    settings = {"length": length, "horizon": horizon, "skill": skill, "invalid": invalid, "seed": seed}
    good = [(FORWARD,) if state % 2 else (BACK,) for state in range(2 * length + 1)]
    good[0] = (PICK_UP,)
    start = length // 2 * 2
    return _problem("key-door", settings, _corridor(length), good, np.arange(2 * length + 1), start, 2 * length)


def aliased(
    length: Length = 3, horizon: Horizon = 24, skill: Chance = 0.8, invalid: Chance = 0.0, seed: Seed = 0
) -> Problem:
    """Make ``key-door`` where the observation is the cell alone: whether the key is held cannot be seen."""
    settings = {"length": length, "horizon": horizon, "skill": skill, "invalid": invalid, "seed": seed}
    # Without memory the best that can be done is to walk either way, and to try for the key where it lies.
    good = [(FORWARD, PICK_UP), *[(FORWARD, BACK)] * length]
    seen = np.arange(2 * length + 1) // 2
    return _problem("aliased", settings, _corridor(length), good, seen, length // 2 * 2, 2 * length)


def stochastic(
    states: States = 24,
    horizon: Horizon = 12,
    skill: Chance = 0.3,
    slip: Chance = 0.3,
    invalid: Chance = 0.0,
    seed: Seed = 0,
) -> Problem:
    """Make a random graph with three actions a state; with chance ``slip`` an action leads anywhere at all."""
    _check("states", states, 3)
    if not 0 <= slip <= 1:
        raise UserError(f"slip is a chance in [0, 1], got {slip}")
    draw = np.random.default_rng([seed, states])
    following = draw.integers(states, size=(states, 3))
    following[np.arange(states), draw.integers(3, size=states)] = (np.arange(states) + 1) % states  # all can be reached
    distance = _distances(following, states - 1)
    good = [(int(action),) for action in distance[following].argmin(axis=1)]
    settings = {
        "states": states, "horizon": horizon, "skill": skill, "slip": slip, "invalid": invalid, "seed": seed,
    }  # fmt: skip
    start = int(np.argmax(distance))
    return _problem("stochastic", settings, following, good, np.arange(states), start, states - 1, slip=slip)


PROBLEMS: dict[str, Callable[..., Problem]] = {
    "chain": chain,
    "key-door": key_door,
    "aliased": aliased,
    "stochastic": stochastic,
}
"""The problems by name."""


def _corridor(length: int) -> IntArray:
    """Next state of every state and action of ``key-door``; the last state is behind the door."""
    _check("length", length, 2)
    following = np.tile(np.arange(2 * length + 1)[:, None], (1, 4))
    for cell in range(length):
        for key in (0, 1):
            state = 2 * cell + key
            following[state, FORWARD] = state + 2 if cell + 1 < length else (2 * length if key else state)
            following[state, BACK] = state - 2 if cell else state
    following[0, PICK_UP] = 1
    return following


def _problem(
    name: str,
    settings: dict[str, Any],
    following: IntArray,
    good: Sequence[tuple[int, ...]],
    observation: IntArray,
    start: int,
    goal: int,
    slip: Chance = 0.0,
) -> Problem:
    """Make a problem of its map.

    Args:
        following: state that an action leads to, shape ``(S, A)``.
        good: good actions of each observation.
        observation: of each state, shape ``(S,)``.
        goal: state that ends an episode, with reward 1.
        slip: chance that an action leads to a state drawn from all of them instead.
    """
    horizon, invalid = int(settings["horizon"]), float(settings["invalid"])
    _check("horizon", horizon, 1)
    if not 0 <= invalid < 1:
        raise UserError(f"invalid is the share of invalid actions, in [0, 1), got {invalid}")
    states, actions = following.shape
    reached = (1 - slip) * np.eye(states)[following] + slip / states
    valid = np.ones(actions, dtype=np.bool_)
    policy = _policy(good, actions, settings)
    if invalid:
        reached = np.concatenate([reached, np.eye(states)[:, None, :]], axis=1)
        policy = np.concatenate([(1 - invalid) * policy, np.full((len(policy), 1), invalid)], axis=1)
        valid = np.append(valid, False)
    ends = np.zeros(states)
    ends[goal] = 1.0
    going_on = reached * (1 - ends)
    process = Process(reached, going_on, reached @ ends, observation, policy, start, horizon)
    return Problem(name, settings, process, valid)


def _policy(good: Sequence[tuple[int, ...]], actions: int, settings: dict[str, Any]) -> FloatArray:
    """Draw the action probabilities of each observation around their mean, shape ``(O, A)``."""
    skill = float(settings["skill"])
    if not 0 <= skill <= 1:
        raise UserError(f"skill is a chance in [0, 1], got {skill}")
    draw = np.random.default_rng([settings["seed"], 1])
    rows = []
    for chosen in good:
        mean = np.full(actions, (1 - skill) / actions)
        mean[list(chosen)] += skill / len(chosen)
        rows.append(draw.dirichlet(_SPREAD * mean + 0.2))
    return np.stack(rows)


def _with_success(name: str, success: float, settings: dict[str, Any]) -> Problem:
    """Find the skill that gives a success rate, by halving the interval."""
    low, high = 0.0, 1.0
    least, most = (solve(make_problem(name, **settings, skill=end).process).objective for end in (low, high))
    if not least <= success <= most:
        raise UserError(
            f"problem {name!r}: success can be {least:.3f} to {most:.3f} with these settings, not {success}"
        )
    for _ in range(20):
        middle = (low + high) / 2
        if solve(make_problem(name, **settings, skill=middle).process).objective < success:
            low = middle
        else:
            high = middle
    return make_problem(name, **settings, skill=high)


def _distances(following: IntArray, goal: int) -> IntArray:
    """Fewest steps from each state to the goal, shape ``(S,)``."""
    distance = np.full(len(following), len(following))
    distance[goal] = 0
    for _ in range(len(following)):
        distance = np.minimum(distance, 1 + distance[following].min(axis=1))
        distance[goal] = 0
    return distance


def _check(name: str, value: int, least: int) -> None:
    if not isinstance(value, int) or value < least:
        raise UserError(f"{name} is a whole number of at least {least}, got {value!r}")
