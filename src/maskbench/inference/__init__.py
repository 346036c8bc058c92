"""maskbench.inference."""
