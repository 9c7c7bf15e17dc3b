"""Text of others on a terminal: control characters are shown, not obeyed."""

from __future__ import annotations

import re

# Everything that can move the cursor, recolour, ring or retitle: C0 without tab and line feed, DEL, C1, and the
# marks that turn the direction of writing.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""Return a text whose control characters stand as escapes (``\x1b``); tabs and line ends stay."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
