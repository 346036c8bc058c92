"""maskbench.eda."""
