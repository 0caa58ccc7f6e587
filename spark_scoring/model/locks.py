"""Who uses which copy of a model: locks (``flock``), which end with the process that holds them. Imports no pyspark."""

from __future__ import annotations

import errno
import os
import time
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_UNSURE_SECONDS = 3 * 24 * 3600
"""How long a copy counts as used where the file system has no locks."""
_LOCK = ".lock"
_MOST_HELD = 256
"""A process may have few files open; of more models it keeps the copies that it used last."""
_held: OrderedDict[Path, int] = OrderedDict()
"""Open folders of copies that this process uses."""


def own_user() -> int:
    """0 where the platform has no users' numbers."""
    return int(getattr(os, "getuid", lambda: 0)())


def hold(entry: Path) -> None:
    """Lock the copy that is in this place, until the process ends."""
    while True:
        number = os.open(entry, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        if os.fstat(number).st_uid != own_user():
            os.close(number)
            raise PermissionError(errno.EPERM, "another user has put it there")
        locked(number, shared=True)
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
def changing(place: Path) -> Iterator[None]:
    """One process at a time puts copies into their place or takes them out."""
    number = os.open(place / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        locked(number)
        yield
    finally:
        os.close(number)


@contextmanager
def unused(folder: Path, least_age: float) -> Iterator[bool]:
    """Whether no process uses it, and none begins to in the body."""
    try:
        age = time.time() - folder.stat().st_mtime
        number = os.open(folder, os.O_RDONLY)
    except OSError:  # it is gone
        yield False
        return
    try:
        free = age >= (least_age if locked(number, wait=False) else _UNSURE_SECONDS)
    except BlockingIOError:
        free = False
    try:
        yield free
    finally:
        os.close(number)


def locked(number: int, *, shared: bool = False, wait: bool = True) -> bool:
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
