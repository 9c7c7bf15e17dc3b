"""The step table: one row a step, checked once, held as arrays; all that a credit scheme ever sees.

``Steps.from_frame(table)`` takes any pandas table with the columns of :data:`KINDS` and :data:`OPTIONAL`, rows in any
order, ids as integers or strings; ``docs/step-table.md`` says what each column holds. Every array of a :class:`Steps`,
and every advantage made from it, has the table's own row order.

The columns group, episode, step and reward are always needed, the others by some schemes only. Any further numeric
column is taken in when its name is passed as ``extra``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

KINDS: Mapping[str, type] = {
    **dict.fromkeys(("group", "episode", "step", "state", "action", "next_state"), int),
    "reward": float,
    **dict.fromkeys(("is_valid", "terminated", "truncated"), bool),
}
"""The documented columns and what each holds."""

OPTIONAL: Mapping[str, type] = {
    "score": float,  # progress or a judge's mark for the step (MAPO)
    "value": float,  # a critic's value of the state before the action (GAE, turn-level PPO)
    "entropy": float,  # mean token entropy of the response (EMPG)
    "surprise": float,  # of the observation, under the policy (OCAR)
    "surprise_ref": float,  # the same under the reference policy (OCAR)
    "info_gain": float,  # rise in the probability of the gold answer (IGPO)
    "value_low": float,  # HiPER's three value heads
    "value_high": float,
    "value_term": float,
    "tokens": int,  # number of sampled tokens of the response
    "agent": int,  # id of the agent that acted (Dr.MAS, MARS, M-GRPO)
    "subgoal": int,  # id of the sub-goal's text; -1 for none (HiPER)
    "switch": bool,  # a new sub-goal begins here (HiPER)
    "log_ratio": float,  # log-probability of the response after an update less before it (SeeUPO)
    "teacher_gap": float,  # log-probability of the response under a teacher less under the policy (AgentOPSD)
    "reference_gap": float,  # the same under the policy less under a reference policy (progress advantage)
    "baseline": float,  # outcome expected before the episode was played (single-stream PO, RAE)
    "oracle": float,  # an oracle's score of the action (VPR)
    "choice": int,  # id of the decision: rows that share one are candidates in one situation (VPR)
    "node": int,  # the step that was played: episodes that share a beginning have its nodes in common (trees)
    "parent": int,  # node of the step before; -1 at the root
    "own": bool,  # this episode played the node itself; false where it shares that of the episode it branched off
}
"""Further columns that schemes read, taken in where the table has them (a column of nulls counts as absent)."""

_TREE = ("parent", "own")
_REQUIRED = ("group", "episode", "step", "reward")
_IDS = ("group", "episode", "action", "agent", "subgoal", "choice")


class CreditError(ValueError):
    """Something about the table or the options is wrong; the text says what, and what to do.

    A program that shows the text in one line ends with ``exit_code``.
    """

    exit_code = 2


class MissingColumnError(CreditError):
    """A scheme needs a column that the table lacks."""

    def __init__(self, column: str, scheme: str = "this scheme") -> None:
        hint = ": play with rollouts = tree" if column == "node" else ""
        super().__init__(f"{scheme} needs the column {column!r}, which this table does not have{hint}")
        self.column = column


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Steps:
    """The step table as arrays of shape ``(n,)``, in the row order they were given in.

    Columns as :data:`KINDS` lists them; those that were not given are ``None``. Ids are int64 codes. The arrays
    are read-only.

    Attributes:
        extra: further columns by name.
        labels: what the codes mean, for ids that were not integers: ``labels["state"][code]`` is the state.
            ``state`` and ``next_state`` share the entry ``"state"``.

    Raises:
        CreditError: columns of unequal length, a number that is not finite, an episode whose steps are not
            exactly 0 … T-1 or that lies in two groups, an end of episode before its last step.
    """

    group: IntArray
    episode: IntArray
    step: IntArray
    reward: FloatArray
    state: IntArray | None = None
    action: IntArray | None = None
    next_state: IntArray | None = None
    is_valid: BoolArray | None = None
    terminated: BoolArray | None = None
    truncated: BoolArray | None = None
    extra: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    labels: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = len(np.asarray(self.reward))
        for name, kind in KINDS.items():
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, _checked(name, given, kind, rows))
        checked = {name: _checked(name, x, OPTIONAL.get(name, float), rows) for name, x in self.extra.items()}
        object.__setattr__(self, "extra", MappingProxyType(checked))
        object.__setattr__(self, "labels", MappingProxyType(dict(self.labels)))
        self._check_ends()
        if "node" in self.extra:
            self._check_nodes()

    def __repr__(self) -> str:
        episodes, groups = len(self._layout[1]), len(np.unique(self.group))
        return f"Steps({len(self)} steps, {episodes} episodes, {groups} groups)"

    def __len__(self) -> int:
        return len(self.reward)

    @classmethod
    def from_frame(cls, table: pd.DataFrame, *, extra: Iterable[str] = ()) -> Steps:
        """Take in a pandas table (``docs/step-table.md``); columns that no scheme knows are left alone.

        Args:
            table: one row a step, in any order; ids are integers, strings or any other hashable values.
            extra: names of further numeric columns to take in.

        Raises:
            CreditError: it is no table, a needed column is missing, or the content is wrong (see the class).
        """
        if not hasattr(table, "columns"):
            raise CreditError(
                f"steps come as a pandas table or as credit.Steps, not as {type(table).__name__}: make a table of "
                "them, one row a step (docs/step-table.md)"
            )
        extra = tuple(extra)
        for name in (*_REQUIRED, *extra):
            if name not in table.columns:
                raise CreditError(f"the table has no column {name!r}; it has: {', '.join(map(str, table.columns))}")
        if not table.columns.is_unique:
            raise CreditError(f"the table has the column {table.columns[table.columns.duplicated()][0]!r} twice")
        columns: dict[str, Any] = {}
        labels: dict[str, NDArray[Any]] = {}
        known = (*KINDS, *OPTIONAL, *extra)
        present = {name: table[name] for name in dict.fromkeys(known) if name in table.columns}
        for name, column in list(present.items()):
            is_empty = len(table) and name not in _REQUIRED and not _has_values(column)
            # without nodes, the other columns of a tree are something else of the same name
            if is_empty or (name in _TREE and name not in extra and "node" not in present):
                del present[name]
        for ids in (*((name,) for name in _IDS), ("state", "next_state")):
            taken = [name for name in ids if name in present]
            codes, book = _encode([present[name] for name in taken], in_order=ids[0] in ("group", "episode"))
            columns.update(zip(taken, codes, strict=True))
            if book is not None:
                labels[ids[0]] = book
        for name, column in present.items():
            if name not in columns:
                columns[name] = _numeric(column)
        named = {name: columns.pop(name) for name in list(columns) if name in KINDS}
        return cls(**named, extra=columns, labels=labels)

    def to_frame(self) -> pd.DataFrame:
        """Return the table again: same rows, same order, same ids as it was made from."""
        columns = {name: getattr(self, name) for name in KINDS} | dict(self.extra)
        columns = {name: column for name, column in columns.items() if column is not None}
        for name in columns:
            book = self.labels.get("state" if name == "next_state" else name)
            if book is not None:
                columns[name] = book[columns[name]]
        import pandas as pd

        return pd.DataFrame(columns)

    def column(self, name: str) -> NDArray[Any]:
        """Return a column that the caller cannot do without.

        Raises:
            MissingColumnError: the table does not have it.
        """
        column = getattr(self, name) if name in KINDS else self.extra.get(name)
        if column is None:
            raise MissingColumnError(name)
        return np.asarray(column)

    # -- order: rows sorted by group, episode and step ------------------------------------------------

    @cached_property
    def _layout(self) -> tuple[IntArray, IntArray, IntArray]:
        """Place of each row in sorted order, and the start and length of each episode there.

        Steps of an episode are 0 … T-1, so a row's place is its episode's start plus its step: no sorting.
        """
        if self._layout_in_order is not None:
            return self._layout_in_order
        code, episodes = factorize(self.episode)
        lengths = np.bincount(code, minlength=len(episodes))
        group_of = np.zeros(len(episodes), dtype=np.int64)
        group_of[code] = self.group
        if (wrong := self.group != group_of[code]).any():
            row = int(np.argmax(wrong))
            name, groups = self._name("episode", row), sorted({self._name("group", row), self._group_of(code, row)})
            raise CreditError(
                f"episode {name} is in two groups ({' and '.join(groups)}): an episode belongs to one "
                "group, and episode ids must differ between groups"
            )
        rank = np.lexsort((episodes, group_of))
        starts = np.empty(len(episodes), dtype=np.int64)
        starts[rank] = np.cumsum(lengths[rank]) - lengths[rank]
        place = starts[code] + self.step
        wrong = (self.step < 0) | (self.step >= lengths[code])
        if not wrong.any():
            wrong = np.bincount(place, minlength=len(self))[place] != 1
        if wrong.any():
            raise CreditError(self._step_fault(np.flatnonzero(code == code[np.argmax(wrong)])))
        return place, starts[rank], lengths[rank]

    @cached_property
    def _layout_in_order(self) -> tuple[IntArray, IntArray, IntArray] | None:
        """Return the layout of rows that come in order and without a fault, as most do, in a few passes; else None."""
        if not (len(self) and _ascends(self.group) and _ascends(self.episode)):
            return None
        begins, rows = self.episode[1:] != self.episode[:-1], np.arange(len(self))
        if begins.all():  # a step each, as in one-turn tasks
            return None if self.step.any() else (rows, rows, np.broadcast_to(np.int64(1), rows.shape))
        starts = np.concatenate(([0], np.flatnonzero(begins) + 1))
        lengths = np.diff(starts, append=len(self))
        is_whole = np.array_equal(self.step, rows - np.repeat(starts, lengths))
        in_one_group = np.array_equal(self.group, np.repeat(self.group[starts], lengths))
        return (rows, starts, lengths) if is_whole and in_one_group else None

    @cached_property
    def is_in_order(self) -> bool:
        """Whether the rows are sorted by group, episode and step."""
        return self._layout_in_order is not None or bool((self._layout[0] == np.arange(len(self))).all())

    def in_order(self) -> Steps:
        """Return these steps sorted by group, episode and step: episodes are contiguous, time runs forward."""
        return self if self.is_in_order else self._sorted

    def given_order(self, values: NDArray[Any]) -> NDArray[Any]:
        """Bring values made for :meth:`in_order`'s rows back to this table's own row order."""
        return values if self.is_in_order else values[self._layout[0]]

    def to_order(self, values: NDArray[Any]) -> NDArray[Any]:
        """Bring values in this table's row order to the order of :meth:`in_order`'s rows."""
        if self.is_in_order:
            return values
        ordered = np.empty_like(values)
        ordered[self._layout[0]] = values
        return ordered

    @cached_property
    def _sorted(self) -> Steps:
        columns: dict[str, Any] = {
            name: self.to_order(column) for name in KINDS if (column := getattr(self, name)) is not None
        }
        return replace(self, **columns, extra={name: self.to_order(column) for name, column in self.extra.items()})

    # -- episodes: these need rows in order ----------------------------------------------------------

    @property
    def starts(self) -> IntArray:
        """Row of the first step of each episode, shape ``(episodes,)``; for rows in order."""
        assert self.is_in_order
        return self._layout[1]

    @property
    def lengths(self) -> IntArray:
        """Number of steps of each episode, shape ``(episodes,)``; for rows in order."""
        assert self.is_in_order
        return self._layout[2]

    @cached_property
    def is_last(self) -> BoolArray:
        """Whether a row is the last step of its episode, shape ``(n,)``; for rows in order."""
        last = np.zeros(len(self), dtype=np.bool_)
        last[self.starts + self.lengths - 1] = True
        return last

    def per_step(self, values: NDArray[Any]) -> NDArray[Any]:
        """Spread one value an episode over the episode's steps; for rows in order.

        Where every episode has one step these are ``values`` themselves, not a copy to write to.
        """
        return values if len(values) == len(self) else np.repeat(values, self.lengths)

    # -- checks ----------------------------------------------------------------------------------------

    def _check_ends(self) -> None:
        place, starts, lengths = self._layout
        if len(starts) == len(self):  # every step is an episode's last
            return
        for name in ("terminated", "truncated"):
            ends = getattr(self, name)
            if ends is None or not ends.any():
                continue
            last = np.zeros(len(self), dtype=np.bool_)
            last[starts + lengths - 1] = True
            if (early := ends & ~last[place]).any():
                row = int(np.argmax(early))
                raise CreditError(
                    f"episode {self._name('episode', row)} is {name} at step {self.step[row]}, which is not its last"
                )

    def _check_nodes(self) -> None:
        """Hold the columns of a tree to what they mean: rows of one node are one step, reached by the same nodes."""
        place, starts, lengths = self._layout
        node, before = self.extra["node"], np.full(len(self), -1, dtype=np.int64)
        ordered, follows = np.empty_like(node), self.step > 0
        ordered[place] = node
        before[follows] = ordered[place[follows] - 1]
        if (node < 0).any():
            raise CreditError(
                f"column 'node' holds {node.min()}: nodes are numbered from 0, and -1 is the root's parent"
            )
        code, _ = factorize(factorize(self.group)[0] * len(self) + factorize(node)[0])
        first = np.flatnonzero(np.diff(np.maximum.accumulate(code), prepend=-1))
        last = np.zeros(len(self), dtype=np.bool_)
        last[starts + lengths - 1] = True
        last = last[place]
        wrong = (before != before[first][code]) | (self.step != self.step[first][code]) | (last != last[first][code])
        if "parent" in self.extra:
            wrong |= before != self.extra["parent"]
        if wrong.any():
            row = int(np.argmax(wrong))
            raise CreditError(
                f"episode {self._name('episode', row)}, step {self.step[row]}: node {node[row]} does not stand where "
                "its other rows, or the column 'parent', have it: rows of one node are one step of episodes that had "
                "all steps before in common, and go on after it"
            )
        if "own" in self.extra:
            played = np.bincount(code, weights=self.extra["own"])
            if (played != 1).any():
                row = int(np.argmax(played[code] != 1))
                raise CreditError(
                    f"node {node[row]} is its episode's own in {played[code][row]:.0f} rows: one episode played it"
                )

    def _name(self, column: str, row: int) -> str:
        code = int(getattr(self, column)[row])
        return repr(self.labels[column][code]) if column in self.labels else str(code)

    def _group_of(self, code: IntArray, row: int) -> str:
        others = np.flatnonzero((code == code[row]) & (self.group != self.group[row]))
        return self._name("group", int(others[0]))

    def _step_fault(self, rows: IntArray) -> str:
        """Say what is wrong with the steps of one episode, given its rows."""
        found, name = np.sort(self.step[rows]), self._name("episode", int(rows[0]))
        if (twice := found[1:][found[1:] == found[:-1]]).size:
            return f"episode {name} has step {twice[0]} twice: an episode's steps are one row each"
        missing = np.setdiff1d(np.arange(len(rows)), found)
        return f"episode {name} has no step {missing[0]}: steps count from 0 without gaps"


def _checked(name: str, given: Any, kind: type, rows: int) -> NDArray[Any]:
    """Return a read-only array of the column's dtype, or raise :class:`CreditError`."""
    array = np.asarray(given)
    if array.shape != (rows,):
        raise CreditError(f"column {name!r} has shape {array.shape}, expected ({rows},)")
    if array.dtype.kind not in {int: "iu", float: "iuf", bool: "b"}[kind] and array.size:
        raise CreditError(f"column {name!r} holds {array.dtype}, expected {kind.__name__}")
    if array.dtype.kind == "u" and kind is int and array.size and array.max() > np.iinfo(np.int64).max:
        raise CreditError(f"column {name!r} holds ids beyond the range of int64: pass them through Steps.from_frame")
    if array.dtype.kind == "f" and not (finite := np.isfinite(array)).all():
        row = int(np.argmin(finite))
        raise CreditError(f"column {name!r} is not finite in row {row}: {array[row]}")
    array = array.astype({int: np.int64, float: np.float64, bool: np.bool_}[kind], copy=False).view()
    array.flags.writeable = False
    return array


