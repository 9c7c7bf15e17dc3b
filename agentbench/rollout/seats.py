"""Which episode plays in which process, and what becomes of it when that process hangs, dies or grows too large.

An episode plays in a *seat*: a slot of a worker. A loss costs every episode that plays in the worker at that moment one
try; each is played again from its start. The one that is at fault, if that is known, plays its next try alone in a
process, and so does every other after a second loss, or where one try is all that is left: so one bad task can never
make an error of another.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from agentbench.rollout.contract import LOSSES
from agentbench.rollout.jobs import Job, PlayOptions
from agentbench.rollout.pool import Home, Workers
from agentbench.runs.episodes import Step
from envs.base.errors import UserError
from policies.contract import Prompt, Response

MEMORY_SECONDS = 1.0
"""Seconds between two looks at the memory of workers that are at work."""

ROOM = 0.75
"""Share of the room between a new worker's memory and the limit from which on no more episodes begin in it."""

SHARED_LOSSES = 2
"""So often an episode may be lost with others before it plays alone."""


@dataclass(slots=True, eq=False)
class Seat:
    """One environment of a worker and the episode it is playing, if any.

    Attributes:
        is_starting: until the environment is made.
        is_thinking: while an answer of the policy is to come.
        seconds: that the environment took for this episode so far.
        allowed: seconds that the environment may take for what it was asked last.
    """

    home: Home
    slot: int
    is_starting: bool = False
    job: Job | None = None
    steps: list[Step] = field(default_factory=list)
    prompt: Prompt | None = None
    snapshot: tuple[Any, ...] | None = None
    response: Response | None = None
    is_thinking: bool = False
    seconds: float = 0.0
    allowed: float = 0.0

    @property
    def is_taken(self) -> bool:
        """Whether it is still there: its worker may have been lost meanwhile."""
        return self.home.seats.get(self.slot) is self


