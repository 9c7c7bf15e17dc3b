"""What goes over the wire: one action of text; an observation that says all that an agent may know."""

from __future__ import annotations

from openenv.core.env_server.types import Action, Observation, State
from pydantic import Field


class TextAction(Action):  # type: ignore[misc]
    """One action. It has no other required field, so a model's plain answer can be one."""

    action: str = Field(description="what the agent does: any text; the environment says whether it understood it")


class TextObservation(Observation):  # type: ignore[misc]
    """What the agent sees after a reset or an action. ``reward`` is by how much ``score`` rose with this action."""

    text: str = Field(description="the observation")
    instruction: str = Field(default="", description="the text of the task")
    admissible_actions: list[str] | None = Field(default=None, description="all possible actions, or null")
    is_valid: bool = Field(default=True, description="the last action was understood")
    truncated: bool = Field(default=False, description="the episode was cut at its longest length")
    score: float = Field(default=0.0, ge=0, le=1, description="progress as the benchmark scores it; 1 is solved")
    won: bool = Field(default=False, description="the task is solved")
    task_id: str = Field(default="", description="stable id of the task")
    task_type: str = Field(default="", description="the benchmark's name for the kind of task")


class TextState(State):  # type: ignore[misc]
    """Where a session stands."""

    environment: str = ""
    split: str | None = None
    task_id: str | None = None
    score: float = 0.0
    won: bool = False
    done: bool = False
