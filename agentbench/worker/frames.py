"""What passes between a worker and whoever asks it: frames of bytes over a socket, and a page that both can see."""

from __future__ import annotations

import mmap
import pickle
import socket
import struct
import time
from typing import Any

SHARE = 0.002
"""Seconds that environments may work before answers that are there already are passed on."""

_LENGTH = struct.Struct("=Q")
_READ = 1 << 18
_PATIENCE = struct.pack("ll", 60, 0)
"""Seconds and microseconds after which a worker that waits for work, and reads none of it, is given up."""


class Channel:
    """One end of a socket pair: values go in and whole frames come out."""

    def __init__(self, end: socket.socket) -> None:
        self._socket, self._buffer = end, bytearray()

    def fileno(self) -> int:
        """Return the descriptor that is readable when something has come."""
        return self._socket.fileno()

    def give_up_on_stopped(self) -> None:
        """Have :meth:`send` raise OSError where nobody reads for a minute."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _PATIENCE)

    def send(self, value: Any) -> None:
        """Send one frame; raises OSError when the other end is gone, and what pickle raises."""
        content = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        self._socket.sendall(_LENGTH.pack(len(content)) + content)

    def take(self) -> list[Any]:
        """Wait until something has come; return the frames that are whole by now.

        Raises:
            EOFError: the other end is closed.
            OSError: the socket failed.
        """
        content = self._socket.recv(_READ)
        if not content:
            raise EOFError
        buffer = self._buffer
        buffer += content
        frames, begin = [], 0
        while len(buffer) - begin >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, begin)
            end = begin + _LENGTH.size + length
            if len(buffer) < end:
                break
            frames.append(pickle.loads(bytes(buffer[begin + _LENGTH.size : end])))
            begin = end
        del buffer[:begin]
        return frames

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


class Page:
    """Which slot of a worker is at work, and since when: written there and read here, at any moment.

    Args:
        file: the descriptor of a file of :attr:`SIZE` bytes that both have open.
    """

    SIZE = 16

    def __init__(self, file: int) -> None:
        self._map = mmap.mmap(file, self.SIZE)
        self._values = memoryview(self._map).cast("d")

    def write(self, slot: int, now: float) -> None:
        """Note that a slot began its work, or (-1) that none is at work.

        Each of the two values is written whole, the time first: whoever reads in between sees no slot at work, or one
        that has worked for less than it has.
        """
        values = self._values
        values[1] = now
        values[0] = slot

    def read(self) -> tuple[int, float]:
        """Return the slot, -1 for none, and ``time.monotonic()`` of the latest change."""
        slot = int(self._values[0])
        return slot, min(float(self._values[1]), time.monotonic())

    def close(self) -> None:
        """Let go of the page."""
        self._values.release()
        self._map.close()
