"""Folders that root writes in: made, or taken back from the training user, and nobody else's."""
import json
import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.ascend.cluster.plugins.module_utils._root_folders import own
from ansible_collections.ascend.cluster.plugins.module_utils._walk import FolderError
from ansible_collections.ascend.cluster.plugins.modules import root_folders

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: folders of root's, since this is not root")
UID = pwd.getpwnam("nobody").pw_uid


@pytest.fixture
def place():
    """A folder that is root's, and so is all above it."""
    folder = Path(tempfile.mkdtemp(prefix="root-folders-", dir="/srv"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def old(place):
    """The workspace of an earlier version: all of it the user's."""
    workspace = place / "ws"
    for part in ("", "artifacts/wheelhouse", "bin", "runs"):
        (workspace / part).mkdir(parents=True, exist_ok=True)
    (workspace / "artifacts" / "a.run").write_text("archive")
    (workspace / "bin" / "tool").write_text("tool")
    (workspace / "bin" / "tool").chmod(0o775)
    (workspace / "env.sh").write_text("env")
    (workspace / "notes").write_text("notes")
    for path in [workspace, *workspace.rglob("*")]:
        os.chown(path, UID, UID)
    return workspace


def owners(folder):
    return {str(path.relative_to(folder)): os.lstat(path).st_uid for path in folder.rglob("*")}


def take(workspace, check=False):
    return own([str(workspace), f"{workspace}/artifacts", f"{workspace}/bin"], [f"{workspace}/artifacts/*", f"{workspace}/bin/*", f"{workspace}/env.sh"],
               "nobody", check)


def test_bare(place):
    wanted = [f"folder {place}/a/ws", f"folder {place}/a/ws/artifacts", f"folder {place}/a/ws/bin"]
    assert take(place / "a" / "ws", True) == wanted
    assert list(place.iterdir()) == []
    before = os.umask(0o077)
    try:
        assert take(place / "a" / "ws") == wanted
    finally:
        os.umask(before)
    for path in (place / "a", *(place / "a").rglob("*")):
        assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_uid) == (0o755, 0)
    assert take(place / "a" / "ws") == []


def test_an_earlier_versions_workspace_is_taken_back(old):
    wanted = [f"folder {old}", f"folder {old}/artifacts", f"folder {old}/bin", f"file {old}/artifacts/a.run", f"file {old}/artifacts/wheelhouse",
              f"file {old}/bin/tool", f"file {old}/env.sh"]
    (old / "artifacts" / "site").mkdir()
    os.chown(old / "artifacts" / "site", 1, 1)
    before = owners(old)
    assert take(old, True) == wanted
    assert owners(old) == before
    with (old / "bin" / "tool").open("a") as kept:
        assert take(old) == wanted
        kept.write("changed by who had it open")
    assert (old / "bin" / "tool").read_text() == "tool" and stat.S_IMODE((old / "bin" / "tool").stat().st_mode) == 0o755
    assert (old / "artifacts" / "a.run").read_text() == "archive" and (old / "env.sh").read_text() == "env"
    roots = {path for path, uid in owners(old).items() if uid == 0}
    assert roots == {"artifacts", "artifacts/a.run", "bin", "bin/tool", "env.sh"}, "the rest is the user's"
    assert owners(old)["artifacts/site"] == 1
    assert take(old) == []


def test_links_and_second_names_lead_nowhere(old, place):
    secret = place / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    foreign = place / "foreign"
    foreign.mkdir()
    os.chown(foreign, 1, 1)
    (old / "bin" / "planted").symlink_to(secret)
    (old / "bin" / "folder").symlink_to(foreign)
    for name in ("planted", "folder"):
        os.lchown(old / "bin" / name, UID, UID)
    (old / "bin" / "roots").symlink_to("tool")
    os.link(secret, old / "bin" / "second")
    (old / "artifacts" / "wheelhouse" / "folder").symlink_to(foreign)
    (foreign / "kept").touch()
    take(old)
    assert [path.name for path in foreign.iterdir()] == ["kept"]
    (foreign / "kept").unlink()
    assert sorted(path.name for path in (old / "bin").iterdir()) == ["roots", "second", "tool"]
    assert (secret.stat().st_uid, stat.S_IMODE(secret.stat().st_mode), secret.read_text()) == (0, 0o600, "secret")
    assert stat.S_IMODE((old / "bin" / "second").stat().st_mode) == 0o600 and secret.stat().st_nlink == 1
    assert foreign.stat().st_uid == 1
    shutil.rmtree(old / "artifacts")
    (old / "artifacts").symlink_to(foreign)
    os.lchown(old / "artifacts", UID, UID)
    with pytest.raises(FolderError, match=f"{old}/artifacts is a link, expected a folder"):
        take(old)
    assert foreign.stat().st_uid == 1 and list(foreign.iterdir()) == []


def test_a_link_of_roots_is_gone_through(place):
    (place / "disk").mkdir()
    (place / "ws").symlink_to("disk")
    os.chown(place / "disk", UID, UID)
    assert take(place / "ws") == [f"folder {place}/{one}" for one in ("ws", "ws/artifacts", "ws/bin")]
    assert owners(place) == {"ws": 0, "disk": 0, "disk/artifacts": 0, "disk/bin": 0}


@pytest.mark.parametrize(("uid", "mode", "words"), [(1, 0o755, r"belongs to daemon, expected root.*chown -R root: "), (54321, 0o755, "belongs to uid 54321"),
                                                     (0, 0o775, r"has mode 0775.*chmod go-w "), (0, 0o1777, "has mode 1777")])
def test_somebody_elses_folder_is_refused(place, uid, mode, words):
    (place / "ws").mkdir()
    (place / "ws").chmod(mode)
    os.chown(place / "ws", uid, 0)
    for check in (True, False):
        with pytest.raises(FolderError, match=f"{place}/ws {words}"):
            take(place / "ws", check)
    assert owners(place) == {"ws": uid} and stat.S_IMODE((place / "ws").stat().st_mode) == mode


@pytest.mark.parametrize("check", [True, False])
def test_a_folder_below_the_users_is_refused(place, check):
    (place / "home" / "ws").mkdir(parents=True)
    os.chown(place / "home", UID, UID)
    if not check:
        with pytest.raises(FolderError, match=rf"Root writes and runs programs in {place}/home/ws, but {place}/home belongs to nobody.*cluster_workspace"):
            take(place / "home" / "ws")
    (place / "open").mkdir()
    (place / "open").chmod(0o777)
    with pytest.raises(FolderError, match=f"{place}/open has mode 0777"):
        take(place / "open" / "ws", check)


def test_nothing_else_is_taken_for_a_folder(place):
    (place / "ws").write_text("")
    with pytest.raises(FolderError, match=f"{place}/ws is no folder"):
        take(place / "ws")
    with pytest.raises(FolderError, match="no absolute path"):
        own(["ws"], [], "nobody", False)


def test_a_copy_that_breaks_off_leaves_what_was_there(old, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space"):
        take(old)
    assert [path.name for path in (old / "artifacts").iterdir() if path.is_file()] == ["a.run"]
    assert (old / "artifacts" / "a.run").read_text() == "archive"


def test_module(old, capsys):
    def ask(code, **options):
        with patch_module_args({"paths": [str(old)], "files": [f"{old}/env.sh"], "user": "nobody", **options}), pytest.raises(SystemExit) as ended:
            root_folders.main()
        assert ended.value.code == code
        return json.loads(capsys.readouterr().out)

    assert ask(0, _ansible_check_mode=True)["taken"] == [f"folder {old}", f"file {old}/env.sh"]
    assert ask(0)["changed"]
    assert not ask(0)["changed"]
    assert "no absolute path" in ask(1, paths=["a"])["msg"]
