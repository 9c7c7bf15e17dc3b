"""The nouns of product titles, which decide the type factor of the reward.

The original asks a spaCy model for them in the middle of every purchase. Here they come from a table made once
for a catalogue, ``{product id: [lower-case nouns and proper nouns of the title, in order, repeats kept]}``:

    python -m envs.webshop.nouns FOLDER [MODEL]

writes ``nouns.json`` beside the products in FOLDER, with spaCy and the model that the original names
(``en_core_web_sm``) or another one. Where there is no table, a rule stands in: every word of a title counts as
a noun unless it is a number, begins with a digit, or is one of a closed list of function words. Titles are
little else than strings of nouns, and rewards with the rule are close to those with a tagger, but not the same:
an environment says in its ``notes`` which of the two it used.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from envs.base.digest import short_digest
from envs.base.errors import UserError
from envs.webshop.catalogue import Product, load_catalogue
from envs.webshop.official import OFFICIAL

TABLE_FILE = "nouns.json"
DEFAULT_MODEL = "en_core_web_sm"

_WORD = re.compile(r"(?<![^\W_])[^\W\d_][^\W_]*")  # begins with a letter, and begins there
_POSSESSIVE = re.compile(r"['’]s\b")
_CLOSED_CLASSES = """
    a about above across after all along also am an and any are as at be been before below between both but by
    can could do does during each either etc every few for from had has have her his how i if in included
    including into is it its just made make makes many me more most my no nor not of off on one only onto or other
    our out over own per plus she should so some such than that the their them then these they this those three
    through to two under until up upon us very via was we were what when where which while who will with within
    without would you your four five six seven eight nine ten
"""
_FUNCTION_WORDS = frozenset(_CLOSED_CLASSES.split())


@dataclass(frozen=True)
class Nouns:
    """Where the nouns come from, and the way to ask for them.

    Attributes:
        of: returns the lower-case nouns of a product's title, in order, repeats kept.
        digest: short hash of the source.
        note: one line about the source for people.
    """

    of: Callable[[Product], Sequence[str]]
    digest: str
    note: str


def by_rule() -> Nouns:
    """Return the rule that stands in for a tagger."""
    return Nouns(
        of=lambda product: rule_nouns(product.title),
        digest="rule-1",
        note="title nouns by rule, not by spaCy: the type factor of the reward is approximate",
    )


def from_table(path: Path, asins: Iterable[str]) -> Nouns:
    """Read a noun table for the products with these ids.

    Raises:
        UserError: the file is missing or not such a table, or has no entry for one of the products.
    """
    try:
        content = path.read_bytes()
        table = json.loads(content)
    except FileNotFoundError:
        raise UserError(f"noun table {path} is not there: make it with `python -m envs.webshop.nouns`") from None
    except ValueError as problem:
        raise UserError(f"noun table {path} is not whole JSON ({problem}): make it again") from None
    if not isinstance(table, dict) or not all(isinstance(entry, list) for entry in table.values()):
        raise UserError(f"noun table {path} is not an object with a list of words for each product id")
    if missing := [asin for asin in asins if asin not in table]:
        raise UserError(f"noun table {path} has no entry for {missing[0]} and {len(missing) - 1} others")
    return Nouns(
        of=lambda product: table[product.asin],
        digest=short_digest(content),
        note=f"title nouns from {path.name}",
    )


@lru_cache(maxsize=4096)
def rule_nouns(title: str) -> tuple[str, ...]:
    """Return the words of a title that the rule takes for nouns, lower case, in order."""
    words = _WORD.findall(_POSSESSIVE.sub(" ", title.lower()))
    return tuple(word for word in words if word not in _FUNCTION_WORDS)


def make_table(products: Iterable[Product], model: str = DEFAULT_MODEL) -> dict[str, list[str]]:
    """Tag all titles with spaCy; return the noun table.

    Raises:
        UserError: spaCy or the model is not installed.
    """
    try:
        import spacy

        tagger = spacy.load(model, disable=["parser", "ner", "lemmatizer"])
    except (ImportError, OSError) as problem:
        raise UserError(
            f"spaCy's model {model} cannot be loaded ({problem}): "
            f"`pip install spacy` and `python -m spacy download {model}`, or do without a noun table"
        ) from None
    listed = list(products)
    documents = tagger.pipe(product.title for product in listed)
    return {
        product.asin: [token.text.lower() for token in document if token.pos_ in ("NOUN", "PROPN")]
        for product, document in zip(listed, documents, strict=True)
    }


def main(arguments: Sequence[str]) -> int:
    """Write the noun table of a folder of WebShop's files; the command line of this module."""
    if not 1 <= len(arguments) <= 2:
        print("usage: python -m envs.webshop.nouns FOLDER [MODEL]", file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    size = next((size for size, files in OFFICIAL.items() if (folder / files.items.name).exists()), "1000")
    try:
        table = make_table(load_catalogue(folder, size, on_bad="skip").products, *arguments[1:])
    except UserError as problem:
        print(problem, file=sys.stderr)
        return 2
    (folder / TABLE_FILE).write_text(json.dumps(table), encoding="utf-8")
    print(f"{folder / TABLE_FILE}: {len(table)} titles")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
