"""Copies of models that are ours alone, so that what was checked is what runs. Imports no pyspark.

A model is fetched into a private folder, cleaned, made read-only and known by its digest from then on: here, in a
process that tries it and in every worker, the digest is held against the files before they are loaded. The copies are
a cache: one that is damaged is made anew, what a killed download left is removed, and the oldest that no process uses
go where there are too many. Locks (``flock``) say what is in use.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from spark_scoring.model.errors import ModelError
from spark_scoring.model.locks import changing, hold, locked, own_user, unused
from spark_scoring.model.sealed import READ_AT_ONCE, Copy, check_copy, in_our_words, places_in, remove, sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_MOST_MODELS = 16
_MOST_BYTES = 20 * 2**30
"""What the copies may take that no process uses."""
_MOST_FOLDERS = 6
"""Folders of one kind that are kept beside the copies, such as environments."""
_YOUNG_SECONDS = 60
"""A folder so young may not be locked yet."""
_FETCHED, _GONE = ".fetch-", ".gone-"


def cache_folder() -> Path:
    """Where copies are kept: ``$SPARK_SCORING_CACHE``, else ``spark_scoring/models`` in the user's cache folder."""
    if chosen := os.environ.get("SPARK_SCORING_CACHE"):
        return Path(chosen).absolute()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spark_scoring" / "models"
    except RuntimeError as error:  # no HOME
        raise ModelError.no_cache(None, str(error)) from error


def known_copy(digest: str) -> Copy | None:
    """The copy of an artifact of this digest that may change where it lies; None where there is none."""
    return _opened(_entry(private_folder(), _content_key(digest)))


def kept_copy(name: str, fetch: Callable[[Path], Path], key: Sequence[str] | None) -> Copy:
    """A copy, fetched where there is none.

    Args:
        name: what errors call the model.
        fetch: puts the artifact into an empty folder; where in it the model lies.
        key: names what never changes, such as a version of a registered model; None: it may change and is fetched.

    Raises:
        ModelError: no folder to keep it in; or it holds what could run unchecked: links, paths out of it.

    """
    place = private_folder()
    _sweep(place)
    found = None if key is None else _opened(_entry(place, key))
    if found is not None:
        return found
    try:
        with _fresh_folder(place) as fresh:
            copy = fresh / "copy"
            copy.mkdir(mode=0o700)
            _movable(fetch, fresh).rename(copy / "model")
            with in_our_words(name):
                digest = sealed(copy / "model")
            (copy / "digest").write_text(digest, encoding="ascii")
            return _put(copy, place, _entry(place, key or _content_key(digest)))
    except OSError as error:
        raise ModelError.no_cache(str(place), error.strerror or str(error)) from error


def _put(copy: Path, place: Path, entry: Path) -> Copy:
    """Put a copy in its place, unless another process was faster."""
    with changing(place):
        found = _opened(entry)
        if found is None:
            _set_aside(entry)
            copy.rename(entry)
            found = _opened(entry)
        _shrink(place, entry)
    if found is None:
        raise ModelError.no_cache(str(place), "a copy that was just put there is damaged")
    return found


def archive_of(copy: Copy) -> Path:
    """A copy as a zip beside it, the same bytes each time: it lives as long as the copy does."""
    place, folder = private_folder(), Path(copy.folder)
    target = place / folder.relative_to(place).parts[0] / f"{copy.digest}.zip"
    return target if target.is_file() else _zipped(sorted(places_in(folder)), folder, target, place)


def kept_archive(name: str, root: Path, files: Sequence[Path]) -> Path:
    """A zip in the private folder, of files below a root; made where there is none of this name."""
    place = private_folder()
    target = place / name
    return target if target.is_file() else _zipped(files, root, target, place)


def kept_folder(name: str, make: Callable[[Path], None]) -> Path:
    """A folder of this name in the private folder, filled by ``make`` where there is none; it is not checked again.

    It is in use until this process ends. Of folders that begin alike, up to their first dot, some are kept.
    """
    place = private_folder()
    entry = place / name
    _sweep(place)
    if not _held(entry):
        with _fresh_folder(place) as fresh:
            (fresh / "made").mkdir(mode=0o700)
            make(fresh / "made")
            with changing(place):
                if not _held(entry):
                    (fresh / "made").rename(entry)
                    hold(entry)
                _drop(sorted(place.glob(f"{name.partition('.')[0]}.*"), key=_last_used), entry)
    os.utime(entry)
    return entry


def _held(entry: Path) -> bool:
    try:
        hold(entry)
    except OSError:
        return False
    return True


def _drop(entries: Sequence[Path], newest: Path) -> None:
    """Remove the first ones, while there are too many; none that a process uses."""
    for entry in [entry for entry in entries if entry != newest][: 1 - _MOST_FOLDERS]:
        with unused(entry, 0) as free:
            if free:
                _set_aside(entry)


def _last_used(entry: Path) -> float:
    return entry.stat().st_mtime


def archive_in(folder: Path) -> Path:
    """A kept folder as a zip in it: it lives as long as the folder does."""
    target = folder / "whole.zip"
    return target if target.is_file() else _zipped(sorted(folder.rglob("*")), folder, target, private_folder())


