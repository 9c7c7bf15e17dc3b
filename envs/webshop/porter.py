"""The Porter stemmer: English words cut to a common stem.

M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980, with the three changes of its author's
own later programs, which Lucene has too: words of one or two letters stay as they are, ``bli`` becomes ``ble``
(where the paper has ``abli`` to ``able``), and ``logi`` becomes ``log``.

In the paper's words: a consonant is any character but a, e, i, o, u, and but a y that follows a consonant; the
measure *m* of a stem is the number of its vowel-consonant sequences.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from envs.webshop.tokenizer import utf16_length

_STEP_2 = {
    "ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize", "bli": "ble", "alli": "al",
    "entli": "ent", "eli": "e", "ousli": "ous", "ization": "ize", "ation": "ate", "ator": "ate", "alism": "al",
    "iveness": "ive", "fulness": "ful", "ousness": "ous", "aliti": "al", "iviti": "ive", "biliti": "ble", "logi": "log",
}  # fmt: skip
_STEP_3 = {
    "icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": "",
}  # fmt: skip
_STEP_4 = (
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "sion", "tion", "ou", "ism", "ate",
    "iti", "ous", "ive", "ize",
)  # fmt: skip

_SEQUENCE = re.compile("vc")
_RUNS = re.compile(r"(.)\1+")


def stem(word: str) -> str:
    """Return the stem of a lower-case word."""
    if len(word) <= 2 and utf16_length(word) <= 2:
        return word
    word = _step_1(word)
    word = _replace(word, _STEP_2)
    word = _replace(word, _STEP_3)
    return _step_5(_step_4(word))


def _letters(word: str) -> str:
    """Return ``c`` or ``v`` for each character of ``word``: consonant or vowel."""
    kinds: list[str] = []
    for character in word:
        is_vowel = character in "aeiou" or (character == "y" and bool(kinds) and kinds[-1] == "c")
        kinds.append("v" if is_vowel else "c")
    return "".join(kinds)


def _measure(word: str) -> int:
    return len(_SEQUENCE.findall(_RUNS.sub(r"\1", _letters(word))))


def _ends_in_double_consonant(word: str) -> bool:
    return len(word) > 1 and word[-1] == word[-2] and _letters(word)[-1] == "c"


def _ends_in_short_syllable(word: str) -> bool:
    return _letters(word)[-3:] == "cvc" and word[-1] not in "wxy"


def _step_1(word: str) -> str:
    if word.endswith(("sses", "ies")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    if word.endswith("eed"):
        if _measure(word[:-3]) > 0:
            word = word[:-1]
    else:
        ending = next((ending for ending in ("ed", "ing") if word.endswith(ending)), "")
        if ending and "v" in _letters(word[: -len(ending)]):
            word = _repair(word[: -len(ending)])
    if word.endswith("y") and "v" in _letters(word[:-1]):
        word = word[:-1] + "i"
    return word


def _repair(word: str) -> str:
    """Give a word that lost ``ed`` or ``ing`` a proper ending."""
    if word.endswith(("at", "bl", "iz")):
        return word + "e"
    if _ends_in_double_consonant(word):
        return word if word[-1] in "lsz" else word[:-1]
    if _measure(word) == 1 and _ends_in_short_syllable(word):
        return word + "e"
    return word


def _replace(word: str, endings: Mapping[str, str]) -> str:
    ending = _ending(word, tuple(endings))
    start = word[: len(word) - len(ending)]
    return start + endings[ending] if ending and _measure(start) > 0 else word


def _step_4(word: str) -> str:
    ending = _ending(word, _STEP_4)
    start = word[: len(word) - (3 if ending in ("sion", "tion") else len(ending))]  # of these, s or t stays
    return start if ending and _measure(start) > 1 else word


def _ending(word: str, endings: tuple[str, ...]) -> str:
    """Return the longest of the endings that the word has, or an empty text."""
    if not word.endswith(endings):
        return ""
    return max((ending for ending in endings if word.endswith(ending)), key=len)


def _step_5(word: str) -> str:
    if word.endswith("e"):
        measure = _measure(word[:-1])
        if measure > 1 or (measure == 1 and not _ends_in_short_syllable(word[:-1])):
            word = word[:-1]
    if word.endswith("ll") and _measure(word) > 1:
        word = word[:-1]
    return word
