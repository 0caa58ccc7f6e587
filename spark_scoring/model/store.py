"""Copies of models that are ours alone, so that what was checked is what runs. Imports no pyspark.

A model is fetched into a private folder, cleaned, made read-only and known by its digest from then on: here, in a
process that tries it and in every worker, the digest is held against the files before they are loaded. The copies are
a cache: one that is damaged is made anew, what a killed download left is removed, and the oldest that no process uses
go where there are too many. Locks (``flock``) say what is in use.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
import zipfile
from collections import OrderedDict
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from spark_scoring.model.errors import ModelError
from spark_scoring.model.raised import kind_and_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_READ_AT_ONCE = 2**20
_MOST_MODELS = 16
_MOST_BYTES = 20 * 2**30
"""What the copies may take that no process uses."""
_UNSURE_SECONDS = 3 * 24 * 3600
"""How long a copy counts as used where the file system has no locks."""
_YOUNG_SECONDS = 60
"""A folder so young may not be locked yet."""
_NO_PATHS = ("config", "model_code_path", "model_config", "source_model_name", "uri")
"""Entries of an MLmodel's flavors that say where something came from, or are the model's own; MLflow opens no such
path."""
_PLAIN = "put a copy with plain files there, such as cp -rL makes"
_CHANGED = "run again; if it says so again, the model writes into its own folder: let it write elsewhere"
_FETCHED, _GONE, _LOCK = ".fetch-", ".gone-", ".lock"


class _RefusedError(Exception):
    """What a model's folder holds could run unchecked, or is not what was checked: cause and fix."""


@dataclass(frozen=True)
class Copy:
    """A model's folder that is ours, and the digest of what is in it."""

    folder: str
    digest: str


def cache_folder() -> Path:
    """Where copies are kept: ``$SPARK_SCORING_CACHE``, else ``spark_scoring/models`` in the user's cache folder."""
    if chosen := os.environ.get("SPARK_SCORING_CACHE"):
        return Path(chosen).absolute()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spark_scoring" / "models"
    except RuntimeError as error:  # no HOME
        raise ModelError.no_cache(None, str(error)) from error


def digest_of(folder: str | Path) -> str:
    """sha256 over relative names and bytes of a folder's files, in name order; by-products do not count.

    Raises:
        ModelError: a link, or something else that is not a file.
        OSError: a file cannot be read.

    """
    with _in_our_words(str(folder)):
        return _digest(Path(folder))


def check_copy(copy: Copy) -> None:
    """Refuse a copy that is not what was checked, before anything of it is loaded. By-products in it are removed.

    Raises:
        ModelError: other files than the digest is of.

    """
    root = Path(copy.folder)
    with _in_our_words(copy.folder):
        try:
            _remove_by_products(root)
            found = _digest(root)
        except OSError as error:
            cause = f"a file of it cannot be read: {error.strerror or error}"
            raise _RefusedError(cause, _CHANGED) from error
        if found != copy.digest:
            cause = f"its files are not those that were checked: their digest is {found}, not {copy.digest}"
            raise _RefusedError(cause, _CHANGED)


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
            with _in_our_words(name):
                digest = _sealed(copy / "model")
            (copy / "digest").write_text(digest, encoding="ascii")
            return _put(copy, place, _entry(place, key or _content_key(digest)))
    except OSError as error:
        raise ModelError.no_cache(str(place), error.strerror or str(error)) from error


def _put(copy: Path, place: Path, entry: Path) -> Copy:
    """Put a copy in its place, unless another process was faster."""
    with _changing(place):
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
    return target if target.is_file() else _zipped(sorted(_places(folder)), folder, target, place)


def kept_archive(name: str, root: Path, files: Sequence[Path]) -> Path:
    """A zip in the private folder, of files below a root; made where there is none of this name."""
    place = private_folder()
    target = place / name
    return target if target.is_file() else _zipped(files, root, target, place)


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
        shutil.copyfileobj(source, target, _READ_AT_ONCE)


# What a copy may hold.


@contextmanager
def _in_our_words(name: str) -> Iterator[None]:
    try:
        yield
    except _RefusedError as error:
        raise ModelError.unsafe(name, *error.args) from error


def _digest(root: Path) -> str:
    total = hashlib.sha256()
    for file in _model_files(root):
        content = hashlib.sha256()
        with file.open("rb") as stream:
            while part := stream.read(_READ_AT_ONCE):
                content.update(part)
        name = file.relative_to(root).as_posix().encode("utf-8", "surrogateescape")
        total.update(b"%s\0%s\n" % (name, content.hexdigest().encode()))
    return total.hexdigest()


def _model_files(root: Path) -> list[Path]:
    return sorted(place for place in _places(root) if not place.is_dir() and not _is_by_product(place))


def _is_by_product(place: Path) -> bool:
    """Whether Python or MLflow wrote it into the model's folder after it was made; it is not part of the model."""
    return place.name == ("__pycache__" if place.is_dir() else "registered_model_meta")


