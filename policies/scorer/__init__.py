"""The scorer: a small trainable policy over admissible actions."""

from policies.scorer.policy import ScorerPolicy

__all__ = ["ScorerPolicy"]
