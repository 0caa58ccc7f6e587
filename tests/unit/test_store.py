"""The cache of models: it makes damaged copies anew, cleans up after killed processes, and does not grow for ever."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spark_scoring.model import locks, store
from spark_scoring.model.errors import ModelError
from spark_scoring.model.sealed import Copy, check_copy, digest_of
from spark_scoring.model.store import cache_folder, kept_copy, known_copy

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPARK_SCORING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / f"user-{os.getuid()}"


class Artifact:
    """Something to fetch, and how often it was."""

    def __init__(self, text: str = "one", size: int = 0) -> None:
        self.text, self.size, self.times = text, size, 0

    def __call__(self, folder: Path) -> Path:
        self.times += 1
        model = folder / "model"
        (model / "inner").mkdir(parents=True)
        (model / "MLmodel").write_text(f"{'' if 'flavors' in self.text else 'flavors: {}'}\nname: {self.text}\n")
        (model / "inner" / "data").write_bytes(b"x" * self.size)
        return model

    def kept(self, *key: str) -> Copy:
        return kept_copy("m", self, key or None)


def copies(cache: Path) -> int:
    return len([p for p in cache.iterdir() if (p / "digest").is_file()])


def test_a_digest_is_the_one_that_it_always_was(tmp_path: Path) -> None:
    """Ledgers and expect_digest hold it: sha256 over name, zero byte and hash of each file, in the order of paths."""
    folder = Artifact(size=3)(tmp_path)
    (folder / "inner.txt").write_text("after inner/ in the order of paths")
    (folder / "registered_model_meta").write_text("not part of it")
    assert digest_of(folder) == "230a3e931d8a8fd6f50b91cf7c785ebe083cc9126f6217cc11f0f191b0e8a90c"


def test_what_never_changes_is_fetched_once_and_what_may_change_each_time(cache: Path) -> None:
    artifact = Artifact()
    assert artifact.kept("a").folder == artifact.kept("a").folder
    assert artifact.times == 1
    first, second = artifact.kept(), artifact.kept()
    assert (first, artifact.times, copies(cache)) == (second, 3, 2)
    assert known_copy(first.digest) == first
    assert known_copy("0" * 64) is None


def change(model: Path) -> None:
    (model / "inner" / "data").chmod(0o600)
    (model / "inner" / "data").write_text("changed")


def half(model: Path) -> None:
    model.chmod(0o700)
    (model / "MLmodel").unlink()


def add(model: Path) -> None:
    model.chmod(0o700)
    (model / "more.py").write_text("")


def link(model: Path) -> None:
    model.chmod(0o700)
    (model / "code").symlink_to("/")


def record(model: Path) -> None:
    (model.parent / "digest").write_text("0" * 64)


@pytest.mark.parametrize("damage", [change, half, add, link, record, shutil.rmtree])
def test_a_damaged_copy_is_made_anew(cache: Path, damage: Any) -> None:
    artifact = Artifact()
    copy = artifact.kept("a")
    if damage is shutil.rmtree:
        (Path(copy.folder) / "inner").chmod(0o700)
        Path(copy.folder).chmod(0o700)
    damage(Path(copy.folder))
    if damage is not record:
        with pytest.raises(ModelError, match="it was not loaded"):
            check_copy(copy)
    assert artifact.kept("a") == copy
    assert (artifact.times, copies(cache), digest_of(copy.folder)) == (2, 1, copy.digest)
    assert not list(cache.glob(".gone-*"))


def test_what_cannot_be_kept_leaves_nothing(cache: Path) -> None:
    def fetch(folder: Path) -> Path:
        model = Artifact()(folder)
        (model / "code").symlink_to("/")
        return model

    with pytest.raises(ModelError, match="model 'm': code in its folder is a link; it was not loaded"):
        kept_copy("m", fetch, ("a",))
    with pytest.raises(ZeroDivisionError):
        kept_copy("m", lambda folder: Path(folder, str(1 // 0)), ("a",))
    assert [p.name for p in cache.iterdir() if p.name != ".lock"] == []


_HANGS = """
import sys, time
from pathlib import Path
from spark_scoring.model.store import kept_copy

