"""Groups of rows with equal keys: exact integer codes, and sums and means over the members of each group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from credit.steps import FloatArray, IntArray, Steps, factorize, numbered

_LARGEST = 2**62
_WIDEST = 64
"""Groups of more rows than this are not summed column by column."""


@dataclass(frozen=True, eq=False)
class Groups:
    """A partition of rows into groups.

    Attributes:
        code: group of each row, int64 in ``[0, count)``, shape ``(n,)``; numbered as the groups first appear.
        count: number of groups.
    """

    code: IntArray
    count: int

    @classmethod
    def by(cls, *columns: NDArray[Any]) -> Groups:
        """Put rows together that are equal in every one of the integer columns."""
        code, values = numbered(combine(*columns))
        return cls(code, len(values))

    @classmethod
    def all(cls, rows: int) -> Groups:
        """Put all rows into one group."""
        return cls(np.zeros(rows, dtype=np.int64), 1)

    @cached_property
    def first(self) -> IntArray:
        """First row of each group, shape ``(count,)``; for groups made by :meth:`by`."""
        return np.flatnonzero(np.diff(np.maximum.accumulate(self.code), prepend=-1))

    @cached_property
    def width(self) -> int:
        """Rows of every group, where groups of one size (up to 64) stand behind each other, as trainers have them.

        0 where they do not. What is said of groups is then said of the rows of a matrix: the same numbers, sooner.
        """
        width, rest = divmod(len(self.code), max(1, self.count))
        if rest or not 0 < width <= _WIDEST:
            return 0
        is_matrix = (self.code.reshape(self.count, width) == np.arange(self.count)[:, None]).all()
        return width if is_matrix else 0

    @cached_property
    def size(self) -> IntArray:
        """Number of rows in each group, shape ``(count,)``."""
        if self.width:
            return np.full(self.count, self.width, dtype=np.int64)
        return np.bincount(self.code, minlength=self.count).astype(np.int64, copy=False)

    def sum(self, values: NDArray[Any]) -> FloatArray:
        """Sum of the values of each group, shape ``(count,)``."""
        if self.width:
            total = np.zeros(self.count)
            for column in self.of_rows(values).T:  # in the order in which bincount adds
                total += column
            return total
        return np.bincount(self.code, weights=values, minlength=self.count).astype(np.float64, copy=False)

    def of_rows(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return values of rows in the shape in which :meth:`of_groups` stands beside them."""
        return values.reshape(self.count, self.width) if self.width else values

    def of_groups(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return one value a group as one beside every row of :meth:`of_rows`."""
        return values[:, None] if self.width else values[self.code]

    def mean(self, values: NDArray[Any]) -> FloatArray:
        """Mean of the values of each group, shape ``(count,)``, 0 for a group without rows.

        The rounding of the plain sum is taken out again by a second pass over the deviations, so that the
        mean of equal values is that value to the last digits however many they are.
        """
        size = np.maximum(self.size, 1)
        mean = self.sum(values) / size
        return mean + self.sum(self.of_rows(values) - self.of_groups(mean)) / size

    def largest(self, values: NDArray[Any]) -> FloatArray:
        """Largest of the absolute values of each group, shape ``(count,)``."""
        largest = np.zeros(self.count)
        if self.width:
            for column in self.of_rows(values).T:
                np.maximum(largest, np.abs(column), out=largest)
            return largest
        np.maximum.at(largest, self.code, np.abs(values))
        return largest

    def rows(self, index: IntArray) -> Groups:
        """Return the same groups, of some of the rows only; a group may be left without rows."""
        return Groups(self.code[index], self.count)


def contexts(steps: Steps, state: IntArray, length: int) -> Iterator[Groups]:
    """Group steps by their last k states (and by task group), for k = 1 … length; for rows in order.

    A step with fewer than k states behind it is grouped with those that have the same, equally short past.

    Args:
        steps: the table.
        state: state of each row, shape ``(n,)``.
        length: the longest context, at least 1.
    """
    current = Groups.by(steps.group, state)
    yield current
    state = current.code
    for back in range(1, length):
        earlier = np.roll(state, back)
        earlier[steps.step < back] = -1
        current = Groups.by(current.code, earlier)
        yield current


def combine(*columns: NDArray[Any]) -> IntArray:
    """Make one int64 key of several integer columns: keys are equal exactly where all columns are.

    Columns are read as the digits of one number. Where that would overflow they are first replaced by dense
    codes, of which there are no more than rows.
    """
    key, span = _digits(columns[0])
    for column in columns[1:]:
        digit, base = _digits(column)
        if span * base > _LARGEST:
            (key, span), (digit, base) = _dense(key), _dense(digit)
        key, span = key * base + digit, span * base
    return key


def _digits(column: NDArray[Any]) -> tuple[IntArray, int]:
    """Shift a column to start at 0; return it and one more than its largest value."""
    if not len(column):
        return column.astype(np.int64), 1
    low, high = int(column.min()), int(column.max())
    if high - low >= _LARGEST:
        return _dense(column)
    return (column - low if low else column).astype(np.int64, copy=False), high - low + 1


def _dense(column: NDArray[Any]) -> tuple[IntArray, int]:
    code, values = factorize(column)
    return code, len(values)
