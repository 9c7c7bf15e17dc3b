"""Policies without a model: random, human, replay, walkthrough, and mixtures of them."""
