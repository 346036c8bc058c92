"""How the arms compare: saved predictions in; differences, intervals and tests out."""
