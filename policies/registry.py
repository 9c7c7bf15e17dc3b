"""The policies by name: who each is, and how to make one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from envs.base.errors import UserError, unknown
from envs.base.options import resolve
from envs.base.plugins import PluginTable
from envs.base.safe_text import holds_secret
from policies.catalogue import OWN
from policies.contract import Policy
from policies.entry import Place, PolicyEntry
from policies.saved import POLICY_FILE, is_saved, saved_in


def make_policy(spec: str, *, environment: str, options: Mapping[str, Any] | None = None) -> Policy:
    """Make a policy from ``name`` or ``name:argument``.

    Args:
        spec: one of :data:`POLICIES`, with its argument where it takes one (``replay:results/my-run``); or the
            folder of a trained policy, or of the run that trained it.
        environment: short name of the environment that it will play (``alfworld``).
        options: the policy's options by name (:attr:`PolicyEntry.options`); for a saved language model in place of
            those that it was saved with.

    Raises:
        UserError: unknown name or option, a missing or needless argument, no such policy for this environment, or a
            plug-in that cannot be made.
    """
    options = options or {}
    if is_saved(Path(spec)):
        return load_policy(Path(spec), read_policy_options(spec, options))
    name, _, argument = spec.partition(":")
    if name not in POLICIES:
        if "/" in spec:
            raise UserError(f"no saved policy in {spec}: it has no {POLICY_FILE}, and no folder policy with one")
        raise unknown("policy", name, POLICIES)
    entry = POLICIES[name]
    options = read_policy_options(name, options)
    with POLICIES.used(name):
        return entry.factory(argument, environment, **options)


def options_of(spec: str) -> tuple[str, ...]:
    """Return the names of the options that a policy takes (as :func:`make_policy` has it); none for an unknown one."""
    entry = entry_of(spec)
    return () if entry is None else tuple(entry.declared())


def read_policy_options(spec: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of a policy (as :func:`make_policy` has it) as their types; those of an unknown one as they are.

    Raises:
        UserError: an unknown option, or a value that an option cannot have.
    """
    entry = entry_of(spec)
    if entry is None or not values:
        return dict(values)
    known = entry.declared()
    name = spec if is_saved(Path(spec)) else entry.name
    if not known:
        raise UserError(f"policy {name!r} takes no options, got {next(iter(values))!r}")
    if holds_secret({name: value for name, value in values.items() if name != "base_url"}):
        raise UserError("keys come from the environment alone: set OPENAI_API_KEY, or name another with key_variable")
    return resolve(f"policy {name!r}", known, values, listed_by=f"agentbench policies {entry.name}", is_quiet=True)


def load_policy(folder: Path, options: Mapping[str, Any] | None = None) -> Policy:
    """Load a saved policy from its folder, or from the ``policy`` folder of a training run.

    Args:
        folder: of the policy or the run.
        options: of a language model, in place of those that it was saved with.

    Raises:
        UserError: the files are damaged, of a kind that this version does not know, or an option cannot be changed.
    """
    from policies.trainable import read_policy

    place = saved_in(folder)
    name, settings, weights = read_policy(place)
    entry = POLICIES.get(name.partition(":")[0])
    if entry is None or entry.load is None:
        raise UserError(f"{folder} holds a policy of the unknown kind {name!r}: upgrade, or install its plug-in")
    with POLICIES.used(entry.name):
        return entry.load(place, settings, weights, options or {})


def make_learner(
    spec: str, *, environment: str, common: Mapping[str, Any], options: Mapping[str, Any] | None = None
) -> Policy:
    """Make a policy that is to be trained: a new one, or a saved one to go on from.

    Args:
        spec, environment, options: as of :func:`make_policy`.
        common: what training says of every new policy (:attr:`policies.entry.PolicyEntry.learner`).

    Raises:
        UserError: as :func:`make_policy`; whether it can be trained is not asked.
    """
    entry = None if is_saved(Path(spec)) else entry_of(spec)
    if entry is None or entry.learner is None:
        return make_policy(spec, environment=environment, options=options)
    own = read_policy_options(spec, options or {}) if entry.declared() else dict(options or {})
    with POLICIES.used(entry.name):
        return entry.learner(spec.partition(":")[2], environment, common, own)


def entry_of(spec: str) -> PolicyEntry | None:
    """Return the line of the list of a policy (as :func:`make_policy` has it), for a saved one that of its kind.

    None: there is none of that name.

    Raises:
        UserError: what was saved cannot be read.
    """
    if not is_saved(Path(spec)):
        return POLICIES.get(spec.partition(":")[0])
    file = saved_in(Path(spec)) / POLICY_FILE
    try:
        return POLICIES.get(str(json.loads(file.read_text(encoding="utf-8"))["policy"]).partition(":")[0])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{file.parent} holds no readable policy ({error})") from error


def place_of(spec: str) -> Place:
    """Return where the answers of a policy (as :func:`make_policy` has it) come from (:attr:`PolicyEntry.runs`)."""
    entry = entry_of(spec)
    return "here" if entry is None else entry.runs


def _read_plugin(point: EntryPoint) -> PolicyEntry:
    """Return the line of a plug-in, whose entry point names a :class:`PolicyEntry`."""
    entry = point.load()
    if not isinstance(entry, PolicyEntry):
        raise TypeError(f"{point.value} is no policies.PolicyEntry but {type(entry).__name__}")
    if entry.name != point.name:
        raise TypeError(f"the policy is called {entry.name!r}, and the entry point {point.name!r}")
    return entry


POLICIES = PluginTable("policy", "agentbench.policies", OWN, _read_plugin)
"""Every policy: ours, then those of plug-ins."""
