"""``make docs``: the bundle of the flights example, from its two job files."""
# ruff: noqa: INP001  a script

from __future__ import annotations

from pathlib import Path

from spark_scoring.bundle import BundleRequest, write_bundle

FLIGHTS = Path(__file__).parents[1] / "examples" / "flights"
_SERVERS = ("tracking_uri=databricks", "registry_uri=databricks-uc")


def main(folder: Path = FLIGHTS / "bundle") -> None:
    """Write it anew. docs/databricks.md has the same as a command."""
    write_bundle(
        BundleRequest(
            job=FLIGHTS / "score.yml",
            folder=folder,
            training=FLIGHTS / "train.yml",
            requires=("lightgbm>=4",),
            settings=_SERVERS,
            training_settings=(*_SERVERS, "experiment=/Shared/flights", "artifact_location=null"),
            force=True,
        )
    )


if __name__ == "__main__":
    main()
