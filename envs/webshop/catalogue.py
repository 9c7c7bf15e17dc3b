"""The catalogue: products read from WebShop's own files, checked one by one, and their prices.

Three files make a catalogue: the products (``items_shuffle_1000.json`` or ``items_shuffle.json``), their
attributes with the synthetic instructions (``items_ins_v2…json``), and the human instructions
(``items_human_ins.json``). Products become :class:`Product` as the original's loader makes them: lower-case
option names and values, ``/`` spelt `` | ``, a default price of $100.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from envs.base.digest import digest_of_parts, short_digest
from envs.base.errors import UserError
from envs.webshop.official import OFFICIAL, OfficialFile

OnBad = Literal["stop", "skip"]

_DEFAULT_PRICE = 100.0
_NO_ATTRIBUTES = ("DUMMY_ATTR",)  # what the original gives to a product without an entry; it can match fuzzily
_LONGEST_ID = 10


@dataclass(frozen=True, slots=True)
class Product:
    """One product, as the pages and the reward see it.

    Attributes:
        asin: the product's id, in capitals.
        title: name of the product.
        description: full text; may be empty.
        bullets: the points of the Features page.
        price_tag: price as shown, ``$7.5`` or ``$7.5 to $9.0``.
        prices: one price in dollars, or the ends of the range that a price is drawn from.
        options: values by option name, both in lower case, in the order shown.
        category: one of the shop's departments (``garden``).
        query: the search term under which the product was collected, lower case.
        product_category: path of the product's category, parts separated by ``›``.
        attributes: what the product is known to be (``easy clean``).
        instruction: the synthetic instruction without options and price, if there is one.
        instruction_attributes: the attributes that the synthetic instruction asks for.
    """

    asin: str
    title: str
    description: str
    bullets: tuple[str, ...]
    price_tag: str
    prices: tuple[float, ...]
    options: Mapping[str, tuple[str, ...]]
    category: str
    query: str
    product_category: str
    attributes: tuple[str, ...]
    instruction: str | None = None
    instruction_attributes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HumanInstruction:
    """An instruction that a person wrote for a product: text, and the attributes and option values it asks for."""

    text: str
    attributes: tuple[str, ...]
    options: tuple[str, ...]


@dataclass(frozen=True)
class Catalogue:
    """Products in their fixed order, with the human instructions by product id.

    Attributes:
        name: where the catalogue comes from, for people.
        products: all products; ids are distinct.
        human: human instructions by product id.
        digest: short hash of the content.
        notes: what was left out while loading, one line each.
    """

    name: str
    products: Sequence[Product]
    human: Mapping[str, tuple[HumanInstruction, ...]]
    digest: str
    notes: tuple[str, ...] = ()

    @cached_property
    def position(self) -> Mapping[str, int]:
        """Place of each product in ``products``, by id."""
        return {product.asin: place for place, product in enumerate(self.products)}

    @cached_property
    def by_query(self) -> Mapping[str, Sequence[int]]:
        """Places of the products of each query field, in catalogue order."""
        return _places(product.query for product in self.products)

    @cached_property
    def by_category(self) -> Mapping[str, Sequence[int]]:
        """Places of the products of each department, in catalogue order."""
        return _places(product.category for product in self.products)

    @cached_property
    def instructed(self) -> Sequence[int]:
        """Places of the products with a synthetic instruction, in catalogue order."""
        return [place for place, product in enumerate(self.products) if product.instruction is not None]

    @property
    def price_ranges(self) -> Iterable[tuple[float, ...]]:
        """The ``prices`` of each product, in catalogue order."""
        return (product.prices for product in self.products)


def _places(keys: Iterable[str]) -> dict[str, Sequence[int]]:
    found: dict[str, list[int]] = {}
    for place, key in enumerate(keys):
        found.setdefault(key, []).append(place)
    return dict(found)


class BadProduct(ValueError):  # noqa: N818  (it is caught and turned into a UserError or a note)
    """A product record that cannot be used; the text says why."""


def load_catalogue(folder: Path, size: str = "1000", *, on_bad: OnBad = "stop") -> Catalogue:
    """Read the catalogue of ``size`` from a folder that holds WebShop's files under their official names.

    Ids that are ``nan`` or longer than 10 characters are left out, as the original does.

    Args:
        folder: where the files lie; the human instructions may be absent.
        size: ``"1000"`` or ``"full"``.
        on_bad: what a bad product or a repeated id does: ``stop`` raises, ``skip`` leaves it out and notes it.

    Raises:
        UserError: a file is missing or not whole, or a product is bad; names the file and the product.
    """
    files = OFFICIAL[size]
    digests: list[str] = []
    notes: list[str] = []
    items = read_json(folder, files.items, list, digests, notes)
    attributes = read_json(folder, files.attributes, dict, digests, notes)
    human_path = folder / files.human.name
    human = read_json(folder, files.human, dict, digests, notes) if human_path.exists() else {}
    left_out: list[str] = []
    where = str(folder / files.items.name)
    products = list(parse_products(items, attributes, left_out, where=where, on_bad=on_bad))
    return Catalogue(
        name=size,
        products=products,
        human=human_instructions(human, {product.asin for product in products}, human_path),
        digest=digest_of_parts(digests, left_out),
        notes=(*notes, *left_out),
    )


def parse_products(
    items: Iterable[Any], attributes: Mapping[str, Any], notes: list[str], *, where: str, on_bad: OnBad = "stop"
) -> Iterator[Product]:
    """Turn raw records into products, one after the other.

    Args:
        items: raw product records in catalogue order.
        attributes: attribute records by product id.
        notes: gets a line for each record left out.
        where: name of the source, for messages.
        on_bad: see :func:`load_catalogue`.
    """
    seen: dict[str, int] = {}
    for number, raw in enumerate(items):
        asin = "no id"
        try:
            asin = _text(raw, "asin") if isinstance(raw, dict) else _fail("the record is not an object")
            if asin == "nan" or len(asin) > _LONGEST_ID:
                notes.append(f"product {number} left out: its id {asin!r} is not a product id")
                continue
            if asin in seen:
                _fail(f"its id is also that of product {seen[asin]}")
            product = parse_product(raw, attributes.get(asin))
        except BadProduct as problem:
            message = f"product {number} ({asin}): {problem}"
            if on_bad == "stop":
                raise UserError(f"{where}: {message}; on_bad='skip' leaves such products out") from None
            notes.append(f"left out {message}")
            continue
        seen[asin] = number
        yield product


def parse_product(raw: Mapping[str, Any], extra: Mapping[str, Any] | None = None) -> Product:
    """Turn one raw record, and its attribute record if there is one, into a product.

    Raises:
        BadProduct: a field is missing or of the wrong kind.
    """
    bullets = raw.get("small_description", "")
    if isinstance(bullets, str):
        bullets = [bullets]
    prices, price_tag = parse_price(raw.get("pricing"))
    extra = {} if extra is None else extra
    wanted = _texts(extra.get("instruction_attributes") or [], "instruction_attributes")
    instruction = extra.get("instruction")
    if instruction is not None and not (isinstance(instruction, str) and wanted):
        _fail("its instruction has no instruction_attributes")
    return Product(
        asin=_text(raw, "asin"),
        title=_text(raw, "name"),
        description=_text(raw, "full_description"),
        bullets=_texts(bullets, "small_description"),
        price_tag=price_tag,
        prices=prices,
        options=parse_options(raw.get("customization_options")),
        category=_text(raw, "category"),
        query=_text(raw, "query").lower().strip(),
        product_category=_text(raw, "product_category"),
        attributes=_texts(extra["attributes"], "attributes") if "attributes" in extra else _NO_ATTRIBUTES,
        instruction=instruction,
        instruction_attributes=wanted,
    )


def parse_price(pricing: Any) -> tuple[tuple[float, ...], str]:
    """Read ``$7.50`` or ``$7.50 - $9.00``; return one or two prices in dollars, and the price as shown.

    No price at all gives $100. Prices after the second are ignored.
    """
    if not pricing:
        return (_DEFAULT_PRICE,), f"${_DEFAULT_PRICE}"
    if not isinstance(pricing, str):
        _fail(f"pricing {pricing!r} is not a text")
    parts = pricing.split("$")[1:]
    if not parts:
        _fail(f"pricing {pricing!r} has no $ sign")
    try:
        prices = tuple(float(Decimal(re.sub(r"[^\d.]", "", part))) for part in parts)
    except InvalidOperation:
        raise BadProduct(f"pricing {pricing!r} is not a price") from None
    if len(prices) == 1:
        return prices, f"${prices[0]}"
    return prices[:2], f"${prices[0]} to ${prices[1]}"


def parse_options(raw: Any) -> dict[str, tuple[str, ...]]:
    """Read the options of a record: values by name, lower case, ``/`` spelt `` | ``."""
    if not raw:
        return {}
    if not isinstance(raw, dict):
        _fail("customization_options is not an object")
    options: dict[str, tuple[str, ...]] = {}
    for name, contents in raw.items():
        if contents is None:
            continue
        if not isinstance(contents, list) or not all(isinstance(content, dict) for content in contents):
            _fail(f"option {name!r} is not a list of objects")
        values = (_text(content, "value") for content in contents)
        options[name.lower()] = tuple(value.strip().replace("/", " | ").lower() for value in values)
    return options


def draw_prices(ranges: Iterable[tuple[float, ...]], draws: random.Random) -> list[float]:
    """Give each product its price in dollars: the one it has, or a uniform draw from its range.

    One draw for each product with a range, in catalogue order, as the original does.

    Args:
        ranges: the one price, or the two ends of the range, of each product.
        draws: where the draws come from.
    """
    return [prices[0] if len(prices) == 1 else draws.uniform(*prices) for prices in ranges]


def human_instructions(
    raw: Mapping[str, Any], ids: Collection[str], path: Path
) -> dict[str, tuple[HumanInstruction, ...]]:
    """Read the human instructions of the products with these ids; ``path`` is named in errors."""
    found: dict[str, tuple[HumanInstruction, ...]] = {}
    for asin, entries in raw.items():
        if asin not in ids:
            continue
        try:
            found[asin] = tuple(
                HumanInstruction(
                    _text(entry, "instruction"),
                    _texts(entry.get("instruction_attributes"), "instruction_attributes"),
                    _texts(entry.get("instruction_options"), "instruction_options"),
                )
                for entry in entries
            )
        except (BadProduct, AttributeError, TypeError) as problem:
            raise UserError(f"{path}: the human instructions of {asin} cannot be read: {problem}") from None
    return found


def read_json(folder: Path, file: OfficialFile, kind: type, digests: list[str], notes: list[str]) -> Any:
    """Read one of the official files; append its digest to ``digests``, and a note if it is not the official one.

    Raises:
        UserError: the file is not there, not whole, or not of the right kind.
    """
    path = folder / file.name
    if not path.is_file():
        raise UserError(
            f"{path} is not there: type `agentbench install webshop`, or name the folder of the files with data="
        )
    content = path.read_bytes()
    digest = short_digest(content, 64)
    digests.append(digest)
    if not file.is_official(len(content), digest):
        notes.append(f"{file.name} is not the official file (sha256 {digest[:12]}…)")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as problem:  # also undecodable bytes
        raise UserError(f"{path} is not whole JSON ({problem}): install it again") from None
    if not isinstance(value, kind):
        raise UserError(f"{path} holds a {type(value).__name__}, and a {kind.__name__} is needed")
    return value


def _fail(message: str) -> Any:
    raise BadProduct(message)


def _text(raw: Mapping[str, Any], key: str) -> str:
    value = raw.get(key)
    if not isinstance(value, str):
        _fail(f"{key} is {'missing' if key not in raw else repr(value)[:40] + ', not a text'}")
    return str(value)


def _texts(values: Any, key: str) -> tuple[str, ...]:
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        _fail(f"{key} is not a list of texts")
    return tuple(values)
