"""A line of the list of policies: what is known of one before it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from envs.base.options import Option, declared
from envs.registry import load
from policies.contract import Policy

if TYPE_CHECKING:
    from torch import Tensor

Place = Literal["here", "server", "engine"]
Factory = Callable[..., Policy]
Learner = Callable[[str, str, Mapping[str, Any], Mapping[str, Any]], Policy]
Loader = Callable[[Path, "dict[str, Any]", "dict[str, Tensor]", Mapping[str, Any]], Policy]


@dataclass(frozen=True, slots=True)
class PolicyEntry:
    """One line of the list of policies; all but the first three are facts that hold where nothing is said.

    What a policy can do once it is made is no fact of this list: see :mod:`policies.contract`.

    Attributes:
        name: short name, as on the command line.
        summary: one line for people.
        factory: makes the policy from what stands after the colon of ``name:argument`` (empty without a
            colon), the name of the environment that it will play, and the options by name.
        options: the names of the options that it takes (``temperature``), which the factory takes by keyword; its
            annotations say what they may be (:mod:`envs.base.options`).
        settings: ``module:class`` of a dataclass whose fields are the options, instead of ``options``; imported on
            first use.
        runs: where its answers come from: ``here``, in this process; a ``server``; or an ``engine`` with GPUs of its
            own, which is placed on a cluster where there is one. An engine has the options of
            :class:`policies.vllm.engine.VllmOptions`, and perhaps more.
        parallel: episodes that it plays at once where nobody says how many; None: as many as the environments allow.
        is_language_model: reads and writes text.
        sees_solution: plays from the task's own solution (``info["walkthrough"]``): a bound, no agent.
        learner: makes a new one that is to be trained: like ``factory``, from argument, environment, what training
            says of every policy (``seed``, ``temperature``, ``device``, ``threads``, ``lora``), and the policy's own
            options, which go over that. None: the factory makes it, if it can be trained at all.
        load: makes a saved one: from its folder, the settings and weights that were saved, and options that are given
            in place of those. None: saved ones cannot be loaded.
    """

    name: str
    summary: str
    factory: Factory
    options: tuple[str, ...] = ()
    settings: str = ""
    runs: Place = "here"
    parallel: int | None = None
    is_language_model: bool = False
    sees_solution: bool = False
    learner: Learner | None = None
    load: Loader | None = None

    def declared(self) -> dict[str, Option]:
        """Return the options by name: their types, ranges, defaults and descriptions."""
        if self.settings:
            return {name: each for name, each in declared(load(self.settings)).items() if name not in _ARGUMENTS}
        named = declared(self.factory) if self.options else {}
        return {name: named.get(name, Option(name, Any)) for name in self.options}

    @property
    def facts(self) -> list[str]:
        """What is known of it, in words."""
        known = {
            "language model": self.is_language_model,
            "can be trained": self.load is not None,
            "behind a server": self.runs == "server",
            "an engine with GPUs of its own": self.runs == "engine",
            "sees the solution": self.sees_solution,
        }
        return [words for words, is_so in known.items() if is_so]


_ARGUMENTS = ("model", "environment")
"""Fields of settings that are no options: they stand in the policy's own argument."""
