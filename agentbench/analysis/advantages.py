"""Advantages of a stored run: its steps as the schemes take them, and every chosen scheme computed on them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentbench.analysis.columns import KEY, check_keys, read_columns
from agentbench.runs.run import open_run
from credit import SCHEMES, CreditError, Steps, advantages
from credit.scheme import unknown
from credit.steps import FloatArray
from envs.base.errors import UserError
from envs.base.options import declared, resolve

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RunCredit:
    """Advantages of the steps of a run.

    Attributes:
        table: one row a judged step, with text unless it was left out; ``group`` is the task's id.
        steps: the same rows, as the schemes take them.
        values: advantage of every row by scheme, each of shape ``(len(table),)``.
        skipped: why a scheme could not be computed, by scheme.
    """

    table: pd.DataFrame
    steps: Steps
    values: dict[str, FloatArray] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def read_run(
    folder: Path, columns: Path | None = None, *, replace: bool = False, texts: bool = True, penalty: float = 0.0
) -> RunCredit:
    """Read the judged steps of a run.

    Args:
        folder: of the run.
        columns: a Parquet or CSV file with task_id, trial, step and further columns that schemes read (value,
            entropy, score, …), one row for every step.
        replace: a column of the run with the same name is replaced; otherwise it is refused.
        texts: whether the table has the texts, and actions as such (:meth:`agentbench.runs.run.Run.judged_steps`).
        penalty: taken off the reward of an invalid action.

    Raises:
        UserError: no run, no judged step in it, or a file of columns that does not fit it.
    """
    run, has_texts = open_run(folder), texts or columns is not None
    table = run.judged_steps(penalty=penalty, texts=has_texts).reset_index(drop=True)
    if table.empty:
        raise UserError(f"the run in {folder} has no judged steps yet: every episode ended in an error, or none ended")
    if columns is not None:
        table = _joined(table, columns, replace)
    return RunCredit(table, Steps.from_frame(table))


def compute(run: RunCredit, names: Iterable[str], options: dict[str, Any], *, skip: bool) -> RunCredit:
    """Compute schemes on a run.

    Args:
        run: as :func:`read_run` returns it.
        names: schemes.
        options: of the schemes; each goes to those that know it.
        skip: pass over schemes that lack a column or are not defined here, and note why; otherwise raise.

    Raises:
        CreditError: an option that none of the schemes has, a wrong value, or (without ``skip``) a missing column.
    """
    return RunCredit(run.table, run.steps, *compute_on(run.steps, names, options, skip=skip))


def compute_on(
    steps: Steps, names: Iterable[str], options: dict[str, Any], *, skip: bool
) -> tuple[dict[str, FloatArray], dict[str, str]]:
    """Compute schemes on steps as :func:`compute` does; return their values, and why some are missing, by scheme."""
    names = list(names)
    for option in options:
        if not any(option in SCHEMES[name].options for name in names):
            raise unknown(
                "option of these schemes", option, {known for name in names for known in SCHEMES[name].options}
            )
    chosen = _by_scheme(names, options)
    values, skipped = {}, {}
    for name in names:
        try:
            values[name] = advantages(name, steps, **chosen[name])
        except CreditError as error:
            if not skip:
                raise
            skipped[name] = str(error)
    if not values:
        raise CreditError("none of the schemes could be computed: " + "; ".join(skipped.values()))
    return values, skipped


def scheme_names(text: str) -> list[str]:
    """Read ``salt,gigpo`` or ``all``.

    Raises:
        CreditError: an unknown scheme.
    """
    if text.strip() == "all":
        return list(SCHEMES)
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in SCHEMES:
            raise unknown("scheme", name, SCHEMES)
    if not names:
        raise UserError("no scheme was named: write --scheme salt,gigpo ('agentbench schemes' lists them)")
    return names


def _by_scheme(names: list[str], options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Give each scheme the options that it knows, as their types; a preset goes to those that have it."""
    presets = {preset for name in names for preset in SCHEMES[name].presets}
    if (preset := options.get("compat")) is not None and preset not in presets:
        raise unknown("preset of these schemes (--compat)", str(preset), presets)
    found = {}
    for name in names:
        scheme = SCHEMES[name]
        own = {
            option: value
            for option, value in options.items()
            if option in scheme.options and (option != "compat" or value in (None, *scheme.presets))
        }
        found[name] = resolve(f"scheme {name!r}", declared(scheme.function, 1), own)
    return found


def options_of(names: Iterable[str]) -> set[str]:
    """Return the names of the options of these schemes."""
    return {option for name in names for option in SCHEMES[name].options}


def _joined(table: pd.DataFrame, path: Path, replace: bool) -> pd.DataFrame:
    more = read_columns(path)
    key = ["group" if name == "task_id" else name for name in KEY]
    known = [name for name in more.columns if name in table.columns and name not in KEY]
    if fixed := [name for name in known if name in ("group", "episode")]:
        raise UserError(f"{path} has a column {fixed[0]!r}, which the run itself decides: take it out of the file")
    if known and not replace:
        raise UserError(f"{path} has a column {known[0]!r}, and so has the run: --replace takes that of the file")
    check_keys(path, more[KEY], table.rename(columns={"group": "task_id"})[KEY])
    more = more.rename(columns={"task_id": "group"})
    kept = table.drop(columns=[name for name in more.columns if name in table.columns and name not in key])
    return kept.merge(more, on=key, how="left")
