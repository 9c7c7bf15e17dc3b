"""Everything on a Ray cluster: machines that play, GPUs, vLLM's engines and servers."""
