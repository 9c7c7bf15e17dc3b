"""The environment of make_verifiers_traces.py, for verifiers 0.4: a toy task with one tool."""

import verifiers.v1 as vf


class House(vf.Toolset[vf.ToolsetConfig]):
    TOOL_PREFIX = "house"

    @vf.tool
    def look(self, where: str) -> str:
        """Look at a place."""
        return f"there is a key in the {where}"


class Settings(vf.TaskConfig):
    tools: vf.ToolsetConfig = vf.ToolsetConfig()


class Row(vf.TaskData):
    answer: str


class FindKey(vf.Task[Row, vf.State, Settings]):
    @classmethod
    def toolsets(cls, config: Settings) -> list[vf.Toolset]:
        return [House(config.tools)]

    @vf.reward(weight=0.5)
    async def found(self, trace: vf.Trace) -> float:
        return float(self.data.answer in trace.last_reply)

    @vf.reward(weight=0.5)
    async def looked(self, trace: vf.Trace) -> float:
        return float(bool(trace.tool_messages))


class TasksetSettings(vf.TasksetConfig):
    task: Settings = Settings()


class Tasks(vf.Taskset[FindKey, TasksetSettings]):
    def load(self) -> list[FindKey]:
        return [
            FindKey(Row(name=name, prompt=f"Where is the {name}?", answer="drawer"), self.config.task)
            for name in ("key", "cup")
        ]


__all__ = ["Tasks"]

if __name__ == "__main__":
    House.run()