def fetch(folder: Path) -> Path:
    (folder / "half").write_bytes(bytes(10**6))
    print("fetching", flush=True)
    time.sleep(600)
    return folder

kept_copy("m", fetch, ("a",))
"""


def test_what_a_killed_download_left_is_removed_and_one_that_goes_on_is_not(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = subprocess.Popen([sys.executable, "-c", _HANGS], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"fetching\n"
    [left] = cache.glob(".fetch-*")
    monkeypatch.setattr(store, "_YOUNG_SECONDS", 0)
    artifact = Artifact()
    artifact.kept("b")
    assert left.is_dir()
    process.send_signal(signal.SIGKILL)
    process.wait()
    artifact.kept("b")
    assert (left.exists(), artifact.times) == (False, 1)


def test_a_process_holds_only_so_many_copies_open(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_MOST_HELD", 3)
    locks._held.clear()  # noqa: SLF001
    made = [Artifact(str(i)).kept() for i in range(5)]
    assert known_copy(made[2].digest) == made[2]
    held = [entry.name for entry in locks._held]  # noqa: SLF001
    assert held == [Path(made[i].folder).parent.name for i in (3, 4, 2)]


def test_a_full_disk_is_told(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "sealed", full)
    with pytest.raises(ModelError, match="No space left on device"):
        Artifact().kept("a")
    assert [p.name for p in cache.iterdir()] == []


def test_an_archive_holds_the_whole_copy(cache: Path, tmp_path: Path) -> None:
    copy = Artifact(size=3).kept("a")
    shutil.unpack_archive(store.archive_of(copy), tmp_path / "there")
    check_copy(Copy(str(tmp_path / "there"), copy.digest))
    empty = Artifact(size=3)(tmp_path)
    (empty / "inner" / "data").unlink()
    bare = kept_copy("m", lambda folder: empty.rename(folder / "m"), None)
    shutil.unpack_archive(store.archive_of(bare), tmp_path / "bare")
    assert (tmp_path / "bare" / "inner").is_dir()


_USES = """
import sys
from spark_scoring.model.store import known_copy

