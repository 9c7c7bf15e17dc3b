"""The commands of the command line: one function each, heavy imports inside them."""
