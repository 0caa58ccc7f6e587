"""Log and register models that score without surprises, and say what is wrong with those that do not."""
