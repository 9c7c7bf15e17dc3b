"""The settings of a training run: a TOML file, flags over it, checked once."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from agentbench.evaluation.config import bad_settings, no_setting, read_inner
from agentbench.train.settings import Aggregation, Correction, CorrectionSettings, KlEstimator, LossSettings, Ratio
from agentbench.train.sinks import SinkName
from credit.registry import find as find_scheme
from envs.base.errors import UserError
from envs.base.options import declared, resolve
from envs.base.safe_text import refuse_secrets
from envs.registry import ENVIRONMENTS, option_names
from policies.registry import POLICIES, options_of

Engine = Literal["transformers", "vllm"]
Values = Literal["critic", "branching"]
Sampling = Literal["uniform", "thompson", "variance", "knapsack"]
ForkChoice = Literal["uniform", "entropy", "pivot", "invalid"]

BRANCHED = ("vineppo",)
"""Schemes whose values are measured by branching, whatever ``values`` says."""

HOW_NOT_WHAT = ("sinks", "engine_options", "executor", "memory_limit", "float32_matmul", "parallel", "store_every")
"""Settings that a resumed run may have otherwise."""

ADDED = (
    *("rollouts", "trees", "forks", "fork_rounds", "fork_choice", "fork_depth", "pivot_by", "step_budget"),
    *("value_learning_rate", "value_warmup", "sampling", "skip_zero_advantages", "teacher", "teacher_options"),
)
"""Settings that came after the first runs: where they have their defaults, a run is what it was without them."""


class TrainConfig(BaseModel):
    """Settings of one training run. Unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    panels: ClassVar[dict[str, str]] = {
        "env": "What is played",
        "policy": "Who learns",
        "engine": "Who samples",
        "scheme": "What is learned from",
        "epochs": "How it learns",
        "seed": "Where and how it runs",
    }
    """The first setting of every part, and the part's heading in lists of the settings."""

    env: str = Field("alfworld", description="environment; 'agentbench envs' lists them")
    split: str = Field("generated:0:200", description="tasks to train on")
    env_options: dict[str, Any] = Field(
        default_factory=dict, description="options of the environment; 'agentbench envs NAME' lists them"
    )
    eval_split: str | None = Field(None, description="held-out tasks; none: no evaluation while training")
    eval_tasks: int = Field(60, ge=1, description="how many of the held-out tasks are played, from the first on")
    eval_every: int = Field(10, ge=1, description="training steps between evaluations")
    eval_temperature: float = Field(
        1.0, ge=0, description="of the evaluation's sampling; 1: as the rollouts, 0: the likeliest answer"
    )

    policy: str = Field("scorer", description="'scorer', hf:MODEL, or the folder of a saved policy")
    policy_options: dict[str, Any] = Field(
        default_factory=dict, description="options of a new policy; 'agentbench policies hf' lists a language model's"
    )
    lora: int = Field(0, ge=0, description="train adapters of this rank on a language model, not all its weights")
    temperature: float = Field(1.0, gt=0, description="of the rollouts' sampling")

    engine: Engine = Field(
        "transformers", description="what answers in the rollouts; vllm is given the weights after each update"
    )
    engine_options: dict[str, Any] = Field(default_factory=dict, description="how vLLM's server is reached or started")
    probe_prompts: int = Field(
        8, ge=1, description="prompts answered after each handing over of weights, as a test of it"
    )
    probe_bound: float | None = Field(
        None, gt=0, description="largest mean gap of log-probabilities in that test; none: 0.001 in float32, else 0.05"
    )
    correction: Correction | None = Field(
        None, description="of the gap between sampler and trainer; not set: by token with vllm, else none"
    )
    correction_clip: float = Field(2.0, gt=1, description="largest factor of a token in that correction")
    reject_below: float = Field(
        0.5, ge=0, lt=1, description="ratio of trainer to sampler below which tokens do not count"
    )
    reject_above: float = Field(5.0, gt=1, description="ratio of trainer to sampler above which tokens do not count")

    scheme: str = Field("gigpo", description="credit scheme; 'agentbench schemes' lists them")
    scheme_options: dict[str, Any] = Field(
        default_factory=dict, description="options of the scheme; 'agentbench schemes NAME' lists them"
    )
    teacher: str | None = Field(
        None, description="with agentopsd: folder of a saved policy, or hf:MODEL, that judges the policy's answers"
    )
    teacher_options: dict[str, Any] = Field(
        default_factory=dict, description="of a language model as the teacher: a template that tells it more, say"
    )
    group_size: int = Field(8, ge=1, description="rollouts of a task; with rollouts = tree the settings below say")
    rollouts: Literal["chain", "tree"] = Field(
        "chain", description="episodes from the start; or trees: further ones branch off at steps of those"
    )
    trees: int = Field(4, ge=1, description="with rollouts = tree: episodes of a task from the start")
    forks: int = Field(1, ge=0, description="with rollouts = tree: branches that each tree gets in a round")
    fork_rounds: int = Field(
        1, ge=1, description="with rollouts = tree: how often branches are chosen, one after the other"
    )
    fork_choice: ForkChoice = Field(
        "uniform",
        description="the step before which a branch begins: any, of the highest entropy, of the lowest "
        "advantage by pivot_by, or the first invalid action",
    )
    fork_depth: int | None = Field(None, ge=1, description="no branch begins at this step or later; none: anywhere")
    pivot_by: str = Field(
        "rtmc", description="with fork_choice = pivot: scheme whose advantages are compared; branching: measured ones"
    )
    step_budget: int | None = Field(
        None, ge=1, description="environment steps that the rollouts of a task may take, trees or not; none: no bound"
    )
    tasks_per_step: int = Field(16, ge=1, description="tasks of a training step, each with a group of rollouts")
    steps: int = Field(100, ge=1, description="training steps: one batch of rollouts each")
    invalid_action_penalty: float = Field(0.0, ge=0, description="taken off the reward of an invalid action")
    drop_equal_groups: bool = Field(False, description="leave out groups whose episodes all scored the same")
    refills: int = Field(0, ge=0, description="with drop_equal_groups: extra rounds of rollouts to fill the batch up")
    sampling: Sampling = Field(
        "uniform",
        description="which tasks are played: all in turn; by the drawn chance of a mixed group, or variance of its "
        "outcomes; or in turn with more rollouts where they gain most",
    )
    skip_zero_advantages: bool | None = Field(
        None,
        description="leave steps whose advantage is 0 out of an update's forward passes: the same gradient for less "
        "work; none: with language models",
    )
    whiten_advantages: bool = Field(False, description="bring advantages to mean 0 and deviation 1 over the batch")

    epochs: int = Field(1, ge=1, description="passes over a batch")
    minibatches: int = Field(4, ge=1, description="updates a pass")
    token_budget: int = Field(
        65_536, ge=1, description="tokens a forward pass, more are accumulated; large language models: what fits"
    )
    learning_rate: float = Field(1e-3, gt=0, description="of AdamW")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="how the learning rate falls over the training: not at all, or to 0"
    )
    warmup: int = Field(0, ge=0, description="training steps over which the learning rate rises from 0")
    weight_decay: float = Field(0.0, ge=0, description="of AdamW")
    max_grad_norm: float = Field(1.0, gt=0, description="longer gradients are cut to this length")
    ratio: Ratio = Field("token", description="importance ratio of each token, of a step, or of the whole episode")
    aggregation: Aggregation = Field("step", description="what weighs the same in the loss")
    clip_low: float = Field(0.2, ge=0, description="how far the ratio may fall below 1")
    clip_high: float = Field(0.2, ge=0, description="how far the ratio may rise above 1")
    dual_clip: float | None = Field(
        None, gt=1, description="a step with a negative advantage costs at most so many times it; none: no bound"
    )
    kl_coefficient: float = Field(0.0, ge=0, description="weight of the divergence from the first weights; 0: none")
    kl_estimator: KlEstimator = Field("k3", description="estimator of that divergence")
    kl_in: Literal["loss", "reward"] = Field("loss", description="where that divergence is counted")
    entropy_coefficient: float = Field(0.0, ge=0, description="weight of the bonus for entropy")
    value_coefficient: float = Field(0.0, ge=0, description="weight of the critic's loss; above 0: there is a critic")
    value_learning_rate: float | None = Field(
        None, gt=0, description="of the critic's own weights; none: learning_rate, of a language model's critic 1e-3"
    )
    value_warmup: int = Field(0, ge=0, description="training steps at the start in which the critic alone learns")
    values: Values = Field("critic", description="where schemes that read values get them: learned, or by branching")
    branch_rollouts: int = Field(
        2, ge=1, description="with values = branching and vineppo: rollouts from a state; vpr: candidates in a state"
    )
    branch_every: int = Field(1, ge=1, description="with values = branching: from every so many steps of an episode")

    seed: int = Field(0, ge=0, description="of every random draw")
    device: str = Field("cpu", description="where the policy learns: cpu, cuda, cuda:1")
    threads: int = Field(1, ge=1, description="threads of torch on a processor; small networks are slower with more")
    precision: Literal["float32", "bfloat16", "auto"] = Field(
        "float32", description="of the forward passes while it learns; auto: whichever is faster here"
    )
    float32_matmul: Literal["highest", "high", "medium"] | None = Field(
        None, description="of products of float32 matrices; None: high (TF32) on a GPU, else highest"
    )
    parallel: int | None = Field(
        None, ge=1, le=4096, description="episodes at the same time; none: one a worker, or 256 in this process"
    )
    workers: int = Field(0, ge=0, description="processes that share the environments; 0: they play in this process")
    executor: str = Field("local", description="where worker processes run: local, ray, or ray:HOST:PORT")
    memory_limit: float = Field(2048.0, gt=0, allow_inf_nan=False, description="MB at which a worker is replaced")
    overlap: bool = Field(False, description="play the next step's rollouts during the update, with older weights")
    shard: bool = Field(False, description="several processes: split the weights over them (FSDP2)")
    sinks: list[SinkName] = Field(default_factory=list, description="further places for the metrics")
    keep_checkpoints: int = Field(2, ge=1, description="checkpoints that are kept, the latest ones")
    checkpoint_every: int = Field(10, ge=1, description="training steps between checkpoints")
    store_every: int | None = Field(
        None, ge=1, description="training steps between those whose rollouts are stored, as runs; none: not stored"
    )

    @field_validator("sinks", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value

    @field_validator("eval_split", mode="before")
    @classmethod
    def _none_in_words(cls, value: Any) -> Any:
        return None if value == "none" else value  # as a command and a recipe can say it

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.executor != "local" and not self.workers:
            raise ValueError(f"executor = {self.executor} needs worker processes: set workers")
        what = f"scheme = {self.scheme}" if self.scheme in BRANCHED else "values = branching"
        if self.branches and self.overlap:
            raise ValueError(f"{what} measures the weights that play: set overlap = false")
        if self.branches and self.kl_coefficient and self.kl_in == "reward":
            raise ValueError(f"{what} counts no KL term: set kl_in = loss")
        if self.rollouts == "tree" and self.ratio == "sequence":
            raise ValueError("ratio = sequence is that of whole episodes: set rollouts = chain, or ratio = step")
        if self.rollouts == "tree" and (self.branches or self.scheme == "vpr"):
            what = "scheme = vpr" if self.scheme == "vpr" else what
            raise ValueError(f"{what} branches off whole episodes itself: set rollouts = chain")
        if self.sampling == "knapsack" and (self.rollouts == "tree" or self.step_budget is not None):
            raise ValueError("sampling = knapsack deals out whole episodes: set rollouts = chain and no step_budget")
        if self.sampling == "knapsack" and self.group_size < 2:
            raise ValueError("sampling = knapsack deals out tasks_per_step * group_size episodes: set group_size >= 2")
        if self.value_warmup and not self.value_coefficient:
            raise ValueError("value_warmup is the critic's: set value_coefficient (say 0.5) for one")
        if self.value_warmup >= self.steps:
            raise ValueError(f"value_warmup = {self.value_warmup} leaves nothing of {self.steps} training steps")
        return self

    @property
    def rollouts_of_task(self) -> int:
        """How many episodes of a task there are where no budget ends them before."""
        return self.group_size if self.rollouts == "chain" else self.trees * (1 + self.forks * self.fork_rounds)

    @property
    def branches(self) -> bool:
        """Whether values of states are measured by branching."""
        return self.values == "branching" or self.scheme in BRANCHED

    @classmethod
    def unsaid(cls) -> dict[str, Any]:
        """Return :data:`ADDED` with the values that runs have which were made before."""
        return {name: cls.model_fields[name].get_default(call_default_factory=True) for name in ADDED}

    def deciding(self) -> dict[str, Any]:
        """Return the settings that decide what comes out of a run; a run that is resumed must have the same ones."""
        unsaid, found = self.unsaid(), self.model_dump(exclude=set(HOW_NOT_WHAT))
        return {name: value for name, value in found.items() if name not in unsaid or value != unsaid[name]}

    def correction_settings(self) -> CorrectionSettings | None:
        """Return how the gap between sampler and trainer is corrected, or None where it is not."""
        level = self.correction or ("token" if self.engine == "vllm" else "none")
        if level == "none":
            return None
        return CorrectionSettings(level, self.correction_clip, self.reject_below, self.reject_above)

    def loss_settings(self) -> LossSettings:
        """Return the part that the loss needs."""
        names = LossSettings.__dataclass_fields__
        kl = self.kl_coefficient if self.kl_in == "loss" else 0.0
        return LossSettings(**{**self.model_dump(include=set(names)), "kl_coefficient": kl})


def flag_names(arguments: list[str]) -> list[str]:
    """Return the names that ``train`` takes as flags, and those of all options, which :func:`read_config` explains."""
    others = {name for each in ENVIRONMENTS for name in option_names(each)}
    others |= {name for each in POLICIES for name in options_of(each)}
    return [*TrainConfig.model_fields, *others]


def read_config(path: Path | None, flags: dict[str, Any]) -> TrainConfig:
    """Read a TOML file and put ``flags`` over it.

    A table ``[schemes.NAME]`` in the file holds settings for that scheme alone; they go over the file's others.

    Raises:
        UserError: the file cannot be read, or a setting is unknown or has a value that it cannot have.
        CreditError: the file has settings for a scheme that does not exist.
    """
    settings: dict[str, Any] = {}
    if path is not None:
        try:
            settings = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"cannot read the configuration {path}: {error}") from error
    schemes = settings.pop("schemes", {})
    if not isinstance(schemes, dict) or not all(isinstance(each, dict) for each in schemes.values()):
        raise UserError(f"'schemes' in {path} must be tables: [schemes.NAME]")
    for name in schemes:
        find_scheme(name)
    scheme = flags.get("scheme", settings.get("scheme", TrainConfig.model_fields["scheme"].default))
    settings.update({**schemes.get(str(scheme), {}), **flags})
    for name in settings:
        if name not in TrainConfig.model_fields:
            raise no_setting(name, settings, TrainConfig, "training setting", as_flag=True)
    refuse_secrets(settings, "the setting")
    read = resolve("", declared(TrainConfig), settings, word="setting")
    read |= read_inner(read, TrainConfig)
    try:
        return TrainConfig(**read)
    except ValidationError as error:
        raise bad_settings(error) from None