def _encode(columns: list[pd.Series[Any]], *, in_order: bool) -> tuple[list[IntArray], NDArray[Any] | None]:
    """Turn ids into int64 codes with one code book for all columns; integers stay as they are.

    Args:
        columns: columns that share their set of ids.
        in_order: number the ids by their sorted order, so that codes do not depend on the rows' order;
            otherwise by first appearance.
    """
    import pandas as pd

    for column in columns:
        if _can_lack(column) and (null := column.isna().to_numpy()).any():
            raise CreditError(f"column {column.name!r} has no value in row {int(np.argmax(null))}")
    if all(_fits_int64(column) for column in columns):
        return [column.to_numpy(dtype=np.int64) for column in columns], None
    try:
        codes, uniques = pd.factorize(pd.concat(columns, ignore_index=True))
        book = np.fromiter(uniques, dtype=object, count=len(uniques))
    except TypeError as error:
        raise CreditError(f"column {columns[0].name!r} has ids that cannot be compared ({error})") from error
    if in_order:
        order = np.array(sorted(range(len(book)), key=lambda i: (type(book[i]).__name__, book[i])), dtype=np.int64)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        codes, book = rank[codes], book[order]
    return np.split(codes.astype(np.int64), np.cumsum([len(column) for column in columns])[:-1]), book


