"""Search ranks as Lucene's BM25, whatever way the index was made, kept and read."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.base.errors import UserError
from envs.webshop import search as search_module
from envs.webshop.analyzer import analyze
from envs.webshop.catalogue import parse_product
from envs.webshop.index_build import build_index
from envs.webshop.search import SearchIndex, TooManyTerms, document, document_text

SMALL = [("B2", "red shoe"), ("B1", "red red lamp"), ("B0", "lamp")]


def float32_sum(scores: list[np.float32]) -> float:
    return float(np.float32(sum(map(float, scores))))


def rounded(length: int) -> int:
    """Restate how Lucene keeps a length in a byte: small ones as they are, others to four significant bits."""
    if length < 40:
        return length
    beyond = length - 24
    shift = beyond.bit_length() - 4
    return 24 + (beyond >> shift << shift)


def ranked_by_hand(documents: list[tuple[str, str]], query: str, k: int) -> list[tuple[int, float]]:
    """Restate the ranking in loops over documents and terms, a float32 at a time."""
    one, k1, b = np.float32(1), np.float32(0.9), np.float32(0.4)
    terms = [Counter(analyze(text)) for _, text in documents]
    filled = [counts for counts in terms if counts]
    total = sum(counts.total() for counts in filled)
    hits = []
    for place, counts in enumerate(terms):
        scores = []
        for term, boost in Counter(analyze(query)).items():
            if term in counts:
                having = sum(term in other for other in filled)
                rarity = np.float32(math.log(1 + (len(filled) - having + 0.5) / (having + 0.5)))
                weight = np.float32(boost) * rarity
                average = np.float32(total / len(filled))
                inverse = one / (k1 * ((one - b) + b * np.float32(rounded(counts.total())) / average))
                scores.append(weight - weight / (one + np.float32(counts[term]) * inverse))
        if scores:
            hits.append((place, float32_sum(scores)))
    return sorted(hits, key=lambda hit: (-hit[1], documents[hit[0]][0]))[:k]


WORD = st.sampled_from(["red", "blue", "shoe", "shoes", "lamp", "the", "x1", "é"])
WORDS = st.lists(WORD, max_size=6).flatmap(
    lambda words: st.integers(1, 30).map(lambda times: " ".join(words * (times if times > 25 else 1)))
)
DOCUMENTS = st.lists(WORDS, max_size=30).flatmap(
    lambda texts: st.permutations([f"B{place:02}" for place in range(len(texts))]).map(
        lambda ids: list(zip(ids, texts, strict=True))
    )
)
QUERY = st.lists(WORD | st.just("unknown"), max_size=6).map(" ".join)


def test_bm25_of_three_documents_worked_by_hand() -> None:
    index = SearchIndex.build(SMALL)
    # 3 documents of 2, 3 and 1 terms; "red" and "lamp" are in two each: ln(1 + 1.5 / 2.5) = 0.4700036.
    # The lengths weigh 0.9 * (0.6 + 0.4 * length / 2) = 0.9, 1.08 and 0.72.
    first, second, third = 0.4700036 / 1.9, 0.4700036 * (2 / 3.08 + 1 / 2.08), 0.4700036 / 1.72
    found = index.search_scores("red lamp")
    assert [place for place, _ in found] == [1, 2, 0]
    assert [score for _, score in found] == pytest.approx([second, third, first], rel=1e-6)


def test_a_repeated_word_counts_as_often_as_it_stands_in_the_query() -> None:
    index = SearchIndex.build(SMALL)
    assert index.search("red red lamp") == [1, 0, 2]
    assert index.search_scores("red red")[0][1] == pytest.approx(2 * index.search_scores("red")[0][1], rel=1e-6)


def test_ties_are_ordered_by_id_and_not_by_place() -> None:
    index = SearchIndex.build([("B3", "cup"), ("B1", "cup"), ("B2", "cups"), ("B0", "pan")])
    assert index.search("cup") == [1, 2, 0]
    assert index.search("cup", k=2) == [1, 2]


@given(DOCUMENTS, QUERY, st.integers(1, 12))
def test_ranking_equals_a_plain_restatement(documents: list[tuple[str, str]], query: str, k: int) -> None:
    assert SearchIndex.build(documents).search_scores(query, k) == ranked_by_hand(documents, query, k)


@given(DOCUMENTS, QUERY, st.integers(1, 12))
def test_reading_fewer_postings_changes_nothing(documents: list[tuple[str, str]], query: str, k: int) -> None:
    index = SearchIndex.build(documents)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_module, "AT_ONCE", 0)
        assert index.search_scores(query, k) == ranked_by_hand(documents, query, k)


@pytest.fixture(scope="module")
def many() -> list[tuple[str, str]]:
    """Two thousand documents with words from very common to rare, so that a search can leave postings out."""
    random = np.random.default_rng(0)
    words = np.array([f"w{rank}z" for rank in range(400)])
    return [
        (
            f"B{(place * 7919) % 10007:05}",
            " ".join(words[(400 * random.random(random.integers(0, 60)) ** 3).astype(int)]),
        )
        for place in range(2000)
    ]


def test_reading_fewer_postings_changes_nothing_on_a_large_index(
    many: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = SearchIndex.build(many)
    random = np.random.default_rng(1)
    queries = [" ".join(f"w{rank}z" for rank in random.integers(0, 400, size)) for size in (1, 2, 3, 5, 9, 20) * 20]
    everything = [index.search_scores(query, 10) for query in queries]
    monkeypatch.setattr(search_module, "AT_ONCE", 0)
    assert [index.search_scores(query, 10) for query in queries] == everything
    assert [index.search_scores(query, 10) for query in queries[:12]] == [
        ranked_by_hand(many, query, 10) for query in queries[:12]
    ]


@settings(max_examples=30)
@given(DOCUMENTS, st.integers(1, 40))
def test_the_index_does_not_depend_on_the_size_of_the_blocks(documents: list[tuple[str, str]], block: int) -> None:
    whole, blocks = (build_index(documents, None, block=size) for size in (10**6, block))
    for name, array in vars(whole).items():
        np.testing.assert_array_equal(getattr(blocks, name), array, err_msg=name)


def test_blocks_on_disk_give_the_same_index(many: list[tuple[str, str]], tmp_path: Path) -> None:
    whole, blocks = build_index(many, None), build_index(many, tmp_path / "index", block=5000)
    for name, array in vars(whole).items():
        np.testing.assert_array_equal(getattr(blocks, name), array, err_msg=name)


@pytest.mark.parametrize("documents", [[], [("B0", "")], [("B0", "the"), ("B1", "red")], SMALL])
def test_a_saved_index_answers_like_the_one_in_memory(documents: list[tuple[str, str]], tmp_path: Path) -> None:
    memory, built = SearchIndex.build(documents), SearchIndex.build(documents, tmp_path / "shop" / "index")
    opened = SearchIndex.open(tmp_path / "shop" / "index", check=True)
    for query in ("red", "red lamp", "the", "unknown", ""):
        assert opened.search_scores(query) == built.search_scores(query) == memory.search_scores(query)
    assert len(opened) == len(memory) == len(documents)
    assert [path.name for path in (tmp_path / "shop").iterdir()] == ["index"]  # nothing else is left


@pytest.mark.parametrize("query", ["", " ", "...", "the", "[]", "unknown", "'", "Ω"])
def test_a_query_without_a_known_word_finds_nothing(query: str) -> None:
    assert SearchIndex.build(SMALL).search(query) == []


@pytest.mark.parametrize("query", ["+red", '"red', "red AND red", "red*", "-red", "red~2", "(red", "RED's", "red OR"])
def test_nothing_in_a_query_is_syntax(query: str) -> None:
    assert SearchIndex.build(SMALL).search(query) == [1, 0]


def test_more_than_1024_different_terms_are_refused() -> None:
    index = SearchIndex.build(SMALL)
    terms = [f"x{number}z" for number in range(1023)] + ["red"]
    assert index.search(" ".join(terms + terms)) == [1, 0]
    with pytest.raises(TooManyTerms, match="1025 different terms"):
        index.search(" ".join([*terms, "another"]))


def test_a_new_index_replaces_an_old_one(tmp_path: Path) -> None:
    SearchIndex.build(SMALL, tmp_path / "index")
    SearchIndex.build([("A", "pan")], tmp_path / "index")
    assert SearchIndex.open(tmp_path / "index").search("pan lamp") == [0]


def test_a_failed_build_leaves_nothing_and_the_old_index_alone(tmp_path: Path) -> None:
    SearchIndex.build(SMALL, tmp_path / "index")
    with pytest.raises(TypeError, match="pair"):
        SearchIndex.build(["red shoe"], tmp_path / "index")  # type: ignore[list-item]
    assert SearchIndex.open(tmp_path / "index").search("lamp") == [2, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def damage(folder: Path, what: str) -> str:
    """Damage an index in one way; return what the error should say."""
    header, codes = folder / "index.json", folder / "codes.npy"
    match what:
        case "missing":
            header.unlink()
            return "not a search index"
        case "truncated":
            codes.write_bytes(codes.read_bytes()[:-1])
            return "codes.npy has .* bytes"
        case "a file is gone":
            codes.unlink()
            return "damaged"
        case "header cut":
            header.write_text(header.read_text()[:-40])
            return "damaged"
        case "header of another kind":
            header.write_text("[]")
            return "damaged"
        case "other version":
            header.write_text(json.dumps(json.loads(header.read_text()) | {"version": 99}))
            return "version 99"
    codes.write_bytes(codes.read_bytes()[:-1] + b"\xff")
    return "content of codes.npy"


@pytest.mark.parametrize(
    "what",
    ["missing", "truncated", "a file is gone", "header cut", "header of another kind", "other version", "changed"],
)
def test_a_damaged_index_is_refused_with_what_to_do(what: str, tmp_path: Path) -> None:
    SearchIndex.build(SMALL, tmp_path / "index")
    expected = damage(tmp_path / "index", what)
    with pytest.raises(UserError, match=f"{expected}.*build it again"):
        SearchIndex.open(tmp_path / "index", check=True)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        SearchIndex.build(SMALL, tmp_path / "file" / "index")


def test_title_description_first_bullet_and_options_of_a_product_are_searched() -> None:
    product = parse_product(
        {
            "asin": "B000000001",
            "name": "Tall Mug",
            "full_description": "For Tea",
            "small_description": ["Stoneware", "Dishwasher Safe"],
            "customization_options": {"Color": [{"value": "Sea/Sky"}, {"value": "Red"}], "Size": [{"value": "L"}]},
            "category": "garden",
            "query": "mugs",
            "product_category": "Kitchen › Mugs",
            "pricing": "$5.00",
        }
    )
    assert document_text(product) == "tall mug for tea stoneware color: sea | sky, red, and size: l"
    assert document(product) == ("B000000001", document_text(product))
