"""The mounts of a node: what is mounted, what is taken away, what is refused, and what a server that does not answer leads to."""
from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ascend.cluster.plugins.module_utils import _nfs_mounts
from ansible_collections.ascend.cluster.plugins.module_utils._addresses import canonical, in_source, split_source
from ansible_collections.ascend.cluster.plugins.module_utils._nfs_mounts import BEGIN, END, Client, Line, mounted, own_lines, with_lines

# Of a node with Linux 6.1.
MOUNTINFO = ("22 1 253:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
             "90 22 0:45 / /shared/d rw,nosuid,nodev,noexec,noatime shared:40 - nfs4 10.0.0.1:/shared/d rw,vers=4.2,hard,proto=tcp\n"
             "91 90 0:46 / /shared/d ro,nosuid shared:41 - nfs4 [2001:db8::1]:/shared/d ro,vers=4.2\n")
SITE = "UUID=1 / ext4 defaults 0 1\nserver:/x /x nfs defaults 0 0\n"
SHARE = {"path": "/shared/d", "access": "ro"}
OPTIONS = "vers=4,hard"


def test_the_last_mount_at_a_path_counts() -> None:
    assert mounted(MOUNTINFO, "/shared/d") == ("nfs4", "[2001:db8::1]:/shared/d", "ro")
    assert mounted(MOUNTINFO, "/") == ("ext4", "/dev/vda", "rw")
    assert mounted(MOUNTINFO, "/shared") is None


@pytest.mark.parametrize(("text", "address"), [
    ("10.0.0.1", "10.0.0.1"), (" 10.0.0.1", "10.0.0.1"), ("2001:DB8:0:0::1", "2001:db8::1"), ("2001:db8::0001", "2001:db8::1"),
    ("::ffff:10.0.0.1", "::ffff:10.0.0.1"),
    ("node1", ""), ("10.0.0", ""), ("", ""), ("10.0.0.1/24", "")])
def test_an_address_has_one_form(text: str, address: str) -> None:
    assert canonical(text) == address


def test_a_source_is_read_whatever_form_its_address_has() -> None:
    assert split_source("[2001:DB8:0::1]:/a/b") == split_source(f"{in_source('2001:db8::1')}:/a/b") == ("2001:db8::1", "/a/b")
    assert split_source("10.0.0.1:/a") == ("10.0.0.1", "/a")
    assert split_source("server:/a") == ("server", "/a")


def test_our_block_of_fstab_is_all_that_changes() -> None:
    lines = [Line("10.0.0.1:/b", "/b", "rw"), Line("10.0.0.1:/a", "/a", "ro")]
    text = with_lines(SITE, lines)
    assert text == f"{SITE}{BEGIN}\n10.0.0.1:/a /a nfs4 ro 0 0\n10.0.0.1:/b /b nfs4 rw 0 0\n{END}\n"
    assert own_lines(text) == sorted(lines, key=lambda line: line.path)
    assert own_lines(SITE) == []
    after = f"{text}last:/z /z nfs defaults 0 0\n"
    assert with_lines(after, lines) == after
    assert with_lines(after, lines[:1]) == f"{SITE}{BEGIN}\n10.0.0.1:/b /b nfs4 rw 0 0\n{END}\nlast:/z /z nfs defaults 0 0\n"
    assert with_lines(after, []) == f"{SITE}last:/z /z nfs defaults 0 0\n"


