"""Play episodes: whoever is ready acts next, in the largest batch that is ready.

Episodes are independent. A slow answer of a policy that :class:`~policies.contract.Submits` holds up nobody but its own
episode: such a policy is asked for each prompt on its own. An episode whose worker hangs, dies or grows too large, or
whose environment raises, is played again from its start (:mod:`agentbench.rollout.seats`); after
:attr:`PlayOptions.attempts` tries its outcome is ``error``, never ``failure``: the agent was not judged.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from agentbench.rollout.answers import act, result_of
from agentbench.rollout.calls import Calls
from agentbench.rollout.contract import MachineFailure, Reply, WorkerFailure
from agentbench.rollout.jobs import Job, PlayOptions, Point, Start
from agentbench.rollout.pool import Home, Workers
from agentbench.rollout.seats import Seat, Seats
from agentbench.runs.episodes import Episode, is_judged, make_step
from agentbench.runs.provenance import stable_seed, step_seed
from agentbench.worker.frames import SHARE
from envs.base.safe_text import redacted
from envs.contract import Info
from policies.contract import Policy, Prompt, Response, Submits


class _Rollout:
    """The state of one :func:`play`: seats, the policy, and what has finished."""

    def __init__(self, workers: Workers, policy: Policy, jobs: Iterable[Job], options: PlayOptions) -> None:
        self.policy, self.options, self.workers = policy, options, workers
        self.finished: list[Episode] = []
        self.calls: Calls[Seat] | None = Calls(policy.submit) if isinstance(policy, Submits) else None
        self.seats = Seats(workers, jobs, options, self._begin, self._give_up)
        self._watch = contextlib.ExitStack()
        if self.calls:
            self._watch.enter_context(workers.watch(self.calls))

    # -- one turn of the loop ----------------------------------------------------------------------

    def turn(self) -> None:
        """Take in who is ready, let the policy act, look after those that are late."""
        homes = self.workers.wait(self.seats.period)
        if self.calls is None:
            acting = [seat for home in homes for seat in self._take(home)]
            answers = act(self.policy, [_prompt(seat) for seat in acting]) if acting else []
            for seat, answer in zip(acting, answers, strict=True):
                self._answered(seat, answer)
        else:
            self._call(self.calls, homes)
        self.seats.supervise()

    def _call(self, calls: Calls[Seat], homes: list[Home]) -> None:
        """Ask the policy for each seat as soon as it is ready; hand on the answers that are there.

        Environments in this process work here, one after the other. So that answers need not wait for all of them,
        those that are left over when :data:`SHARE` has passed stay ready for the next turn.
        """
        for home in homes:
            for seat in self._take(home, SHARE):
                seat.is_thinking = True
                calls.submit(seat, _prompt(seat))
        for seat, answer in calls.take():
            seat.is_thinking = False
            if seat.is_taken:  # else its worker was lost meanwhile, and its episode is played again
                self._answered(seat, result_of(self.policy, answer))

    def _take(self, home: Home, seconds: float = float("inf")) -> list[Seat]:
        """Take in a worker's replies or failure; return the seats whose episodes now wait for an action."""
        if home not in self.seats.homes:
            return []
        try:
            replies = home.worker.receive(seconds)
        except WorkerFailure as failure:
            lost = isinstance(failure, MachineFailure)
            culprit = None if lost else self.seats.culprit(home)
            self.seats.lose(home, str(failure), culprit, with_machine=lost)
            return []
        acting, is_new = [], False
        for reply in replies:
            seat = home.seats.get(reply.slot)
            if seat is None:  # its worker was lost, or it left
                continue
            is_new |= seat.is_starting
            try:
                if self._take_reply(seat, reply):
                    acting.append(seat)
            except WorkerFailure as failure:
                self.seats.drop(seat, str(failure))
        if is_new and home.worker.connection is None:
            # Who was only made now begins at once, as one would that was there already: in this process the batches,
            # and with them the rounding of a policy's sums, do not depend on what was played before.
            acting += self._take(home, seconds)
        return acting

    def _take_reply(self, seat: Seat, reply: Reply) -> bool:
        if reply.fault is not None:
            raise WorkerFailure(reply.fault)
        if seat.is_starting:
            seat.is_starting = False
            self.seats.next_job(seat)
            return False
        seat.seconds += reply.seconds
        observation, reward, terminated, truncated, info, *snapshot = reply.value
        assert seat.job is not None
        task, trial, start = seat.job.task, seat.job.trial, seat.job.start
        if info["task_id"] != task.id:
            raise WorkerFailure(f"asked for task {task.id}, the worker plays {info['task_id']}")
        if seat.response is not None:
            self._record(seat, reward, terminated, truncated, info)
        goes_on = not (terminated or truncated)
        index = len(seat.steps) + (start.fork if start else 0)
        seed = step_seed(self.options.seed, task.id, trial, index) if goes_on else 0
        seat.snapshot = snapshot[0] if snapshot else None
        if seat.prompt is None or seat.response is None:
            seat.prompt = Prompt.first(task, observation, info, seed, trial)
            if start is not None:
                seat.prompt = _branched(seat.prompt, start)
        else:
            seat.prompt = seat.prompt.after(seat.response, observation, info, seed)
        if goes_on:
            return True
        self._finish(seat, "success" if info["won"] else "failure")
        self.seats.next_job(seat)
        return False

    def _record(self, seat: Seat, reward: float, terminated: bool, truncated: bool, info: Info) -> None:
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
        if self.options.keep != "nothing":
            seat.steps[-1].point = Point(seat.prompt, seat.snapshot)

    def _answered(self, seat: Seat, answer: Response | str) -> None:
        if not seat.is_taken:  # a loss that was noticed as others of the same worker were taken in
            return
        if isinstance(answer, str):
            self._finish(seat, "error", answer)
            self.seats.next_job(seat)
        else:
            seat.response = answer
            self._ask(seat, "step", answer.action)

    # -- jobs ----------------------------------------------------------------------------------------

    def _begin(self, seat: Seat) -> None:
        assert seat.job is not None
        task, start = seat.job.task, seat.job.start
        if start is None:
            self._ask(seat, "reset", (task.name, stable_seed(self.options.seed, task.id, seat.job.trial)))
        elif start.point.snapshot is not None:
            self._ask(seat, "restore", start.point.snapshot)
        else:
            actions = [turn.action for turn in start.point.prompt.history]
            seed = stable_seed(self.options.seed, task.id, start.root)
            self._ask(seat, "replay", (task.name, seed, actions, start.digest), 1 + len(actions))

    def _ask(self, seat: Seat, command: str, arguments: Any, steps: int = 1) -> None:
        """Ask for a moment, and for the snapshot after it where those are kept."""
        if self.options.keep == "snapshots":
            command, arguments = "mark", (command, arguments)
        self.seats.ask(seat, command, arguments, steps)

    def _give_up(self, seat: Seat, why: str) -> None:
        self._finish(seat, "error", why)

    def _finish(self, seat: Seat, outcome: str, error: str | None = None) -> None:
        assert seat.job is not None
        task, info = seat.job.task, {} if seat.prompt is None else seat.prompt.info
        tries = self.seats.losses.get(seat.job, 0)
        judged, start = is_judged(outcome), seat.job.start
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
                **({} if start is None else _of_branch(start)),
            )
        )

    def close(self) -> None:
        """End every worker that is still at work, and ask the policy nothing more."""
        self._watch.close()
        if self.calls:
            self.calls.close()
        self.seats.close()


def _branched(found: Prompt, start: Start) -> Prompt:
    """Return the first prompt of a branch: what its parent saw there, with numbers of its own.

    Raises:
        WorkerFailure: the environment is somewhere else.
    """
    there = start.point.prompt
    if (found.observation, found.info["anchor"]) != (there.observation, there.info["anchor"]):
        raise WorkerFailure(f"a branch of trial {start.parent} does not begin where that one was")
    return replace(there, seed=found.seed, trial=found.trial)


def _of_branch(start: Start) -> dict[str, Any]:
    by = "replay" if start.point.snapshot is None else "snapshot"
    return {"parent": start.parent, "fork": start.fork, "fork_by": by}


def _prompt(seat: Seat) -> Prompt:
    assert seat.prompt is not None
    return seat.prompt


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
        while rollout.seats.fill():
            try:
                rollout.turn()
            finally:  # also what a turn finished before it failed
                if rollout.finished:
                    on_finished(rollout.finished)
                    rollout.finished = []
    finally:
        rollout.close()
