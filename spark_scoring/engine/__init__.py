"""The plan carried out in Spark: casts as columns, the stage that hands them to Python workers, the worker itself."""
