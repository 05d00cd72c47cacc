"""Whose the files of an index cache are."""
from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.ascend.cluster.plugins.module_utils._index_cache import Record, is_index_file, read_record, tell, write_record

HASH = "0123456789abcdef" * 2


@pytest.mark.parametrize(("name", "ours"), [
    (f"{HASH}-GPTDataset-document_index.npy", True), (f"{HASH}-GPTDataset-train-sample_index.npy", True), (f"{HASH}-GPTDataset-valid-shuffle_index.npy", True),
    (f"{HASH}-GPTDataset-description.txt", True),
    (f"{HASH}-BlendedDataset-train-dataset_sample_index.npy", True), (f"{HASH}-BlendedDataset-train-dataset_index.npy", True),
    ("of-older-data.npy", False), (f"{HASH[1:]}-GPTDataset-document_index.npy", False), (f"{HASH}-GPTDataset-document_index.npy.bak", False),
    (f"{HASH.upper()}-GPTDataset-document_index.npy", False), (f"x{HASH}-GPTDataset-document_index.npy", False), (f"{HASH}-notes.txt", False)])
def test_the_form_of_a_name(name: str, ours: bool) -> None:
    assert is_index_file(f"/data/cache/{name}") is ours


def file(letter: str) -> str:
    return f"/c/{letter * 32}-GPTDataset-sample_index.npy"


def test_only_what_the_master_had_is_removed_and_only_what_came_since_is_a_difference() -> None:
    listed, shared, left, new = (file(letter) for letter in "abcd")
    found = [listed, shared, left, new, "/c/notes"]
    record = Record((listed, shared, "/c/notes"), (left, "/c/notes"))
    assert tell(found, [listed], record, True) == ([shared], [left, new, "/c/notes"])
    assert tell(found, [listed], record, False) == ([shared, new], [left, "/c/notes"])
    assert tell(found, [listed], Record(), True)[0] == []


def test_what_was_shared_once_is_remembered_for_good(tmp_path: Path) -> None:
    path = tmp_path / "index_cache.json"
    write_record(str(path), Record(), [file("a"), "/data/text.bin"], ["/c/notes"])
    first = read_record(str(path))
    assert first == Record((file("a"),), ("/c/notes",))
    write_record(str(path), first, [file("b")], [])
    assert read_record(str(path)) == Record((file("a"), file("b")), ())
    before = path.stat().st_mtime_ns, path.stat().st_ino
    write_record(str(path), read_record(str(path)), [file("b")], [])
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"shared": 1}', '{"shared": [], "left": 3}', "null"])
def test_a_damaged_record_knows_nothing(text: str, tmp_path: Path) -> None:
    path = tmp_path / "index_cache.json"
    path.write_text(text)
    assert read_record(str(path)) == Record()
    assert read_record(str(tmp_path / "none")) == Record()
