"""WebShop as an environment: a shopper looks for a product, chooses its options and buys it.

Yao et al. 2022, "WebShop: Towards Scalable Real-World Web Interaction with Grounded Language Agents".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Le

from envs.base.digest import digest_of_parts
from envs.base.errors import UserError
from envs.contract import MOST_STEPS, Info, RenderMode, Task, TextEnv
from envs.webshop import pages
from envs.webshop.catalogue import OnBad
from envs.webshop.goals import Goal, pick_goals
from envs.webshop.reward import breakdown
from envs.webshop.session import Shop, Visit
from envs.webshop.walkthrough import Walkthroughs
from envs.webshop.world import World, open_world

SEARCH_FORM = "search[<query>]"


class WebShopEnv(TextEnv):
    """The shop, page for page as the original answers.

    Besides the keys of every environment, ``info`` has ``clickables`` and ``has_search_bar`` as the original
    lists them, ``instruction``, ``goal_index``, ``reward_info`` (the parts of the reward; empty before a purchase) and
    ``walkthrough``: actions that find and buy the target, for the ``walkthrough`` policy.

    Args:
        mode: ``text`` or ``text_rich``, the original's two observation modes.
        goals: ``generated`` (no download), ``synthetic`` or ``human`` (WebShop's own; install them first).
        split: ``train``, ``dev``, ``test`` or ``all``.
        catalogue: ``generated:SEED:PRODUCTS``, ``1000`` or ``full``; by default what ``goals`` needs.
        protocol: how the split is made; ``disjoint`` (by product, default but for human goals) or ``original``
            (by index: official for human goals; leaks products between the splits of the others).
        anchor: what ``info["anchor"]`` is: ``observation`` (the text seen, as public training code does) or
            ``state`` (page, query, page number, product and chosen options: equal means the same situation).
        max_steps: steps after which an episode is truncated; the original has no limit, 15 is usual in training.
        data: folder of WebShop's files; by default the installed ones.
        price_seed: seed of the drawn prices and price limits.
        noun_table: JSON file of title nouns; by default ``nouns.json`` beside the files, else a rule.
        compat: keep the original's confusions between what the shopper typed and the address of the page.
        on_bad: what a bad product of the catalogue does: ``stop`` or ``skip``.
        render_mode: ``None`` or ``ansi``; :meth:`render` returns the present observation either way.

    Raises:
        UserError: unknown names, options that do not go together, missing or bad data, a split without goals.
    """

    name = "webshop"
    per_process: int = 64

    def __init__(
        self,
        mode: Literal["text", "text_rich"] = "text",
        goals: Literal["generated", "synthetic", "human"] = "generated",
        split: str = "train",
        *,
        catalogue: str | int | None = None,
        protocol: Literal["disjoint", "original"] | None = None,
        anchor: Literal["observation", "state"] = "observation",
        max_steps: Annotated[int, Ge(1), Le(MOST_STEPS)] = 15,
        data: str | Path | None = None,
        price_seed: Annotated[int, Ge(0)] = 101,
        noun_table: str | Path | None = None,
        compat: bool = True,
        on_bad: OnBad = "stop",
        render_mode: RenderMode = None,
    ) -> None:
        super().__init__(max_steps)
        self.render_mode = render_mode
        self._world = open_world(
            goals, catalogue, data, price_seed=price_seed, noun_table=noun_table, compat=compat, on_bad=on_bad
        )
        self.notes = self._world.notes
        self._mode, self._anchor = mode, anchor
        protocol = protocol or ("original" if goals == "human" else "disjoint")
        self._goal_indices, self._tasks, self._by_key = _list_tasks(self._world, split, protocol)
        if not self._tasks:
            raise UserError(
                f"split {split!r} has no goals: the catalogue has {len(self._world.goals)} {goals} goals, "
                f"split by protocol {protocol!r}; try split='all'"
            )
        self._walkthroughs = Walkthroughs(self._world.shop)
        self._goal: Goal = self._world.goals[self._goal_indices[0]]
        self._visit = Visit()
        self._nodes: list[pages.Node] = []
        self._clickables: list[str] = []
        self._solution: list[str] | None = None

    @property
    def tasks(self) -> Sequence[Task]:
        """The goals of the split, ordered by goal index; a task's type is its department."""
        return self._tasks

    @property
    def shop(self) -> Shop:
        """The shop that all episodes visit."""
        return self._world.shop

    @property
    def goals(self) -> list[Goal]:
        """The goals of the split, one a task, in the order of :attr:`tasks`."""
        return [self._world.goals[index] for index in self._goal_indices]

    @property
    def digest(self) -> str:
        """Short hash of catalogue, prices, goals, nouns, mode, anchor and limit."""
        return digest_of_parts(self._world.digest, self._mode, self._anchor, self.max_steps)

    def find_task(self, key: str) -> Task:
        """Return the task whose id or name is ``key``."""
        return self._by_key.get(key) or super().find_task(key)

    # -- playing ---------------------------------------------------------------------------------------

    def _start(self, task: Task) -> tuple[str, Info]:
        self._goal = self._world.goals[self._goal_indices[task.index]]
        self._solution = self._walkthroughs.of(self._goal)
        self._show(Visit())
        observation = self._observe()
        return observation, self._info(observation, is_valid=True)

    def _act(self, action: str) -> tuple[str, float, bool, Info]:
        after = self._world.shop.act(self._visit, action, self._goal, self._clickables)
        if after is None:
            return self._observation, 0.0, False, self._info(self._observation, is_valid=False)
        self._show(after)
        bought = after.bought if after.page == "done" else None
        observation = self._observe()
        info = self._info(observation, is_valid=True)
        return observation, bought.reward if bought else 0.0, bought is not None, info

    def _save(self) -> tuple[Visit, bool]:
        return self._visit, self._is_valid

    def _load(self, state: tuple[Visit, bool]) -> Info:
        visit, is_valid = state
        self._show(visit)
        return self._info(self._observation, is_valid=is_valid)

    def _show(self, visit: Visit) -> None:
        self._visit = visit
        self._nodes = self._world.shop.nodes(visit, self._goal)
        self._clickables = pages.clickables(self._nodes)

    def _observe(self) -> str:
        return self._world.shop.observe(self._visit, self._nodes, self._mode)

    def _info(self, observation: str, *, is_valid: bool) -> Info:
        self._is_valid = is_valid
        visit = self._visit
        has_search_bar = visit.page == "search"
        admissible = [f"click[{name}]" for name in self._clickables if name != "search"]
        score = visit.bought.reward if visit.bought else 0.0
        return {
            "anchor": observation if self._anchor == "observation" else state_key(visit),
            "admissible_actions": [SEARCH_FORM, *admissible] if has_search_bar else admissible,
            "is_valid": is_valid,
            "won": score == 1.0,
            "score": score,
            "clickables": list(self._clickables),
            "has_search_bar": has_search_bar,
            "instruction": self._goal.instruction,
            "reward_info": breakdown(visit.bought, self._goal) if visit.bought else {},
            "walkthrough": self._solution,
        }


@lru_cache(maxsize=16)
def _list_tasks(world: World, split: str, protocol: str) -> tuple[list[int], list[Task], dict[str, Task]]:
    """Return the goals' indices and the tasks of a split, and the tasks by id and name; once for all environments."""
    picked = pick_goals(world.goals, split, protocol)
    generated = world.catalogue.name.startswith("generated")
    prefix = world.catalogue.name if generated else world.goal_set
    seen: dict[str, int] = {}
    tasks = []
    for place, index in enumerate(picked):
        goal = world.goals[index]
        key = goal.key
        copies = seen[key] = seen.get(key, 0) + 1  # an option listed twice makes equal goals
        name = key if copies == 1 else f"{key}-{copies}"
        tasks.append(Task(f"webshop-{name}", f"{prefix}:{index}", goal.category, place))
    return picked, tasks, {key: task for task in tasks for key in (task.id, task.name)}


def state_key(visit: Visit) -> str:
    """Return the sound anchor of a visit: equal keys mean the same page, query, product and chosen options."""
    query = " ".join(visit.keywords)
    return json.dumps([visit.page, query, visit.number, visit.product, sorted(visit.options)])
