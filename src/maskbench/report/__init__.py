"""maskbench.report."""
