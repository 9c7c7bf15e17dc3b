"""Training: rollouts in groups, advantages by any credit scheme, clipped policy-gradient updates."""
