"""Made ``inspect_find_key.eval`` with inspect_ai 0.3.285 itself: a mock model, a tool, two samples, two epochs."""

import types

import tiktoken

# Its counting of tokens would download a vocabulary.
tiktoken.get_encoding = lambda name: types.SimpleNamespace(encode=lambda text, **more: text.split())

from inspect_ai import Task, eval, task  # noqa: E402
from inspect_ai.dataset import Sample  # noqa: E402
from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, ModelOutput, get_model  # noqa: E402
from inspect_ai.scorer import includes  # noqa: E402
from inspect_ai.solver import generate, use_tools  # noqa: E402
from inspect_ai.tool import tool  # noqa: E402

LONG = "And the key? " + "look well " * 30


@tool
def look():
    async def execute(where: str):
        """Look at a place.

        Args:
            where: the place.
        """
        return f"there is a key in the {where}"

    return execute


def model():
    answers = []
    for place, said in (("box", "it is the box"), ("drawer", "the answer is drawer")) * 4:
        answers.append(ModelOutput.for_tool_call("mockllm/model", "look", {"where": place}))
        answers.append(ModelOutput.from_content("mockllm/model", said))
    return get_model("mockllm/model", custom_outputs=answers)


@task
def find_key():
    asked = [ChatMessageUser(content="Where is the cup?"), ChatMessageAssistant(content="In the sink.")]
    samples = [
        Sample(id="key-1", input="Where is the key?", target="drawer"),
        Sample(id="key-2", input=[*asked, ChatMessageUser(content=LONG)], target="drawer"),
    ]
    return Task(dataset=samples, solver=[use_tools(look()), generate()], scorer=includes(), epochs=2)


eval(find_key(), model=model(), log_dir="inspect_logs", display="none", max_samples=1, max_connections=1)
