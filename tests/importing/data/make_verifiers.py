"""Made ``verifiers/`` with verifiers 0.1.9 itself: a tool environment, a stand-in for the client, two rollouts each."""

import asyncio
from pathlib import Path

import verifiers
from datasets import Dataset
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion

CALL = {"id": "c", "type": "function", "function": {"name": "look", "arguments": '{"where": "drawer"}'}}
asked = 0


def look(where: str) -> str:
    """Look at a place.

    Args:
        where: the place.
    """
    return f"there is a key in the {where}"


async def found(completion, answer, **kwargs):
    return float(answer in str(completion[-1]["content"]))


async def create(**kwargs):
    global asked
    asked += 1
    message = {"role": "assistant", "content": "it is in the drawer" if asked % 4 else "in the box"}
    if kwargs["messages"][-1]["role"] == "user":
        message = {"role": "assistant", "content": None, "tool_calls": [{**CALL, "id": f"c{asked}"}]}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    about = {"id": f"r{asked}", "object": "chat.completion", "created": 0, "model": "stand-in"}
    return ChatCompletion.model_validate({**about, "choices": [choice], "usage": usage})


client = AsyncOpenAI(api_key="none", base_url="http://127.0.0.1:9")
client.chat.completions.create = create
data = Dataset.from_dict({"question": ["Where is the key?", "Where is the cup?"], "answer": ["drawer", "drawer"]})
environment = verifiers.ToolEnv(tools=[look], eval_dataset=data, rubric=verifiers.Rubric(funcs=[found]), max_turns=4)
environment.env_id = "find_key"
asyncio.run(
    environment.evaluate(
        client,
        "stand-in",
        num_examples=2,
        rollouts_per_example=2,
        max_concurrent=1,
        results_path=Path("verifiers"),
        save_results=True,
    )
)