def _places(root: Path) -> Iterator[Path]:
    """The files and folders in it, however deep, but not what is inside of by-products."""
    for entry in os.scandir(root):
        place = Path(entry.path)
        if entry.is_symlink() or not (entry.is_dir() or entry.is_file()):
            cause = f"{entry.name} in its folder is {'a link' if entry.is_symlink() else 'neither a file nor a folder'}"
            raise _RefusedError(cause, _PLAIN)
        yield place
        if entry.is_dir() and not _is_by_product(place):
            yield from _places(place)


def _remove_by_products(root: Path) -> None:
    for place in [p for p in _places(root) if _is_by_product(p)]:
        _remove(place)


def _sealed(folder: Path) -> str:
    """Clean the copy and make it read-only; its digest."""
    _remove_by_products(folder)
    places = list(_places(folder))
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


# The cache.


def private_folder() -> Path:
    """The user's own part of the cache, which nobody else can read or write.

    Raises:
        ModelError: it cannot be made, or another user made it.

    """
    user = _user()
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


def _user() -> int:
    """0 where the platform has no users' numbers."""
    return int(getattr(os, "getuid", lambda: 0)())


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
        _hold(entry)
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
        _lock(number)
        yield folder
    finally:
        _remove(folder)
        os.close(number)


def _set_aside(entry: Path) -> None:
    """Take a copy out of its place at once, and then remove it."""
    gone = Path(tempfile.mkdtemp(prefix=_GONE, dir=entry.parent))
    with suppress(FileNotFoundError):
        entry.rename(gone / "copy")
    _remove(gone)


def _remove(place: Path) -> None:
    """Remove a file, or a folder whose parts may be read-only."""
    if not place.is_dir() or place.is_symlink():
        place.unlink(missing_ok=True)
        return
    for folder, _, _ in os.walk(place):
        with suppress(OSError):
            Path(folder).chmod(0o700)
    shutil.rmtree(place, ignore_errors=True)


def _sweep(place: Path) -> None:
    """Remove what killed processes have left."""
    for left in place.iterdir():
        if left.name.startswith((_FETCHED, _GONE)):
            with _unused(left, _YOUNG_SECONDS) as free:
                if free:
                    _remove(left)


def _shrink(place: Path, newest: Path) -> None:
    """Drop the copies that were used longest ago, while there are too many; none that a process uses."""
    entries = [p for p in place.iterdir() if re.fullmatch("[0-9a-f]{32}", p.name) and p != newest]
    entries.sort(key=lambda p: p.stat().st_mtime)
    sizes = {entry: _size(entry) for entry in [*entries, newest]}
    for entry in entries:
        if len(sizes) <= _MOST_MODELS and sum(sizes.values()) <= _MOST_BYTES:
            return
        with _unused(entry, 0) as free:
            if free:
                _set_aside(entry)
                del sizes[entry]


def _size(entry: Path) -> int:
    return sum(Path(folder, name).lstat().st_size for folder, _, names in os.walk(entry) for name in names)


# Locks: they end with the process that holds them, however it ends.

_MOST_HELD = 256
"""A process may have few files open; of more models it keeps the copies that it used last."""
_held: OrderedDict[Path, int] = OrderedDict()
"""Open folders of copies that this process uses."""


def _hold(entry: Path) -> None:
    """Lock the copy that is in this place, until the process ends."""
    while True:
        number = os.open(entry, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        if os.fstat(number).st_uid != _user():
            os.close(number)
            raise PermissionError(errno.EPERM, "another user has put it there")
        _lock(number, shared=True)
        if os.path.samestat(os.fstat(number), entry.lstat()):
            break
        os.close(number)  # another process has replaced it meanwhile
    before = _held.pop(entry, None)
    _held[entry] = number
    if before is None and len(_held) > _MOST_HELD:
        _, before = _held.popitem(last=False)
    if before is not None:
        os.close(before)


@contextmanager
def _changing(place: Path) -> Iterator[None]:
    """One process at a time puts copies into their place or takes them out."""
    number = os.open(place / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(number)
        yield
    finally:
        os.close(number)


@contextmanager
def _unused(folder: Path, least_age: float) -> Iterator[bool]:
    """Whether no process uses it, and none begins to in the body."""
    try:
        age = time.time() - folder.stat().st_mtime
        number = os.open(folder, os.O_RDONLY)
    except OSError:  # it is gone
        yield False
        return
    try:
        free = age >= (least_age if _lock(number, wait=False) else _UNSURE_SECONDS)
    except BlockingIOError:
        free = False
    try:
        yield free
    finally:
        os.close(number)


def _lock(number: int, *, shared: bool = False, wait: bool = True) -> bool:
    """Lock an open file or folder until it is closed; False where the file system has no locks."""
    try:
        import fcntl

        fcntl.flock(number, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except ImportError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.EBADF):
            raise
        return False
    return True
