"""A Databricks bundle for a job file: what it needs there is checked here, and its files are written."""

from spark_scoring.bundle.writing import BundleRequest, write_bundle

__all__ = ["BundleRequest", "write_bundle"]
