"""Drift: what the model is given, beside what it was trained on and what the run before was given."""
