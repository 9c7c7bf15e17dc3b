"""Evaluate, train and compare language agents on long, multi-step tasks."""

__version__ = "0.1.0"
