"""maskbench."""
