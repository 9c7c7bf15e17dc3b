"""What an evaluation is told to do: checked once, at the door."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from envs.errors import UserError
from envs.safe_text import refuse_secrets


class EvaluateConfig(BaseModel):
    """Settings of one evaluation. Unknown names are errors.

    Those from ``workers`` on say how the work is done and not what comes out: they may differ when a run is
    resumed, and are recorded but not compared.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    env: str = "alfworld"
    split: str | None = Field(None, description="set of tasks; None for the environment's own default")
    env_options: dict[str, Any] = Field(default_factory=dict, description="further options of the environment")
    policy: str = "random"
    policy_options: dict[str, Any] = Field(default_factory=dict, description="options of the policy")
    trials: int = Field(1, ge=1, description="times each task is played")
    seed: int = Field(0, ge=0)
    tasks: list[str] | None = Field(None, description="ids or names of the tasks to play; None for all")
    limit: int | None = Field(None, ge=1, description="play only this many tasks, drawn with the seed")

    workers: int = Field(1, ge=1, le=512, description="episodes at the same time")
    executor: str = Field("local", description="where workers run: local, ray, or ray:HOST:PORT")
    inline: bool = Field(False, description="environments in this process: no supervision, for quick ones of ours")
    step_timeout: float = Field(60.0, gt=0, description="seconds")
    episode_timeout: float = Field(600.0, gt=0, description="seconds of environment time")
    start_timeout: float = Field(120.0, gt=0, description="seconds")
    memory_limit: float = Field(2048.0, gt=0, description="MB a worker")
    attempts: int = Field(3, ge=1)

    @model_validator(mode="after")
    def _has_workers_for_the_executor(self) -> EvaluateConfig:
        if self.inline and self.executor != "local":
            raise ValueError(f"inline plays in this process, executor = {self.executor} does not: choose one")
        return self


def check_config(**settings: Any) -> EvaluateConfig:
    """Make a configuration, or raise :class:`UserError` with one line that names every bad setting, or a secret."""
    for name in ("env_options", "policy_options"):
        refuse_secrets(settings.get(name) or {}, "the option")
    try:
        return EvaluateConfig(**settings)
    except ValidationError as error:
        raise bad_settings(error) from None


def bad_settings(error: ValidationError) -> UserError:
    """Make the error of one line that names every bad setting."""
    problems = [f"{'.'.join(map(str, each['loc']))}: {each['msg'].lower()}" for each in error.errors()]
    return UserError(f"bad setting: {'; '.join(problems)}")
