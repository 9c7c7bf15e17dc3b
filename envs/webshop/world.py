"""What all episodes of one configuration share: catalogue, prices, goals, search index, nouns.

A world is read or made once a process and configuration, and kept: environments with the same options share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from envs.base.digest import digest_of_parts
from envs.base.errors import UserError, unknown
from envs.base.home import data_home
from envs.webshop import nouns
from envs.webshop.catalogue import Catalogue, OnBad, load_catalogue
from envs.webshop.generator import generate_catalogue
from envs.webshop.goals import Goal, draw_goals
from envs.webshop.official import OFFICIAL
from envs.webshop.packed import is_packed, open_packed
from envs.webshop.search import SearchIndex, TooManyTerms, document
from envs.webshop.session import RESULTS, Search, Shop

GENERATED = "generated:0:1000"
INDEX_FOLDER = "index"
PACKED_FOLDER = "packed"

_VERSION = "webshop-1"  # of the rules: another number wherever an episode could go otherwise

Stamp = tuple[tuple[str, int], ...]


@dataclass(frozen=True, eq=False)
class World:
    """A shop with its goals.

    Attributes:
        shop: the shop.
        goals: all goals of the goal set, in their order.
        goal_set: ``synthetic`` or ``human``.
        digest: short hash of everything that decides pages, search, prices, goals and rewards.
        notes: what a reader of results should know, one line each.
    """

    shop: Shop
    goals: Sequence[Goal]
    goal_set: str
    digest: str
    notes: tuple[str, ...]

    @property
    def catalogue(self) -> Catalogue:
        """The products."""
        return self.shop.catalogue


def open_world(
    goals: str,
    catalogue: str | int | None,
    data: str | Path | None,
    *,
    price_seed: int,
    noun_table: str | Path | None = None,
    compat: bool = True,
    on_bad: OnBad = "stop",
) -> World:
    """Return the world of a configuration.

    Args:
        goals: ``generated``, ``synthetic`` or ``human``.
        catalogue: ``1000``, ``full``, ``generated:SEED:PRODUCTS``, or ``None`` for the usual one of ``goals``.
        data: folder of WebShop's files; ``None`` for the installed ones.
        price_seed: seed of prices and price limits.
        noun_table: a table of title nouns; ``None`` for the one beside the files, or else the rule.
        compat: see :class:`Shop`.
        on_bad: see :func:`load_catalogue`.

    Raises:
        UserError: an unknown name, options that do not go together, or data that is not there or bad.
    """
    if goals not in ("generated", "synthetic", "human"):
        raise unknown("goal set", goals, ("generated", "synthetic", "human"))
    if on_bad not in ("stop", "skip"):
        raise unknown("value of on_bad", on_bad, ("stop", "skip"))
    name = str(catalogue or "") or (GENERATED if goals == "generated" and data is None else "1000")
    if not name.startswith("generated") and name not in OFFICIAL:
        raise unknown("catalogue", name, (*OFFICIAL, "generated:SEED:PRODUCTS"))
    if name.startswith("generated"):
        if goals == "human":
            raise UserError("a generated catalogue has no human goals: use goals='synthetic', or catalogue='1000'")
        folder = None
    elif goals == "generated":
        raise UserError(f"goals='generated' does not go with catalogue {name}: use goals='synthetic' or 'human'")
    else:
        folder = Path(data).expanduser() if data is not None else installed_folder(name, data_home())
    goal_set = "human" if goals == "human" else "synthetic"
    table = None if noun_table is None else Path(noun_table).expanduser()
    if table is None and folder is not None and (folder / nouns.TABLE_FILE).exists():
        table = folder / nouns.TABLE_FILE
    return _open((name, folder, on_bad, _stamp(folder, table)), goal_set, price_seed, table, compat)


def installed_folder(size: str, home: Path) -> Path:
    """Return where the installed files of a catalogue lie under a data folder."""
    return home / "webshop" / size


@lru_cache(maxsize=4)
def _open(
    stock: tuple[str, Path | None, OnBad, Stamp], goal_set: str, price_seed: int, table: Path | None, compat: bool
) -> World:
    catalogue, search = _stock(*stock)
    prices, goals = draw_goals(catalogue, goal_set, price_seed)
    source = nouns.by_rule() if table is None else nouns.from_table(table, catalogue.position)
    products = catalogue.products
    shop = Shop(catalogue, prices, search, lambda place: source.of(products[place]), compat=compat)
    digest = digest_of_parts(_VERSION, catalogue.digest, goal_set, price_seed, source.digest, compat)
    invented = stock[1] is None and table is None  # nothing that the rule could differ from
    return World(shop, goals, goal_set, digest, catalogue.notes if invented else (source.note, *catalogue.notes))


@lru_cache(maxsize=2)
def _stock(name: str, folder: Path | None, on_bad: OnBad, stamp: Stamp) -> tuple[Catalogue, Search]:
    catalogue = _generated(name) if folder is None else _official(folder, name, on_bad)
    return catalogue, open_search(catalogue, folder)


def _stamp(folder: Path | None, table: Path | None) -> Stamp:
    """Return what changes when a file changes, so that nothing outdated is shared."""
    files = sorted(folder.glob("*")) if folder is not None else []
    return tuple(
        (str(file), file.stat().st_mtime_ns) for file in (*files, *([table] if table else [])) if file.exists()
    )


def _official(folder: Path, size: str, on_bad: OnBad) -> Catalogue:
    if is_packed(folder / PACKED_FOLDER):
        return open_packed(folder / PACKED_FOLDER, size)
    if size == "full":
        raise UserError(
            f"the full catalogue is not installed at {folder}: type `agentbench install webshop --size full`, "
            "with --from FOLDER if you have WebShop's files"
        )
    return load_catalogue(folder, size, on_bad=on_bad)


def _generated(name: str) -> Catalogue:
    parts = name.split(":")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts[1:]):
        raise UserError(f"catalogue {name!r}: a generated one is written generated:SEED:PRODUCTS, {GENERATED}")
    return generate_catalogue(int(parts[1]), int(parts[2]))


def open_search(catalogue: Catalogue, folder: Path | None) -> Search:
    """Return the search of a catalogue: with the index that was installed beside its files, or one made now.

    Queries of more than 1,024 different terms are not answered: Lucene refuses them.
    """
    installed = folder / INDEX_FOLDER / catalogue.digest if folder is not None else None
    if installed is not None and installed.is_dir():
        index = SearchIndex.open(installed)
    else:
        index = SearchIndex.build(map(document, catalogue.products))

    def search(query: str) -> list[int] | None:
        try:
            return index.search(query, RESULTS)
        except TooManyTerms:
            return None

    return search
