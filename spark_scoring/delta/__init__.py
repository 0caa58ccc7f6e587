"""Delta tables: names, pinned sources, the sink, and the run's facts in the table's history."""
