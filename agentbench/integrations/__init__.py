"""Other people's trainers, fed with our environments and schemes: the modules ``trl``, ``verl`` and ``openenv``.

Nothing here is imported by the rest of agentbench, but for the command ``serve``; each module needs its package and
checks its version when imported.
"""
