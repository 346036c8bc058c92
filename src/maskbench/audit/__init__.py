"""maskbench.audit."""
