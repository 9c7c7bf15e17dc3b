"""Code blocks in text, as language models write them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

_NEWLINE = re.compile(r"\r\n?")
# At the start of a line a fence opens with any words behind it; after other text only with one word or none.
_AT_START = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*([^`\n]*)")
_AFTER_TEXT = re.compile(r"[^`\n]*(`{3,})([\w+#.-]*)[ \t]*")
_ON_ONE_LINE = re.compile(r"[ \t]*(`{3,})(?!`)[ \t]*([^`\n]+?)[ \t]*\1[ \t]*")
_TAG = re.compile(r"[{.\s]*([\w+#.-]*)")
_PYTHON_WORD = re.compile(r"(?:python[\d.]*|py[\d.]*|ipython[\d.]*)\s+", re.IGNORECASE)
_PYTHON = re.compile(r"(?:python|py|ipython|pycon|jupyter|sage)[\d.]*|tool_code|code_interpreter", re.IGNORECASE)
# What a fence may stand in without being one, and what could be taken for its beginning.
_STRING_OR_COMMENT = re.compile(
    r"""#[^\n]*|(?P<long>\"{3}|'{3})(?:\\.|(?!(?P=long)).)*+(?P=long)|"(?:\\.|[^"\\\n])*+"|'(?:\\.|[^'\\\n])*+'""",
    re.DOTALL,
)
_DEEPEST = 3  # blocks in blocks


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """A fenced block.

    Attributes:
        code: what stands inside, without the indentation that all its lines share.
        tag: the language that its opening fence names, in lower case; empty where it names none.
        is_closed: whether its closing fence is there; it is missing in an answer that was cut.
    """

    code: str
    tag: str
    is_closed: bool

    @property
    def is_python(self) -> bool:
        """Whether it says that it is Python."""
        return _PYTHON.fullmatch(self.tag) is not None


def with_plain_newlines(text: str) -> str:
    """Return a text whose lines all end with a line feed."""
    return _NEWLINE.sub("\n", text)


def code_blocks(text: str) -> list[CodeBlock]:
    r"""Return the fenced blocks of a text that have anything in them, in order.

    A fence is three or more backticks or tildes, however far it is indented; behind it may stand a language with
    anything after it. It is closed by at least as many of the same mark, at the start or the end of a line and outside
    of a string of Python code; by another opening fence; or by the end of the text. Of blocks in a block the inner ones
    count. Lines may end in ``\n``, ``\r\n`` or ``\r``.
    """
    return list(_with_code(with_plain_newlines(text), _DEEPEST))


def chosen_block(blocks: list[CodeBlock]) -> tuple[CodeBlock, int]:
    """Return the block that counts, and how many could have: of those that have a statement and name Python (else:
    name no language; else: name any) the first.

    Args:
        blocks: at least one.
    """
    candidates = [block for block in blocks if has_statement(block.code)] or blocks
    for kind in (lambda block: block.is_python, lambda block: not block.tag):
        if chosen := [block for block in candidates if kind(block)]:
            return chosen[0], len(chosen)
    return candidates[0], len(candidates)


def is_fenced(text: str) -> bool:
    """Return whether a text has a fence where no Python code can have one: it is an answer with code, not code."""
    text = with_plain_newlines(text)
    if "```" not in text and "~~~" not in text:
        return False
    strings = _long_strings(text, 0)
    return any(
        not any(start < place < end for start, end in strings)
        for place in (found.start(2) for found in re.finditer(r"^([ \t]*)(`{3}|~{3})", text, re.MULTILINE))
    )


def has_statement(code: str) -> bool:
    """Return whether code has more than blank lines and comments."""
    return any(line.strip() and not line.lstrip().startswith("#") for line in with_plain_newlines(code).split("\n"))


def without_margin(code: str) -> str:
    """Return code with plain newlines, without blank lines around it and without an indentation of all its lines."""
    lines = with_plain_newlines(code).split("\n")
    while lines and not lines[0].strip():
        del lines[0]
    text = "\n".join(lines).rstrip()
    # Only then: removing a margin also empties blank lines, which may stand in a string.
    return textwrap.dedent(text).strip() if text[:1].isspace() else text


def _with_code(text: str, depth: int) -> Iterator[CodeBlock]:
    for block in _blocks(text):
        inner = list(_with_code(block.code, depth - 1)) if depth and is_fenced(block.code) else []
        if inner:
            yield from inner
        elif block.code.strip():
            yield block


def _blocks(text: str) -> Iterator[CodeBlock]:
    place = 0
    while place < len(text):
        end = _line_end(text, place)
        line = text[place:end]
        if single := _ON_ONE_LINE.fullmatch(line):
            word = _PYTHON_WORD.match(single[2])
            yield CodeBlock(single[2][word.end() if word else 0 :], "python" if word else "", is_closed=True)
        elif opened := _AT_START.fullmatch(line):
            margin, fence, words = opened.groups()
            block, place = _inside(text, end + 1, fence, len(margin.expandtabs(4)))
            tag = _TAG.match(words)
            yield CodeBlock(block[0], tag[1].lower() if tag else "", is_closed=block[1])
            continue
        elif opened := _AFTER_TEXT.fullmatch(line):
            block, place = _inside(text, end + 1, opened[1], 0)
            yield CodeBlock(block[0], opened[2].lower(), is_closed=block[1])
            continue
        place = end + 1


def _inside(text: str, start: int, fence: str, margin: int) -> tuple[tuple[str, bool], int]:
    """Return the code from ``start`` to the fence that closes it, whether there is one, and where to continue."""
    marks = re.escape(fence[0]) + f"{{{len(fence)},}}"
    closing = re.compile(
        rf"^[ \t]*{marks}(?P<opens>[ \t]*[\w{{.][^`\n]*$)?(?P<rest>[^\n]*)|(?<=[^\s`~]){marks}[ \t]*$", re.MULTILINE
    )
    strings = None
    for found in closing.finditer(text, start):
        if strings is None:
            strings = _long_strings(text, start)
        if any(first < found.start() < last for first, last in strings):
            continue
        opens = found["opens"] and not found["opens"][0].isspace()
        after = found.start() if opens else _line_end(text, found.end()) + 1
        return (_shifted(text[start : found.start()], margin), True), after
    return (_shifted(text[start:], margin), False), len(text)


def _shifted(code: str, margin: int) -> str:
    """Return code without the indentation of its fence."""
    if margin:
        code = re.sub(rf"^[ \t]{{1,{margin}}}", "", code, flags=re.MULTILINE)
    return without_margin(code)


def _long_strings(text: str, start: int) -> list[tuple[int, int]]:
    return [found.span() for found in _STRING_OR_COMMENT.finditer(text, start) if found["long"]]


def _line_end(text: str, place: int) -> int:
    end = text.find("\n", place)
    return len(text) if end < 0 else end
