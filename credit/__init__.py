"""Credit: one table of steps in, one advantage a step out; every scheme a pure function."""
