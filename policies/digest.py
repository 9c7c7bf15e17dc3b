"""Digests: of a policy (all that decides its answers), of a file, and the seal that a JSON file carries of itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def digest_of(name: str, version: int, **parameters: object) -> str:
    """Return 12 hexadecimal digits that change with the name, the version or any parameter.

    Args:
        name: the policy's name.
        version: a number that is raised whenever the code begins to answer differently.
        parameters: values that JSON can write.
    """
    text = json.dumps([name, version, parameters], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record, of values that JSON can write, with a seal by which :func:`check_seal` knows it again."""
    return {**record, "seal": digest_of("seal", 1, record=dict(record))}


def check_seal(record: Mapping[str, Any]) -> None:
    """Make sure that a record is what was sealed; one without a seal (of an older version) passes.

    Raises:
        ValueError: a value was changed, added or lost.
    """
    if "seal" in record:
        rest = {name: value for name, value in record.items() if name != "seal"}
        if sealed(rest)["seal"] != record["seal"]:
            raise ValueError("it is not what was written: its seal is broken")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
