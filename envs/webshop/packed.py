"""The full catalogue on disk: 1.18 million products that are read only when a page shows them.

Loading WebShop's 5.5 GB product file into memory takes more than most machines have. :func:`pack` reads it
once, record by record, and writes a folder that is opened in no time and shared by all processes: the products
one after the other (``products.bin``), and small memory-mapped arrays for what must be known of all of them
(ids, prices, query fields, departments, which have an instruction).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from envs.base.errors import UserError
from envs.webshop.catalogue import Catalogue, HumanInstruction, Product

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSION = 1

_PRODUCTS = "products.bin"
_META = "meta.json"
_ARRAYS = ("offsets", "asins", "order", "prices", "queries", "categories", "instructed")
_FIELDS = tuple(field.name for field in fields(Product))
_CACHED_PRODUCTS = 4096
_CHUNK = 1 << 24  # characters of a JSON file that are read at once
_LONGEST_RECORD = 1 << 28  # characters


def stream_array(path: Path, chunk: int = _CHUNK) -> Iterator[Any]:
    """Yield the elements of a JSON file that holds one array of objects, without reading all of it.

    Args:
        path: the file, UTF-8.
        chunk: how many characters to read at once.

    Raises:
        UserError: the file is not there, not an array, or not whole; names the element where reading stopped.
    """
    decoder, buffer, place, count = json.JSONDecoder(), "", 0, 0
    try:
        with path.open(encoding="utf-8") as file:
            while True:
                more = file.read(chunk)
                buffer, place = buffer[place:] + more, 0
                if count == 0:
                    buffer = buffer.lstrip()
                    if buffer[:1] not in ("[", ""):
                        raise UserError(f"{path} does not hold a list of products")
                while True:
                    start = _skip(buffer, place, " \t\r\n,[" if count == 0 else " \t\r\n,")
                    if buffer[start : start + 1] == "]":
                        return
                    try:
                        element, place = decoder.raw_decode(buffer, start)
                    except ValueError:
                        break
                    count += 1
                    yield element
                if not more or len(buffer) - place > _LONGEST_RECORD:
                    raise UserError(
                        f"{path} is not whole JSON (it ends or breaks in element {count}): install it again"
                    )
    except FileNotFoundError:
        raise UserError(f"{path} is not there") from None
    except UnicodeDecodeError as problem:
        raise UserError(f"{path} is not UTF-8 ({problem}): install it again") from None


def _skip(text: str, place: int, signs: str) -> int:
    while place < len(text) and text[place] in signs:
        place += 1
    return place


def pack(
    products: Iterable[Product],
    human: Callable[[Mapping[str, int]], Mapping[str, tuple[HumanInstruction, ...]]],
    notes: Sequence[str],
    folder: Path,
) -> None:
    """Write a packed catalogue.

    Args:
        products: all products, in order; taken one by one.
        human: returns the human instructions of the products with the given ids.
        notes: what a reader of results should know; read after the last product.
        folder: where to write; made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    columns = _Columns([0], [], [], {}, {}, [], [], [])
    with (folder / _PRODUCTS).open("wb") as file:
        for product in products:
            record = json.dumps([getattr(product, name) for name in _FIELDS], ensure_ascii=False).encode(
                "utf-8", "surrogatepass"
            )
            digest.update(record)
            file.write(record)
            columns.add(product, len(record))
    columns.save(folder)
    people = human({asin.decode(): place for place, asin in enumerate(columns.asins)})
    meta = {
        "version": VERSION,
        "queries": list(columns.query_codes),
        "categories": list(columns.category_codes),
        "human": {asin: [astuple(one) for one in entries] for asin, entries in people.items()},
        "notes": list(notes),
    }
    digest.update(json.dumps([meta["human"], meta["notes"]]).encode())
    (folder / _META).write_text(json.dumps(meta | {"digest": digest.hexdigest()[:16]}), encoding="utf-8")


@dataclass
class _Columns:
    """What is known of all products, while they are written."""

    offsets: list[int]
    asins: list[bytes]
    prices: list[tuple[float, float]]
    query_codes: dict[str, int]
    category_codes: dict[str, int]
    queries: list[int]
    categories: list[int]
    instructed: list[bool]

    def add(self, product: Product, length: int) -> None:
        self.offsets.append(self.offsets[-1] + length)
        self.asins.append(product.asin.encode())
        self.prices.append((product.prices[0], product.prices[1] if len(product.prices) == 2 else float("nan")))
        self.queries.append(self.query_codes.setdefault(product.query, len(self.query_codes)))
        self.categories.append(self.category_codes.setdefault(product.category, len(self.category_codes)))
        self.instructed.append(product.instruction is not None)

    def save(self, folder: Path) -> None:
        asins = np.array(self.asins, dtype=np.bytes_)
        arrays: dict[str, NDArray[Any]] = {
            "offsets": np.array(self.offsets, dtype=np.int64),
            "asins": asins,
            "order": np.argsort(asins, kind="stable").astype(np.int32),
            "prices": np.array(self.prices, dtype=np.float64).reshape(-1, 2),
            "queries": np.array(self.queries, dtype=np.int32),
            "categories": np.array(self.categories, dtype=np.int32),
            "instructed": np.flatnonzero(self.instructed).astype(np.int32),
        }
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)


