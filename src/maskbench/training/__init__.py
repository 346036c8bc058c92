"""maskbench.training."""
