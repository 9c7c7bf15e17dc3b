"""The command line: the program, its commands, and what is installed here."""

from agentbench.cli.program import app, main

__all__ = ["app", "main"]
