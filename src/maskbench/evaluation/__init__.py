"""maskbench.evaluation."""
