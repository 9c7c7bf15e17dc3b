"""Words of a text, as Lucene's StandardTokenizer finds them.

The rules are those of Unicode's word boundaries (Unicode Standard Annex 29, rules WB4 to WB13, and Technical
Standard 51 for emoji) with Unicode 12.1, and with Lucene's own choices where the annex leaves some: punctuation
is dropped, each Han and each Hiragana character is a word, South-East Asian text is kept together, and a word
has at most 255 UTF-16 units. Of several rules that fit at a place, the one that takes most text wins.

Each character is replaced by its class (``word_break.txt``), and one regular expression runs over the classes.
Text in ASCII has few classes and a regular expression of its own.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import lru_cache
from importlib import resources

LONGEST = 255  # UTF-16 units

_MARK = "[xtzcmgGvw]*+"  # what belongs to the character before it
_BARE = "(?:[xtcmgG]|z(?!z*[ei]))*"  # the same without styles, and without a joiner that leads to an emoji
_HEBREW = f"h{_MARK}(?:'|\"{_MARK}h){_MARK}"
_LETTERS = f"[ahi]{_MARK}(?:[ai]+{_MARK}|(?!{_HEBREW})h{_MARK}|[:.']{_MARK}[ahi]{_MARK})*"
_NUMBER = f"[dn]{_MARK}(?:[dn]+{_MARK}|[,.']{_MARK}[dn]{_MARK})*"
_UNIT = f"(?:(?:k{_MARK})+|(?:{_HEBREW}|{_LETTERS}|{_NUMBER})+)"
_JOINER = f"(?:_{_MARK})"
_WORD = f"{_JOINER}*+{_UNIT}(?:{_JOINER}++{_UNIT})*{_JOINER}*"

_PICTURE = f"(?:z*+[ei]{_BARE}w?|m{_BARE})"
_LETTER_PICTURE = f"z*+i{_BARE}w?"
_REST_OF_PICTURE = f"(?:g+G|(?:z{_PICTURE})*)"
_JOINED_TO_PICTURE = f"{_LETTER_PICTURE}(?:z{_LETTER_PICTURE})*z+e{_BARE}w?(?:z{_PICTURE})*"  # longer than the word
_KEY_CAP = "#[xtzcmgG]*w?c[xtzcmgG]*"
_FLAG = f"(?:r{_MARK}){{2}}"

_TOKEN = f"{_JOINED_TO_PICTURE}|{_WORD}|{_PICTURE}{_REST_OF_PICTURE}|{_KEY_CAP}|{_FLAG}|(?:[st]{_MARK})+|[jy]{_MARK}"

# A word with what separates it from the one before; plain words are tried first, because nearly all are.
_CUT = re.compile(_TOKEN)
_NEXT = re.compile(f"o*+([ad]++(?![^o])|{_TOKEN})?")

_ASCII_UNIT = "(?:[A-Za-z]+(?:[:.'][A-Za-z]+)*|[0-9]+(?:[,;.'][0-9]+)*)"
_ASCII_NEXT = re.compile(f"[^0-9A-Za-z_]*+([0-9A-Za-z]++(?![_:.',;])|_*+{_ASCII_UNIT}(?:_*+{_ASCII_UNIT})*_*)?")


class _Classes(dict[int, str]):
    """Class of each code point; ranges are looked up on first use."""

    def __init__(self) -> None:
        table = resources.files(__package__).joinpath("word_break.txt").read_text(encoding="ascii")
        ranges = [line.split(" ") for line in table.splitlines() if not line.startswith("# ")]
        self._first = [int(first, 16) for first, _, _ in ranges]
        self._last = [int(last, 16) for _, last, _ in ranges]
        self._class = [kind for _, _, kind in ranges]

    def __missing__(self, code: int) -> str:
        place = bisect_right(self._first, code) - 1
        kind = self._class[place] if place >= 0 and code <= self._last[place] else "o"
        self[code] = kind
        return kind


@lru_cache(maxsize=1)
def _classes() -> _Classes:
    return _Classes()


def tokenize(text: str) -> list[str]:
    """Return the words of ``text`` in order, as they are written."""
    if text.isascii():
        words = list(filter(None, _ASCII_NEXT.findall(text)))
    else:
        spans = [match.span(1) for match in _NEXT.finditer(text.translate(_classes()))]
        words = [text[start:end] for start, end in spans if start < end]
    if max(map(len, words), default=0) <= LONGEST // 2:
        return words
    return _tokenize_cutting(text)


def _tokenize_cutting(text: str) -> list[str]:
    """Return the words of ``text``; each is what fits best in the next 255 UTF-16 units, and no more."""
    kinds = text.translate(_classes())
    words = []
    place = 0
    while place < len(text):
        if match := _CUT.match(kinds, place, _end_of_window(text, place)):
            words.append(text[place : match.end()])
        place = match.end() if match else place + 1
    return words


def utf16_length(text: str) -> int:
    """Return the number of UTF-16 units of ``text``: characters, those beyond U+FFFF counted twice."""
    return len(text) + sum(character > "\uffff" for character in text)


def _end_of_window(text: str, start: int) -> int:
    end = min(start + LONGEST, len(text))
    while utf16_length(text[start:end]) > LONGEST:
        end -= 1
    return end
