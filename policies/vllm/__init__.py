"""vLLM: in this process as a policy, and as a server that samples for a policy in training."""
