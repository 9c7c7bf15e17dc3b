"""The draws of one step from its seed: what ``numpy.random.default_rng(seed)`` gives first, for half the work.

Every step has a seed of its own and takes one or two numbers from it, and making a generator of numpy's costs ten times
what a draw does. So the arithmetic stands here: the seed is spread as numpy's ``SeedSequence`` does it (after O'Neill
2015, "Developing a seed_seq Alternative"), and the numbers come from PCG64 (PCG XSL RR 128/64 of O'Neill 2014, "PCG: A
Family of Simple Fast Space-Efficient Statistically Good Algorithms for Random Number Generation"). A test holds both to
numpy, whose own generators may draw otherwise in a later version: these do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

_LOW32, _LOW64, _LOW128 = 2**32 - 1, 2**64 - 1, 2**128 - 1
_MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645
_LEFT, _RIGHT = 0xCA01F9DD, 0x4973F715


def _constants(first: int, factor: int, count: int) -> list[int]:
    """Return what the hashes of SeedSequence are xored with, one after the other; each is multiplied by the next."""
    found = [first]
    for _ in range(count):
        found.append(found[-1] * factor & _LOW32)
    return found


_K0, _K1, _K2, _K3, _K4 = _constants(0x43B0D7E5, 0x931E8875, 4)
_STIR = _constants(_K4, 0x931E8875, 12)
_LEAVE = list(pairwise(_constants(0x8B51F9DD, 0x58F38DED, 8)))


class Draws:
    """The first numbers that ``numpy.random.default_rng(entropy)`` would give.

    Args:
        entropy: a whole number from 0, or several, of 128 bits together at most.

    Raises:
        ValueError: they are negative, or more than that.
    """

    __slots__ = ("_half", "_increment", "_state")

    def __init__(self, *entropy: int) -> None:
        self._state, self._increment = _seeded(int(entropy[0]) if len(entropy) == 1 else _joined(entropy))
        self._half: int | None = None

    def index(self, count: int) -> int:
        """Return a number in [0, count), as ``integers(count)`` does; by Lemire's method (2019), for count < 2**32."""
        if count == 1:
            return 0
        product = self._next32() * count
        if product & _LOW32 < count:
            least = (_LOW32 + 1 - count) % count
            while product & _LOW32 < least:
                product = self._next32() * count
        return product >> 32

    def random(self) -> float:
        """Return a number in [0, 1), as ``random()`` does."""
        return (self._next64() >> 11) * 2.0**-53

    def _next64(self) -> int:
        self._state = state = (self._state * _MULTIPLIER + self._increment) & _LOW128
        mixed = (state >> 64) ^ (state & _LOW64)
        turn = state >> 122
        return (mixed >> turn | mixed << (64 - turn)) & _LOW64

    def _next32(self) -> int:
        if self._half is not None:
            half, self._half = self._half, None
            return half
        whole = self._next64()
        self._half = whole >> 32
        return whole & _LOW32


def _seeded(entropy: int) -> tuple[int, int]:
    """Return state and increment of a PCG64 that is made of a number below 2**128."""
    if not 0 <= entropy <= _LOW128:
        raise ValueError(f"a seed is made of whole numbers from 0, of 128 bits together at most, not of {entropy}")
    a = (entropy & _LOW32 ^ _K0) * _K1 & _LOW32
    b = (entropy >> 32 & _LOW32 ^ _K1) * _K2 & _LOW32
    c = (entropy >> 64 & _LOW32 ^ _K2) * _K3 & _LOW32
    d = (entropy >> 96 ^ _K3) * _K4 & _LOW32
    a, b, c, d = a ^ a >> 16, b ^ b >> 16, c ^ c >> 16, d ^ d >> 16
    # Every word of the pool in turn stirs the three others. Written out: calls would take a quarter more time.
    (s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12) = _STIR
    h = (a ^ s0) * s1 & _LOW32
    b = (_LEFT * b - _RIGHT * (h ^ h >> 16)) & _LOW32
    b ^= b >> 16
    h = (a ^ s1) * s2 & _LOW32
    c = (_LEFT * c - _RIGHT * (h ^ h >> 16)) & _LOW32
    c ^= c >> 16
    h = (a ^ s2) * s3 & _LOW32
    d = (_LEFT * d - _RIGHT * (h ^ h >> 16)) & _LOW32
    d ^= d >> 16
    h = (b ^ s3) * s4 & _LOW32
    a = (_LEFT * a - _RIGHT * (h ^ h >> 16)) & _LOW32
    a ^= a >> 16
    h = (b ^ s4) * s5 & _LOW32
    c = (_LEFT * c - _RIGHT * (h ^ h >> 16)) & _LOW32
    c ^= c >> 16
    h = (b ^ s5) * s6 & _LOW32
    d = (_LEFT * d - _RIGHT * (h ^ h >> 16)) & _LOW32
    d ^= d >> 16
    h = (c ^ s6) * s7 & _LOW32
    a = (_LEFT * a - _RIGHT * (h ^ h >> 16)) & _LOW32
    a ^= a >> 16
    h = (c ^ s7) * s8 & _LOW32
    b = (_LEFT * b - _RIGHT * (h ^ h >> 16)) & _LOW32
    b ^= b >> 16
    h = (c ^ s8) * s9 & _LOW32
    d = (_LEFT * d - _RIGHT * (h ^ h >> 16)) & _LOW32
    d ^= d >> 16
    h = (d ^ s9) * s10 & _LOW32
    a = (_LEFT * a - _RIGHT * (h ^ h >> 16)) & _LOW32
    a ^= a >> 16
    h = (d ^ s10) * s11 & _LOW32
    b = (_LEFT * b - _RIGHT * (h ^ h >> 16)) & _LOW32
    b ^= b >> 16
    h = (d ^ s11) * s12 & _LOW32
    c = (_LEFT * c - _RIGHT * (h ^ h >> 16)) & _LOW32
    c ^= c >> 16
    made = []
    for word, (xored, factor) in zip((a, b, c, d, a, b, c, d), _LEAVE, strict=True):
        value = (word ^ xored) * factor & _LOW32
        made.append(value ^ value >> 16)
    start = made[1] << 96 | made[0] << 64 | made[3] << 32 | made[2]
    increment = (made[5] << 97 | made[4] << 65 | made[7] << 33 | made[6] << 1 | 1) & _LOW128
    return ((start + increment) * _MULTIPLIER + increment) & _LOW128, increment


def _joined(numbers: Sequence[int]) -> int:
    """Return numbers as one, each taking as many words of 32 bits as it needs, the first the lowest."""
    joined = place = 0
    for number in numbers:
        joined |= int(number) << place
        place += max(32, -(-int(number).bit_length() // 32) * 32)
    return joined
