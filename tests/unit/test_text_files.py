"""Small files in one step: what differs is replaced whole, and nothing is followed."""
import os
import stat

import pytest
from ansible_collections.ascend.cluster.plugins.module_utils import _text_files
from ansible_collections.ascend.cluster.plugins.module_utils._text_files import TextFileError, Wanted


def test_a_file_as_asked_is_the_same(tmp_path):
    wanted = Wanted(str(tmp_path / "a"), "text\n", 0o640)
    assert _text_files.found(wanted.path) is None
    assert not _text_files.same(wanted, None)
    _text_files.write(wanted)
    assert _text_files.found(wanted.path) == "text\n"
    assert stat.S_IMODE(os.stat(wanted.path).st_mode) == 0o640
    assert _text_files.same(wanted, "text\n")
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("wanted", [{"content": "other"}, {"mode": 0o600}])
def test_another_text_or_mode_is_not_the_same(tmp_path, wanted):
    file = Wanted(str(tmp_path / "a"), "text", 0o644)
    _text_files.write(file)
    assert not _text_files.same(file._replace(**wanted), _text_files.found(file.path))


def test_a_file_of_another_owner_is_replaced_by_an_own_one(tmp_path, monkeypatch):
    file = Wanted(str(tmp_path / "a"), "text", 0o644)
    _text_files.write(file)
    before = os.open(file.path, os.O_RDONLY)
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(before).st_uid + 1)
    assert not _text_files.same(file, "text")
    _text_files.write(file)
    assert os.stat(file.path).st_ino != os.stat(before).st_ino


def test_a_link_is_refused_and_its_target_kept(tmp_path):
    (tmp_path / "target").write_text("precious")
    (tmp_path / "a").symlink_to("target")
    with pytest.raises(TextFileError, match="a is a link, and was left as it is"):
        _text_files.found(str(tmp_path / "a"))
    # A link that appears between the look and the write is replaced, not followed.
    _text_files.write(Wanted(str(tmp_path / "a"), "text", 0o644))
    assert (tmp_path / "target").read_text() == "precious"
    assert not (tmp_path / "a").is_symlink()


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(TextFileError, match="is a folder"):
        _text_files.found(str(tmp_path))


def test_a_draft_that_its_command_refuses_takes_no_place(tmp_path):
    file = Wanted(str(tmp_path / "a.sh"), "echo 'open\n", 0o755, "bash -n %s")
    _text_files.write(file._replace(content="echo fine\n"))
    with pytest.raises(TextFileError, match=r"a.sh was not written: `bash -n %s` refuses it: .*a.sh: line 1: unexpected EOF"):
        _text_files.write(file)
    assert (tmp_path / "a.sh").read_text() == "echo fine\n"
    assert os.listdir(tmp_path) == ["a.sh"]


def test_a_folder_that_is_missing_is_said(tmp_path):
    with pytest.raises(TextFileError, match="none/a could not be written: No such file or directory"):
        _text_files.write(Wanted(str(tmp_path / "none" / "a"), "text", 0o644))


def test_bytes_that_are_no_text_differ_and_do_no_harm(tmp_path):
    (tmp_path / "a").write_bytes(b"\xff\xfe")
    file = Wanted(str(tmp_path / "a"), "text", 0o644)
    assert not _text_files.same(file, _text_files.found(file.path))
