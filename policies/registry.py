"""The policies by name: who each is, and how to make one."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from envs.base.errors import UserError, unknown
from envs.base.extras import how_to_install
from envs.base.options import Option, declared, resolve
from envs.base.plugins import PluginTable
from envs.base.safe_text import holds_secret
from envs.registry import load
from policies.contract import Policy
from policies.language.settings import language_settings
from policies.saved import POLICY_FILE, is_saved, saved_in


@dataclass(frozen=True, slots=True)
class PolicyEntry:
    """One line of the list of policies.

    Attributes:
        name: short name, as on the command line.
        summary: one line for people.
        factory: makes the policy from what stands after the colon of ``name:argument`` (empty without a
            colon), the name of the environment that it will play, and the options by name.
        options: the names of the options that it takes (``temperature``), which the factory takes by keyword; its
            annotations say what they may be (:mod:`envs.base.options`).
        settings: ``module:class`` of a dataclass whose fields are the options, instead of ``options``; imported on
            first use.
    """

    name: str
    summary: str
    factory: Callable[..., Policy]
    options: tuple[str, ...] = ()
    settings: str = ""

    def declared(self) -> dict[str, Option]:
        """Return the options by name: their types, ranges, defaults and descriptions."""
        if self.settings:
            return {name: each for name, each in declared(load(self.settings)).items() if name not in _ARGUMENTS}
        named = declared(self.factory) if self.options else {}
        return {name: named.get(name, Option(name, Any)) for name in self.options}


_ARGUMENTS = ("model", "environment")
"""Fields of settings that are no options: they stand in the policy's own argument."""


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
    entry = _entry(spec)
    return () if entry is None else tuple(entry.declared())


