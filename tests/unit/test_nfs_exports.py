"""What a data host serves, to whom, and which rules of a firewall it may touch."""
from __future__ import annotations

from collections.abc import Sequence

import pytest
from ansible_collections.ascend.cluster.plugins.module_utils import _nfs_exports
from ansible_collections.ascend.cluster.plugins.module_utils._nfs_exports import (
    DROP_IN,
    EXPORTS,
    SETTINGS,
    UNIT,
    Server,
    drop_in,
    entries,
    exports,
    others,
    settings,
)
from ansible_collections.ascend.cluster.plugins.module_utils._nfs_firewall import Firewall, Rule, parse, rich_rule, ufw_allows

FOLDERS = [{"path": "/d", "access": "ro"}, {"path": "/w", "access": "rw"}]
CLIENTS = ["10.0.0.2", "2001:db8::3"]
# As mountd of nfs-utils 2.6 writes it.
ETAB = """/d\t2001:db8::3(ro,sync,wdelay,hide,nocrossmnt,secure,root_squash,no_all_squash,no_subtree_check,secure_locks,acl,anonuid=65534,anongid=65534,sec=sys)
/d\t10.0.0.2(ro,sync,wdelay,hide,nocrossmnt,secure,root_squash,no_all_squash,no_subtree_check,secure_locks,acl,anonuid=65534,anongid=65534,sec=sys)
/w\t10.0.0.2(rw,sync,wdelay,root_squash,sec=sys)
/w\t2001:db8::3(rw,sync,wdelay,root_squash,sec=sys)
/site\t*(rw,sync)
"""


def test_each_folder_is_for_each_address_by_itself() -> None:
    lines = exports(FOLDERS, CLIENTS).splitlines()
    assert lines[-2:] == ["/d 10.0.0.2(ro,root_squash,sync,no_subtree_check,sec=sys) 2001:db8::3(ro,root_squash,sync,no_subtree_check,sec=sys)",
                          "/w 10.0.0.2(rw,root_squash,sync,no_subtree_check,sec=sys) 2001:db8::3(rw,root_squash,sync,no_subtree_check,sec=sys)"]
    assert all(line.startswith("#") for line in lines[:-2])


def test_what_mountd_was_told_is_compared_by_folder_address_and_access() -> None:
    assert entries(ETAB, ["/d", "/w"]) == entries(exports(FOLDERS, CLIENTS))
    assert entries(ETAB.replace("/w\t10.0.0.2(rw", "/w\t10.0.0.2(ro"), ["/d", "/w"]) != entries(exports(FOLDERS, CLIENTS))
    assert entries("/d 2001:DB8:0::3(ro)") == {("/d", "2001:db8::3", "ro")}
    assert entries("/d host\n# /x 10.0.0.1(ro)\n") == {("/d", "host", "")}


def test_the_address_stands_in_its_one_form_where_the_system_prints_it() -> None:
    assert '" 2001:db8::1/"' in drop_in("2001:db8::1")
    assert "host=10.0.0.1\n" in settings("10.0.0.1", 8)
    assert {"vers2=n", "vers3=n", "threads=8"} <= set(settings("10.0.0.1", 8).splitlines())


def test_exports_of_the_site_are_counted() -> None:
    assert others({"/etc/exports": "# a\n\n  # b\n/x *(rw)\n", EXPORTS: "/d 10.0.0.2(ro)\n", "/etc/exports.d/site.exports": "/y *(ro)\n/z *(ro)\n"}) == 3


class Host:
    """A pretend data host: exportfs reads our file into etab."""

    def __init__(self, files: dict[str, str] | None = None, active: bool = False, check: bool = False) -> None:
        self.files = dict(files or {})
        self.active, self.deaf = active, False
        self.ran: list[str] = []
        self.answers: dict[str, tuple[int, str, str]] = {}
        self.server = Server(self.run, check, lambda name: self.files.get(name, ""), self.files.__setitem__, lambda name: self.files.pop(name) and None)

    def run(self, words: Sequence[str]) -> tuple[int, str, str]:
        command = " ".join(words)
        if "is-active" in words or "is-enabled" in words:
            return (0 if self.active else 3), "", ""
        self.ran.append(command)
        if command in self.answers:
            return self.answers[command]
        if command == "exportfs -ra" and not self.deaf:
            self.files["/var/lib/nfs/etab"] = self.files.get(EXPORTS, "")
        return 0, "", ""

    def serve(self, alone: bool = True) -> Server:
        self.server.serve(FOLDERS, CLIENTS, "10.0.0.1", 8, alone)
        return self.server


