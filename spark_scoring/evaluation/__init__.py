"""Predictions beside labels that came later: how good they were, by version, time and group."""
