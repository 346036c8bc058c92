"""maskbench.splits."""
