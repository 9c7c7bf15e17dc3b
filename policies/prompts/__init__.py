"""What a language model is given: a template a benchmark, and the messages made from it."""

from policies.prompts.messages import (
    ContextTooLong,
    Fitted,
    Message,
    PromptSettings,
    answer_of,
    build_messages,
    fit_messages,
    make_settings,
)
from policies.prompts.template import Template, read_template

__all__ = [
    "ContextTooLong",
    "Fitted",
    "Message",
    "PromptSettings",
    "Template",
    "answer_of",
    "build_messages",
    "fit_messages",
    "make_settings",
    "read_template",
]
