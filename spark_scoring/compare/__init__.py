"""Two model versions over the same rows: what would change if the alias moved."""