FINISHED = {EXPORTS: exports(FOLDERS, CLIENTS), SETTINGS: settings("10.0.0.1", 8), DROP_IN: drop_in("10.0.0.1"), "/var/lib/nfs/etab": ETAB}


def test_a_bare_host_serves() -> None:
    host = Host()
    server = host.serve()
    assert server.errors == []
    assert {name: host.files[name] for name in (EXPORTS, SETTINGS, DROP_IN)} == {name: FINISHED[name] for name in (EXPORTS, SETTINGS, DROP_IN)}
    assert host.ran == ["systemctl daemon-reload", f"systemctl enable {UNIT}", f"systemctl start {UNIT}", "exportfs -ra"]


def test_a_finished_host_is_left_alone() -> None:
    host = Host(FINISHED, active=True)
    assert (host.serve().changes, host.ran, host.server.errors) == ([], [], [])


def test_other_settings_restart_the_server_and_other_exports_do_not() -> None:
    host = Host({**FINISHED, SETTINGS: "old"}, active=True)
    host.serve()
    assert host.ran == ["systemctl daemon-reload", f"systemctl restart {UNIT}"]
    host = Host({**FINISHED, EXPORTS: "old"}, active=True)
    assert host.serve().changes == [f"{EXPORTS} written"]
    assert host.ran == ["exportfs -ra"]
    host = Host({**FINISHED, "/var/lib/nfs/etab": ""}, active=True)
    assert host.serve().changes == ["exports read again"]


def test_a_server_that_others_use_keeps_its_settings() -> None:
    host = Host(active=True)
    host.serve(alone=False)
    assert SETTINGS not in host.files
    assert DROP_IN not in host.files
    assert host.ran == ["exportfs -ra"]


@pytest.mark.parametrize("leave", [False, True])
def test_check_mode_writes_and_runs_nothing(leave: bool) -> None:
    host = Host(FINISHED if leave else {}, check=True)
    before = dict(host.files)
    host.server.leave() if leave else host.serve()
    assert (host.files, host.ran) == (before, [])
    assert host.server.changes


def test_what_does_not_serve_as_asked_is_said() -> None:
    host = Host()
    host.deaf = True
    host.answers = {"exportfs -ra": (1, "", "exportfs: /d does not\nsupport NFS export"), f"systemctl start {UNIT}": (1, "", "Job failed"),
                    f"systemctl status {UNIT}": (3, "10.0.0.1 is no address of this host", "")}
    errors = host.serve().errors
    assert errors[0] == f"systemctl start {UNIT} failed: Job failed 10.0.0.1 is no address of this host"
    assert errors[1] == "exportfs -ra: exportfs: /d does not support NFS export"
    assert "found 0, expected 4 (none)" in errors[2]


@pytest.mark.parametrize("site", ["", "/site *(rw)"])
def test_nothing_of_ours_stays_and_the_sites_exports_go_on(site: str) -> None:
    host = Host(FINISHED, active=True)
    host.answers = {"exportfs -s": (0, site, "")}
    host.server.leave()
    assert set(host.files) == {"/var/lib/nfs/etab"}
    assert host.ran[-1] == (f"systemctl restart {UNIT}" if site else f"systemctl disable --now {UNIT}")
    assert host.ran[:2] == ["exportfs -ra", "systemctl daemon-reload"]
    host = Host({})
    host.server.leave()
    assert (host.server.changes, host.ran) == ([], [])


