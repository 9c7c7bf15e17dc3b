"""The environments by name: what each is, and how to make one.

Gymnasium is imported where one is made, and not before: whoever reads a run needs only what the list says.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any, cast

from envs.base.errors import unknown
from envs.base.options import Option, declared, resolve, takes_any
from envs.base.plugins import PluginTable

if TYPE_CHECKING:
    from envs.contract import TextEnv


@dataclass(frozen=True, slots=True)
class Environment:
    """One line of the list of environments.

    Attributes:
        name: short name, as on the command line.
        gymnasium_id: id for ``gymnasium.make``.
        entry_point: ``module:class`` of the environment, imported on first use.
        summary: one line for people.
        installer: ``module:function`` that installs its data: ``install(source, write, **options)``.
        verifier: ``module:function`` that compares it with recordings of the original:
            ``verify(reference, write) -> (mismatches, one-line summary)``.
        ceiling: ``module:function`` that says what a perfect agent scores, for benchmarks whose rules keep some
            tasks from being solved: ``ceiling(environment) -> rows`` with type, goals, winnable and mean.
        scenario: ``module:function`` that names the scenario of a task by the task's name, for benchmarks whose tasks
            are variants of scenarios. Rates then take scenarios as clusters, and scenarios solved in all their variants
            are counted too. It is asked when a run is read, so it must need no data.
        states: ``module:function`` that counts states, for environments whose moves are certain:
            ``states(environment) -> of_task``, where ``of_task(task)`` is a :class:`envs.contract.StateModel`; it
            raises UserError where the environment's options rule that out. True advantages are then exact.
    """

    name: str
    gymnasium_id: str
    entry_point: str
    summary: str
    installer: str | None = None
    verifier: str | None = None
    ceiling: str | None = None
    scenario: str | None = None
    states: str | None = None

    @property
    def facts(self) -> list[str]:
        """What is known of it, in words."""
        known = {
            "some tasks cannot be solved": self.ceiling,
            "tasks come in scenarios": self.scenario,
            "exact advantages": self.states,
        }
        return [words for words, where in known.items() if where]

    def load(self) -> type[TextEnv]:
        """Import and return the environment's class."""
        return cast("type[TextEnv]", load(self.entry_point))


def load(entry_point: str) -> Any:
    """Import ``module:attribute`` and return the attribute."""
    module, _, attribute = entry_point.partition(":")
    return getattr(importlib.import_module(module), attribute)


_OWN = {
    environment.name: environment
    for environment in (
        Environment(
            "alfworld",
            "agentbench/ALFWorld-v0",
            "envs.alfworld:ALFWorldEnv",
            "household tasks in text: six task types; official games or generated ones (no download)",
            installer="envs.alfworld.install:install",
            verifier="envs.alfworld.verify:verify",
            states="envs.alfworld.states:states",
        ),
        Environment(
            "webshop",
            "agentbench/WebShop-v0",
            "envs.webshop:WebShopEnv",
            "a shop to search and buy in: official catalogue and goals, or generated ones (no download)",
            installer="envs.webshop.install:install",
            verifier="envs.webshop.verify:verify",
            ceiling="envs.webshop.ceiling:ceiling",
        ),
        Environment(
            "appworld",
            "agentbench/AppWorld-v0",
            "envs.appworld:AppWorldEnv",
            "nine everyday apps to write code for: the original engine, official tasks or 24 of our own (no download)",
            installer="envs.appworld.install:install",
            scenario="envs.appworld.tasks:scenario_of",
        ),
    )
}


def _read_plugin(point: EntryPoint) -> Environment:
    """Make the line of a plug-in, whose entry point names a class of environments or an :class:`Environment`."""
    from envs.contract import TextEnv

    found = point.load()
    if isinstance(found, Environment):
        if found.name != point.name:
            raise TypeError(f"the environment is called {found.name!r}, and the entry point {point.name!r}")
        return found
    if not (isinstance(found, type) and issubclass(found, TextEnv)):
        raise TypeError(f"{point.value} is neither a subclass of envs.TextEnv nor an envs.Environment")
    summary = (found.__doc__ or "").strip().partition("\n")[0] or "no description"
    return Environment(point.name, _gymnasium_id(point.name), f"{point.module}:{point.attr}", summary)


def _gymnasium_id(name: str) -> str:
    return f"agentbench/{name}-v0"


ENVIRONMENTS = PluginTable("environment", "agentbench.environments", _OWN, _read_plugin)
"""Every environment: ours, then those of plug-ins."""


def find(name: str) -> Environment:
    """Return the environment called ``name``, or raise :class:`UserError` with the nearest names."""
    if name not in ENVIRONMENTS:
        raise unknown("environment", name, ENVIRONMENTS)
    return ENVIRONMENTS[name]


def make(name: str, **options: Any) -> TextEnv:
    """Make an environment by its short name; ``options`` go to its class.

    Raises:
        UserError: unknown name or option, a value that an option cannot have, data that is not installed, or a
            plug-in that cannot be made with them.
    """
    options = read_options(name, options)
    with ENVIRONMENTS.used(name):
        return find(name).load()(**options)


def options_of(name: str) -> Mapping[str, Option]:
    """Return the options of the environment called ``name``: their types, ranges, defaults and descriptions."""
    return declared(find(name).load())


def option_names(name: str) -> list[str]:
    """Return the names of the options that the environment called ``name`` takes."""
    return list(options_of(name))


def read_options(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of the environment called ``name`` as their types.

    Raises:
        UserError: unknown name or option, or a value that an option cannot have.
    """
    kind = find(name).load()
    return resolve(
        f"environment {name!r}", declared(kind), values, others=takes_any(kind), listed_by=f"agentbench envs {name}"
    )


def register() -> None:
    """Register every environment with Gymnasium; calling it again changes nothing."""
    import gymnasium

    for environment in _OWN.values():
        if environment.gymnasium_id not in gymnasium.registry:
            gymnasium.register(environment.gymnasium_id, entry_point=environment.entry_point)
    for name in ENVIRONMENTS.usable_names():  # not imported before they are made
        if _gymnasium_id(name) not in gymnasium.registry:
            gymnasium.register(_gymnasium_id(name), entry_point=partial(make, name))
