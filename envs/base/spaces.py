"""The space of texts, and how Gymnasium flattens them and hands them from process to process.

Gymnasium's own ``Text`` has a longest length and a set of characters. Nobody knows those of an environment's texts, so
:class:`TextSpace` has neither. Where Gymnasium wants a fixed length all the same, this module says how that is met.
"""

from __future__ import annotations

import string
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import gymnasium
import numpy as np
from gymnasium.spaces.utils import flatdim, flatten, flatten_space, unflatten
from gymnasium.vector.utils import create_shared_memory, read_from_shared_memory, write_to_shared_memory
from numpy.typing import NDArray

from envs.base.errors import UserError

FLAT_LENGTH = 65_536
"""Numbers of a flattened text, one for each of its characters."""

_NOTHING = -1  # after the last character
_LARGEST = 0x10FFFF
_LENGTH_BYTES = 8


class TextSpace(gymnasium.spaces.Text):
    """Any string. Samples are short printable strings; every ``str`` is a member, whatever its length.

    Flattened (``FlattenObservation``), a text is its characters' numbers in Unicode, then -1 up to
    :data:`FLAT_LENGTH`; a longer one is a UserError. A vector environment with shared memory takes texts of any length.
    """

    def __init__(self) -> None:
        super().__init__(max_length=40, charset=string.ascii_lowercase + " ")

    def contains(self, x: Any) -> bool:
        """Return whether ``x`` is a string."""
        return isinstance(x, str)

    def __repr__(self) -> str:
        return "TextSpace()"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TextSpace)

    def __hash__(self) -> int:
        return hash(TextSpace)


@flatdim.register(TextSpace)
def _flat_length(space: TextSpace) -> int:
    return FLAT_LENGTH


@flatten_space.register(TextSpace)
def _flat_space(space: TextSpace) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(_NOTHING, _LARGEST, (FLAT_LENGTH,), np.int32)


@flatten.register(TextSpace)
def _flat(space: TextSpace, x: str) -> NDArray[np.int32]:  # type: ignore[misc]
    if len(x) > FLAT_LENGTH:
        raise UserError(
            f"a text of {len(x)} characters cannot be flattened: {FLAT_LENGTH} is the longest; turn texts into numbers "
            "with a wrapper of your own (gymnasium.wrappers.TransformObservation)"
        )
    flat = np.full(FLAT_LENGTH, _NOTHING, np.int32)
    flat[: len(x)] = np.frombuffer(x.encode("utf-32-le", "surrogatepass"), "<i4")
    return flat


@unflatten.register(TextSpace)
def _unflat(space: TextSpace, x: NDArray[np.int32]) -> str:  # type: ignore[misc]
    codes: NDArray[np.int32] = x[x != _NOTHING]
    return codes.astype("<i4").tobytes().decode("utf-32-le", "surrogatepass")


class _Texts(Sequence[str]):
    """The latest text of each environment, read when it is looked at. A copy is a tuple of what is there now.

    Gymnasium reads shared memory once, before there is any text, and keeps what it was given.
    """

    def __init__(self, folder: tempfile.TemporaryDirectory[str], count: int) -> None:
        self._folder, self._count = folder, count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(self)[index]
        place = range(self._count)[index]
        data = _file(self._folder.name, place).read_bytes()
        end = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
        return data[_LENGTH_BYTES:end].decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(self._count))

    def __deepcopy__(self, memo: dict[int, Any]) -> tuple[str, ...]:
        return tuple(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(tuple(self))


class _Memory:
    """Files that the processes share, one for each environment: a text has no longest length."""

    def __init__(self, count: int) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="agentbench-texts-", ignore_cleanup_errors=True)
        for index in range(count):
            _file(self.folder.name, index).write_bytes(bytes(_LENGTH_BYTES))

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (self.folder.name,)  # the processes write; the folder belongs to the one that reads


def _file(folder: str, index: int) -> Path:
    return Path(folder, str(index))


@create_shared_memory.register(TextSpace)
def _create(space: TextSpace, n: int = 1, ctx: Any = None) -> Any:
    return _Memory(n)


@read_from_shared_memory.register(TextSpace)
def _read(space: TextSpace, shared_memory: _Memory, n: int = 1) -> Any:
    return _Texts(shared_memory.folder, n)


@write_to_shared_memory.register(TextSpace)
def _write(space: TextSpace, index: int, value: str, shared_memory: _Memory | str) -> None:
    folder = shared_memory if isinstance(shared_memory, str) else shared_memory.folder.name
    text = value.encode("utf-8", "surrogatepass")
    # Written over what is there and not anew: a file system that is emptied first may wait for the disk each time.
    with _file(folder, index).open("r+b") as file:
        file.write(len(text).to_bytes(_LENGTH_BYTES, "little") + text)