assert known_copy(sys.argv[1]) is not None
print("using", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(("models", "size"), [(3, 2**40), (16, 3500)])
def test_the_cache_drops_what_was_used_longest_ago_and_no_process_uses(
    cache: Path, monkeypatch: pytest.MonkeyPatch, models: int, size: int
) -> None:
    monkeypatch.setattr(store, "_MOST_MODELS", models)
    monkeypatch.setattr(store, "_MOST_BYTES", size)
    old = [Artifact(f"{i}", 1000).kept() for i in range(3)]
    for i, copy in enumerate(old):
        os.utime(Path(copy.folder).parent, (i, i))
    Artifact("3", 1000).kept()
    assert known_copy(old[0].digest) == old[0]  # this process uses it
    for number in locks._held.values():  # noqa: SLF001  as when it ends
        os.close(number)
    locks._held.clear()  # noqa: SLF001
    process = subprocess.Popen(
        [sys.executable, "-c", _USES, old[0].digest], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"using\n"
    for i, copy in enumerate(old):
        os.utime(Path(copy.folder).parent, (i, i))
    Artifact("4", 1000).kept()
    process.communicate()
    assert [known_copy(copy.digest) is not None for copy in old] == [True, False, False]


_FETCHES = """
import sys
from pathlib import Path
from spark_scoring.model.sealed import Copy, check_copy
from spark_scoring.model.store import kept_copy

def fetch(folder: Path) -> Path:
    model = folder / "model"
    model.mkdir()
    for i in range(20):
        (model / f"f{i}").write_bytes(bytes([i]) * 10**5)
    return model

for turn in range(10):
    copy = kept_copy("m", fetch, (f"key{turn}",))
    check_copy(copy)
print(copy.digest)
"""


def test_processes_side_by_side_keep_one_copy(cache: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", _FETCHES], cwd=ROOT, stdout=subprocess.PIPE) for _ in range(3)]
    digests = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert (len(digests), copies(cache)) == (1, 10)
    assert not [*cache.glob(".gone-*"), *cache.glob(".fetch-*")]


def test_a_cache_of_another_user_is_refused(cache: Path, tmp_path: Path) -> None:
    cache.parent.mkdir()
    cache.symlink_to(tmp_path)
    with pytest.raises(ModelError, match="another user made it, or it is a link"):
        Artifact().kept("a")
    cache.unlink()
    cache.mkdir(mode=0o777)
    cache.chmod(0o777)
    Artifact().kept("a")
    assert cache.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_may_exchange_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own part of it may be private: who owns what is above it can put another one in its place."""
    shared = tmp_path / "shared"
    (shared / "inner").mkdir(parents=True)
    monkeypatch.setenv("SPARK_SCORING_CACHE", str(shared / "inner" / "cache"))
    shared.chmod(0o777)
    with pytest.raises(ModelError, match=r"every user may write in \S+/shared, and put other models there"):
        Artifact().kept("a")
    shared.chmod(0o1777)  # as /tmp: each may only rename what is theirs
    Artifact().kept("a")
    if os.getuid() == 0:
        os.chown(shared, 4242, 4242)
        with pytest.raises(ModelError, match=r"/shared is another user's, who can put other models there"):
            Artifact().kept("a")
        os.chown(shared, 0, 0)
    (tmp_path / "link").symlink_to(shared)
    shared.chmod(0o777)
    monkeypatch.setenv("SPARK_SCORING_CACHE", str(tmp_path / "link"))
    with pytest.raises(ModelError, match="every user may write"):
        Artifact().kept("a")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make another user's copy")
def test_a_copy_that_another_user_has_put_there_is_not_taken(cache: Path) -> None:
    """As long as the folder was open to all."""
    first, other = Artifact(), Artifact()
    copy = first.kept("a")
    entry = cache / Path(copy.folder).relative_to(cache).parts[0]
    os.chown(entry, 4242, 4242)
    assert known_copy(copy.digest) is None
    assert other.kept("a") == copy
    assert (other.times, entry.stat().st_uid) == (1, 0)


def saved(entries: str) -> Artifact:
    return Artifact(text=f"x\n{entries}")


@pytest.mark.parametrize(
    "entries",
    [
        "flavors: {python_function: {artifacts: {config: {path: /etc/hostname, uri: x}}}}",
        "flavors: {python_function: {artifacts: {uri: {path: ../outside, uri: x}}}}",
        "flavors: {python_function: {artifacts: {artifacts: {path: ../outside, uri: x}}}}",
    ],
)
def test_an_artifact_of_any_name_lies_in_the_folder(entries: str) -> None:
    """One that was called like an entry that holds no path was not looked at."""
    with pytest.raises(ModelError, match=r"MLmodel has path: .* which is not in its folder"):
        saved(entries).kept()


def test_an_artifact_of_any_name_in_the_folder_is_taken() -> None:
    entries = "flavors: {python_function: {artifacts: {config: {path: inner/data, uri: /from/here}}, config: {a: /x}}}"
    saved(entries).kept()


@pytest.mark.parametrize(
    ("entries", "cause"),
    [
        ("a: {'4111111111111111': ]", "ParserError in line 3"),
        ("flavors: " + "[" * 3000 + "]" * 3000, "RecursionError"),
        ("a: \x01", "ReaderError"),
    ],
)
def test_an_mlmodel_that_cannot_be_read_is_refused_without_its_text(entries: str, cause: str) -> None:
    """Nobody has looked at its paths; MLflow may read it all the same."""
    with pytest.raises(ModelError, match=rf"its MLmodel file cannot be read: {cause}; it was not loaded") as raised:
        saved(entries).kept()
    assert "4111" not in str(raised.value)


def test_without_a_home_folder_the_cache_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPARK_SCORING_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: Path("~nobody-of-this-name").expanduser())
    with pytest.raises(ModelError, match="set SPARK_SCORING_CACHE"):
        cache_folder()
