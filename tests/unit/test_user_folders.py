"""Folders of the training user: what exists is not touched, and root goes nowhere where somebody else could lead it."""
import json
import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.ascend.cluster.plugins.module_utils import _user_folders
from ansible_collections.ascend.cluster.plugins.module_utils._as_user import UserError, as_user
from ansible_collections.ascend.cluster.plugins.module_utils._user_folders import make
from ansible_collections.ascend.cluster.plugins.module_utils._walk import FolderError
from ansible_collections.ascend.cluster.plugins.modules import user_folders

ME = pwd.getpwuid(os.geteuid()).pw_name
#: where root can become somebody, the user is nobody, and what root does for it is tested too
ROOT = os.geteuid() == 0
only_root = pytest.mark.skipif(not ROOT, reason="NOT TESTED: what root does for the training user, since this is not root")
USER = "nobody" if ROOT else ME
UID = pwd.getpwnam(USER).pw_uid


@pytest.fixture
def place():
    """A folder that the user can reach: of root alone, and so is all above it, where this is root."""
    folder = Path(tempfile.mkdtemp(prefix="user-folders-", dir="/srv" if ROOT else None)).resolve()
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def is_like(path, mode=0o755, uid=UID):
    found = os.lstat(path)
    return stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == mode and found.st_uid == uid


def of_the_user(path, mode=0o755):
    path.mkdir()
    path.chmod(mode)
    os.chown(path, UID, -1)
    return path


def test_the_user_makes_them(place):
    home = of_the_user(place / "home")
    before = os.umask(0o077)
    try:
        made = make([f"{home}/a/b", f"{home}/a/c/", f"{home}/a/b"], USER, 0o750, False)
    finally:
        os.umask(before)
    assert made == [f"{home}/a", f"{home}/a/b", f"{home}/a/c"]
    assert is_like(home / "a" / "b", 0o750) and is_like(home / "a" / "c", 0o750)
    assert make([f"{home}/a/b"], USER, 0o755, False) == []
    assert is_like(home / "a" / "b", 0o750), "an existing folder keeps its mode"


def test_links_are_the_users_own_affair(place):
    home, foreign = of_the_user(place / "home"), of_the_user(place / "foreign")
    (home / "way").symlink_to(foreign)
    assert make([f"{home}/way/a"], USER, 0o755, False) == [f"{home}/way/a"]
    assert is_like(foreign / "a")


@pytest.mark.parametrize("check", [True, False])
def test_nothing_else_is_taken_for_a_folder(place, check):
    home = of_the_user(place / "home")
    (home / "file").write_text("")
    (home / "dead").symlink_to("nowhere")
    for path, words in {"file/a": "file is no folder", "file": "file is no folder", "dead/a": "dead is a link that leads nowhere",
                        "dead": "dead is a link that leads nowhere"}.items():
        with pytest.raises(FolderError, match=words):
            make([f"{home}/{path}"], USER, 0o755, check)


@pytest.mark.parametrize("path", ["relative/a", "/srv/../etc/a", ""])
def test_no_other_words_for_a_path(path):
    with pytest.raises(FolderError, match="no absolute path"):
        make([path], USER, 0o755, False)


def test_check_mode_tells_and_makes_nothing(place):
    home = of_the_user(place / "home")
    assert make([f"{home}/a/b", f"{home}"], USER, 0o755, True) == [f"{home}/a", f"{home}/a/b"]
    assert make([f"{home}/a"], "no-such-user", 0o755, True) == [f"{home}/a"], "before the user is made"
    assert list(home.iterdir()) == []


def test_a_user_who_is_not_there():
    with pytest.raises(UserError, match=r"no user no-such-user.*node_base"):
        make(["/srv/a"], "no-such-user", 0o755, False)


@only_root
def test_root_makes_one_and_gives_it_away(place):
    assert make([f"{place}/a/b/c", f"{place}/a/d"], USER, 0o750, True) == [f"{place}/a", f"{place}/a/b", f"{place}/a/b/c", f"{place}/a/d"]
    assert list(place.iterdir()) == []
    assert make([f"{place}/a/b/c", f"{place}/a/d"], USER, 0o750, False) == [f"{place}/a", f"{place}/a/b", f"{place}/a/b/c", f"{place}/a/d"]
    assert all(is_like(place / one, 0o750) for one in ("a", "a/b", "a/b/c", "a/d"))
    assert is_like(place, uid=0)