class Seats:
    """The seats of one rollout, the jobs that wait for one, and how often each was tried.

    Args:
        workers: where the processes come from.
        jobs: what is to be played.
        options: how many, and within which limits.
        begin: called with a seat that has got a job.
        give_up: called with a seat whose job was lost for the last time, and why.
    """

    def __init__(
        self,
        workers: Workers,
        jobs: Iterable[Job],
        options: PlayOptions,
        begin: Callable[[Seat], None],
        give_up: Callable[[Seat, str], None],
    ) -> None:
        self.workers, self.options = workers, options
        self.homes: list[Home] = []
        self.losses: dict[Job, int] = {}
        self._begin, self._give_up = begin, give_up
        self._waiting, self._alone = deque(jobs), deque[Job]()
        self._failed_starts = self._lost_starts = 0
        self._parallel, self._processes = options.shape
        if workers.inline:
            self._processes = 1
        elif options.attempts == 1:  # whoever was lost with another could not be played again
            self._processes = self._parallel
        self._shares = self._parallel > self._processes and not workers.inline
        self._in_one = math.ceil(self._parallel / self._processes)
        limits = options.step_timeout, options.episode_timeout, workers.start_timeout
        self.period = min(1.0, max(0.005, min(limits) / 50))
        self._looked = self._looked_at_memory = time.monotonic()

    # -- who sits where -----------------------------------------------------------------------------

    def fill(self) -> bool:
        """Open seats for the jobs that wait, and send to the workers what is noted for them.

        Returns:
            whether any seat is in use: if none is, all has been played.
        """
        while (count := self._count()) < self._parallel and (self._waiting or self._alone):
            home = self._home_with_room()
            if home is None:
                break
            self._open(home)
        for home in self.homes:
            home.worker.send()
        return count > 0

    def ask(self, seat: Seat, command: str, arguments: Any, steps: int = 1) -> None:
        """Note what the environment of a seat is to do, and how many steps that is."""
        left = self.options.episode_timeout - seat.seconds
        seat.allowed = max(0.0, min(steps * self.options.step_timeout, left))
        seat.home.worker.request(seat.slot, command, arguments)

    def next_job(self, seat: Seat) -> None:
        """Begin the next job in a seat whose episode has ended, or leave it."""
        home, limit = seat.home, self.options.memory_limit
        seat.job, seat.response, seat.prompt = None, None, None
        seat.steps, seat.seconds = [], 0.0
        used = home.worker.memory()
        if home.is_fresh and used > limit:
            # It will be no smaller next time.
            self.lose(home, f"a worker needs {used:.0f} MB to start, {self._limit_told()}")
            return
        if used > home.most:  # one that has played and grown makes room for another
            home.is_leaving = True
        jobs = self._alone if home.is_alone else self._waiting
        if not jobs or home.is_leaving or (not home.is_alone and self._wants_alone()):
            self._leave(seat)
            return
        if home.is_fresh:
            home.is_fresh, home.most = False, used + ROOM * (limit - used)
            self._failed_starts = self._lost_starts = 0
        seat.job = jobs.popleft()
        self._begin(seat)

    def _count(self) -> int:
        return sum(len(home.seats) for home in self.homes)

    def _home_with_room(self) -> Home | None:
        """Return where the next seat may be opened: in a worker that has the fewest, or in a new one."""
        if self._wants_alone():
            return self._new_home(is_alone=True)
        if len(self._waiting) <= self._opening(is_alone=False):
            return None
        shared = [home for home in self.homes if not (home.is_alone or home.is_leaving)]
        if len(shared) < self._processes:
            return self._new_home()
        home = min(shared, key=lambda home: len(home.seats))
        return home if len(home.seats) < self._in_one else None

    def _opening(self, *, is_alone: bool) -> int:
        """Count the seats whose environment is still to be made: each will take a job."""
        homes = (home for home in self.homes if home.is_alone == is_alone)
        return sum(seat.is_starting for home in homes for seat in home.seats.values())

    def _wants_alone(self) -> bool:
        """Return whether a worker is to be started for a job that plays alone."""
        if len(self._alone) <= self._opening(is_alone=True):
            return False
        return sum(home.is_alone for home in self.homes) < self._processes

    def _new_home(self, *, is_alone: bool = False) -> Home:
        home = self.workers.take()
        home.is_alone = is_alone
        self.homes.append(home)
        return home

    def _open(self, home: Home) -> None:
        if home.free:
            seat = Seat(home, home.free.pop())
            home.seats[seat.slot] = seat
            self.next_job(seat)
            return
        seat = home.seats[home.slots] = Seat(home, home.slots, is_starting=True, allowed=self.workers.start_timeout)
        home.slots += 1
        home.worker.request(seat.slot, "make", self.workers.recipe.order)

    def _leave(self, seat: Seat) -> None:
        home = seat.home
        del home.seats[seat.slot]
        home.free.append(seat.slot)
        if not home.seats and (home.is_leaving or home.is_alone):
            self._discard(home)

    def _discard(self, home: Home) -> None:
        home.seats.clear()
        self.homes.remove(home)
        self.workers.discard(home)

    # -- losses -------------------------------------------------------------------------------------

    def lose(self, home: Home, why: str, culprit: Seat | None = None, *, with_machine: bool = False) -> None:
        """Throw a worker away; its episodes are played again, or given up after the last try.

        Every way through here counts towards an end: there is no other loop.
        """
        seats = list(home.seats.values())
        self._discard(home)
        playing = [seat for seat in seats if seat.job is not None]
        if seats and not playing:
            self._count_failed_start(why, with_machine=with_machine)
        for seat in reversed(playing):  # so that the first is the first again
            self._lose_episode(seat, why, is_culprit=seat is culprit)

    def drop(self, seat: Seat, why: str) -> None:
        """Throw one environment away that failed; the others of its worker play on."""
        home = seat.home
        if home.worker.connection is not None and (home.is_alone or self._in_one == 1):
            self.lose(home, why, seat)
            return
        del home.seats[seat.slot]
        home.worker.request(seat.slot, "close", None)
        if seat.job is None:
            self._count_failed_start(why)
        else:
            self._lose_episode(seat, why, is_culprit=True)

    def _count_failed_start(self, why: str, *, with_machine: bool = False) -> None:
        # Until a cluster notices that a machine is gone, workers are placed there too: no fault of the environment.
        self._lost_starts += with_machine
        self._failed_starts += not with_machine
        if self._failed_starts >= self.options.attempts or self._lost_starts >= LOSSES * self._processes:
            raise UserError(f"workers cannot start the environment {self.workers.recipe.environment.name!r}: {why}")

    def _lose_episode(self, seat: Seat, why: str, *, is_culprit: bool) -> None:
        job = seat.job
        assert job is not None
        losses = self.losses[job] = self.losses.get(job, 0) + 1
        if losses >= self.options.attempts:
            self._give_up(seat, why)
        elif self._shares and (is_culprit or losses >= min(SHARED_LOSSES, self.options.attempts - 1)):
            self._alone.appendleft(job)
        else:
            self._waiting.appendleft(job)

    # -- supervision ---------------------------------------------------------------------------------

    def supervise(self) -> None:
        """Look for workers that take too long or have grown too large."""
        now = time.monotonic()
        if now - self._looked < self.period:
            return
        self._looked = now
        check_memory = now - self._looked_at_memory > MEMORY_SECONDS
        if check_memory:
            self._looked_at_memory = now
        for home in list(self.homes):
            late = self._late(home)
            if late:
                self.lose(home, *late)
            elif check_memory and (used := home.worker.memory()) > self.options.memory_limit:
                culprit = self._at_work(home)
                self.lose(home, f"the worker grew to {used:.0f} MB, {self._limit_told()}", culprit)

    def culprit(self, home: Home) -> Seat | None:
        """Return the seat whose environment is, or was, at work in a worker; None: not known."""
        return self._at_work(home) or (next(iter(home.seats.values())) if len(home.seats) == 1 else None)

    def _at_work(self, home: Home) -> Seat | None:
        busy = home.worker.busy()
        return None if busy is None or busy[0] is None else home.seats.get(busy[0])

    def _late(self, home: Home) -> tuple[str, Seat | None] | None:
        """Return why a worker is to be given up, and which seat is at fault; None: it is in time."""
        busy = home.worker.busy()
        if busy is None:
            return None
        slot, since = busy
        asked = [seat for seat in home.seats.values() if not seat.is_thinking]
        seat = home.seats.get(slot) if slot is not None else asked[0] if len(asked) == 1 else None
        if seat is not None:
            allowed = seat.allowed
        else:
            allowed = max((each.allowed for each in asked), default=self.options.step_timeout)
        took = time.monotonic() - since
        if took <= allowed or home.worker.busy() != busy:
            return None
        if slot is None and home in self.workers.wait(0.0):
            return None  # it answered while the policy took its time, and that is not taken in yet
        return self._overdue(seat, asked, took), seat

    def _overdue(self, seat: Seat | None, asked: list[Seat], took: float) -> str:
        if all(each.is_starting for each in ([seat] if seat else asked)):
            return f"the worker did not start within {self.workers.start_timeout:g} s"
        if seat is not None and seat.seconds + took >= self.options.episode_timeout:
            return f"the episode took more than {self.options.episode_timeout:g} s"
        return f"a step took more than {self.options.step_timeout:g} s"

    def _limit_told(self) -> str:
        return f"and the limit is {self.options.memory_limit:g} MB (memory_limit): raise it"

    def close(self) -> None:
        """End every worker that is still at work, and give the others back."""
        for home in self.homes:
            if home.seats or home.is_alone or home.is_leaving:
                self.workers.discard(home)
            else:
                self.workers.give_back(home)
        self.homes.clear()