class Node:
    """A pretend node: what is mounted follows from what is run; answers can be set by the beginning of a command."""

    def __init__(self, mounts: dict[str, tuple[str, str, str]] | None = None, lines: Sequence[Line] = (), **settings: Any) -> None:
        self.mounts = dict(mounts or {})
        self.fstab = with_lines(SITE, lines)
        self.ran: list[str] = []
        self.written: list[str] = []
        self.answers: dict[str, tuple[int, str, str]] = {}
        self.client = Client(self.run, 60, settings.get("check", False), lambda address: settings.get("reach", True),
                             lambda path: self.ran.append(f"make {path}"), self.write, self.read, lambda path: f"7 (python) at {path}")

    def run(self, words: Sequence[str]) -> tuple[int, str, str]:
        assert list(words[:4]) == ["timeout", "-k", "5", "60"]
        command = " ".join(words[4:])
        self.ran.append(command)
        for begins, answer in self.answers.items():
            if command.startswith(begins):
                return answer
        if words[4] == "umount":
            del self.mounts[words[-1]]
        if words[4] == "mount":
            self.mounts[os.path.realpath(words[-1])] = (words[6], words[-2], "ro" if ",ro," in words[8] else "rw")
        return 0, "", ""

    def read(self, name: str) -> str:
        if name == "/etc/fstab":
            return self.fstab
        return "".join(f"1 1 0:1 / {path} {access},x shared:1 - {kind} {source} x\n" for path, (kind, source, access) in self.mounts.items())

    def write(self, text: str) -> None:
        self.fstab = text
        self.written.append(text)

    def mount(self, *folders: dict[str, str], address: str = "10.0.0.1", options: str = OPTIONS) -> Client:
        self.client.mount(list(folders), "node1", address, options)
        return self.client


OURS = Line("10.0.0.1:/shared/d", "/shared/d", f"{OPTIONS},ro")
MOUNTED = {"/shared/d": ("nfs4", "10.0.0.1:/shared/d", "ro")}


def test_mounts_and_records_it() -> None:
    node = Node()
    client = node.mount(SHARE)
    assert node.ran == ["make /shared/d", "mount -t nfs4 -o vers=4,hard,ro,fg,retry=0 10.0.0.1:/shared/d /shared/d"]
    assert (client.changes, client.errors, own_lines(node.fstab)) == (["/shared/d mounted"], [], [OURS])


def test_an_address_of_version_6_stands_in_brackets() -> None:
    node = Node()
    node.mount(SHARE, address="2001:db8::1")
    assert own_lines(node.fstab)[0].source == "[2001:db8::1]:/shared/d"


@pytest.mark.parametrize("form", ["10.0.0.1:/shared/d", "[2001:DB8:0::1]:/shared/d"])
def test_what_is_as_it_should_be_stays(form: str) -> None:
    node = Node({"/shared/d": ("nfs4", form, "ro")}, [OURS._replace(source=form)])
    client = node.mount(SHARE, address="10.0.0.1" if form.startswith("10") else "2001:db8::1")
    assert node.ran == ["stat /shared/d"]
    assert (client.changes, client.errors, node.written) == ([], [], [])


@pytest.mark.parametrize("old", [OURS._replace(options="vers=4,soft,ro"), OURS._replace(source="10.0.0.9:/shared/d")])
def test_other_options_or_another_server_are_mounted_anew(old: Line) -> None:
    node = Node({"/shared/d": ("nfs4", old.source, "ro")}, [old])
    client = node.mount(SHARE)
    assert node.ran[0] == "umount /shared/d"
    assert (client.changes, own_lines(node.fstab)) == (["/shared/d mounted"], [OURS])


def test_a_stale_mount_is_made_anew_and_one_without_answer_is_said() -> None:
    node = Node(MOUNTED, [OURS])
    node.answers = {"stat": (1, "", "stat: cannot stat: Stale file handle"), "umount /": (32, "", "umount: /shared/d: Stale file handle")}
    assert node.mount(SHARE).changes == ["/shared/d mounted"]
    assert "umount -l /shared/d" in node.ran
    node = Node(MOUNTED, [OURS])
    node.answers = {"stat": (124, "", "")}
    assert node.mount(SHARE).errors == ["/shared/d: node1 does not answer within 60 s: "]
    assert (node.ran, node.written) == (["stat /shared/d"], [])


@pytest.mark.parametrize("now", [("ext4", "/dev/sdb", "rw"), ("nfs4", "10.0.0.7:/other", "ro"), ("nfs4", "10.0.0.1:/shared/d", "ro")])
@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("lines", [[], [OURS._replace(source="10.0.0.9:/shared/d")]], ids=["", "ours was another"])
def test_what_others_mounted_is_refused_and_stays(now: tuple[str, str, str], check: bool, lines: list[Line]) -> None:
    node = Node({"/shared/d": now}, lines, check=check)
    client = node.mount(SHARE)
    assert f"found {' '.join(now)} mounted there, which this project did not make" in client.errors[0]
    assert (node.ran, node.written, client.changes) == ([], [], [])


