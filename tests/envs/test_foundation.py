"""The foundation: digests that never change, and files and folders that are there whole or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from envs.base import digest
from envs.base.files import replaced, replaced_folder, write_text


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_digests_are_what_stored_runs_know_their_parts_by() -> None:
    assert digest.short_digest("é") == sha("é".encode())[:16] and digest.short_digest(b"x", 64) == sha(b"x")
    assert digest.digest_of_parts("alfworld", 3, None) == sha(b"('alfworld', 3, None)")[:16]
    assert digest.digest_of_json({"b": 1, "a": Path("p")}) == sha(b'{"a": "p", "b": 1}')[:12]
    assert digest.digest_of_stream(iter([b"one", b"two"])) == sha(b"onetwo")[:16]
    assert digest.digest_of_state("(1, 2)") == hashlib.blake2b(b"(1, 2)", digest_size=8).hexdigest()
    assert digest.digest_of_state(b"a", "b", size=16) == hashlib.blake2b(b"ab", digest_size=16).hexdigest()
    assert digest.number_of("seed") == int.from_bytes(hashlib.sha256(b"seed").digest()[:8], "big")


def test_a_seal_and_a_line_know_what_was_changed() -> None:
    record = digest.sealed({"a": 1, "b": [2.5]})
    digest.check_seal(json.loads(json.dumps(record)))
    with pytest.raises(ValueError, match="seal is broken"):
        digest.check_seal({**record, "a": 2})
    line = digest.sealed_line({"a": 1})
    assert digest.read_line(line)[0] == {"a": 1}
    with pytest.raises(ValueError, match="checksum"):
        digest.read_line(line.replace("1,", "2,", 1))


def test_what_fails_leaves_the_file_and_the_folder_as_they_were(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")
    with pytest.raises(OSError, match="full"), replaced(tmp_path / "file") as temporary:
        temporary.write_text("half")
        raise OSError("the disk is full")
    with replaced_folder(tmp_path / "folder") as fresh:
        (fresh / "a").write_text("old")
    with pytest.raises(OSError, match="full"), replaced_folder(tmp_path / "folder") as fresh:
        (fresh / "a").write_text("half")
        raise OSError("the disk is full")
    assert (tmp_path / "file").read_text() == "old" and (tmp_path / "folder" / "a").read_text() == "old"
    with replaced_folder(tmp_path / "folder") as fresh:
        (fresh / "b").write_text("new")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["b", "file", "folder"]
