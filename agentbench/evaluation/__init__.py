"""Evaluation: play every task once and more, sum up, compare runs, and say what spoils a number."""