@only_root
def test_root_makes_nothing_where_another_can_write(place):
    for name, uid, mode, words in (("daemons", 1, 0o755, "belongs to daemon"), ("groups", 0, 0o775, "mode 0775"),
                                   ("numbers", 54321, 0o755, "belongs to uid 54321")):
        folder = place / name
        folder.mkdir()
        os.chown(folder, uid, 0)
        folder.chmod(mode)
        for check in (True, False):
            with pytest.raises(FolderError, match=rf"(?s)nobody \(cluster_user\) cannot make it in {folder} \(Permission denied\).*{words}.*chown nobody: "):
                make([f"{folder}/a"], USER, 0o755, check)
        assert list(folder.iterdir()) == []


@only_root
def test_root_does_not_go_below_a_folder_that_another_can_change(place):
    """Root's own folder in the user's: the user may put another one in its place."""
    home = of_the_user(place / "home")
    (home / "roots").mkdir()
    with pytest.raises(FolderError, match=f"{home} belongs to nobody"):
        make([f"{home}/roots/a"], USER, 0o755, False)
    assert list((home / "roots").iterdir()) == []


@only_root
def test_root_follows_only_links_that_root_made(place):
    home, foreign = of_the_user(place / "home"), place / "foreign"
    foreign.mkdir()
    (home / "way").symlink_to(foreign)
    with pytest.raises(FolderError, match=rf"{home}/way is a link, and {home} belongs to nobody: root does not follow it"):
        make([f"{home}/way/a"], USER, 0o755, False)
    assert list(foreign.iterdir()) == []
    (place / "way").symlink_to("foreign")
    assert make([f"{place}/way/a"], USER, 0o755, False) == [f"{foreign}/a"]
    assert is_like(foreign / "a") and is_like(foreign, uid=0)
    (place / "round").symlink_to("round")
    with pytest.raises(FolderError, match=r"(?s)round.*(too many|symbolic links)"):
        make([f"{place}/round/a"], USER, 0o755, False)


@only_root
def test_a_folder_that_the_user_cannot_reach(place):
    (place / "shut").mkdir()
    (place / "shut" / "a").mkdir()
    (place / "shut").chmod(0o700)
    with pytest.raises(FolderError, match=rf"{place}/shut/a is there, but nobody \(cluster_user\) cannot reach it.*chmod o\+x"):
        make([f"{place}/shut/a"], USER, 0o755, False)
    with pytest.raises(FolderError, match=rf"{place}/shut/b/c is not there"):
        make([f"{place}/shut/b/c"], USER, 0o755, False)


@only_root
def test_what_cannot_be_given_away_is_not_left(place, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")
    monkeypatch.setattr(_user_folders.os, "fchown", refuse)
    with pytest.raises(FolderError, match="it cannot either"):
        make([f"{place}/a"], USER, 0o755, False)
    assert list(place.iterdir()) == []


@only_root
def test_as_user_is_that_user_for_good():
    def who():
        try:
            os.setuid(0)
        except PermissionError:
            return [os.getuid(), os.geteuid(), os.getgid(), os.getegid(), os.getgroups()]
        return "root again"
    gid = pwd.getpwnam(USER).pw_gid
    assert as_user(USER, who) == [UID, UID, gid, gid, [gid]]
    assert os.geteuid() == 0


def test_what_breaks_as_the_user_is_told():
    with pytest.raises(UserError, match=f"As {USER}: .*by zero"):
        as_user(USER, lambda: 1 // 0)
    with pytest.raises(UserError, match="without an answer"):
        as_user(USER, lambda: os.kill(os.getpid(), 9))
    assert as_user(USER, lambda: {"long": "x" * 300_000})["long"] == "x" * 300_000


def test_module(place, capsys):
    home = of_the_user(place / "home")

    def ask(code, **options):
        with patch_module_args({"paths": [f"{home}/a"], "user": USER, **options}), pytest.raises(SystemExit) as ended:
            user_folders.main()
        assert ended.value.code == code
        return json.loads(capsys.readouterr().out)

    answer = ask(0, _ansible_check_mode=True)
    assert answer["changed"] and answer["made"] == [f"{home}/a"] and list(home.iterdir()) == []
    assert ask(0)["changed"] and is_like(home / "a")
    again = ask(0, mode="0700")
    assert not again["changed"] and again["made"] == [] and is_like(home / "a")
    assert "expected octal digits" in ask(1, mode="rwx")["msg"]
    assert "no absolute path" in ask(1, paths=["a"])["msg"]
    assert "no user no-such-user" in ask(1, user="no-such-user")["msg"]
