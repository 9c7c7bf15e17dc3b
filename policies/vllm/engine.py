"""A language model that vLLM runs in this process: the policy ``vllm:MODEL``.

vLLM as a server is the policy ``openai:MODEL`` (:mod:`policies.openai.policy`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from envs.base.deadline import within
from envs.base.digest import digest_of
from envs.base.errors import UserError
from policies.contract import Prompt, Response
from policies.language.conversation import Writer
from policies.language.settings import LONGEST_ANSWER
from policies.language.speaker import Asked, Speaker
from policies.prompts import make_settings
from policies.prompts.parsing import cut_by, parse_answer
from policies.vllm.weights import reload_in_process

VERSION = 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class VllmOptions:
    """Options of the policy ``vllm:MODEL``.

    Attributes:
        temperature: of the sampling, 0 for the likeliest token.
        top_p: share of the likeliest tokens that are sampled from.
        max_tokens: longest answer, in tokens.
        max_context: longest prompt and answer together, in tokens; None: what the model was made for.
        stop: an answer ends behind any of these strings, also inside of thoughts.
        history: number of past steps that are shown, or ``all``.
        thinking: ask for reasoning before the action.
        show_actions: list the admissible actions.
        template: TOML file that replaces the benchmark's texts.
        precision: of the weights, as vLLM calls it (``auto``, ``bfloat16``, ``float32``).
        llm_arguments: further arguments of ``vllm.LLM`` (``{"tensor_parallel_size": 2}``).
        engines: how many answer at the same time, on a cluster; how work is done, and no part of the digest.
        timeout: seconds that the answers to one batch may take together; no part of the digest either. Not kept where
            VLLM_ENABLE_V1_MULTIPROCESSING=0 puts the engine itself into this process.
        keep_messages: store the chat of every step as it was sent (``details.messages``).
    """

    temperature: Annotated[float, Field(ge=0, le=1000)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, Field(ge=1, le=10_000_000)] = LONGEST_ANSWER
    max_context: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    stop: tuple[str, ...] = ()
    history: Annotated[int, Field(ge=0, le=1_000_000)] | Literal["all"] = "all"
    thinking: bool = True
    show_actions: bool = True
    template: str | None = None
    precision: str = "auto"
    llm_arguments: dict[str, Any] | None = None
    engines: Annotated[int, Field(ge=1, le=10_000)] = 1
    timeout: Annotated[float, Field(gt=0, le=1e7)] = 1800.0
    keep_messages: bool = False


OPTIONS = tuple(each.name for each in fields(VllmOptions))


_HOW = ("template", "engines", "timeout", "keep_messages")
"""Options that do not decide the answers; a template's text does, and is a part of the prompts."""


class EngineError(UserError):
    """The engine has ended, does not answer, or is in a state from which nobody knows what it would answer."""


