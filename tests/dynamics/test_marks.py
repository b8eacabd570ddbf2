"""Files appear whole or not at all, names follow contents, and marks say what is so."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmflow.dynamics.storage import atomic
from warmflow.dynamics.storage.atomic import atomic_directory, atomic_file, write_json, write_text
from warmflow.dynamics.storage.hashing import canonical_json, digest_of, file_hash, tree_hash
from warmflow.dynamics.storage.marks import Marks


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


# ---------------------------------------------------------------------- atomic
def test_a_file_appears_at_the_end_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "down" / "a.json"
    with atomic_file(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert (temporary.parent, temporary.suffix) == (path.parent, ".json")
        assert temporary.name.startswith(".")
    assert path.read_text() == "new"
    assert files(path.parent) == ["a.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_file_as_it_was(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail() -> None:
        with atomic_file(path) as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert files(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("is_durable", [True, False])
def test_what_is_durable_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_durable: bool
) -> None:
    acts: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(atomic.os, "fsync", lambda fd: (acts.append("sync"), fsync(fd)))
    monkeypatch.setattr(atomic.os, "replace", lambda a, b: (acts.append("name"), replace(a, b)))
    write_json(tmp_path / "a.json", {"b": 1}, is_durable=is_durable)
    assert acts == (["sync", "name"] if is_durable else ["name"])
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": 1}


def test_readers_never_see_half_a_file(tmp_path: Path) -> None:
    path, stop, seen = tmp_path / "a.txt", threading.Event(), set()
    texts = ["a" * 300_000, "b" * 200_000]
    write_text(path, texts[0])

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for k in range(100):
        write_text(path, texts[k % 2], is_durable=False)
    stop.set()
    reader.join()
    assert seen <= {*texts}


def test_a_directory_is_exchanged_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "group"
    for content in ("one", "two"):
        with atomic_directory(path) as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
        assert files(path) == [content]

    def fail() -> None:
        with atomic_directory(path) as temporary:
            temporary.mkdir()
            (temporary / "three").write_text("three")
            raise ValueError("planted")

    with pytest.raises(ValueError, match="planted"):
        fail()
    assert files(path.parent) == ["group", "group/two"]


def test_a_directory_that_cannot_be_exchanged_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "old").touch()
    replace = os.replace

    def failing(source: Path, target: Path) -> None:
        if (Path(source) / "new").exists():
            raise OSError("planted")
        replace(source, target)

    monkeypatch.setattr(atomic.os, "replace", failing)

    def exchange() -> None:
        with atomic_directory(tmp_path / "d") as temporary:
            temporary.mkdir()
            (temporary / "new").touch()

    with pytest.raises(OSError, match="planted"):
        exchange()
    assert (tmp_path / "d" / "old").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


# ---------------------------------------------------------------------- hashing
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_one_document_has_one_digest(document: dict[str, Any]) -> None:
    turned = dict(reversed(document.items()))
    assert canonical_json(turned) == canonical_json(document)
    assert digest_of(json.loads(canonical_json(document))) == digest_of(document)
    assert digest_of({**document, "more": 1}) != digest_of({**document, "more": 2})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_json_has_no_digest(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest_of({"a": value})


def test_file_hash_is_sha256(tmp_path: Path) -> None:
    content = os.urandom(1_000_000)
    (tmp_path / "a").write_bytes(content)
    assert file_hash(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def tree(folder: Path, contents: dict[str, str]) -> str:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return tree_hash(folder)


def test_tree_hash_follows_names_and_contents(tmp_path: Path) -> None:
    contents = {"a": "1", "b/c": "2", "b/d": ""}
    wanted = tree(tmp_path / "0", contents)
    turned = dict(reversed(contents.items()))
    assert tree(tmp_path / "1", turned) == wanted  # neither the order of writing nor the place
    others = [
        {**contents, "a": "3"}, {**contents, "e": ""}, {"a": "1", "b/c": "2"},
        {"x": "1", "b/c": "2", "b/d": ""}, {"a": "2", "b/c": "1", "b/d": ""},
        {"a": "1", "b": "2", "d": ""},
    ]  # fmt: skip
    hashes = {tree(tmp_path / f"other{k}", other) for k, other in enumerate(others)}
    assert len({wanted, *hashes}) == 1 + len(others)


def test_tree_hash_ignores_the_order_in_which_folders_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = tree(tmp_path, {"a": "1", "b/c": "2", "d": "3"})
    listed = Path.rglob
    monkeypatch.setattr(Path, "rglob", lambda self, *args: reversed([*listed(self, *args)]))
    assert tree_hash(tmp_path) == wanted


# ---------------------------------------------------------------------- marks
@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    return Marks(tmp_path / "units", tmp_path)


def finished(marks: Marks, name: str = "a") -> list[Path]:
    """Mark a unit with a file and a folder as done; return all files."""
    file, folder = marks.base / f"{name}.bin", marks.base / f"{name}.zarr"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"file")
    paths = [file, folder / "c" / "0", folder / "zarr.json"]
    for path in paths[1:]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.name.encode())
    marks.finish(name, [file, folder], {"cells": 2})
    return paths


def test_a_mark_holds_facts_and_hashes(marks: Marks) -> None:
    finished(marks, "x/y")
    document = json.loads((marks.root / "x" / "y.json").read_text())
    hashes = {"x/y.bin": file_hash(marks.base / "x/y.bin"),
              "x/y.zarr": tree_hash(marks.base / "x/y.zarr")}  # fmt: skip
    assert document == {"cells": 2, "outputs": hashes}
    assert marks.done("x/y") == marks.whole("x/y") == document


def test_outputs_are_relative_so_that_a_folder_can_be_moved(tmp_path: Path) -> None:
    finished(Marks(tmp_path / "here" / "units", tmp_path / "here"))
    (tmp_path / "here").rename(tmp_path / "there")
    assert Marks(tmp_path / "there" / "units", tmp_path / "there").whole("a") is not None
    alone = Marks(tmp_path / "alone")  # outputs beside the marks
    finished(alone)
    assert {*(alone.whole("a") or {})["outputs"]} == {"a.bin", "a.zarr"}


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("kind", ["changed", "cut", "deleted", "more"])
def test_damaged_outputs_are_not_whole(marks: Marks, which: int, kind: str) -> None:
    path = finished(marks)[which]
    if kind == "changed":
        path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif kind == "deleted":
        path.unlink()
    else:
        (marks.base / "a.zarr" / "stray").write_bytes(b"")
    assert marks.whole("a") is None
    assert marks.done("a") is not None


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'{"outputs": 3}', b"\xff\xfe", b"{}"])
def test_a_damaged_mark_marks_nothing(marks: Marks, text: bytes) -> None:
    finished(marks)
    (marks.root / "a.json").write_bytes(text)
    assert marks.whole("a") is None


def test_what_was_never_marked(marks: Marks) -> None:
    assert [marks.done("a"), marks.whole("a"), marks.running("a"), marks.failed("a")] == [None] * 4
    assert [*marks.names("done"), *marks.names("running"), *marks.names("failed")] == []
    marks.forget("a")
    marks.clear("a", "running")


def test_names_are_in_order_and_without_what_is_being_written(marks: Marks) -> None:
    for name in ("000010", "000002", "b/000001"):
        marks.finish(name, [], {})
    marks.start("000003")
    marks.fail("000004", "chunk 4", "why")
    (marks.root / ".abc-000007.json").write_text("{}")
    (marks.root / "job-12.pickle").write_text("")
    assert [*marks.names("done")] == ["000002", "000010", "b/000001"]
    assert [*marks.names("running")] == ["000003"]
    assert [*marks.names("failed")] == ["000004"]


def test_forgotten_is_not_done(marks: Marks) -> None:
    paths = finished(marks)
    marks.forget("a")
    assert marks.done("a") is None
    assert all(path.exists() for path in paths)


def test_a_failure_is_kept_until_the_unit_is_done(marks: Marks) -> None:
    marks.fail("a", "chunk 1: alpha 0.1", "ValueError: why")
    assert marks.failed("a") == {"label": "chunk 1: alpha 0.1", "message": "ValueError: why"}
    marks.start("a")
    assert marks.failed("a") is not None
    marks.finish("a", [], {})
    assert marks.failed("a") is None


def test_who_works_on_a_unit(marks: Marks) -> None:
    marks.start("a")
    facts = marks.running("a")
    assert facts is not None
    assert (facts["pid"], facts["host"]) == (os.getpid(), socket.gethostname())
    assert facts["alive"] is True
    marks.clear("a", "running")
    assert marks.running("a") is None


def test_whether_a_process_lives(marks: Marks, monkeypatch: pytest.MonkeyPatch) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    here = socket.gethostname()

    def alive(**facts: Any) -> bool | None:
        write_json(marks.root / "a.running", facts)
        return (marks.running("a") or {})["alive"]

    assert alive(host=here, pid=process.pid) is True
    process.communicate(b"\n")
    assert alive(host=here, pid=process.pid) is False
    assert alive(host="another-machine", pid=process.pid) is None
    assert alive(host=here) is False
    assert alive(host=here, pid="x") is False
    assert alive(host=here, pid=10**30) is False

    def forbidden(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", forbidden)
    assert alive(host=here, pid=1) is True  # of another user


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_a_running_mark_that_cannot_be_read_is_none(marks: Marks, text: str) -> None:
    marks.root.mkdir()
    (marks.root / "a.running").write_text(text)
    assert marks.running("a") is None