def is_packed(folder: Path) -> bool:
    """Return whether a folder holds a packed catalogue."""
    return (folder / _META).is_file()


def open_packed(folder: Path, name: str) -> Catalogue:
    """Open a packed catalogue; ``name`` is for people.

    Raises:
        UserError: the folder is of another version or not whole.
    """
    again = "type `agentbench install webshop --size full` to make it again"
    try:
        meta = json.loads((folder / _META).read_text("utf-8"))
        arrays = {each: np.load(folder / f"{each}.npy", mmap_mode="r", allow_pickle=False) for each in _ARRAYS}
        data = np.memmap(folder / _PRODUCTS, dtype=np.uint8, mode="r")
    except (OSError, ValueError) as problem:
        raise UserError(f"the packed catalogue {folder} cannot be opened ({problem}): {again}") from None
    if meta.get("version") != VERSION or len(data) != arrays["offsets"][-1]:
        raise UserError(f"the packed catalogue {folder} is of another version or not whole: {again}")
    return PackedCatalogue(
        name=name,
        products=_Products(data, arrays["offsets"]),
        human={
            asin: tuple(HumanInstruction(text, tuple(wanted), tuple(options)) for text, wanted, options in entries)
            for asin, entries in meta["human"].items()
        },
        digest=meta["digest"],
        notes=tuple(meta["notes"]),
        arrays=arrays,
        names=(meta["queries"], meta["categories"]),
    )


@dataclass(frozen=True, kw_only=True)
class PackedCatalogue(Catalogue):
    """A catalogue whose products stay on disk.

    Attributes:
        arrays: what is known of all products, memory-mapped.
        names: the query fields and the departments by their codes.
    """

    arrays: Mapping[str, NDArray[Any]]
    names: tuple[Sequence[str], Sequence[str]]

    @cached_property
    def position(self) -> Mapping[str, int]:
        """Place of each product, by id."""
        return _Positions(self.arrays["asins"], self.arrays["order"])

    @cached_property
    def by_query(self) -> Mapping[str, Sequence[int]]:
        """Places of the products of each query field."""
        return _Groups(self.names[0], self.arrays["queries"])

    @cached_property
    def by_category(self) -> Mapping[str, Sequence[int]]:
        """Places of the products of each department."""
        return _Groups(self.names[1], self.arrays["categories"])

    @cached_property
    def instructed(self) -> Sequence[int]:
        """Places of the products with a synthetic instruction."""
        return self.arrays["instructed"].tolist()  # type: ignore[no-any-return]

    @property
    def price_ranges(self) -> Iterable[tuple[float, ...]]:
        """The ``prices`` of each product."""
        return ((low,) if math.isnan(high) else (low, high) for low, high in self.arrays["prices"].tolist())


class _Products(Sequence[Product]):
    def __init__(self, data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        self._data, self._offsets = data, offsets
        self._read = lru_cache(maxsize=_CACHED_PRODUCTS)(self._decode)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, place: int) -> Product: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Product]: ...
    def __getitem__(self, place: int | slice) -> Product | Sequence[Product]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        return self._read(range(len(self))[place])

    def __iter__(self) -> Iterator[Product]:
        return map(self._decode, range(len(self)))  # not through the cache: all are wanted once

    def _decode(self, place: int) -> Product:
        record = self._data[self._offsets[place] : self._offsets[place + 1]].tobytes()
        values: dict[str, Any] = dict(zip(_FIELDS, json.loads(record.decode("utf-8", "surrogatepass")), strict=True))
        for name, value in values.items():
            if isinstance(value, list):
                values[name] = tuple(value)
        values["options"] = {name: tuple(listed) for name, listed in values["options"].items()}
        return Product(**values)


class _Positions(Mapping[str, int]):
    def __init__(self, asins: NDArray[np.bytes_], order: NDArray[np.int32]) -> None:
        self._asins, self._order = asins, order

    def __getitem__(self, asin: str) -> int:
        key = np.bytes_(asin.encode())
        slot = int(np.searchsorted(self._asins, key, sorter=self._order))
        if slot == len(self._order) or self._asins[place := int(self._order[slot])] != key:
            raise KeyError(asin)
        return place

    def __iter__(self) -> Iterator[str]:
        return (asin.decode() for asin in self._asins.tolist())

    def __len__(self) -> int:
        return len(self._order)


class _Groups(Mapping[str, Sequence[int]]):
    def __init__(self, names: Sequence[str], codes: NDArray[np.int32]) -> None:
        self._numbers = {name: number for number, name in enumerate(names)}
        self._codes = codes

    def __getitem__(self, name: str) -> Sequence[int]:
        return np.flatnonzero(self._codes == self._numbers[name]).tolist()

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)