def test_check_mode_says_it_and_runs_nothing() -> None:
    node = Node({"/old": ("nfs4", "10.0.0.1:/old", "rw")}, [Line("10.0.0.1:/old", "/old", "rw")], check=True)
    client = node.mount(SHARE)
    assert client.changes == ["/old unmounted", "/shared/d would be mounted"]
    assert (node.ran, node.written) == ([], [])


def test_a_port_that_cannot_be_reached_ends_it_before_anything_is_unmounted() -> None:
    node = Node({"/shared/d": ("nfs4", "10.0.0.9:/shared/d", "ro")}, [OURS._replace(source="10.0.0.9:/shared/d")], reach=False)
    client = node.mount(SHARE, {"path": "/shared/e", "access": "rw"})
    assert client.errors == ["port 2049/tcp of node1 (10.0.0.1) cannot be reached: a firewall on the way, or its NFS server listens elsewhere"]
    assert node.ran == []


@pytest.mark.parametrize(("answer", "words"), [
    ((32, "", "mount.nfs4: access denied by server while mounting"), ["access denied", "its exports name the cluster_address of each node"]),
    ((124, "", ""), ["no answer within 60 s"]), ((32, "", "a\nb"), ["cannot be mounted: a b"])])
def test_a_mount_that_fails_is_said_and_not_recorded(answer: tuple[int, str, str], words: list[str]) -> None:
    node = Node()
    node.answers = {"mount": answer}
    client = node.mount(SHARE)
    assert all(word in client.errors[0] for word in words)
    assert (own_lines(node.fstab), client.changes) == ([], [])


def test_a_busy_mount_names_who_uses_it_and_stays_recorded() -> None:
    node = Node(MOUNTED, [OURS])
    node.answers = {"umount": (32, "", "umount: /shared/d: target is busy.")}
    node.client.leave([])
    assert node.client.errors == ["/shared/d is in use and cannot be mounted anew, by: 7 (python) at /shared/d; end these, then run this again"]
    assert (own_lines(node.fstab), node.client.changes) == ([OURS], [])
    node.answers = {"umount": (124, "", "")}
    node.client.leave([])
    assert node.client.errors[-1] == "/shared/d cannot be unmounted within 60 s: no answer from the server"


def test_leaving_takes_ours_and_nobody_elses() -> None:
    lines = [OURS, Line("10.0.0.1:/a", "/a", "rw"), Line("10.0.0.1:/b", "/b", "rw"), Line("10.0.0.1:/keep", "/keep", "rw")]
    node = Node({**MOUNTED, "/a": ("ext4", "/dev/sdb", "rw"), "/keep": ("nfs4", "10.0.0.1:/keep", "rw")}, lines)
    node.client.leave(["/keep"])
    assert node.ran == ["umount /shared/d"]
    assert node.client.changes == ["/shared/d unmounted"]
    assert [line.path for line in own_lines(node.fstab)] == ["/keep"]
    assert node.fstab.startswith(SITE)


def test_a_line_without_a_mount_is_a_change_too() -> None:
    node = Node({}, [OURS])
    node.client.leave([])
    assert (node.client.changes, node.fstab) == (["/etc/fstab written"], SITE)
    node.client.leave([])
    assert len(node.client.changes) == len(node.written) == 1


def test_files_that_a_mount_hides_are_said_and_a_link_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "file").write_text("x")
    assert Node().mount({"path": str(folder), "access": "ro"}).hidden == [str(folder)]
    (tmp_path / "link").symlink_to(folder)
    node = Node()
    client = node.mount({"path": str(tmp_path / "link"), "access": "ro"})
    assert "leads through a link" in client.errors[0]
    assert node.ran == []


