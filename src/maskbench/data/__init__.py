"""maskbench.data."""
