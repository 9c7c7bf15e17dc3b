"""What explains a run: advantages of its steps, the true ones, and how good the estimates are."""

SHOWN_SCHEMES = ("gigpo", "hgpo", "salt", "mapo", "grpo")
"""The schemes that a page shows beside the steps where none are named."""
