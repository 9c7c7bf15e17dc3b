"""Digests of values, policies and files, by which things are known again, and the seals of JSON files and lines."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def short_digest(content: str | bytes, length: int = 16) -> str:
    """Return the first ``length`` of the 64 hexadecimal digits of the SHA-256 of a text (as UTF-8) or of bytes."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:length]


def digest_of_parts(*parts: object) -> str:
    """Return 16 hexadecimal digits that change with the ``repr`` of any part: what decides an environment's answers.

    Runs that are stored know their environment and policy by it, so neither the parts nor their order may change.
    """
    return short_digest(repr(parts))


def digest_of_stream(parts: Iterable[bytes], length: int = 16) -> str:
    """Return the same as :func:`short_digest` of all parts behind each other, holding one of them at a time."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:length]


def digest_of_state(*parts: str | bytes, size: int = 8) -> str:
    """Return the BLAKE2b digest of ``size`` bytes in hexadecimal digits: of what is hashed at every step."""
    digest = hashlib.blake2b(digest_size=size)
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()


def number_of(content: str | bytes) -> int:
    """Return a number in [0, 2**64) that stands for a text or bytes, the same everywhere."""
    return int(short_digest(content), 16)


def digest_of_json(value: Any, length: int = 12) -> str:
    """Return the first ``length`` hexadecimal digits of the SHA-256 of ``value`` (JSON, keys sorted)."""
    return short_digest(json.dumps(value, sort_keys=True, default=str), length)


def digest_of(name: str, version: int, **parameters: object) -> str:
    """Return 12 hexadecimal digits that change with the name, the version or any parameter.

    Args:
        name: the policy's name.
        version: a number that is raised whenever the code begins to answer differently.
        parameters: values that JSON can write.
    """
    text = json.dumps([name, version, parameters], sort_keys=True, ensure_ascii=True)
    return short_digest(text, 12)


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


def read_sealed(path: Path) -> dict[str, Any]:
    """Read a JSON file whose record :func:`sealed` made.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON object, or not what was written (:func:`check_seal`).
    """
    record = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(record, dict):
        raise ValueError("it is no JSON object")
    check_seal(record)
    return record


def sealed_line(record: Mapping[str, Any]) -> str:
    """Write a record as one line of JSON, with its line end. Only ASCII, so no encoding can harm it.

    Its last entry is the CRC-32 of all before it (as if the object ended there): a changed digit is still JSON.
    """
    text = json.dumps(record, separators=(",", ":"))
    return f'{text[:-1]},"crc32":"{zlib.crc32(text.encode()):08x}"}}\n'


_CHECKSUM = re.compile(rb',"crc32":"([0-9a-f]{8})"}\s*$')


def read_line(line: str | bytes) -> tuple[dict[str, Any], bool]:
    """Read what :func:`sealed_line` wrote; return the record, and whether it had a checksum.

    Raises:
        ValueError: the line is no record, or not what was written.
    """
    text, has_checksum = checked_line(line.encode() if isinstance(line, str) else line)
    try:
        record = json.loads(text)
    except RecursionError as error:
        raise ValueError(str(error)) from error
    if not isinstance(record, dict):
        raise ValueError("it is no record")
    return record, has_checksum


def checked_line(line: bytes) -> tuple[bytes, bool]:
    """Return the JSON of a line without its checksum, and whether it had one.

    Raises:
        ValueError: the line is not what was written.
    """
    found = _CHECKSUM.search(line, max(0, len(line) - 40))
    if not found:
        return line, False
    text = line[: found.start()] + b"}"
    if zlib.crc32(text) != int(found[1], 16):
        raise ValueError("not what was written: its checksum is another")
    return text, True


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
