"""The plan: a model's inputs against a table's columns, decided before a row is read. Pure: no session, no I/O."""