def _fits_int64(column: pd.Series[Any]) -> bool:
    """Return whether the column holds integers that are int64 or narrower, or would fit."""
    import pandas as pd

    if not pd.api.types.is_integer_dtype(column):
        return False
    return not pd.api.types.is_unsigned_integer_dtype(column) or not len(column) or column.max() < 2**63


def numbered(ids: NDArray[Any]) -> tuple[IntArray, NDArray[Any]]:
    """Number different whole numbers as they first appear; rows that come sorted, as most do, need no hash table.

    Args:
        ids: shape ``(n,)``.

    Returns:
        the number of each row, int64 of shape ``(n,)``, and the different values in the order of their numbers.
    """
    if not _ascends(ids) or not ids.size:
        return factorize(ids)
    begins = np.concatenate(([True], ids[1:] != ids[:-1]))
    count = np.count_nonzero(begins)
    if ids[0] == 0 and ids[-1] == count - 1:  # they are such numbers
        return ids.astype(np.int64, copy=False), np.arange(count)
    number = np.cumsum(begins)
    number -= 1
    return number, ids[begins]


def factorize(ids: NDArray[Any]) -> tuple[IntArray, NDArray[Any]]:
    """Number different whole numbers as they first appear, as :func:`numbered` does, in whatever order rows come.

    By pandas' table of hashes where pandas is there; sorting takes longer, and yet less than its import.
    """
    pandas = sys.modules.get("pandas")
    if pandas is not None and hasattr(pandas, "factorize"):  # and not only beginning to be imported
        code, values = pandas.factorize(ids)
        return code.astype(np.int64, copy=False), values
    values, first, place = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(first)
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    return number[place].astype(np.int64, copy=False), values[order]


def _ascends(ids: NDArray[Any]) -> bool:
    return bool((ids[1:] >= ids[:-1]).all())


def _can_lack(column: pd.Series[Any]) -> bool:
    """Return whether a column can have nulls: not one of numpy's whole numbers and truths."""
    return not (isinstance(column.dtype, np.dtype) and column.dtype.kind in "iub")


def _has_values(column: pd.Series[Any]) -> bool:
    return not _can_lack(column) or bool(column.notna().any())


def _numeric(column: pd.Series[Any]) -> NDArray[Any]:
    """Return a numeric or boolean column as a numpy array; nulls become NaN, which the checks then find."""
    import pandas as pd

    if _can_lack(column) and column.isna().any():
        return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    if column.dtype == object:
        column = column.infer_objects()
    return column.to_numpy(dtype=np.bool_) if pd.api.types.is_bool_dtype(column) else column.to_numpy()