def read_policy_options(spec: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of a policy (as :func:`make_policy` has it) as their types; those of an unknown one as they are.

    Raises:
        UserError: an unknown option, or a value that an option cannot have.
    """
    entry = _entry(spec)
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
    if name.startswith("hf:"):
        from policies.language.policy import load_saved

        # These two decide how the model is loaded: the machine that trained it may have had a GPU, and this one none.
        early = {key: value for key, value in (options or {}).items() if key in ("device", "threads")}
        saved = load_saved(place, {**settings, **early}, weights)
        return saved.with_options(dict(options)) if options else saved
    if name != "scorer":
        raise UserError(f"{folder} holds a policy of the unknown kind {name!r}: upgrade to read it")
    from policies.scorer import ScorerPolicy

    policy = ScorerPolicy(**settings)
    try:
        policy.network.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"{folder} holds a scorer of another version of agentbench: train or clone it again") from error
    return policy


def _entry(spec: str) -> PolicyEntry | None:
    """Return the line of the list that says a policy's options: for a saved one that of its kind."""
    if not is_saved(Path(spec)):
        return POLICIES.get(spec.partition(":")[0])
    file = saved_in(Path(spec)) / POLICY_FILE
    try:
        return POLICIES.get(str(json.loads(file.read_text(encoding="utf-8"))["policy"]).partition(":")[0])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{file.parent} holds no readable policy ({error})") from error


def _scorer(argument: str, environment: str) -> Policy:
    from policies.scorer import ScorerPolicy

    _no_argument("scorer", argument)
    return ScorerPolicy()


def _language(argument: str, environment: str, **options: Any) -> Policy:
    try:
        from policies.language.policy import LanguagePolicy
    except ImportError as error:
        raise UserError(f"policy 'hf' needs more packages ({error}): {how_to_install('language')}") from error
    return LanguagePolicy(language_settings(argument, environment, options))


def _random(argument: str, environment: str) -> Policy:
    from policies.plain.random_policy import RandomPolicy

    _no_argument("random", argument)
    return RandomPolicy()


def _walkthrough(argument: str, environment: str) -> Policy:
    from policies.plain.walkthrough import WalkthroughPolicy

    _no_argument("walkthrough", argument)
    return WalkthroughPolicy()


def _expert(argument: str, environment: str) -> Policy:
    _no_argument("expert", argument)
    return _of_environment("expert", EXPERTS, environment)


def _rule(argument: str, environment: str) -> Policy:
    _no_argument("rule", argument)
    return _of_environment("rule", RULES, environment)


def _openai(argument: str, environment: str, **options: Any) -> Policy:
    from policies.openai.policy import OpenAIPolicy, ServerOptions
    from policies.option_values import read_options

    return OpenAIPolicy(argument, environment, read_options(ServerOptions, options))


def _vllm(argument: str, environment: str, **options: Any) -> Policy:
    if importlib.util.find_spec("vllm") is None:
        raise UserError(
            f"policy 'vllm' needs a package that is not installed: {how_to_install('vllm')}; or run vLLM's server "
            "wherever it is installed, and use openai:MODEL"
        )
    from policies.option_values import read_options
    from policies.vllm.engine import VllmOptions, VllmPolicy

    return VllmPolicy(argument, environment, read_options(VllmOptions, options))


def _mixed(argument: str, environment: str) -> Policy:
    from policies.plain.mixed import MixedPolicy

    try:
        share = float(argument or 0.5)
    except ValueError:
        raise UserError(f"policy 'mixed' takes the share of random actions, got {argument!r}: mixed:0.5") from None
    return MixedPolicy(_of_environment("mixed", {**RULES, **EXPERTS}, environment), share)


def _guided(argument: str, environment: str) -> Policy:
    from policies.plain.guided import GuidedPolicy

    try:
        weight = float(argument or 10)
    except ValueError:
        raise UserError(f"policy 'guided' takes the weight of the solution's actions, got {argument!r}") from None
    return GuidedPolicy(weight)


def _replay(argument: str, environment: str) -> Policy:
    from policies.plain.replay import ReplayPolicy

    if not argument:
        raise UserError("policy 'replay' needs the folder of a run: write replay:FOLDER")
    return ReplayPolicy.from_run(argument)


def _human(argument: str, environment: str) -> Policy:
    from policies.plain.human import HumanPolicy

    _no_argument("human", argument)
    return HumanPolicy()


def _alfworld_expert() -> Policy:
    from policies.experts.alfworld import AlfworldExpert

    return AlfworldExpert()


def _appworld_expert() -> Policy:
    from policies.experts.appworld import AppworldExpert

    return AppworldExpert()


def _webshop_rule() -> Policy:
    from policies.experts.webshop import WebshopRule

    return WebshopRule()


def _no_argument(name: str, argument: str) -> None:
    if argument:
        raise UserError(f"policy {name!r} takes no argument, got {argument!r}: write just {name}")


def _of_environment(name: str, makers: dict[str, Callable[[], Policy]], environment: str) -> Policy:
    if environment not in makers:
        raise UserError(
            f"there is no policy {name!r} for environment {environment!r}, only for {', '.join(makers)}: "
            "`agentbench policies` lists all"
        )
    return makers[environment]()


EXPERTS: dict[str, Callable[[], Policy]] = {"alfworld": _alfworld_expert, "appworld": _appworld_expert}
"""Environment -> maker of the policy called ``expert`` there."""

RULES: dict[str, Callable[[], Policy]] = {"webshop": _webshop_rule}
"""Environment -> maker of the policy called ``rule`` there."""

_OWN = {
    entry.name: entry
    for entry in (
        PolicyEntry("random", "any admissible action, all equally likely", _random),
        PolicyEntry("walkthrough", "the task's own solution, where it has one: an upper bound", _walkthrough),
        PolicyEntry("expert", "a hand-written agent (alfworld), or the task's own solution (appworld)", _expert),
        PolicyEntry("rule", "a simple rule agent, a floor for every other (webshop)", _rule),
        PolicyEntry("mixed", "the expert (or rule) agent with a share of random actions: mixed:0.5", _mixed),
        PolicyEntry("guided", "random, with the solution's own actions more likely: guided:10", _guided),
        PolicyEntry(
            "scorer", "a small network over admissible actions, untrained (give the folder of a trained one)", _scorer
        ),
        PolicyEntry(
            "hf",
            "a causal language model of transformers: hf:FOLDER, hf:FILE.gguf, hf:ORGANISATION/NAME",
            _language,
            settings="policies.language.settings:LanguageSettings",
        ),
        PolicyEntry("replay", "the actions of a recorded run once more: replay:FOLDER", _replay),
        PolicyEntry(
            "openai",
            "a language model behind an OpenAI-compatible server: openai:MODEL",
            _openai,
            settings="policies.openai.policy:ServerOptions",
        ),
        PolicyEntry(
            "vllm",
            "a language model that vLLM runs in this process: vllm:MODEL",
            _vllm,
            settings="policies.vllm.engine:VllmOptions",
        ),
        PolicyEntry("human", "you, in the terminal", _human),
    )
}


def _read_plugin(point: EntryPoint) -> PolicyEntry:
    """Return the line of a plug-in, whose entry point names a :class:`PolicyEntry`."""
    entry = point.load()
    if not isinstance(entry, PolicyEntry):
        raise TypeError(f"{point.value} is no policies.PolicyEntry but {type(entry).__name__}")
    if entry.name != point.name:
        raise TypeError(f"the policy is called {entry.name!r}, and the entry point {point.name!r}")
    return entry


POLICIES = PluginTable("policy", "agentbench.policies", _OWN, _read_plugin)
"""Every policy: ours, then those of plug-ins."""
