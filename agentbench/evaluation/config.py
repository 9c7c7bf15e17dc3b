"""The settings of an evaluation, checked once, at the door."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agentbench.runs.episodes import MAX_TEXT
from envs.base.errors import UserError, unknown
from envs.base.options import declared, resolve, with_defaults
from envs.base.safe_text import refuse_secrets
from envs.registry import ENVIRONMENTS, option_names, read_options
from envs.registry import options_of as env_options_of
from policies.registry import POLICIES, options_of, read_policy_options

LONGEST = 1e7
"""Seconds: nobody waits longer, and no system call can."""


class EvaluateConfig(BaseModel):
    """Settings of one evaluation. Unknown names are errors.

    Those from ``parallel`` on say how the work is done and not what comes out: they may differ when a run is
    resumed, and are recorded but not compared; but for ``max_text`` where it is not the usual one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    panels: ClassVar[dict[str, str]] = {"env": "What is played, and by whom", "parallel": "How it is played"}
    """The first setting of every part, and the part's heading in lists of the settings."""

    env: str = Field("alfworld", description="environment; 'agentbench envs' lists them")
    split: str | None = Field(None, description="set of tasks; none: the environment's own default")
    env_options: dict[str, Any] = Field(
        default_factory=dict, description="options of the environment; 'agentbench envs NAME' lists them"
    )
    policy: str = Field("random", description="who acts; 'agentbench policies' lists them")
    policy_options: dict[str, Any] = Field(
        default_factory=dict, description="options of the policy; 'agentbench policies NAME' lists them"
    )
    trials: int = Field(1, ge=1, le=1_000_000, description="times each task is played")
    seed: int = Field(0, ge=0, description="seed of every random draw")
    tasks: list[str] | None = Field(None, description="ids or names of the tasks to play; none: all")
    limit: int | None = Field(
        None, ge=1, le=1_000_000_000, description="play only this many tasks, drawn with the seed"
    )

    parallel: int | None = Field(
        None, ge=1, le=4096, description="episodes at the same time; none: 64, or fewer of environments that weigh much"
    )
    workers: int | None = Field(
        None, ge=1, le=512, description="processes that share the environments; none: one a processor"
    )
    executor: str = Field("local", description="where workers and vLLM run: local, ray, or ray:HOST:PORT")
    inline: bool = Field(False, description="environments in this process: less work, but no supervision")
    step_timeout: float = Field(60.0, gt=0, le=LONGEST, description="seconds a step of the environment may take")
    episode_timeout: float = Field(600.0, gt=0, le=LONGEST, description="seconds an episode's environment may take")
    start_timeout: float = Field(120.0, gt=0, le=LONGEST, description="seconds a worker may take to start")
    memory_limit: float = Field(2048.0, gt=0, le=1e9, description="MB at which a worker is replaced")
    attempts: int = Field(3, ge=1, le=1000, description="tries before an episode counts as an error")
    max_text: int = Field(
        MAX_TEXT, ge=1, le=100_000_000, description="characters of an action or answer that are stored"
    )

    @model_validator(mode="after")
    def _has_workers_for_the_executor(self) -> EvaluateConfig:
        if self.inline and self.executor != "local":
            raise ValueError(f"inline plays in this process, executor = {self.executor} does not: choose one")
        return self


def check_config(**settings: Any) -> EvaluateConfig:
    """Make a configuration, or raise :class:`UserError` with one line that names every bad setting, or a secret."""
    for name in ("env_options", "policy_options"):
        refuse_secrets(settings.get(name) or {}, "the option")
    for name in settings:
        if name not in EvaluateConfig.model_fields:
            raise no_setting(name, settings, EvaluateConfig, "setting")
    read = resolve("", declared(EvaluateConfig), settings, word="setting")
    read |= read_inner(read, EvaluateConfig)
    try:
        return EvaluateConfig(**read)
    except ValidationError as error:
        raise bad_settings(error) from None


def read_inner(settings: Mapping[str, Any], kind: type[BaseModel]) -> dict[str, Any]:
    """Return the options of environment and policy in settings, as the types that these declare.

    Raises:
        UserError: an unknown environment or option, or a value that an option cannot have.
    """
    found = {}
    if of_env := settings.get("env_options"):
        found["env_options"] = read_options(_chosen("env", settings, kind), of_env)
    policy = _chosen("policy", settings, kind)
    if (of_policy := settings.get("policy_options")) and options_of(policy):
        found["policy_options"] = read_policy_options(policy, of_policy)
    return found


def no_setting(
    name: str, settings: Mapping[str, Any], kind: type[BaseModel], word: str, *, as_flag: bool = False
) -> UserError:
    """Make the error for a name that is no setting: it may be an option of the environment or of the policy."""
    env, policy = (_chosen(each, settings, kind) for each in ("env", "policy"))
    for owner, key, names in (
        (f"environment {env!r}", "env_options", option_names(env) if env in ENVIRONMENTS else []),
        (f"policy {policy!r}", "policy_options", options_of(policy)),
    ):
        if name in names:
            value = {name: settings[name]}
            how = f"--{key.replace('_', '-')} '{json.dumps(value)}'" if as_flag else f"{key}={value!r}"
            return UserError(f"{name!r} is an option of the {owner}, not a {word}: write {how}")
    return unknown(word, name, kind.model_fields)


def _chosen(name: str, settings: Mapping[str, Any], kind: type[BaseModel]) -> str:
    return str(settings.get(name, kind.model_fields[name].default))


def resolved_options(config: Any) -> dict[str, Any]:
    """Return what a run's record says of the options of environment and policy, defaults filled in."""
    split = {} if config.split is None else {"split": config.split}
    policy = POLICIES.get(config.policy.partition(":")[0])
    return {
        "options": {
            "environment": with_defaults(env_options_of(config.env), {**split, **config.env_options}),
            "policy": with_defaults(policy.declared() if policy else {}, config.policy_options),
        }
    }


def bad_settings(error: ValidationError) -> UserError:
    """Make the error of one line that names every bad setting."""
    problems = [f"{'.'.join(map(str, each['loc']))}: {each['msg'].lower()}" for each in error.errors()]
    return UserError(f"bad setting: {'; '.join(problems)}")
