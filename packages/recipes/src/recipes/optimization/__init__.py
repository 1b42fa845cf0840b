"""Learning rates of the parts, and optimizers."""
