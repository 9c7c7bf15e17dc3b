"""What explains a run: advantages of its steps, the true ones, and how good the estimates are."""
