"""Asking a policy: one bad prompt spoils no other, and what no prompt is at fault for ends the run in one line."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from envs.base.errors import UserError
from envs.base.safe_text import redacted
from policies.contract import Policy, Prompt, Response, response_faults

DEVICE_ERRORS = ("CUDA error", "CUDA driver error", "cuBLAS error", "cuDNN error", "HIP error", "MPS backend")
"""How the errors of a device begin in torch's older versions, in which they have no class of their own."""


def act(policy: Policy, prompts: Sequence[Prompt]) -> list[Response | str]:
    """Ask the policy; where it raises, ask for each prompt alone, so that one bad episode spoils no other.

    Returns:
        for each prompt the response, or the text of what was raised.

    Raises:
        UserError: the policy says that it cannot work at all, breaks its contract, or is out of memory.
    """
    try:
        return _checked(policy, policy.act(prompts), len(prompts))
    except UserError:
        raise
    except Exception as error:
        _raise_if_of_the_machine(policy, error, len(prompts))
        if len(prompts) == 1:
            return [_told(error)]
    return [act(policy, [prompt])[0] for prompt in prompts]


def result_of(policy: Policy, answer: Future[Response]) -> Response | str:
    """Return an answer that has come, or the text of what was raised; it raises as :func:`act` does."""
    try:
        return _checked(policy, [answer.result()], 1)[0]
    except UserError:
        raise
    except Exception as error:
        _raise_if_of_the_machine(policy, error, 1)
        return _told(error)


def _raise_if_of_the_machine(policy: Policy, error: Exception, prompts: int) -> None:
    """Stop where memory is at an end or a device has failed: no prompt is at fault, and each alone would fail, too.

    The classes are known by their names: some of them are torch's, which need not be installed.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    first = next(iter(str(error).splitlines()), "")[:200]
    if names & {"MemoryError", "OutOfMemoryError"}:
        raise UserError(
            f"policy {policy.name!r} ran out of memory when it was asked for {prompts} actions at once: lower parallel "
            "(in training also tasks_per_step), or what the policy keeps (cache_mb of hf:); what is finished is stored "
            f"({redacted(first) or type(error).__name__})"
        ) from error
    if "AcceleratorError" in names or first.startswith(DEVICE_ERRORS):
        raise UserError(
            f"policy {policy.name!r}: its device failed ({redacted(first)}) and answers nothing more in this process; "
            "what is finished is stored: continue with --resume"
        ) from error


def _told(error: Exception) -> str:
    return f"the policy failed: {type(error).__name__}: {error}"


def _checked(policy: Policy, answers: Any, count: int) -> list[Response | str]:
    if not isinstance(answers, list) or len(answers) != count:
        raise UserError(f"policy {policy.name!r}: act() must return a list of {count} responses")
    faults = [next(response_faults(answer), None) for answer in answers]
    return [
        answer if fault is None else f"the policy failed: {fault}"
        for answer, fault in zip(answers, faults, strict=True)
    ]
