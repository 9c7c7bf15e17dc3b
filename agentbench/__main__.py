"""``python -m agentbench`` is the command line."""

from agentbench.cli import main

if __name__ == "__main__":
    main()
