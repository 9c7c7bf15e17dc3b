"""The program behind workers, ``python -m agentbench.worker``: it imports what environments need, and nothing else."""
