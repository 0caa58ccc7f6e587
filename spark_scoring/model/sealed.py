"""What is in a copy of a model, known by its digest and made read-only; what may not be in one. Imports no pyspark."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from spark_scoring.model.errors import ModelError
from spark_scoring.model.raised import kind_and_place

if TYPE_CHECKING:
    from collections.abc import Iterator

READ_AT_ONCE = 2**20
_NO_PATHS = ("config", "model_code_path", "model_config", "source_model_name", "uri")
"""Entries of an MLmodel's flavors that say where something came from, or are the model's own; MLflow opens no such
path."""
_PLAIN = "put a copy with plain files there, such as cp -rL makes"
_CHANGED = "run again; if it says so again, the model writes into its own folder: let it write elsewhere"


class _RefusedError(Exception):
    """What a model's folder holds could run unchecked, or is not what was checked: cause and fix."""


@dataclass(frozen=True)
class Copy:
    """A model's folder that is ours, and the digest of what is in it."""

    folder: str
    digest: str


def digest_of(folder: str | Path) -> str:
    """sha256 over relative names and bytes of a folder's files, in name order; by-products do not count.

    Raises:
        ModelError: a link, or something else that is not a file.
        OSError: a file cannot be read.

    """
    with in_our_words(str(folder)):
        return _digest(Path(folder))


def check_copy(copy: Copy) -> None:
    """Refuse a copy that is not what was checked, before anything of it is loaded. By-products in it are removed.

    Raises:
        ModelError: other files than the digest is of.

    """
    root = Path(copy.folder)
    with in_our_words(copy.folder):
        try:
            _remove_by_products(root)
            found = _digest(root)
        except OSError as error:
            cause = f"a file of it cannot be read: {error.strerror or error}"
            raise _RefusedError(cause, _CHANGED) from error
        if found != copy.digest:
            cause = f"its files are not those that were checked: their digest is {found}, not {copy.digest}"
            raise _RefusedError(cause, _CHANGED)


@contextmanager
def in_our_words(name: str) -> Iterator[None]:
    """Refusals in it become errors that name the model."""
    try:
        yield
    except _RefusedError as error:
        raise ModelError.unsafe(name, *error.args) from error


def _digest(root: Path) -> str:
    total = hashlib.sha256()
    for file in _model_files(root):
        name = file.relative_to(root).as_posix().encode("utf-8", "surrogateescape")
        total.update(b"%s\0%s\n" % (name, file_digest(file).encode()))
    return total.hexdigest()


def file_digest(file: Path) -> str:
    """sha256 of a file's bytes."""
    content = hashlib.sha256()
    with file.open("rb") as stream:
        while part := stream.read(READ_AT_ONCE):
            content.update(part)
    return content.hexdigest()


def _model_files(root: Path) -> list[Path]:
    return sorted(place for place in places_in(root) if not place.is_dir() and not _is_by_product(place))


def _is_by_product(place: Path) -> bool:
    """Whether Python or MLflow wrote it into the model's folder after it was made; it is not part of the model."""
    return place.name == ("__pycache__" if place.is_dir() else "registered_model_meta")


def places_in(root: Path) -> Iterator[Path]:
    """The files and folders in it, however deep, but not what is inside of by-products."""
    for entry in os.scandir(root):
        place = Path(entry.path)
        if entry.is_symlink() or not (entry.is_dir() or entry.is_file()):
            cause = f"{entry.name} in its folder is {'a link' if entry.is_symlink() else 'neither a file nor a folder'}"
            raise _RefusedError(cause, _PLAIN)
        yield place
        if entry.is_dir() and not _is_by_product(place):
            yield from places_in(place)


def _remove_by_products(root: Path) -> None:
    for place in [p for p in places_in(root) if _is_by_product(p)]:
        remove(place)


def sealed(folder: Path) -> str:
    """Clean the copy and make it read-only; its digest."""
    _remove_by_products(folder)
    places = list(places_in(folder))
    for mlmodel in (p for p in places if p.name == "MLmodel" and p.is_file()):
        _check_paths(mlmodel, folder)
    for place in places:
        place.chmod(0o500 if place.is_dir() or place.stat().st_mode & stat.S_IXUSR else 0o400)
    folder.chmod(0o500)
    return _digest(folder)


def _check_paths(mlmodel: Path, root: Path) -> None:
    """Refuse an MLmodel that has MLflow load from outside of the folder."""
    depth = len(mlmodel.parent.relative_to(root).parts)
    try:
        fields = yaml.safe_load(mlmodel.read_text(encoding="utf-8"))
        tops = [fields.get(top) for top in ("flavors", "saved_input_example_info")] if isinstance(fields, dict) else []
        texts = list(_texts(tops))
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ) as error:  # MLflow may have more stack left, or another encoding
        cause = f"its MLmodel file cannot be read: {kind_and_place(error)}"
        raise _RefusedError(cause, "log the model again, or update mlflow if a newer one wrote it") from error
    for name, text in texts:
        if _leaves(depth, text):
            cause = f"its MLmodel has {name}: {text}, which is not in its folder, so no digest is of it"
            raise _RefusedError(cause, "log it again with all that it loads (code_paths, artifacts)")


def _texts(value: Any, name: str = "", *, own_names: bool = False) -> Iterator[tuple[str, str]]:
    """Every text below a value of an MLmodel that may be a path, with the name of its entry.

    Names that the model's author gave (``own_names``) say nothing of what is below them.
    """
    match value:
        case dict():
            for key, inner in value.items():
                if own_names or key not in _NO_PATHS:
                    yield from _texts(inner, str(key), own_names=key == "artifacts" and not own_names)
        case list():
            for inner in value:
                yield from _texts(inner, name)
        case str():
            yield name, value


def _leaves(depth: int, text: str) -> bool:
    """Whether a path, of a folder so deep, leads out at any of its parts."""
    if text.startswith("/"):
        return True
    for part in text.split("/"):
        depth += -1 if part == ".." else 0 if part in ("", ".") else 1
        if depth < 0:
            return True
    return False


def remove(place: Path) -> None:
    """Remove a file, or a folder whose parts may be read-only."""
    if not place.is_dir() or place.is_symlink():
        place.unlink(missing_ok=True)
        return
    for folder, _, _ in os.walk(place):
        with suppress(OSError):
            Path(folder).chmod(0o700)
    shutil.rmtree(place, ignore_errors=True)
