"""The ceiling: what buying the right thing scores, goal by goal.

With the original's rules some goals cannot be won: a chosen value can lose its match when a colour word inside
it replaces it (``standard`` holds ``tan``), and the title of the target can fall short of itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from envs.webshop.env import WebShopEnv
from envs.webshop.goals import Goal
from envs.webshop.session import Shop, Visit
from envs.webshop.walkthrough import choose_options


@dataclass(frozen=True, slots=True)
class CeilingRow:
    """What buying the target scores over the goals of one department, or of all (``type`` is ``all``).

    Attributes:
        type: the task type.
        goals: number of goals.
        winnable: number of goals where it scores 1.
        mean: mean reward, in [0, 1].
    """

    type: str
    goals: int
    winnable: int
    mean: float


def ceiling(env: WebShopEnv) -> list[CeilingRow]:
    """Return the ceiling of an environment's split: one row a task type in alphabetic order, then ``all``."""
    rewards: dict[str, list[float]] = {}
    for goal in env.goals:
        rewards.setdefault(goal.category, []).append(target_reward(env.shop, goal))
    rows = [_row(kind, rewards[kind]) for kind in sorted(rewards)]
    return [*rows, _row("all", [value for kind in sorted(rewards) for value in rewards[kind]])]


def target_reward(shop: Shop, goal: Goal) -> float:
    """Return the reward for buying the target of a goal with the options it asks for."""
    place = shop.catalogue.position[goal.asin]
    options = tuple(choose_options(shop.catalogue.products[place], goal))
    return shop.score(replace(Visit(), page="item", product=place, options=options), goal).reward


def _row(kind: str, rewards: Iterable[float]) -> CeilingRow:
    values = list(rewards)
    return CeilingRow(kind, len(values), sum(value == 1.0 for value in values), sum(values) / len(values))
