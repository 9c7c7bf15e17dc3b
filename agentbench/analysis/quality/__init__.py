"""How good a credit scheme's advantages are, given the true ones."""
