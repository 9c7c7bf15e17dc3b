"""The catalogue: one module a scheme, which opens with its formula and its source."""
