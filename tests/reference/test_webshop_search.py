"""All recorded searches of the original give the same products in the same order."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from envs.webshop import search as search_module
from envs.webshop.catalogue import load_catalogue
from envs.webshop.search import SearchIndex, document


@pytest.mark.reference
@pytest.mark.parametrize("at_once", [search_module.AT_ONCE, 0], ids=["all postings at once", "as few as needed"])
def test_recorded_searches_give_the_same_products_in_the_same_order(
    at_once: int, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "AT_ONCE", at_once)
    products = load_catalogue(shared / "data" / "webshop").products
    index = SearchIndex.build(map(document, products), tmp_path / "index")
    with gzip.open(shared / "reference" / "webshop" / "search.jsonl.gz", "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    assert records
    for record in records:
        assert [products[place].asin for place in index.search(record["query"])] == record["asins"], record["query"]
