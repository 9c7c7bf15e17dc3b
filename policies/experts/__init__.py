"""Hand-written agents, one a benchmark, that see what any agent sees."""
