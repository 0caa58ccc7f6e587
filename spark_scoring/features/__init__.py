"""Feature tables: lookups, point-in-time joins, training sets, and the client that works without Databricks."""
