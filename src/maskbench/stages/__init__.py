"""What each stage does: read the tables of those before, compute, write its own."""
