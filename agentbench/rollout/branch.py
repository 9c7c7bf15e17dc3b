"""Trees of episodes: some are played from the start, and branches go on from steps of those that are there.

A round scores every step that was played, and from the best of each tree one branch begins: it goes back to before that
step, by a snapshot, or where the environment has none by replaying the actions, and plays on to the end with random
numbers of its own. What comes before is neither played nor asked of the policy again.

With a budget no task takes more environment steps than it says: an episode or a branch only begins where one that runs
to the step limit would still fit in. That makes trees and chains comparable: both use up the same, as far as whole
episodes allow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from agentbench.rollout.jobs import Job, Keep, PlayOptions, Point, Start
from agentbench.rollout.play import play
from agentbench.rollout.pool import Workers
from agentbench.runs.episodes import Episode
from agentbench.runs.provenance import stable_seed
from agentbench.runs.trees import whole
from agentbench.worker.host import digest_of_course, play_command
from envs.base.errors import UserError
from envs.contract import Task, TextEnv
from policies.contract import Policy

Scores = npt.NDArray[np.float64]
Score = Callable[[Sequence[Episode], int], list[Scores]]
"""From the episodes of a task, a branch after its parent, and the number of the round: a number for each step that an
episode played itself. Branches begin before the steps with the highest ones."""


@dataclass(frozen=True, slots=True)
class TreeOptions:
    """Shape of the trees of a task.

    Attributes:
        trees: episodes from the start, at least 1; each is the first of a tree.
        forks: branches that a tree gets in a round.
        rounds: how often branches are chosen; those of one round are played side by side.
        depth: no branch begins at this step of its course or later; None: anywhere.
        budget: environment steps of a task, at most; None: no bound.
        longest: steps of the longest episode (the environment's ``max_steps``).
        snapshots: whether the environment goes back by snapshots; else actions are replayed.

    Raises:
        UserError: the budget is below one episode.
    """

    trees: int
    forks: int
    rounds: int
    longest: int
    depth: int | None = None
    budget: int | None = None
    snapshots: bool = True

    def __post_init__(self) -> None:
        if self.budget is not None and self.budget < self.longest:
            raise UserError(
                f"step_budget = {self.budget} is below one episode, which may take {self.longest} steps: raise it"
            )


def grow(
    workers: Workers,
    policy: Policy,
    tasks: Sequence[Task],
    tree: TreeOptions,
    options: PlayOptions,
    score: Score,
    stopped: Callable[[], None] = lambda: None,
) -> list[Episode]:
    """Play the trees of some tasks and return their episodes, by task and trial.

    Trials 0 … ``trees - 1`` are played from the start; branches follow, round by round. What comes out depends on the
    seed of ``options`` and nothing else: not on the number of workers or the order in which episodes end.

    Args:
        workers, policy, options: as for :func:`agentbench.rollout.play.play`; what is kept is decided here.
        tasks: different ones.
        tree: how many episodes, and from where.
        score: which steps are branched at.
        stopped: called when episodes finish; raises where no more are wanted.
    """
    keep: Keep = "nothing" if not tree.forks else "snapshots" if tree.snapshots else "prompts"
    options = replace(options, keep=keep)
    groves = [_Grove(task, tree) for task in tasks]

    def played(jobs: Iterable[Job]) -> bool:
        """Play jobs of all tasks together; return whether there were any."""
        jobs = list(jobs)
        finished: dict[str, list[Episode]] = defaultdict(list)

        def collect(episodes: list[Episode]) -> None:
            stopped()
            for episode in episodes:
                finished[episode.task_id].append(episode)

        play(workers, policy, jobs, options, collect)
        for grove in groves:
            grove.add(finished[grove.task.id])
        return bool(jobs)

    while played(job for grove in groves for job in grove.roots()):
        pass
    for number in range(tree.rounds):
        if not played(job for grove in groves for job in grove.branches(score, number)):
            break
    return sorted((episode for grove in groves for episode in grove.bare()), key=lambda episode: episode.key)


class _Grove:
    """The trees of one task as they grow."""

    def __init__(self, task: Task, tree: TreeOptions) -> None:
        self.task, self.tree = task, tree
        self.episodes: list[Episode] = []
        self._asked = 0  # episodes that were asked for so far: the number of the next trial
        self._root: dict[int, int] = {}
        self._forked: set[tuple[int, int]] = set()

    def add(self, episodes: Iterable[Episode]) -> None:
        self.episodes += sorted(episodes, key=lambda episode: episode.trial)

    def roots(self) -> list[Job]:
        """Return the episodes from the start that are still to be played and surely fit into the budget."""
        count = self.tree.trees - self._asked
        if self.tree.budget is not None:
            count = min(count, self._left() // self.tree.longest)
        jobs = [Job(self.task, self._asked + number) for number in range(count)]
        for job in jobs:
            self._root[job.trial] = job.trial
        self._asked += len(jobs)
        return jobs

    def branches(self, score: Score, number: int) -> list[Job]:
        """Return the branches of a round, as far as they surely fit into the budget."""
        judged = [episode for episode in self.episodes if episode.is_judged]
        if not self.tree.forks or not judged:
            return []
        places: dict[int, list[tuple[float, int, int]]] = defaultdict(list)
        for episode, scores in zip(judged, score(judged, number), strict=True):
            for index, own in enumerate(scores):
                step = episode.fork + index
                is_allowed = self.tree.depth is None or step < self.tree.depth
                if is_allowed and (episode.trial, step) not in self._forked:
                    places[self._root[episode.trial]].append((-float(own), episode.trial, step))
        courses = {episode.trial: episode for episode in whole(judged)}
        left, jobs = self._left(), []
        for root in sorted(places):
            for _, trial, step in sorted(places[root])[: self.tree.forks]:
                left -= self.tree.longest - step
                if left < 0:
                    break
                jobs.append(self._branch(courses[trial], step))
        return jobs

    def _branch(self, course: Episode, step: int) -> Job:
        self._forked.add((course.trial, step))
        point = course.steps[step].point
        assert isinstance(point, Point)
        rewards = [0.0, *(each.reward for each in course.steps[:step])]
        seen = [(each.observation, each.anchor, reward) for each, reward in zip(course.steps, rewards, strict=False)]
        root = self._root[self._asked] = self._root[course.trial]
        start = Start(course.trial, point, root, digest_of_course(seen[: step + 1]))
        self._asked += 1
        return Job(self.task, self._asked - 1, start)

    def _left(self) -> int:
        budget = self.tree.budget
        used = sum(len(episode.steps) for episode in self.episodes)
        return self.tree.longest * 10**6 if budget is None else budget - used

    def bare(self) -> list[Episode]:
        """Return the episodes without what was kept for branches."""
        for episode in self.episodes:
            for step in episode.steps:
                step.point = None
        return self.episodes


# -- which steps are branched at ---------------------------------------------------------------------------


def uniform(seed: int) -> Score:
    """Score steps at random; the first of a course, where a branch would share nothing, comes last."""

    def score(episodes: Sequence[Episode], number: int) -> list[Scores]:
        found = []
        for episode in episodes:
            generator = np.random.default_rng(stable_seed(seed, "fork", episode.task_id, episode.trial, number))
            drawn = generator.random(len(episode.steps))
            if episode.fork == 0:
                drawn[0] -= 1
            found.append(drawn)
        return found

    return score


def first_invalid(seed: int) -> Score:
    """Score the first invalid action of a course highest; all else at random."""

    def score(episodes: Sequence[Episode], number: int) -> list[Scores]:
        found = uniform(seed)(episodes, number)
        for episode, course, scores in zip(episodes, whole(episodes), found, strict=True):
            invalid = [index for index, step in enumerate(course.steps) if not step.is_valid]
            if invalid and invalid[0] >= episode.fork:
                scores[invalid[0] - episode.fork] += 2
        return found

    return score


# -- how an environment goes back --------------------------------------------------------------------------


def goes_back(environment: TextEnv) -> bool:
    """Try out whether an environment goes back by snapshots; if not, whether it at least repeats an episode.

    Returns:
        whether it has snapshots; False: episodes are replayed.

    Raises:
        UserError: neither.
    """
    task = environment.tasks[0]
    try:
        first = play_command(environment, "reset", (task.name, 0))
        snapshot = environment.snapshot()
        play_command(environment, "step", _some_action(first[4]))
        again = play_command(environment, "restore", snapshot)
        if (again[0], again[4]["anchor"]) == (first[0], first[4]["anchor"]):
            return True
    except Exception:  # whatever it raises: it cannot
        pass
    courses = []
    for _ in range(2):
        moments = [play_command(environment, "reset", (task.name, 0))]
        while len(moments) < 4 and not (moments[-1][2] or moments[-1][3]):
            moments.append(play_command(environment, "step", _some_action(moments[-1][4])))
        courses.append(digest_of_course([(moment[0], str(moment[4]["anchor"]), moment[1]) for moment in moments]))
    if courses[0] != courses[1]:
        raise UserError(
            f"environment {environment.name!r} has no snapshots and does not repeat an episode, so nothing can branch "
            "off: set rollouts = chain"
        )
    return False


def _some_action(info: dict[str, object]) -> str:
    offered = info.get("admissible_actions") or info.get("example_actions") or ["look"]
    return str(offered[0])  # type: ignore[index]
