"""Which files a training reads, and whether a node has those of the master."""
from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from ansible_collections.ascend.cluster.plugins.module_utils import _data_manifest
from ansible_collections.ascend.cluster.plugins.module_utils._data_manifest import (
    Hashes,
    ManifestError,
    Proof,
    compare,
    files_below,
    identity,
    in_words,
    inputs,
    parse,
    proofs,
)
from ansible_collections.ascend.cluster.plugins.module_utils._index_cache import Record


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write(path: Path, data: bytes) -> str:
    """A file whose times are long past the ticks of its file system, as far as the program is told."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as old at once."""
    monkeypatch.setattr(_data_manifest, "SETTLED", 0.0)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of each file that is hashed, an entry."""
    made: list[int] = []
    original = hashlib.sha256

    def counted(*data: bytes) -> hashlib._Hash:
        made.append(1)
        return original(*data)

    monkeypatch.setattr("ansible_collections.ascend.cluster.plugins.module_utils._hashing.hashlib.sha256", counted)
    return made


def test_an_unchanged_file_is_read_once(tmp_path: Path, read: list[int]) -> None:
    file, state = write(tmp_path / "a", b"one"), str(tmp_path / "state.json")
    for _ in range(2):
        hashes = Hashes(state)
        hashes.of(file)
        hashes.save()
    assert len(read) == 1


@pytest.mark.parametrize("how", ["content", "replaced"])
def test_other_content_of_equal_size_and_time_is_seen(how: str, tmp_path: Path) -> None:
    file, state = write(tmp_path / "a", b"one"), str(tmp_path / "state.json")
    hashes = Hashes(state)
    hashes.of(file)
    hashes.save()
    before = os.stat(file)
    if how == "replaced":
        os.replace(write(tmp_path / "b", b"two"), file)
    else:
        Path(file).write_bytes(b"two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(file).st_mtime_ns == before.st_mtime_ns
    assert Hashes(state).of(file).sha256 == sha256(b"two")


def test_a_file_just_written_is_not_remembered_before_its_times_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_data_manifest, "SETTLED", 1000.0)
    slept: list[float] = []
    monkeypatch.setattr(_data_manifest.time, "sleep", slept.append)
    file = write(tmp_path / "a", b"one")
    Hashes(None).of(file)
    assert len(slept) == 1
    assert 900 < slept[0] <= 1000


def test_a_file_of_the_future_is_neither_waited_for_nor_remembered(tmp_path: Path) -> None:
    file, state = write(tmp_path / "a", b"one"), tmp_path / "state.json"
    ahead = os.stat(file).st_mtime_ns + 10**12
    os.utime(file, ns=(ahead, ahead))
    hashes = Hashes(str(state))
    assert hashes.of(file).sha256 == sha256(b"one")
    hashes.save()
    assert not state.exists()


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"/a": 1}', '{"/a": ["x", [1, 2, 3, 4]]}'])
def test_a_damaged_memory_counts_as_empty(damage: str, tmp_path: Path) -> None:
    file, state = write(tmp_path / "a", b"one"), tmp_path / "state.json"
    state.write_text(damage)
    hashes = Hashes(str(state))
    assert hashes.of(file).sha256 == sha256(b"one")
    hashes.save()
    assert list(json.loads(state.read_text())) == [file]


def test_what_is_gone_is_forgotten(tmp_path: Path) -> None:
    files, state = [write(tmp_path / name, b"one") for name in "ab"], tmp_path / "state.json"
    hashes = Hashes(str(state))
    hashes.all(files)
    hashes.save()
    os.unlink(files[0])
    hashes = Hashes(str(state))
    hashes.all(files)
    hashes.save()
    assert list(json.loads(state.read_text())) == files[1:]


def test_the_same_file_on_shared_storage_is_not_read_again(tmp_path: Path) -> None:
    file = write(tmp_path / "a", b"one")
    told = Proof("0" * 64, identity(os.stat(file)))
    assert Hashes(None, {file: told}).of(file) == told
    other = Proof("0" * 64, (*told.identity[:3], told.identity[3] + 1))
    assert Hashes(None, {file: other}).of(file).sha256 == sha256(b"one")


@pytest.mark.parametrize("stored", [[], {"/a": []}, {"/a": ["0" * 64, [1, 2, 3]]}, {"/a": ["0" * 63, [1, 2, 3, 4]]}, {"/a": ["0" * 64, "wxyz"]}])
def test_proofs_of_another_form_are_refused(stored: object) -> None:
    with pytest.raises(ManifestError, match="expected"):
        proofs(stored)


def tree(home: Path) -> dict[str, str]:
    """Tokenizer, data and index cache below a folder; path to SHA-256."""
    names = ["tokenizer/tokenizer.json", "tokenizer/sub/config.json", "data/text.bin", "data/text.idx", "data/text.manifest.json", "cache/a.npy"]
    return {write(home / name, name.encode()): sha256(name.encode()) for name in names}


def given(home: Path) -> tuple[str, str, str]:
    return str(home / "tokenizer"), str(home / "data/text"), str(home / "cache")


def test_lists_what_a_training_reads(tmp_path: Path) -> None:
    expected = tree(tmp_path)
    write(tmp_path / "tokenizer/.partial", b"x")
    write(tmp_path / "tokenizer/.rsync-partial/tokenizer.json", b"x")
    write(tmp_path / "data/other.bin", b"x")
    assert inputs(*given(tmp_path)) == (sorted(expected), [])


def test_follows_links_but_not_in_circles(tmp_path: Path) -> None:
    write(tmp_path / "real/file", b"x")
    (tmp_path / "seen").mkdir()
    (tmp_path / "seen/link").symlink_to(tmp_path / "real")
    (tmp_path / "real/up").symlink_to(tmp_path / "real")
    assert list(files_below(str(tmp_path / "seen"))) == [str(tmp_path / "seen/link/file")]


def test_only_files_are_listed(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    os.mkfifo(tmp_path / "fifo")
    assert list(files_below(str(tmp_path))) == []


def test_hashes_that_are_kept_nowhere_are_not_saved(tmp_path: Path) -> None:
    hashes = Hashes(None)
    hashes.of(write(tmp_path / "a", b"one"))
    hashes.save()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(("gone", "words"), [
    ("tokenizer", ["tokenizer", "playbooks/tokenizer.yml"]), ("data/text.bin", ["text.bin", "playbooks/dataset.yml"]),
    ("data/text.idx", ["text.idx", "playbooks/dataset.yml"]),
    ("cache", ["cache", "playbooks/dataset.yml"]), ("cache/a.npy", ["files in", "playbooks/dataset.yml"])])
def test_says_what_is_missing_and_what_makes_it(gone: str, words: list[str], tmp_path: Path) -> None:
    tree(tmp_path)
    (tmp_path / gone).rename(tmp_path / "away")
    _, missing = inputs(*given(tmp_path))
    assert len(missing) == 1
    assert all(word in missing[0] for word in words)
    assert missing[0].startswith("files in ") == (gone == "cache/a.npy")


@pytest.mark.parametrize("name", ["a\nb", "a\\b", "a\rb"])
def test_refuses_names_that_a_list_cannot_hold(name: str, tmp_path: Path) -> None:
    tree(tmp_path)
    write(tmp_path / "tokenizer" / name, b"x")
    with pytest.raises(ManifestError, match="rename it"):
        inputs(*given(tmp_path))


def test_tells_missing_other_unreadable_and_extra(tmp_path: Path) -> None:
    expected = tree(tmp_path)
    brought, older, left = (write(tmp_path / "cache" / f"{letter * 32}-GPTDataset-sample_index.npy", b"x") for letter in "abc")
    (tmp_path / "data/text.idx").unlink()
    (tmp_path / "data/text.bin").write_bytes(b"other")
    (tmp_path / "tokenizer/tokenizer.json").unlink()
    (tmp_path / "tokenizer/tokenizer.json").mkdir()
    foreign = write(tmp_path / "cache/old.npy", b"x")
    record = Record((brought, foreign), (left, foreign))
    found = compare(expected, str(tmp_path / "cache"), Hashes(None), record, False)
    assert (found["extra"], found["foreign"]) == ([brought, older], sorted([left, foreign]))
    found = compare(expected, str(tmp_path / "cache"), Hashes(None), record, True)
    assert {path: proof.sha256 == expected[path] for path, proof in found.pop("files").items()} == {
        path: not path.endswith("text.bin") for path in expected if not path.endswith(("text.idx", "tokenizer.json"))}
    assert found == {"missing": [str(tmp_path / "data/text.idx")], "differing": [str(tmp_path / "data/text.bin")],
                     "unreadable": [f"{tmp_path / 'tokenizer/tokenizer.json'} (Is a directory)"], "extra": [brought],
                     "foreign": sorted([older, left, foreign])}


def test_the_same_files_differ_in_nothing(tmp_path: Path) -> None:
    expected = tree(tmp_path)
    found = compare(expected, str(tmp_path / "cache"), Hashes(None), Record(), True)
    assert {path: proof.sha256 for path, proof in found.pop("files").items()} == expected
    assert found == {"missing": [], "differing": [], "unreadable": [], "extra": [], "foreign": []}
    assert in_words(found) == ""
    assert in_words({"foreign": ["/a"]}) == ""
    assert in_words({"skipped": True}) == ""


def test_nothing_there_is_told_from_other_content(tmp_path: Path) -> None:
    expected = tree(tmp_path / "master")
    found = compare(expected, str(tmp_path / "none"), Hashes(None), Record(), True)
    assert found["missing"] == []
    lacking = {path.replace("/master/", "/none/"): digest for path, digest in expected.items()}
    found = compare(lacking, str(tmp_path / "none/cache"), Hashes(None), Record(), True)
    assert found["missing"] == sorted(lacking)
    assert found["differing"] == []


def test_words_count_and_name_three_of_each_kind() -> None:
    assert in_words({"missing": [f"/m{n}" for n in range(11)], "differing": ["/d"]}) == "missing: 11 files, of them /m0, /m1, /m2; other content: /d"
    assert in_words({"missing": [f"/m{n}" for n in range(3)]}) == "missing: /m0, /m1, /m2"


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "a", b"one")

    def changing(found: os.stat_result, times: list[int] = []) -> tuple[int, int, int, int]:  # noqa: B006
        times.append(1)
        return (*identity(found)[:3], len(times))

    monkeypatch.setattr(_data_manifest, "identity", changing)
    with pytest.raises(ManifestError, match="changed while it was read"):
        Hashes(None).of(file)


def test_reads_what_sha256sum_writes() -> None:
    assert parse(f"{'0' * 64}  /a b\n{'1' * 64} */c\n") == {"/a b": "0" * 64, "/c": "1" * 64}


@pytest.mark.parametrize("text", ["", "x\n", f"{'0' * 64}  relative\n", f"{'0' * 63}  /a\n"])
def test_refuses_other_lists(text: str) -> None:
    with pytest.raises(ManifestError):
        parse(text)
