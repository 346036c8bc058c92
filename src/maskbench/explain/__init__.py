"""Looking inside trained models: maps, features, representations, and how far they can be trusted."""
