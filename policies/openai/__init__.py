"""A language model behind an OpenAI-compatible server, and the way to it."""
