"""Policies: who acts. Random, expert, walkthrough, replay; networks and language models."""
