"""Comparing the shop with recordings of the original, record by record.

``agentbench verify webshop --reference FOLDER``: the folder holds ``search.jsonl.gz``, ``walks.jsonl.gz``,
``reward.jsonl.gz``, ``replays.jsonl.gz``, ``goals.jsonl.gz``, ``prices.json`` and ``titles.json`` (whichever of
them there are); the catalogue that they were recorded on is looked for in ``../../data/webshop`` beside it, and
then among the installed ones.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from envs.base.errors import UserError
from envs.base.home import data_home
from envs.webshop import nouns, pages
from envs.webshop.catalogue import Catalogue, draw_prices, load_catalogue
from envs.webshop.goals import GOAL_SETS, NO_LIMIT, Goal, draw_goals, goal_at
from envs.webshop.reward import breakdown, reward
from envs.webshop.session import Shop, Visit
from envs.webshop.world import open_search

Mismatches = Iterator[tuple[str, bool]]
"""For each thing compared: where it is, and whether it differs."""

_SHOWN = 10
_DEFAULT_SEED = 101
_REWARD_FIELDS = (
    *("reward", "r_type", "r_att", "r_option", "r_price"),
    *("title_score", "query_match", "category_match"),
)


def verify(reference: Path, write: Callable[[str], None], data: Path | None = None) -> tuple[int, str]:
    """Replay all recordings of a folder and compare.

    Args:
        reference: the folder of recordings.
        write: takes lines for the user: each mismatch (the first ten of a kind), and a line for each kind.
        data: folder of the catalogue's files, if it is not where it is looked for.

    Returns:
        The number of mismatches, and a summary of one line.

    Raises:
        UserError: the folder holds no recordings, or the catalogue is not there.
    """
    kinds = {"prices": "prices.json", **{kind: f"{kind}.jsonl.gz" for kind in _CHECKS if kind != "prices"}}
    present = [kind for kind in _CHECKS if (reference / kinds[kind]).exists()]
    if not present:
        raise UserError(f"{reference} holds none of {', '.join(kinds.values())}")
    shop = _Recorded(reference, _find_catalogue(reference, data))
    total = compared = 0
    for kind in present:
        count = bad = 0
        for where, differs in _CHECKS[kind](shop, reference / kinds[kind]):
            count += 1
            bad += differs
            if differs and bad <= _SHOWN:
                write(f"{kind}: {where} differs")
        write(f"{kind}: {count} compared, {bad} mismatches")
        total, compared = total + bad, compared + count
    return total, f"{compared} comparisons ({', '.join(present)}), {total} mismatches"


class _Recorded:
    """The shop as it was when the recordings were made: their prices and their noun table."""

    def __init__(self, reference: Path, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        prices = reference / "prices.json"
        self.seed = int(json.loads(prices.read_text("utf-8"))["seed"]) if prices.exists() else _DEFAULT_SEED
        titles = reference / "titles.json"
        source = nouns.from_table(titles, catalogue.position) if titles.exists() else nouns.by_rule()
        self.nouns = source
        self.search = open_search(catalogue, None)
        drawn = draw_prices(catalogue.price_ranges, random.Random(self.seed))
        self.shop = Shop(catalogue, drawn, self.search, self.of)
        self.goals = {goal_set: draw_goals(catalogue, goal_set, self.seed)[1] for goal_set in GOAL_SETS}

    def of(self, place: int) -> Sequence[str]:
        """Return the nouns of the title of the product at a place."""
        return self.nouns.of(self.catalogue.products[place])


def _find_catalogue(reference: Path, data: Path | None) -> Catalogue:
    places = [data] if data else [reference.resolve().parents[1] / "data" / "webshop", data_home() / "webshop/1000"]
    for place in places:
        if place.is_dir():
            return load_catalogue(place)
    raise UserError(f"no catalogue in {' or '.join(map(str, places))}: name its folder with data=")


def _check_prices(shop: _Recorded, path: Path) -> Mismatches:
    recorded = json.loads(path.read_text("utf-8"))["prices"]
    drawn = {product.asin: price for product, price in zip(shop.catalogue.products, shop.shop.prices, strict=True)}
    for asin in sorted(recorded.keys() | drawn.keys()):
        yield f"price of {asin}", recorded.get(asin) != drawn.get(asin)


def _check_goals(shop: _Recorded, path: Path) -> Mismatches:
    counts = dict.fromkeys(GOAL_SETS, 0)
    for record in _records(path):
        goal_set, index = record["goal_set"], record["goal_index"]
        counts[goal_set] += 1
        goals = shop.goals[goal_set]
        same = index < len(goals) and goals[index] == Goal.from_record(record["goal"])
        yield f"{goal_set} goal {index}", not same
    for goal_set, count in counts.items():
        if count > len(shop.goals[goal_set]):
            yield f"number of {goal_set} goals", True


def _check_search(shop: _Recorded, path: Path) -> Mismatches:
    for record in _records(path):
        keywords = tuple(record["query"].lower().split(" "))
        found = shop.shop.results(replace(Visit(), keywords=keywords)) or ()
        asins = [shop.catalogue.products[place].asin for place in found]
        yield f"search {record['query']!r}", asins != record["asins"]


def _check_reward(shop: _Recorded, path: Path) -> Mismatches:
    products, position = shop.catalogue.products, shop.catalogue.position
    for number, record in enumerate(_records(path)):
        bought, goal = products[position[record["asin"]]], Goal.from_record(record["goal"])
        target = products[position[goal.asin]]
        ours = reward(bought, goal, record["price"], record["options"], shop.nouns.of(bought), shop.nouns.of(target))
        wrong = [field for field in _REWARD_FIELDS if getattr(ours, field) != record[field]]
        yield f"reward {number} ({', '.join(wrong)})", bool(wrong)


def _check_walks(shop: _Recorded, path: Path) -> Mismatches:
    for number, walk in enumerate(_records(path)):
        goal = Goal.from_record(walk["goal"])
        known = shop.goals[walk["goal_set"]]
        yield f"walk {number} goal", goal_at(known, walk["goal_index"]) != goal
        player = _Player(shop.shop, goal, walk["mode"])
        recorded = (walk["reset_observation"], walk["reset_available_actions"])
        yield f"walk {number} reset", (player.observation, player.available) != recorded
        for place, step in enumerate(walk["steps"]):
            reward_, done = player.step(step["action"])
            ours = (player.observation, player.available, reward_, done)
            theirs = (step["observation"], step["available_actions"], step["reward"], step["done"])
            yield f"walk {number} step {place} {step['action'][:60]!r}", ours != theirs
        if walk["purchased"]:
            yield f"walk {number} purchase", player.purchase() != (walk["purchased"], walk["reward_info"])


def _check_replays(shop: _Recorded, path: Path) -> Mismatches:
    """Compare logs whose prices were drawn elsewhere.

    The instruction and its limit are the record's; a product with a price range costs the least it can.
    """
    lowest = Shop(shop.catalogue, [min(product.prices) for product in shop.catalogue.products], shop.search, shop.of)
    for number, replay in enumerate(_records(path)):
        goal = goal_at(shop.goals["synthetic"], replay["goal_index"])
        goal = replace(goal, instruction=replay["instruction"], price_upper=_limit_in(replay["instruction"]))
        player = _Player(lowest, goal, "text")
        yield f"replay {number} reset", player.observation != replay["reset_observation"]
        earned = 0.0
        for place, step in enumerate(replay["steps"]):
            earned, _ = player.step(step["action"])
            if step["observation"] is not None:
                differs = player.observation != step["observation"]
                yield f"replay {number} step {place} {step['action'][:60]!r}", differs
        yield f"replay {number} reward", earned != replay["reward"]


def _limit_in(instruction: str) -> float:
    match = re.search(r", and price lower than ([0-9.]+) dollars$", instruction)
    return float(match[1]) if match else NO_LIMIT


class _Player:
    """One recorded episode, played again."""

    def __init__(self, shop: Shop, goal: Goal, mode: str) -> None:
        self.shop, self.goal, self.mode = shop, goal, mode
        self.show(Visit())

    def show(self, visit: Visit) -> None:
        self.visit = visit
        nodes = self.shop.nodes(visit, self.goal)
        self.observation = self.shop.observe(visit, nodes, self.mode)
        self.available: dict[str, Any] = {
            "has_search_bar": visit.page == "search",
            "clickables": pages.clickables(nodes),
        }

    def step(self, action: str) -> tuple[float, bool]:
        after = self.shop.act(self.visit, action, self.goal, self.available["clickables"])
        if after is None:
            return 0.0, False
        self.show(after)
        bought = after.bought if after.page == "done" else None
        return (bought.reward, True) if bought else (0.0, False)

    def purchase(self) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """Return what was bought and the parts of its reward, as the original names them."""
        visit = self.visit
        if visit.product is None or visit.bought is None:
            return None, None
        asin = self.shop.catalogue.products[visit.product].asin
        return {"asin": asin, "options": dict(visit.options)}, breakdown(visit.bought, self.goal)


def _records(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


_CHECKS: dict[str, Callable[[_Recorded, Path], Mismatches]] = {
    "prices": _check_prices,
    "goals": _check_goals,
    "search": _check_search,
    "reward": _check_reward,
    "walks": _check_walks,
    "replays": _check_replays,
}
