"""Play episodes: whoever is ready acts next, in the largest batch that is ready.

Episodes are independent: a slow environment holds up nobody but itself, and nor does a slow answer of a policy that
:class:`~policies.contract.Submits`: such a policy is asked for each prompt on its own. An episode whose worker hangs,
dies, grows too large or raises is played again from its start in a fresh worker; after :attr:`PlayOptions.attempts`
tries its outcome is ``error``, never ``failure``: the agent was not judged.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from agentbench.rollout.calls import Calls
from agentbench.rollout.contract import LOSSES, MachineFailure, Worker, WorkerFailure
from agentbench.rollout.jobs import Job, PlayOptions
from agentbench.rollout.pool import Workers, ready
from agentbench.runs.episodes import Episode, Step, is_judged, make_step
from agentbench.runs.provenance import stable_seed, step_seed
from envs.base.errors import UserError
from envs.base.safe_text import redacted
from envs.contract import Info
from policies.contract import Policy, Prompt, Response, Submits, response_faults

SHARE = 0.002
"""Seconds that environments in this process may work before answers that have come are looked at again."""

MEMORY_SECONDS = 1.0
"""Seconds between two looks at the memory of workers that are at work."""


@dataclass(slots=True, eq=False)
class _Seat:
    """One worker and the episode it is playing, if any.

    ``starting`` until it has made its environment, ``fresh`` until it has been given an episode; ``thinking`` while an
    answer of the policy is to come.
    """

    worker: Worker
    starting: bool = True
    fresh: bool = True
    job: Job | None = None
    steps: list[Step] = field(default_factory=list)
    prompt: Prompt | None = None
    response: Response | None = None
    thinking: bool = False
    seconds: float = 0.0
    asked: float = 0.0


class _Rollout:
    """The state of one :func:`play`: seats, waiting jobs, and how often each was tried."""

    def __init__(self, workers: Workers, policy: Policy, jobs: Iterable[Job], options: PlayOptions) -> None:
        self.workers, self.policy, self.options = workers, policy, options
        self.waiting = deque(jobs)
        self.failures: dict[Job, int] = {}
        self.failed_starts = self.lost_starts = 0
        self.finished: list[Episode] = []
        self.checked_memory = time.monotonic()
        self.seats: list[_Seat] = []
        self.calls: Calls[_Seat] | None = Calls(policy.submit) if isinstance(policy, Submits) else None
        for _ in range(min(options.workers, len(self.waiting))):
            self._take_seat()

    # -- one turn of the loop ----------------------------------------------------------------------

    def turn(self) -> None:
        """Take in who is ready, let the policy act, hand out waiting jobs."""
        seats = self._wait()
        if self.calls is None:
            acting = [seat for seat in seats if self._now_acts(seat)]
            answers = act(self.policy, [_prompt(seat) for seat in acting]) if acting else []
            for seat, answer in zip(acting, answers, strict=True):
                self._answered(seat, answer)
        else:
            self._call(self.calls, seats)
        self._supervise()

    def _wait(self) -> list[_Seat]:
        """Wait until somebody is ready; return the seats whose workers are: episodes under way, then those to begin.

        Among these, first who was asked first. Beginning an episode can take long (a game is loaded): done in between,
        it keeps the others going, and episodes that all ended at once do not stay in step forever.
        """
        now = time.monotonic()
        asked = {seat.worker: seat for seat in self.seats if not seat.thinking}
        nearest = min((worker.deadline for worker in asked), default=now + 1.0)
        found = ready(asked, min(1.0, max(0.0, nearest - now)), self.calls)
        return sorted((asked[worker] for worker in found), key=lambda seat: (seat.response is None, seat.asked))

    def _call(self, calls: Calls[_Seat], seats: list[_Seat]) -> None:
        """Ask the policy for each seat as soon as it is ready; hand on the answers that are there.

        Environments in this process work here, one after the other. So that answers need not wait for all of them,
        those that are left over when :data:`SHARE` has passed stay ready for the next turn.
        """
        end = time.monotonic() + SHARE
        for seat in seats:
            if self._now_acts(seat):
                seat.thinking = True
                calls.submit(seat, _prompt(seat))
            if time.monotonic() > end:
                break
        for seat, answer in calls.take():
            seat.thinking = False
            if seat in self.seats:  # else its worker was replaced meanwhile, and its episode is played again
                self._answered(seat, result_of(self.policy, answer))

    def _now_acts(self, seat: _Seat) -> bool:
        """Take in a worker's reply or failure; return whether its episode now waits for an action."""
        try:
            return self._take_reply(seat)
        except WorkerFailure as failure:
            lost = isinstance(failure, MachineFailure)
            self._replace(seat, str(failure), failed_start=seat.fresh, with_machine=lost)
            return False

    def _take_reply(self, seat: _Seat) -> bool:
        reply = seat.worker.receive()
        seat.seconds += seat.worker.seconds
        if seat.starting:
            seat.starting = False
            self._next_job(seat)
            return False
        observation, reward, terminated, truncated, info = reply
        assert seat.job is not None
        task, trial = seat.job.task, seat.job.trial
        if info["task_id"] != task.id:
            raise WorkerFailure(f"asked for task {task.id}, the worker plays {info['task_id']}")
        if seat.response is not None:
            self._record(seat, reward, terminated, truncated, info)
        goes_on = not (terminated or truncated)
        seed = step_seed(self.options.seed, task.id, trial, len(seat.steps)) if goes_on else 0
        if seat.prompt is None or seat.response is None:
            seat.prompt = Prompt.first(task, observation, info, seed, trial)
        else:
            seat.prompt = seat.prompt.after(seat.response, observation, info, seed)
        if goes_on:
            return True
        self._finish(seat, "success" if info["won"] else "failure")
        self._next_job(seat)
        return False

    def _record(self, seat: _Seat, reward: float, terminated: bool, truncated: bool, info: Info) -> None:
        assert seat.response is not None and seat.prompt is not None
        response = seat.response
        seat.steps.append(
            make_step(
                seat.prompt.observation,
                seat.prompt.info,
                response.action,
                reward,
                terminated,
                truncated,
                info,
                text=response.text,
                details=response.details,
                trace=response.trace,
                max_text=self.options.max_text,
            )
        )

    def _answered(self, seat: _Seat, answer: Response | str) -> None:
        if isinstance(answer, str):
            self._finish(seat, "error", answer)
            self._next_job(seat)
        else:
            seat.response = answer
            self._ask(seat, "step", answer.action)

    # -- jobs ----------------------------------------------------------------------------------------

    def _ask(self, seat: _Seat, command: str, arguments: Any) -> None:
        left = self.options.episode_timeout - seat.seconds
        seat.asked = time.monotonic()
        seat.worker.request(command, arguments, max(0.0, min(self.options.step_timeout, left)))

    def _next_job(self, seat: _Seat) -> None:
        seat.job, seat.response, seat.seconds = None, None, 0.0
        seat.steps, seat.prompt = [], None
        used = seat.worker.memory()
        is_large = used > self.options.memory_limit
        if not self.waiting:
            (self._remove if is_large else self._leave)(seat)
        elif is_large:
            # One that has played may have grown, and makes room for another. A fresh one will be no smaller next time.
            self._replace(seat, f"a worker needs {used:.0f} MB to start, {self._limit_told()}", failed_start=seat.fresh)
        else:
            if seat.fresh:
                self.failed_starts = self.lost_starts = 0
            seat.job, seat.fresh = self.waiting.popleft(), False
            task, trial = seat.job.task, seat.job.trial
            self._ask(seat, "reset", (task.name, stable_seed(self.options.seed, task.id, trial)))

    def _finish(self, seat: _Seat, outcome: str, error: str | None = None) -> None:
        assert seat.job is not None
        task, info = seat.job.task, {} if seat.prompt is None else seat.prompt.info
        tries = self.failures.get(seat.job, 0)
        judged = is_judged(outcome)
        self.finished.append(
            Episode(
                task_id=task.id,
                task_name=task.name,
                task_type=task.type,
                instruction=str(info.get("instruction", "")),
                trial=seat.job.trial,
                outcome=outcome,  # type: ignore[arg-type]
                won=outcome == "success",
                score=float(info["score"]) if judged else 0.0,
                steps=seat.steps,
                final_observation=seat.prompt.observation if judged and seat.prompt else "",
                final_anchor=str(info["anchor"]) if judged else "",
                error=None if error is None else redacted(error),
                timing={"environment_seconds": round(seat.seconds, 4), "attempts": tries + judged},
            )
        )

    # -- supervision ---------------------------------------------------------------------------------

    def _supervise(self) -> None:
        now = time.monotonic()
        check_memory = now - self.checked_memory > MEMORY_SECONDS
        if check_memory:
            self.checked_memory = now
        late = [seat.worker for seat in self.seats if now > seat.worker.deadline]
        answered = ready(late, 0.0) if late else []  # while the policy took its time, and not taken in yet
        for seat in list(self.seats):
            if now > seat.worker.deadline and seat.worker not in answered:
                self._replace(seat, self._overdue(seat), failed_start=seat.fresh)
            elif check_memory and (used := seat.worker.memory()) > self.options.memory_limit:
                self._replace(seat, f"the worker grew to {used:.0f} MB, {self._limit_told()}", failed_start=seat.fresh)

    def _overdue(self, seat: _Seat) -> str:
        if seat.starting:
            return f"the worker did not start within {self.workers.start_timeout:g} s"
        if seat.seconds + time.monotonic() - seat.asked >= self.options.episode_timeout:
            return f"the episode took more than {self.options.episode_timeout:g} s"
        return f"a step took more than {self.options.step_timeout:g} s"

    def _limit_told(self) -> str:
        return f"and the limit is {self.options.memory_limit:g} MB (memory_limit): raise it"

    def _replace(self, seat: _Seat, why: str, *, failed_start: bool, with_machine: bool = False) -> None:
        """Throw the worker away; play its episode again, or give it up after the last attempt.

        Every way through here counts towards an end, or follows an episode that has ended: there is no other loop.
        """
        job = seat.job
        if failed_start:
            # Until a cluster notices that a machine is gone, workers are placed there too: no fault of the environment.
            self.lost_starts += with_machine
            self.failed_starts += not with_machine
            if self.failed_starts >= self.options.attempts or self.lost_starts >= LOSSES * len(self.seats):
                raise UserError(f"workers cannot start the environment {self.workers.recipe.environment.name!r}: {why}")
        elif job is not None:
            self.failures[job] = self.failures.get(job, 0) + 1
            if self.failures[job] >= self.options.attempts:
                self._finish(seat, "error", why)
            else:
                self.waiting.appendleft(job)
        if self.waiting:
            self._renew(seat)
        else:
            self._remove(seat)

    def _take_seat(self) -> None:
        worker, starting = self.workers.take()
        seat = _Seat(worker, starting, fresh=starting, asked=time.monotonic())
        self.seats.append(seat)
        if not starting:
            self._next_job(seat)

    def _renew(self, seat: _Seat) -> None:
        self._remove(seat)
        self._take_seat()

    def _leave(self, seat: _Seat) -> None:
        self.seats.remove(seat)
        self.workers.give_back(seat.worker)

    def _remove(self, seat: _Seat) -> None:
        seat.worker.kill()
        self.seats.remove(seat)

    def close(self) -> None:
        """End every worker that is still at work, and ask the policy nothing more."""
        if self.calls:
            self.calls.close()
        for seat in list(self.seats):
            self._remove(seat)


def _prompt(seat: _Seat) -> Prompt:
    assert seat.prompt is not None
    return seat.prompt


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
            f"policy {policy.name!r} ran out of memory when it was asked for {prompts} actions at once: lower workers "
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


def play(
    workers: Workers,
    policy: Policy,
    jobs: Iterable[Job],
    options: PlayOptions,
    on_finished: Callable[[list[Episode]], None],
) -> None:
    """Play every job once and hand finished episodes to ``on_finished``, in the order they finish, each once.

    ``workers`` keeps those that are idle at the end; all others are ended, also when this raises.

    Raises:
        UserError: the environment cannot be started, or the policy cannot work; what was finished was handed on.
    """
    rollout = _Rollout(workers, policy, jobs, options)
    try:
        while rollout.seats:
            try:
                rollout.turn()
            finally:  # also what a turn finished before it failed
                if rollout.finished:
                    on_finished(rollout.finished)
                    rollout.finished = []
    finally:
        rollout.close()