class VllmPolicy:
    """Answers all prompts of a batch at once.

    Prompts are token ids: past answers stand in them as they were sampled, so a conversation only grows, and vLLM's
    prefix cache keeps what was computed for its beginning.

    Args:
        model: folder, or id on the model hub.
        environment: short name of the environment; it decides the prompts.
        options: everything else.

    Raises:
        UserError: vLLM cannot load the model, or an option has a value that it cannot have.
    """

    def __init__(self, model: str, environment: str, options: VllmOptions | None = None) -> None:
        if not model:
            raise UserError("policy 'vllm' needs a model: write vllm:FOLDER or vllm:ID")
        self.model, self.options = model, options or VllmOptions()
        _check(self.options)
        prompts = make_settings(
            environment,
            history=self.options.history,
            thinking=self.options.thinking,
            show_actions=self.options.show_actions,
            template=self.options.template,
        )
        self._engine = _load(model, self.options)
        writer = Writer(self._engine.get_tokenizer(), self.options.thinking)
        limit = int(self._engine.model_config.max_model_len) - self.options.max_tokens
        if limit < 1:
            raise UserError(
                f"max_tokens = {self.options.max_tokens} leaves no room for a prompt in the context: set it lower"
            )
        self._speaker = Speaker(writer, prompts, model, limit, self.options.keep_messages)

    @property
    def name(self) -> str:
        """``vllm:MODEL``."""
        return f"vllm:{self.model}"

    @property
    def digest(self) -> str:
        """Changes with the model's name, the version of vLLM and every option; not with weights changed in place."""
        import vllm

        chosen = {name: value for name, value in asdict(self.options).items() if name not in _HOW}
        chosen["engine"] = chosen.pop("llm_arguments")  # as it was called when the first runs were made
        return digest_of(
            "vllm", VERSION, model=self.model, vllm=vllm.__version__, prompts=self._speaker.prompts.as_dict(), **chosen
        )

    @property
    def record(self) -> dict[str, Any]:
        """What a run records of it beside its options: the texts of its prompts."""
        return {
            "prompts": self._speaker.prompts.as_dict(),
            "chat_template": self._speaker.writer.tokenizer.chat_template,
        }

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Answer each prompt, with the seed of its own step.

        Raises:
            ContextTooLong: a task and observation that do not fit into the context.
            EngineError: the engine has failed; what it was asked stays in it, so it must not be asked again.
        """
        asked = [self._speaker.ask(prompt) for prompt in prompts]
        ids_of_all = [{"prompt_token_ids": each.written.ids.tolist()} for each in asked]
        sampling = [self._sampling(prompt.seed) for prompt in prompts]
        try:
            answers = self._within_timeout(lambda: self._engine.generate(ids_of_all, sampling, use_tqdm=False))
        except Exception as error:  # of vLLM, torch or CUDA
            raise EngineError(
                f"vLLM's engine has failed ({type(error).__name__}: {error}); what is finished is stored, and the same "
                "command continues from there"
            ) from error
        return [self._response(one, answer.outputs[0]) for one, answer in zip(asked, answers, strict=True)]

    def _within_timeout(self, call: Callable[[], T]) -> T:
        # Where vLLM computes in this very process it is called plainly: a thread has a state of CUDA and OpenMP of its
        # own, and who started the process can end it.
        if os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING") == "0":
            return call()
        return within(self.options.timeout, call, "see --timeout")

    def update_weights(self, folder: Path) -> None:
        """Take all weights from a folder that :func:`policies.vllm.weights.write_model` wrote.

        Raises:
            UserError: this version of vLLM cannot, or it is answering still.
        """
        reload_in_process(self._engine, folder)

    def _sampling(self, seed: int) -> Any:
        from vllm import SamplingParams

        return SamplingParams(
            temperature=self.options.temperature,
            top_p=self.options.top_p,
            max_tokens=self.options.max_tokens,
            stop=list(self.options.stop),
            include_stop_str_in_output=True,
            logprobs=0,  # those of the sampled tokens, no others
            seed=seed % 2**31 if self.options.temperature else None,
        )

    def _response(self, asked: Asked, answer: Any) -> Response:
        admissible = asked.prompt.info.get("admissible_actions")
        return self._speaker.response(
            asked,
            parse_answer(answer.text, admissible, cut=cut_by(answer.finish_reason)),
            text=answer.text,
            tokens=answer.token_ids,
            log_probs=[step[token].logprob for step, token in zip(answer.logprobs, answer.token_ids, strict=True)],
            finish=_finish(answer),
        )


def _finish(answer: Any) -> str | None:
    """Return why an answer ended, in the words of :attr:`policies.contract.Response.details`."""
    by_itself = answer.finish_reason == "stop" and not isinstance(getattr(answer, "stop_reason", None), str)
    return "end" if by_itself else answer.finish_reason


def _load(model: str, options: VllmOptions) -> Any:
    from vllm import LLM

    try:
        return LLM(
            model,
            dtype=options.precision,
            max_model_len=options.max_context,
            logprobs_mode="processed_logprobs",  # as sampled: after temperature and top_p
            **(options.llm_arguments or {}),
        )
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"vLLM cannot load {model}: {error}") from error


def _check(options: VllmOptions) -> None:
    if "" in options.stop:
        raise UserError("stop: an empty text would end every answer at its beginning")
    if options.max_tokens < 1:
        raise UserError(f"max_tokens must be at least 1, got {options.max_tokens}")
    if not 0 <= options.temperature < math.inf:
        raise UserError(f"temperature must be at least 0, got {options.temperature}")
    if not 0 < options.timeout < math.inf:
        raise UserError(f"timeout must be a number of seconds above 0, got {options.timeout}")
    if options.engines != 1:
        raise UserError(f"engines = {options.engines} needs a cluster (executor = ray): in this process there is one")