def test_a_folder_that_becomes_a_link_meanwhile_is_not_mounted_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign, folder = tmp_path / "foreign", tmp_path / "d"
    foreign.mkdir()
    folder.mkdir()
    node = Node()

    def swap(*_: object) -> bool:
        folder.rmdir()
        folder.symlink_to(foreign)
        return True

    node.client._reach = swap
    client = node.mount({"path": str(folder), "access": "ro"})
    assert f"{folder} leads through a link to {foreign}" in client.errors[0]
    assert not [command for command in node.ran if "mount" in command] and node.mounts == {} and node.fstab == SITE


def test_a_mount_that_a_link_led_elsewhere_is_undone(tmp_path: Path) -> None:
    foreign, folder = tmp_path / "foreign", tmp_path / "d"
    foreign.mkdir()
    folder.mkdir()
    other = {"/other": ("nfs4", "10.0.0.1:/other", "ro")}
    for told, answer in (("it was undone", {}), ("it was NOT undone", {"umount": (32, "", "busy")})):
        node = Node(other)
        node.answers = answer
        run, looked = node.client._run, []

        def swap(words: Sequence[str], run: Any = run, looked: list[int] = looked) -> tuple[int, str, str]:
            if words[4] == "mount" and not looked:
                looked.append(1)
                folder.rmdir()
                folder.symlink_to(foreign)
            return run(words)

        node.client._run = swap
        client = node.mount({"path": str(folder), "access": "ro"})
        assert f"so that the mount came to lie at {foreign}; {told}" in client.errors[0] and client.changes == []
        assert (node.mounts == other) == (told == "it was undone") and node.fstab == SITE
        folder.unlink()
        folder.mkdir()


def test_proving_asks_as_the_user() -> None:
    node = Node({**MOUNTED, "/w": ("nfs4", "10.0.0.1:/w", "rw")})
    shares = [SHARE, {"path": "/w", "access": "rw"}]
    node.answers = {"runuser -u ascend -- touch": (1, "", "Read-only file system")}
    node.client.prove(shares, "node1", "10.0.0.1", "ascend", ".probe")
    assert node.client.errors == []
    assert all(command.startswith("runuser -u ascend -- ") for command in node.ran)
    node.answers = {}
    node.client.prove(shares, "node1", "10.0.0.1", "ascend", ".probe")
    assert node.client.errors == ["/shared/d can be written, expected it read-only"]
    assert "runuser -u ascend -- rm -f /shared/d/.probe" in node.ran
    node.answers = {"runuser -u ascend -- sh": (1, "", "Permission denied"), "runuser -u ascend -- touch": (1, "", "")}
    node.client.prove(shares, "node1", "10.0.0.1", "ascend", ".probe")
    assert "/w cannot be written by ascend: Permission denied; compare its owner on node1" in node.client.errors[1]
    node.answers = {"runuser -u ascend -- ls": (124, "", "")}
    node.client.prove(shares[:1], "node1", "10.0.0.1", "ascend", ".probe")
    assert node.client.errors[-1].startswith("/shared/d cannot be read by ascend")
    node.client.prove([{"path": "/none", "access": "ro"}, {"path": "/w", "access": "ro"}], "node1", "10.0.0.1", "ascend", ".probe")
    assert node.client.errors[-2].endswith("/none: expected nfs4 10.0.0.1:/none ro, found nothing mounted")
    assert node.client.errors[-1] == "/w: expected nfs4 10.0.0.1:/w ro, found nfs4 10.0.0.1:/w rw mounted"


def test_users_are_told_by_their_folders_and_files(tmp_path: Path) -> None:
    for process, cwd, opened in (("12", "/shared/d", "/x"), ("9", "/", "/shared/d/a/b"), ("30", "/shared/dd", "/y")):
        (tmp_path / process / "fd").mkdir(parents=True)
        (tmp_path / process / "comm").write_text(f"prog{process}\n")
        os.symlink(cwd, tmp_path / process / "cwd")
        os.symlink(opened, tmp_path / process / "fd/3")
    (tmp_path / "self").mkdir()
    assert _nfs_mounts.users_of("/shared/d", str(tmp_path)) == "9 (prog9) 12 (prog12)"
    assert "cannot be told" in _nfs_mounts.users_of("/none", str(tmp_path))
