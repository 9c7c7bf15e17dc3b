"""Episodes that were read, kept in a file without a name until it is known which of them belong to the run."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from agentbench.importing.parts import Bad, Part
from agentbench.runs.episodes import Episode
from envs.base.errors import UserError


class Spool:
    """The episodes of logs in a temporary file, so that logs are read once and none of them fills the memory.

    The file has no name: whatever happens, nothing of it stays, and nobody else can write what is read back.

    Args:
        near: the run's folder; the file lies on the same disk, in the nearest folder that exists.
    """

    def __init__(self, near: Path) -> None:
        folder = next(each for each in (near, *near.absolute().parents) if each.is_dir())
        try:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by __exit__)
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror or error}") from error
        self._places: list[int | None] = []

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def passing(self, parts: Iterable[Part]) -> Iterator[Part]:
        """Yield the parts, each after its episode was kept under the number of the part.

        Raises:
            UserError: there is no room for them.
        """
        for part in parts:
            if isinstance(part, Bad):
                self._places.append(None)
            else:
                try:
                    self._places.append(self._file.tell())
                    pickle.dump((part.episode, part.env), self._file, pickle.HIGHEST_PROTOCOL)
                except OSError as error:
                    raise UserError(f"cannot keep what was read: {error.strerror or error}: make room") from error
            yield part

    def read(self, number: int) -> tuple[Episode, str | None]:
        """Return the episode of a part, and its environment."""
        place = self._places[number]
        assert place is not None
        self._file.seek(place)
        episode, env = pickle.load(self._file)
        return episode, env

    @property
    def numbers(self) -> list[int]:
        """Numbers of the parts that are episodes."""
        return [number for number, place in enumerate(self._places) if place is not None]
