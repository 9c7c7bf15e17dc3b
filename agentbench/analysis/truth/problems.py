"""Five small problems whose advantages are known exactly: chain, key-door, aliased, stochastic, harvest.

All start in one state and are cut at a horizon. The first four end with reward 1 at a goal; ``harvest`` pays on the way
and may be left at any time. The policy takes a good action with a probability around ``skill`` (it differs from
observation to observation) and is otherwise anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
PICK, WAIT, LEAVE = range(3)
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
        pays_on_the_way: every action earns ``process.reward``; otherwise the end alone does, 1.
    """

    name: str
    settings: dict[str, Any]
    process: Process
    valid: BoolArray
    pays_on_the_way: bool = False


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


def harvest(
    length: Length = 10,
    best: Length = 4,
    horizon: Horizon = 16,
    skill: Chance = 0.4,
    cost: Chance = 0.02,
    invalid: Chance = 0.0,
    seed: Seed = 0,
) -> Problem:
    """Make a field of ``length`` rows: pick the next row, wait, or leave, which ends the episode and earns nothing.

    Row k earns ``(2 best - 2 k - 1) / best²``: the first ``best`` rows together 1, every further one less than nothing.
    So it is best to leave after ``best`` rows, and an episode's length is the agent's choice. Waiting costs ``cost``.
    """
    _check("length", length, 2)
    if not 1 <= best < length:
        raise UserError(f"problem 'harvest': best is a row before the last of {length}, got {best}")
    rows = np.arange(length)
    probability, going_on = np.zeros((length, 3, length)), np.zeros((length, 3, length))
    probability[rows, PICK, np.minimum(rows + 1, length - 1)] = 1.0
    probability[rows, WAIT, rows] = probability[rows, LEAVE, rows] = 1.0
    going_on[rows[:-1], PICK, rows[1:]] = going_on[rows, WAIT, rows] = 1.0
    reward = np.stack([(2 * best - 2 * rows - 1) / best**2, np.full(length, -cost), np.zeros(length)], axis=1)
    settings = {
        "length": length, "best": best, "horizon": horizon, "skill": skill, "cost": cost, "invalid": invalid,
        "seed": seed,
    }  # fmt: skip
    good = [(PICK,) if row < best else (LEAVE,) for row in rows]
    policy = _policy(good, 3, settings)
    return _with_invalid("harvest", settings, Process(probability, going_on, reward, rows, policy, 0, horizon), True)


PROBLEMS: dict[str, Callable[..., Problem]] = {
    "chain": chain,
    "key-door": key_door,
    "aliased": aliased,
    "stochastic": stochastic,
    "harvest": harvest,
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
    states, actions = following.shape
    reached = (1 - slip) * np.eye(states)[following] + slip / states
    ends = np.zeros(states)
    ends[goal] = 1.0
    policy = _policy(good, actions, settings)
    horizon = int(settings["horizon"])
    process = Process(reached, reached * (1 - ends), reached @ ends, observation, policy, start, horizon)
    return _with_invalid(name, settings, process, False)


def _with_invalid(name: str, settings: dict[str, Any], process: Process, pays_on_the_way: bool) -> Problem:
    """Make a problem of a process, with an action that is not understood if the settings give it a share."""
    invalid = float(settings["invalid"])
    _check("horizon", process.horizon, 1)
    if not 0 <= invalid < 1:
        raise UserError(f"invalid is the share of invalid actions, in [0, 1), got {invalid}")
    states, actions = process.reward.shape
    valid = np.ones(actions, dtype=np.bool_)
    if not invalid:
        return Problem(name, settings, process, valid, pays_on_the_way)
    stays = np.eye(states)[:, None, :]
    policy = process.policy
    process = replace(
        process,
        probability=np.concatenate([process.probability, stays], axis=1),
        going_on=np.concatenate([process.going_on, stays], axis=1),
        reward=np.concatenate([process.reward, np.zeros((states, 1))], axis=1),
        policy=np.concatenate([(1 - invalid) * policy, np.full((len(policy), 1), invalid)], axis=1),
    )
    return Problem(name, settings, process, np.append(valid, False), pays_on_the_way)


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
