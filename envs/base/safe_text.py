"""Text that others wrote, made fit to be shown and stored: control characters as escapes, secrets cut out."""

from __future__ import annotations

import functools
import json
import os
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

from envs.base.errors import UserError

# Everything that can move the cursor, recolour, ring or retitle: C0 without tab and line feed, DEL, C1, and the
# marks that turn the direction of writing; and halves of characters (lone surrogates), which no terminal can be sent.
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

CUT = "<redacted>"
_CUT_SHORT = re.compile(r"…\[cut: \d+ characters\]\Z")
SHORTEST_SECRET = 8
"""Characters below which a value is no secret (``EMPTY``, ``none``): cutting it out would harm other text."""

_SECRET_VARIABLE = re.compile(
    r"(?:.*_)?(?:(?:API|ACCESS|PRIVATE)?KEYS?|TOKEN|SECRET|PASS|PASSWD|PASSPHRASE|CREDENTIALS?|COOKIE|PAT|AUTH)"
    r"(?:_ID)?_?\d*"
    r"|.*PASSWORDS?_?\d*|.+_PWD",
    re.IGNORECASE,
)
_SECRET_OPTION = re.compile(
    r"(?:.*[_-])?(?:(?:api|access|subscription)[_-]?keys?(?:[_-]id)?|private[_-]?key|secret|secret[_-]?key|credentials?"
    r"|authorization|cookie)|.*(?:password|passwd|passphrase)"
    r"|(?:(?:.*[_-])?(?:access|auth|bearer|api|hf|hub|session|refresh)[_-])?token",
    re.IGNORECASE,
)
_NEW_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[\s.]+")
_IN_URL = re.compile(r"(?<=://)[^\s/\"'<>\\]+(?=@)")
# As a line, as an entry of a dictionary (also within a text of JSON), and as a pair; after an unknown scheme
# (``Token``, ``ApiKey``) the secret is the second word.
_HEADER = r"authorization(?:\\?[\"']\s*,|\\?[\"']?\s*[:=])\s*(?:b?\\?[\"'])?"
_WORD = r"(?:[^\s\"',;<\\]|\\(?![\"']))+"
_IN_HEADER = re.compile(rf"({_HEADER}(?:bearer|basic)\s+){_WORD}|({_HEADER}){_WORD}(?:[ \t]+{_WORD})?", re.IGNORECASE)

_remembered: set[str] = set()


def printable(text: str) -> str:
    r"""Return a text whose control characters stand as escapes (``\x1b``); tabs and line ends stay."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def without_half_characters(text: str) -> str:
    """Return a text without halves of characters (lone surrogates), which no file and no tokenizer takes."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def cut_short(text: str, longest: int) -> str:
    """Return a text with at most ``longest`` characters and, where it had more, a mark that says how many."""
    return text if len(text) <= longest else f"{text[:longest]}…[cut: {len(text)} characters]"


def is_cut_short(text: str | None) -> bool:
    """Return whether a stored text has the mark of :func:`cut_short`: its end is missing."""
    return bool(text and text.endswith(" characters]") and _CUT_SHORT.search(text))


def redacted(text: str) -> str:
    """Return a text without secrets. Use it before a text is cut short: half a key is a secret too.

    Cut out are the values of environment variables whose names say that they are secret (``OPENAI_API_KEY``,
    ``HF_TOKEN``), those that were remembered, user and password in a URL, and what stands in an ``Authorization``
    header.
    """
    for secret in _secrets() if len(text) >= SHORTEST_SECRET else ():
        text = cut_out(text, secret)
    if "://" in text:
        text = _IN_URL.sub(CUT, text)
    if "authorization" in text.lower():
        text = _IN_HEADER.sub(lambda found: (found[1] or found[2]) + CUT, text)
    return text


def cut_out(text: str, secret: str) -> str:
    """Return a text without one secret; nothing else in it is changed. Too short a value is no secret."""
    if len(secret) >= SHORTEST_SECRET:
        for form in _forms(secret):
            text = text.replace(form, CUT)
    return text


def shown(text: str) -> str:
    """Return a text as it may be shown: without secrets, and with control characters as escapes."""
    return printable(redacted(text))


def remember_secret(value: str) -> None:
    """Have :func:`redacted` cut a value out from now on, whatever variable it comes from."""
    if len(value) >= SHORTEST_SECRET:
        _remembered.add(value)


def refuse_secrets(options: Mapping[str, Any], what: str) -> None:
    """Refuse options that hold a secret, by their name or their value: options are recorded in ``run.json``.

    Raises:
        UserError: it names the option and does not repeat its value.
    """
    for name, value in options.items():
        if holds_secret({name: value}):
            raise UserError(
                f"{what} {name!r} holds a key or a password, which would be recorded in run.json: "
                "keys come from the environment alone"
            )


def holds_secret(value: Any) -> bool:
    """Return whether a nested option has a field, or an argument of a program, that gives a key or a password."""
    if isinstance(value, Mapping):
        return any(_is_secret(str(name), each) or holds_secret(each) for name, each in value.items())
    if isinstance(value, list | tuple):
        return any(map(holds_secret, value))
    if not isinstance(value, str):
        return False
    return redacted(value) != value or any(map(_gives_secret, value.split()))


def _gives_secret(word: str) -> bool:
    """Return whether a word of a command is an argument or a variable for a secret: ``--api-key``, ``HF_TOKEN=…``."""
    name, is_given, _ = word.partition("=")
    return bool((is_given or word.startswith("--")) and _SECRET_OPTION.fullmatch(name.lstrip("-")))


def _is_secret(name: str, value: Any) -> bool:
    return value not in (None, "", False) and bool(_SECRET_OPTION.fullmatch(_NEW_WORD.sub("_", name.strip())))


def _secrets() -> list[str]:
    """Return every secret of this process, the longest first: one may be a part of another."""
    values = {os.environ[name].strip() for name in [*os.environ] if _names_secret(name)}  # each value read costs
    return sorted(_remembered | {value for value in values if len(value) >= SHORTEST_SECRET}, key=len, reverse=True)


@functools.lru_cache(maxsize=64)
def _forms(secret: str) -> list[str]:
    """Return a secret as it stands alone, in JSON, in Python and in a URL."""
    return [secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], urllib.parse.quote(secret, safe="")]


@functools.cache
def _names_secret(variable: str) -> bool:
    return bool(_SECRET_VARIABLE.fullmatch(variable))
