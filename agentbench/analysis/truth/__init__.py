"""True advantages of a policy's steps: exact where the states can be counted, by branching elsewhere."""
