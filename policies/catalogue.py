"""Our policies: a line each, and how one is made. Adding one is a line here and its module."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.base.errors import UserError
from envs.base.extras import how_to_install
from envs.base.options import declared, resolve
from policies.contract import Policy
from policies.entry import PolicyEntry
from policies.language.settings import in_training, language_settings

if TYPE_CHECKING:
    from torch import Tensor


def _scorer(argument: str, environment: str) -> Policy:
    from policies.scorer import ScorerPolicy

    _no_argument("scorer", argument)
    return ScorerPolicy()


def _new_scorer(argument: str, environment: str, common: Mapping[str, Any], options: Mapping[str, Any]) -> Policy:
    from policies.scorer import ScorerPolicy

    _no_argument("scorer", argument)
    own = resolve("policy 'scorer'", declared(ScorerPolicy), options)
    return ScorerPolicy(**{"seed": common["seed"], "temperature": common["temperature"], **own})


def _saved_scorer(
    folder: Path, settings: dict[str, Any], weights: dict[str, Tensor], options: Mapping[str, Any]
) -> Policy:
    from policies.scorer import ScorerPolicy

    policy = ScorerPolicy(**{"codes": "word", **settings})  # those saved before 0.2.0 do not say it
    try:
        policy.network.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"{folder} holds a scorer of another version of agentbench: train or clone it again") from error
    return policy


def _language(argument: str, environment: str, **options: Any) -> Policy:
    try:
        from policies.language.policy import LanguagePolicy
    except ImportError as error:
        raise UserError(f"policy 'hf' needs more packages ({error}): {how_to_install('language')}") from error
    return LanguagePolicy(language_settings(argument, environment, options))


def _new_language(argument: str, environment: str, common: Mapping[str, Any], options: Mapping[str, Any]) -> Policy:
    of_machine = {name: common[name] for name in ("device", "seed", "lora", "threads")}
    return _language(argument, environment, **{**of_machine, **in_training(options)})


def _saved_language(
    folder: Path, settings: dict[str, Any], weights: dict[str, Tensor], options: Mapping[str, Any]
) -> Policy:
    from policies.language.policy import load_saved

    # These two decide how the model is loaded: the machine that trained it may have had a GPU, and this one none.
    early = {key: value for key, value in options.items() if key in ("device", "threads")}
    saved = load_saved(folder, {**settings, "device": "cpu", **early}, weights)
    return saved.with_options(dict(options)) if options else saved


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
    from envs.base.options import read_options
    from policies.openai.policy import OpenAIPolicy, ServerOptions

    return OpenAIPolicy(argument, environment, read_options(ServerOptions, options))


def _vllm(argument: str, environment: str, **options: Any) -> Policy:
    if importlib.util.find_spec("vllm") is None:
        raise UserError(
            f"policy 'vllm' needs a package that is not installed: {how_to_install('vllm')}; or run vLLM's server "
            "wherever it is installed, and use openai:MODEL"
        )
    from envs.base.options import read_options
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

OWN = {
    entry.name: entry
    for entry in (
        PolicyEntry("random", "any admissible action, all equally likely", _random),
        PolicyEntry(
            "walkthrough", "the task's own solution, where it has one: an upper bound", _walkthrough, sees_solution=True
        ),
        PolicyEntry("expert", "a hand-written agent (alfworld), or the task's own solution (appworld)", _expert),
        PolicyEntry("rule", "a simple rule agent, a floor for every other (webshop)", _rule),
        PolicyEntry("mixed", "the expert (or rule) agent with a share of random actions: mixed:0.5", _mixed),
        PolicyEntry(
            "guided", "random, with the solution's own actions more likely: guided:10", _guided, sees_solution=True
        ),
        PolicyEntry(
            "scorer",
            "a small network over admissible actions, untrained (give the folder of a trained one)",
            _scorer,
            learner=_new_scorer,
            load=_saved_scorer,
        ),
        PolicyEntry(
            "hf",
            "a causal language model of transformers: hf:FOLDER, hf:FILE.gguf, hf:ORGANISATION/NAME",
            _language,
            settings="policies.language.settings:LanguageSettings",
            parallel=8,  # each keeps its past in memory
            is_language_model=True,
            learner=_new_language,
            load=_saved_language,
        ),
        PolicyEntry("replay", "the actions of a recorded run once more: replay:FOLDER", _replay),
        PolicyEntry(
            "openai",
            "a language model behind an OpenAI-compatible server: openai:MODEL",
            _openai,
            settings="policies.openai.policy:ServerOptions",
            runs="server",
            is_language_model=True,
        ),
        PolicyEntry(
            "vllm",
            "a language model that vLLM runs in this process: vllm:MODEL",
            _vllm,
            settings="policies.vllm.engine:VllmOptions",
            runs="engine",
            is_language_model=True,
        ),
        PolicyEntry("human", "you, in the terminal", _human, parallel=1),
    )
}
"""Our policies by name."""
