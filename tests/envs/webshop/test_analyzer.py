"""The analyzer makes the terms that Lucene's EnglishAnalyzer makes; the expected ones were recorded from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.webshop.analyzer import analyze
from envs.webshop.tokenizer import LONGEST, tokenize, utf16_length

RECORDED = {
    "possessives go, also with other apostrophes, and what is then a stop word": (
        "Men's ladies' WOMEN’S boys＇s it's its",
        ["men", "ladi", "women", "boi", "it"],
    ),
    "stop words go": ("The shoes are for a child, not such as these", ["shoe", "child"]),
    "some punctuation holds a word together": (
        "color:red size:10.5 1,000 3.5mm 1;2 a,b a.b.c 5:30",
        ["color:r", "size", "10.5", "1,000", "3.5mm", "1;2", "b", "a.b.c", "5", "30"],
    ),
    "hyphens cut, low lines do not": (
        "wi-fi foo_bar __x__ ___ 24\"x36\" 5’ 6” 100%",
        ["wi", "fi", "foo_bar", "__x__", "24", "x36", "5", "6", "100"],
    ),
    "apostrophes within a word stay": ("rock 'n' roll don't o'neil's", ["rock", "n", "roll", "don't", "o'neil"]),
    "each character is put in lower case for itself": (
        "İSTANBUL café Σίσυφος STRASSE ﬁt",
        ["istanbul", "café", "σίσυφος", "strass", "ﬁt"],
    ),
    "emoji and trade marks are words": (
        "™ © ® 😀 👍🏽 👩‍👩‍👧 🇩🇪🇫🇷 1️⃣ #️⃣ ★ ✔️",
        ["™", "©", "®", "😀", "👍🏽", "👩‍👩‍👧", "🇩🇪", "🇫🇷", "1️⃣", "#️⃣", "★", "✔️"],
    ),
    "scripts without spaces": (
        "東京都 ひらがな カタカナ 한국어 ภาษาไทย שׁלום ר\"ל",
        ["東", "京", "都", "ひ", "ら", "が", "な", "カタカナ", "한국어", "ภาษาไทย", "שׁלום", "ר\"ל"],
    ),
    "marks and soft hyphens belong to the word": (
        "a\u00adb x\u200dy soft\u00adware a\u0301b",
        ["a\u00adb", "x\u200dy", "soft\u00adwar", "a\u0301b"],
    ),
    "plurals, -ed and -ing": (
        "caresses ponies ties cats feed agreed plastered motoring sing conflated troubled sized hopping falling "
        "hissing fizzed failing filing happy sky",
        ["caress", "poni", "ti", "cat", "feed", "agre", "plaster", "motor", "sing", "conflat", "troubl", "size", "hop",
         "fall", "hiss", "fizz", "fail", "file", "happi", "sky"],
    ),
    "double endings": (
        "relational conditional rational valenci digitizer conformabli radicalli vileli analogousli vietnamization "
        "predication operator feudalism decisiveness hopefulness callousness formaliti sensitiviti sensibiliti apologi",
        ["relat", "condit", "ration", "valenc", "digit", "conform", "radic", "vile", "analog", "vietnam", "predic",
         "oper", "feudal", "decis", "hope", "callous", "formal", "sensit", "sensibl", "apolog"],
    ),
    "single endings": (
        "triplicate formative electriciti hopeful goodness revival allowance airliner gyroscopic adjustable irritant "
        "replacement adjustment dependent adoption extension homologou activate effective probate rate controll roll",
        ["triplic", "form", "electr", "hope", "good", "reviv", "allow", "airlin", "gyroscop", "adjust", "irrit",
         "replac", "adjust", "depend", "adopt", "extens", "homolog", "activ", "effect", "probat", "rate", "control",
         "roll"],
    ),
    "short words stay": ("4th 2x4 x1 i ii as us", ["4th", "2x4", "x1", "i", "ii", "us"]),
}  # fmt: skip


@pytest.mark.parametrize("promise", RECORDED)
def test_terms_are_those_of_the_original(promise: str) -> None:
    text, terms = RECORDED[promise]
    assert analyze(text) == terms


def test_a_word_is_cut_after_255_units() -> None:
    assert [len(word) for word in tokenize("x" * 600)] == [255, 255, 90]
    assert [len(word) for word in tokenize("x" * 254 + ".y")] == [254, 1]
    assert [len(word) for word in tokenize("\U00010400" * 200)] == [127, 73]  # two units each


TEXT = st.text(st.sampled_from("aZ09_.:,;'\"- #é’™😀\u200d\ufe0f\u20e3א東カ\U0001f3fd\U0001f1e9ｓ"), max_size=40)


@given(TEXT)
def test_words_are_pieces_of_the_text_in_order(text: str) -> None:
    place = 0
    for word in tokenize(text):
        place = text.index(word, place) + len(word)
        assert 0 < utf16_length(word) <= LONGEST


@given(TEXT, TEXT)
def test_a_space_separates_texts(first: str, second: str) -> None:
    assert tokenize(f"{first} {second}") == [word for part in (first + " ", " " + second) for word in tokenize(part)]


@given(st.text("aZ09_.:,;'\"- #", max_size=40))
def test_ascii_text_gives_the_same_words_beside_other_text(text: str) -> None:
    assert [*tokenize(text), "é"] == tokenize(text + " é")
