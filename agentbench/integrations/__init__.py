"""Other people's trainers, fed with our environments and schemes: :mod:`agentbench.integrations.trl` and ``.verl``.

Nothing here is imported by the rest of agentbench; each module needs its package and checks its version when imported.
"""
