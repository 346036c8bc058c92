"""maskbench.models."""