class Wall:
    """A pretend firewalld or ufw, or a host without."""

    def __init__(self, kind: str, record: str = "", check: bool = False) -> None:
        self.kind, self.record = kind, record
        self.rules: set[str] = set()
        self.ran: list[str] = []
        self.refuses = False
        self.wall = Firewall(self.run, check, record, self.write)

    def write(self, text: str) -> None:
        self.record = text

    def run(self, words: Sequence[str]) -> tuple[int, str, str]:
        command = " ".join(words)
        if command == "firewall-cmd --state":
            return (0 if self.kind == "firewalld" else 252 if self.kind == "stopped" else 127), "", ""
        if command == "ufw status":
            return 0, "Status: active\n" if self.kind == "ufw" else "Status: inactive\n", ""
        if command == "ufw show added":
            return 0, "Added user rules (see 'ufw status' for running firewall):\n" + "".join(f"{rule}\n" for rule in sorted(self.rules)), ""
        if words[0] == "ip":
            return 0, f"{words[-1]} dev eth1 src 10.0.0.1 uid 0", ""
        if "--get-zone" in command or "--get-default" in command:
            return 0, "cluster\n" if "eth1" in command else "public\n", ""
        if "--query-rich-rule" in command:
            return (0 if command.replace("query", "add") in self.rules else 1), "", ""
        self.ran.append(command)
        if self.refuses:
            return 1, "", ""
        if words[:2] == ["ufw", "allow"]:
            self.rules.add(f"ufw allow from {words[5]} to any port 2049 proto tcp comment 'ascend-cluster-nfs'")
        elif words[:2] == ["ufw", "delete"]:
            self.rules.discard(f"ufw allow from {words[6]} to any port 2049 proto tcp comment 'ascend-cluster-nfs'")
        elif "--add" in command:
            self.rules.add(command)
        return 0, "", ""


@pytest.mark.parametrize("kind", ["firewalld", "ufw"])
def test_the_nodes_are_let_in_once_and_no_longer_than_they_are_nodes(kind: str) -> None:
    wall = Wall(kind)
    wall.wall.settle(CLIENTS)
    zone = "cluster" if kind == "firewalld" else "-"
    assert wall.wall.changes == [f"{kind} lets {address} in" for address in CLIENTS]
    assert parse(wall.record) == [Rule(kind, zone, address) for address in CLIENTS]
    assert len(wall.rules) == (4 if kind == "firewalld" else 2)
    again = Wall(kind, wall.record)
    again.rules = wall.rules
    again.wall.settle(CLIENTS)
    assert (again.wall.changes, again.ran) == ([], [])
    again.wall.settle(CLIENTS[:1])
    assert again.wall.changes == [f"{kind} lets {CLIENTS[1]} in no more"]
    assert parse(again.record) == [Rule(kind, zone, CLIENTS[0])]
    assert len(again.ran) == (2 if kind == "firewalld" else 1)
    assert all(CLIENTS[1] in command for command in again.ran)


def test_rules_that_were_there_before_are_nobodys_to_remove() -> None:
    wall = Wall("ufw")
    wall.rules = {"ufw allow from 10.0.0.2 to any port 2049 proto tcp"}
    wall.wall.settle(["10.0.0.2"])
    assert (wall.wall.changes, wall.record) == ([], "")
    wall.wall.settle([])
    assert wall.ran == []


def test_no_firewall_no_rule_and_one_that_stopped_is_told_by_its_files() -> None:
    wall = Wall("")
    wall.wall.settle(CLIENTS)
    assert (wall.ran, wall.wall.changes) == ([], [])
    wall = Wall("stopped", "firewalld cluster 10.0.0.2\n")
    wall.wall.settle([])
    assert wall.ran == [f"firewall-offline-cmd --zone=cluster --remove-rich-rule={rich_rule('10.0.0.2')}"]
    assert wall.record == ""


def test_a_firewall_that_refuses_is_said_and_check_mode_changes_none() -> None:
    wall = Wall("firewalld")
    wall.refuses = True
    wall.wall.settle(["10.0.0.2"])
    assert "firewalld does not take 10.0.0.2 in zone cluster" in wall.wall.errors
    assert (wall.wall.changes, wall.record) == ([], "")
    wall = Wall("ufw", "ufw - 10.0.0.9\n", check=True)
    wall.wall.settle(["10.0.0.2"])
    assert wall.wall.changes == ["ufw lets 10.0.0.2 in", "ufw lets 10.0.0.9 in no more"]
    assert (wall.ran, wall.record) == ([], "ufw - 10.0.0.9\n")


def test_rules_are_written_for_the_addresss_version() -> None:
    assert rich_rule("10.0.0.2") == 'rule family="ipv4" source address="10.0.0.2" port port="2049" protocol="tcp" accept'
    assert 'family="ipv6" source address="2001:db8::3"' in rich_rule("2001:db8::3")
    assert not ufw_allows("ufw allow from 10.0.0.20 to any port 2049 proto tcp", "10.0.0.2")


def test_a_missing_file_reads_as_empty_and_programs_of_the_system_are_found() -> None:
    assert _nfs_exports.read("/nowhere/at/all") == ""
    assert _nfs_exports.path().endswith(":/usr/sbin:/sbin")
