"""AppWorld as a Gymnasium text environment: the action is code, the observation is what it printed.

Trivedi et al. 2024, "AppWorld: A Controllable World of Apps and People for Benchmarking Interactive Coding Agents".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Le
from gymnasium.envs.registration import EnvSpec

from envs.appworld.anchors import Anchor, extend
from envs.appworld.examples import EXAMPLES
from envs.appworld.floor import floor_note
from envs.appworld.layout import VERSION
from envs.appworld.process import Died, Limits, Server
from envs.appworld.tasks import open_tasks
from envs.base.code_blocks import chosen_block, code_blocks, has_statement, is_fenced, with_plain_newlines
from envs.base.digest import digest_of_parts
from envs.base.safe_text import without_half_characters
from envs.contract import MOST_STEPS, Info, RenderMode, Task, TextEnv

FAILED = "Execution failed."
NO_CODE = f"{FAILED} There is no code: give a block with at least one statement."
MAX_DEATHS = 3
"""How often the code of an episode may end the interpreter; then the episode is over, and lost."""

_QUERY = re.compile(r"\bselect\b", re.IGNORECASE)
_START_SECONDS = 60.0
_GRACE = 2.0
_NOTE_LETTERS = 200  # at most, of the line that says how much of an output is left out
_SAVE_SECONDS = 20.0


class _NotRepeatableError(RuntimeError):
    """The same actions did not lead to the same point."""


class AppWorldEnv(TextEnv):
    """Write code against the APIs of nine apps until the task is done; the databases decide whether it is.

    The first observation is the instruction, each later one what the last block of code printed. The code sees
    ``apis``; variables live on between steps. The episode ends with ``apis.supervisor.complete_task(...)`` or after
    ``max_steps``, and is judged then: the reward is 1.0 if every requirement is met. Code that ends or blocks its
    interpreter loses its step alone: the world continues from where it was before.

    Besides the keys of every environment, ``info`` has ``supervisor`` (who asks), ``apps`` (name to description),
    ``error`` (the last step's, or None), ``requirements_passed`` and ``requirements_failed`` (None before the end),
    ``walkthrough`` (code blocks that solve the task, or None), ``background`` and ``example_actions``.

    Args:
        split: ``mini`` (24 tasks of our own in the real engine), or of the official data ``train`` (90), ``dev``
            (57), ``test_normal`` (168), ``test_challenge`` (417).
        anchor: what counts as the same situation: ``calls`` (all API calls in normal form and all outputs so far),
            ``observation`` (the last output alone) or ``database`` (a hash of the tables written to).
        max_steps: the episode is truncated after this many steps.
        step_seconds: seconds that one block of code may run.
        judge_seconds: seconds that the judgement may take; an episode that cannot be judged is an error.
        output_limit: characters of an output that are shown: its first and last half, with a line between.
        memory_mb, file_mb, processes: what the code may use (:class:`envs.appworld.process.Limits`).
        guard: also keep the engine's own list of forbidden functions, as the original does.
        unsafe: play without a sandbox: model-written code then runs with the rights of the user.
        render_mode: ``None`` or ``ansi``.

    Raises:
        UserError: unknown names, or AppWorld or the split's data are not installed.
    """

    name: ClassVar[str] = "appworld"

    def __init__(
        self,
        split: str = "mini",
        anchor: Anchor = "calls",
        max_steps: Annotated[int, Ge(1), Le(MOST_STEPS)] = 50,
        step_seconds: Annotated[int, Ge(1), Le(86_400)] = 30,
        judge_seconds: Annotated[int, Ge(1), Le(86_400)] = 60,
        output_limit: Annotated[int, Ge(1), Le(100_000_000)] = 10_000,
        memory_mb: Annotated[int, Ge(1), Le(10_000_000)] = 3072,
        file_mb: Annotated[int, Ge(1), Le(10_000_000)] = 16,
        processes: Annotated[int, Ge(1), Le(100_000)] = 64,
        guard: bool = True,
        unsafe: bool = False,
        render_mode: RenderMode = None,
    ) -> None:
        super().__init__(max_steps)
        settings: dict[str, Any] = {
            "step_seconds": step_seconds, "judge_seconds": judge_seconds, "output_limit": output_limit,
            "memory_mb": memory_mb, "file_mb": file_mb, "processes": processes,
        }  # fmt: skip
        self.render_mode = render_mode
        settings |= {"split": split, "anchor": anchor, "max_steps": max_steps, "guard": guard, "unsafe": unsafe}
        self.spec = EnvSpec("agentbench/AppWorld-v0", "envs.appworld:AppWorldEnv", kwargs=settings)
        self._split, self._set = split, open_tasks(split)
        self._by_key = {key: task for task in self._set.tasks for key in (task.id, task.name)}
        self.notes = tuple(filter(None, (self._set.protected, "played without a sandbox" if unsafe else "")))
        self.protected = self._set.protected
        self._anchor_kind, self._isolate = anchor, not unsafe
        self._settings = {"seconds": step_seconds, "output_limit": output_limit, "guard": guard}
        self._judge_seconds = float(judge_seconds)
        self._limits = Limits(memory_mb=memory_mb, file_mb=file_mb, processes=processes)
        self._player: Server | None = None
        self._judge: Server | None = None
        self._forget()

    @property
    def tasks(self) -> Sequence[Task]:
        """The tasks of the split in the order of its list; names are ``<scenario>_<variant>``."""
        return self._set.tasks

    @property
    def digest(self) -> str:
        """Short hash of package, data, anchor and limits."""
        parts = (
            "appworld", VERSION, self._set.digest, self._anchor_kind, self.max_steps,
            sorted(self._settings.items()), self._limits,
        )  # fmt: skip
        return digest_of_parts(*parts)

    def find_task(self, key: str) -> Task:
        """Return the task whose id or name is ``key``."""
        return self._by_key.get(key) or super().find_task(key)

    def notes_on(self, tasks: Sequence[Task]) -> Sequence[str]:
        """Say what an agent scores on ``tasks`` that does nothing."""
        return (floor_note(self._split, tasks),)

    def close(self) -> None:
        """End player and judge; the environment may be reset again afterwards."""
        for server in (self._player, self._judge):
            if server is not None:
                server.close()
        self._player = self._judge = None
        super().close()

    # -- an episode --------------------------------------------------------------------------------------

    def _forget(self) -> None:
        """Set everything that an episode gathers to its beginning."""
        self._actions: list[str] = []
        self._deaths = 0
        self._calls_anchor = self._database = ""
        self._error: str | None = None
        self._won, self._score = False, 0.0
        self._passed: list[str] | None = None
        self._failed: list[str] | None = None

    def _start(self, task: Task) -> tuple[str, Info]:
        self._forget()
        reply = self._open_world(task)
        self._about = {
            "instruction": reply["instruction"],
            "supervisor": reply["supervisor"],
            "apps": reply["apps"],
            "datetime": reply["datetime"],
            "walkthrough": self._set.walkthrough(task),
            "background": _background(reply["supervisor"], reply["datetime"]),
            "example_actions": EXAMPLES,
        }
        observation = str(reply["instruction"])
        return observation, self._info(observation)

    def _act(self, action: str) -> tuple[str, float, bool, Info]:
        self._error = None
        try:
            reply = self._execute(action)
        except Died as death:
            observation, over = self._after_death(death)
        else:
            observation, over = reply["output"], reply["completed"]
            if reply["failed"]:
                self._error = observation
        if self._deaths < MAX_DEATHS and (over or self._steps + 1 >= self.max_steps):
            self._evaluate()
        return observation, float(self._won), over, self._info(observation)

    def _save(self) -> Any:
        judged = (self._won, self._score, self._passed, self._failed)
        return (tuple(self._actions), self._database, self._deaths, self._error, judged)

    def _load(self, state: Any) -> Info:
        actions, database, deaths, error, judged = state
        if list(actions) != self._actions or self._player is None or not self._player.has_child:
            self._replay(list(actions), database)
        self._deaths, self._error = deaths, error
        self._won, self._score, self._passed, self._failed = judged
        return self._info(self._observation)

    def _info(self, observation: str) -> Info:
        anchors = {"observation": observation, "calls": self._calls_anchor, "database": self._database}
        return {
            "anchor": anchors[self._anchor_kind],
            "admissible_actions": None,
            "is_valid": self._error is None,
            "won": self._won,
            "score": self._score,
            "error": self._error,
            "requirements_passed": self._passed,
            "requirements_failed": self._failed,
        }

    # -- player and judge ----------------------------------------------------------------------------------

    def _open_world(self, task: Task) -> dict[str, Any]:
        if self._player is None:
            self._player = self._server("player")
        self._player.begin()
        try:
            reply = self._player.ask(_START_SECONDS, command="start", task=task.name, **self._settings)
        except Died as death:
            raise RuntimeError(f"the world of task {task.name} did not start: {death}") from death
        self._calls_anchor, self._database = "", str(reply["digest"])
        return reply

    def _execute(self, action: str) -> dict[str, Any]:
        """Run one action and take in what it did; it counts only if the player lives on."""
        assert self._player is not None
        code = code_of(action)
        if not has_statement(code):
            self._actions.append(action)
            self._calls_anchor = extend(self._calls_anchor, [], NO_CODE)
            return {"output": NO_CODE, "completed": False, "failed": True}
        patience = self._settings["seconds"] + _GRACE
        reply = self._player.ask(patience, command="execute", code=code)
        # The code runs in the process that answers, so that it can answer in its place, in whatever shape.
        try:
            output, database, over = reply["output"], reply["digest"], reply["completed"]
            anchor = extend(self._calls_anchor, reply["calls"], output)
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
            raise self._player.refuse() from None
        is_whole = isinstance(output, str) and isinstance(database, str) and isinstance(over, bool)
        if not is_whole or len(output) > self._settings["output_limit"] + _NOTE_LETTERS:
            raise self._player.refuse()
        self._actions.append(action)
        self._database, self._calls_anchor = database, anchor
        failed = reply.get("failed", output.startswith(FAILED))
        return {**reply, "output": without_half_characters(output), "failed": failed is not False}

    def _after_death(self, death: Died) -> tuple[str, bool]:
        """Bring the world back to where it was before the code that ended it; return observation and terminated."""
        cause = f"it ran for more than {self._settings['seconds']} s" if death.timed_out else "it ended the interpreter"
        if death.told:  # no attack: something that it left cannot be saved or sent
            cause = without_half_characters(f"what it did cannot be read back ({str(death)[:_NOTE_LETTERS]})")
        else:
            self._deaths += 1
        self._error = f"{FAILED} The code was stopped: {cause}."
        if self._deaths >= MAX_DEATHS:
            return f"{self._error} This was the last time that was allowed: the task is over.", True
        try:
            self._replay(self._actions, self._database)
        except _NotRepeatableError:  # earlier code did what cannot be done again; the agent must not gain by that
            self._deaths = MAX_DEATHS
            return f"{self._error} What was done before cannot be repeated: the task is over.", True
        return f"{self._error} Nothing that it did has happened; variables are as they were before.", False

    def _replay(self, actions: list[str], database: str) -> None:
        """Play the actions in a fresh world, and check that they led to the same databases."""
        assert self._task is not None
        self._open_world(self._task)
        self._actions = []
        try:
            for action in actions:
                self._execute(action)
        except Died as death:
            raise _NotRepeatableError(
                f"playing the episode again failed at step {len(self._actions)}: {death}"
            ) from death
        if self._database != database:
            raise _NotRepeatableError("playing the episode again led to other databases than the first time")

    def _evaluate(self) -> None:
        assert self._player is not None and self._task is not None
        try:
            files = self._player.ask(_SAVE_SECONDS, command="save").get("files")
        except Died:  # the world is whole after every step, so the agent's code spoilt it
            return
        if not isinstance(files, dict) or not all(isinstance(text, str) for text in files.values()):
            self._error = "the databases were changed past the APIs: they cannot be read"
            return
        if self._judge is None:
            self._judge = self._server("judge")
        self._judge.begin()
        try:
            result = self._judge.ask(self._judge_seconds, command="evaluate", task=self._task.name, files=files)
        except Died as death:
            if death.timed_out and any(map(_QUERY.search, files.values())):  # the engine records no queries
                self._error = "the databases were changed past the APIs: they take too long to read"
                return
            raise RuntimeError(f"the judge failed on task {self._task.name}: {death}") from death
        finally:
            self._judge.end()
        if "tampered" in result:
            self._error = f"the databases were changed past the APIs: {result['tampered']}"
            return
        self._won = bool(result["success"])
        self._score = len(result["passes"]) / result["total"]
        self._passed, self._failed = result["passes"], result["failures"]

    def _server(self, role: Any) -> Server:
        return Server(self._set.place, role, self._set.collection, self._limits, isolate=self._isolate)


def _background(supervisor: dict[str, str], datetime: str) -> str:
    name = f"{supervisor['first_name']} {supervisor['last_name']}"
    reached = f"email {supervisor['email']}, phone {supervisor['phone_number']}"
    return f"You work for {name} ({reached}). It is {datetime.replace('T', ' ')}."


def code_of(action: str) -> str:
    """Return the code of an action: all of it, or if it is an answer with fenced blocks, the block that counts."""
    if not is_fenced(action):
        return with_plain_newlines(action)
    blocks = code_blocks(action)
    return chosen_block(blocks)[0].code + "\n" if blocks else ""