def keep_text(name: str, text: str) -> None:
    """Write a small file of the private folder, as a whole or not at all."""
    place = private_folder()
    with _fresh_folder(place) as fresh:
        (fresh / "text").write_text(text)
        (fresh / "text").rename(place / name)


def _zipped(places: Sequence[Path], root: Path, target: Path, private: Path) -> Path:
    with _fresh_folder(private) as fresh:
        with zipfile.ZipFile(fresh / "zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for inner in places:
                _add(archive, inner, inner.relative_to(root).as_posix())
        (fresh / "zip").chmod(0o600)
        return (fresh / "zip").rename(target)


def _add(archive: zipfile.ZipFile, place: Path, name: str) -> None:
    """A file or folder as of 1980, whenever it is added."""
    if place.is_dir():
        folder = zipfile.ZipInfo(f"{name}/")
        folder.external_attr = (stat.S_IFDIR | 0o755) << 16
        archive.writestr(folder, b"")
        return
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    info.file_size = place.stat().st_size
    with place.open("rb") as source, archive.open(info, "w") as target:
        shutil.copyfileobj(source, target, READ_AT_ONCE)


def private_folder() -> Path:
    """The user's own part of the cache, which nobody else can read or write.

    Raises:
        ModelError: it cannot be made, or another user made it.

    """
    user = own_user()
    folder = cache_folder() / f"user-{user}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _check_above(folder, user)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != user:
            raise ModelError.no_cache(str(folder), "another user made it, or it is a link")
        if stat.S_IMODE(found.st_mode) & 0o077:
            folder.chmod(0o700)
            if stat.S_IMODE(folder.lstat().st_mode) & 0o077:
                raise ModelError.no_cache(str(folder), "its file system has no rights, so that others can write there")
        with tempfile.TemporaryFile(dir=folder):
            return folder.resolve()
    except OSError as error:
        raise ModelError.no_cache(str(folder.parent), error.strerror or str(error)) from error


def _check_above(folder: Path, user: int) -> None:
    """Refuse a folder in the place of which somebody else can put another one, at any time.

    Raises:
        ModelError: names the folder above it that is another user's, or that all may write in.

    """
    for place in (folder.parent.resolve(), *folder.parent.resolve().parents) if hasattr(os, "getuid") else ():
        found = place.stat()
        if found.st_uid not in (0, user):
            raise ModelError.no_cache(str(folder), f"{place} is another user's, who can put other models there")
        if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
            raise ModelError.no_cache(str(folder), f"every user may write in {place}, and put other models there")


def _entry(place: Path, key: Sequence[str]) -> Path:
    return place / hashlib.sha256("\0".join(key).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _content_key(digest: str) -> tuple[str, str]:
    return "content", digest


def _opened(entry: Path) -> Copy | None:
    """The copy in this place, which is then in use until the process ends; None where there is none, or a damaged."""
    try:
        hold(entry)
        copy = Copy(str(entry / "model"), (entry / "digest").read_text(encoding="ascii"))
        check_copy(copy)
        os.utime(entry)
    except (OSError, UnicodeDecodeError, ModelError):
        return None
    return copy


def _movable(fetch: Callable[[Path], Path], fresh: Path) -> Path:
    """What was fetched, with rights that let it be moved and sealed."""
    target = fresh / "fetched"
    target.mkdir(mode=0o700)
    model = fetch(target)
    for folder, _, _ in os.walk(model):
        Path(folder).chmod(0o700)
    return model


@contextmanager
def _fresh_folder(place: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=_FETCHED, dir=place))
    number = os.open(folder, os.O_RDONLY)
    try:
        locked(number)
        yield folder
    finally:
        remove(folder)
        os.close(number)


def _set_aside(entry: Path) -> None:
    """Take a copy out of its place at once, and then remove it."""
    gone = Path(tempfile.mkdtemp(prefix=_GONE, dir=entry.parent))
    with suppress(FileNotFoundError):
        entry.rename(gone / "copy")
    remove(gone)


def _sweep(place: Path) -> None:
    """Remove what killed processes have left."""
    for left in place.iterdir():
        if left.name.startswith((_FETCHED, _GONE)):
            with unused(left, _YOUNG_SECONDS) as free:
                if free:
                    remove(left)


def _shrink(place: Path, newest: Path) -> None:
    """Drop the copies that were used longest ago, while there are too many; none that a process uses."""
    entries = [p for p in place.iterdir() if re.fullmatch("[0-9a-f]{32}", p.name) and p != newest]
    entries.sort(key=_last_used)
    sizes = {entry: _size(entry) for entry in [*entries, newest]}
    for entry in entries:
        if len(sizes) <= _MOST_MODELS and sum(sizes.values()) <= _MOST_BYTES:
            return
        with unused(entry, 0) as free:
            if free:
                _set_aside(entry)
                del sizes[entry]


def _size(entry: Path) -> int:
    return sum(Path(folder, name).lstat().st_size for folder, _, names in os.walk(entry) for name in names)
