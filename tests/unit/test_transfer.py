"""Files from node to node: who fetches from whom, the key that a transfer is limited to, and what a killed one leaves."""
from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ascend.cluster.plugins.module_utils import _transfer, _transfer_plan
from ansible_collections.ascend.cluster.plugins.modules import transfer_source


class Counted(Mapping[str, Any]):
    """Variables of hosts, which counts how often one's are looked at: that is what costs with many hosts."""

    def __init__(self, variables: dict[str, dict[str, Any]]) -> None:
        self.variables, self.looks = variables, 0

    def __getitem__(self, host: str) -> dict[str, Any]:
        self.looks += 1
        return self.variables[host]

    def __iter__(self) -> Iterator[str]:
        return iter(self.variables)

    def __len__(self) -> int:
        return len(self.variables)


NAMES = [f"node{number}" for number in range(512)]
NODES = [{"name": name, "rank": rank, "address": f"10.0.{rank // 256}.{rank % 256}"} for rank, name in enumerate(NAMES)]


def cluster(sources: dict[str, list[str]]) -> Counted:
    """Variables of 512 hosts, each of which fetches a file of its own from its sources."""
    return Counted({name: {"__node_transfer_incoming": [{"source": source, "files": [f"/data/{name}"]} for source in sources.get(name, [])],
                           "__node_transfer_key": {"public_key": f"key {name}"}, "__node_transfer_from": NODES[rank]["address"]}
                    for rank, name in enumerate(NAMES)})


@pytest.mark.parametrize("sources", [
    {name: ["node0"] for name in NAMES[1:]},                                              # the data: all from the master
    {name: [NAMES[rank - 1]] for rank, name in enumerate(NAMES)},                         # a checkpoint: each from its neighbour
    {name: [NAMES[rank - 1], NAMES[rank - 2]] for rank, name in enumerate(NAMES)},
], ids=["master", "neighbour", "two"])
def test_work_grows_with_the_transfers_and_not_with_their_square(sources: dict[str, list[str]]) -> None:
    hostvars = cluster(sources)
    plan = _transfer_plan.plan(NAMES, hostvars, NODES)
    transfers = sum(map(len, sources.values()))
    distinct = {source for listed in sources.values() for source in listed}
    assert hostvars.looks == len(NAMES) + len(distinct)
    # Each source is prepared once, by one host, and lets in those who fetch there.
    duties = [item for listed in plan["give"].values() for item in listed]
    assert sorted(item["source"] for item in duties) == sorted(distinct)
    hostvars.looks = 0
    for actor, items in plan["give"].items():
        results = []
        for item in items:
            let_in = _transfer_plan.keys(item["receivers"], hostvars, item["source"])
            assert [entry["key"] for entry in let_in] == [f"key {name}" for name in item["receivers"]]
            results.append({"item": item, "host_keys": [f"host key of {item['source']}"], "port": 2222})
        hostvars.variables[actor]["__node_transfer_given"] = {"results": results}
    for name, listed in sources.items():
        found = _transfer_plan.sources(plan["fetch"][name], hostvars, hostvars.variables[name]["__node_transfer_incoming"])
        assert [(item["name"], item["host_keys"], item["port"], item["files"]) for item in found] == [
            (source, [f"host key of {source}"], 2222, [f"/data/{name}"]) for source in listed]
    assert hostvars.looks == 2 * transfers


def test_nobody_fetches() -> None:
    assert _transfer_plan.plan(NAMES, cluster({}), NODES) == {"fetch": {}, "give": {}}


@pytest.mark.parametrize(("variables", "told", "port"), [
    ({}, 0, 22), ({"ansible_port": 2022}, 0, 2022), ({"ansible_ssh_port": "2022"}, 0, 2022), ({"ansible_port": 40022}, 22, 22),
    ({"ansible_port": 2022, "node_transfer_ssh_port": 2200}, 22, 2200), ({"node_transfer_ssh_port": 0}, 2022, 2022)])
def test_the_port_is_the_sites_then_that_of_ansibles_connection_then_the_inventorys(variables: dict[str, Any], told: int, port: int) -> None:
    incoming = [{"source": "out", "files": ["/a"]}]
    hostvars = {"out": {"cluster_address": "10.9.9.9", **variables}, "node1": {"__node_transfer_incoming": incoming}}
    plan = _transfer_plan.plan(["node1"], hostvars, NODES[:1])
    hostvars["node1"]["__node_transfer_given"] = {"results": [{"item": plan["give"]["node1"][0], "host_keys": ["k"], "port": told}]}
    found = _transfer_plan.sources(plan["fetch"]["node1"], hostvars, incoming)
    assert (found[0]["port"], found[0]["address"]) == (port, "10.9.9.9")


def test_one_without_a_key_is_not_let_in_and_a_failed_source_has_no_host_keys() -> None:
    hostvars = cluster({"node1": ["node0"], "node2": ["node0"]})
    hostvars.variables["node1"]["__node_transfer_key"] = {"failed": True, "msg": "no ssh-keygen"}
    plan = _transfer_plan.plan(NAMES, hostvars, NODES)
    assert [item["key"] for item in _transfer_plan.keys(["node1", "node2"], hostvars, "node0")] == ["key node2"]
    found = _transfer_plan.sources(plan["fetch"]["node2"], hostvars, hostvars.variables["node2"]["__node_transfer_incoming"])
    assert found[0]["host_keys"] == []


def test_a_key_is_good_from_one_address_for_a_day_and_for_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    line = _transfer.key_line("ssh-ed25519 AAAA c", "10.0.0.2", ["/data/a", "/data/b"], "/opt/bin/sender", 1700000000)
    assert line == 'restrict,from="10.0.0.2",expiry-time="202311152213",command="/opt/bin/sender /data/a /data/b" ssh-ed25519 AAAA c'


OTHER = "ssh-rsa AAAA me\n# BEGIN of mine\n"


def test_our_block_is_replaced_and_removed_and_the_rest_stays() -> None:
    once = _transfer.with_block(OTHER, ["one"])
    assert once == f"{OTHER}{_transfer.BEGIN}\none\n{_transfer.END}\n"
    assert _transfer.with_block(once, ["two", "three"]) == f"{OTHER}{_transfer.BEGIN}\ntwo\nthree\n{_transfer.END}\n"
    assert _transfer.with_block(once, []) == OTHER
    assert _transfer.with_block("no line break", []) == "no line break"


def test_keys_are_written_for_the_user_alone_and_through_a_link_of_the_users(tmp_path: Path) -> None:
    assert _transfer.authorise(str(tmp_path), []) is False
    assert list(tmp_path.iterdir()) == []
    assert _transfer.authorise(str(tmp_path), ["one"]) is True
    file = tmp_path / ".ssh/authorized_keys"
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert _transfer.authorise(str(tmp_path), ["one"]) is False
    file.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").chmod(0o640)
    file.symlink_to(tmp_path / "elsewhere")
    assert _transfer.authorise(str(tmp_path), []) is True
    assert file.is_symlink()
    assert (tmp_path / "elsewhere").read_text() == ""
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == [".ssh", "elsewhere"]


def test_the_port_is_read_from_the_process_that_the_ssh_server_began(tmp_path: Path) -> None:
    for process, parent, environment in ((40, 30, b"A=1\0"), (30, 20, b"PATH=/bin\0SSH_CONNECTION=198.51.100.7 50000 10.0.0.1 2022\0B=2\0"), (20, 1, b"")):
        (tmp_path / str(process)).mkdir()
        (tmp_path / str(process) / "environ").write_bytes(environment)
        (tmp_path / str(process) / "stat").write_text(f"{process} (a ) b) S {parent} 1 1 0")
    assert _transfer.server_port(40, str(tmp_path)) == 2022
    assert _transfer.server_port(20, str(tmp_path)) == 0
    assert _transfer.server_port(99, str(tmp_path)) == 0


def test_host_keys_are_the_public_ones(tmp_path: Path) -> None:
    (tmp_path / "ssh_host_ed25519_key.pub").write_text("ssh-ed25519 AAAA root@a\n")
    (tmp_path / "ssh_host_rsa_key.pub").write_text("ssh-rsa BBBB\n\n")
    (tmp_path / "ssh_host_rsa_key").write_text("secret")
    assert _transfer.host_keys(str(tmp_path)) == ["ssh-ed25519 AAAA root@a", "ssh-rsa BBBB"]


def test_a_folder_of_another_users_transfer_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ascend-transfer-old").mkdir()
    monkeypatch.setattr(_transfer.os, "geteuid", lambda: 4711)
    _transfer.new_folder(str(tmp_path))
    assert (tmp_path / "ascend-transfer-old").is_dir()


def test_a_folder_of_a_killed_transfer_is_removed_and_no_other(tmp_path: Path) -> None:
    old, link, other = tmp_path / "ascend-transfer-old", tmp_path / "ascend-transfer-link", tmp_path / "kept"
    for folder in (old, other):
        folder.mkdir()
        (folder / "key").write_text("secret")
    link.symlink_to(other)
    new = _transfer.new_folder(str(tmp_path))
    assert os.stat(new).st_mode & 0o777 == 0o700
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([link.name, "kept", os.path.basename(new)])
    assert (other / "key").read_text() == "secret"


SOURCES = [{"name": "node1", "address": "10.0.0.1", "port": 22, "host_keys": ["ssh-ed25519 A", "ssh-rsa B"], "files": ["/a"]},
           {"name": "node3", "address": "2001:db8::3", "port": 2022, "host_keys": ["ssh-ed25519 C"], "files": ["/b"]}]


def test_each_source_is_known_by_its_own_keys_and_port() -> None:
    config = _transfer.ssh_config("/tmp/x", SOURCES, "10.0.0.2", "ops")
    assert "Host source0\n  HostName 10.0.0.1\n  HostKeyAlias source0\n  Port 22\n" in config
    assert "Host source1\n  HostName 2001:db8::3\n  HostKeyAlias source1\n  Port 2022\n" in config
    for line in ("User ops", "BindAddress 10.0.0.2", "IdentityFile /tmp/x/key", "IdentitiesOnly yes", "UserKnownHostsFile /tmp/x/known_hosts",
                 "GlobalKnownHostsFile /dev/null", "StrictHostKeyChecking yes", "PreferredAuthentications publickey", "BatchMode yes"):
        assert f"\n  {line}\n" in config
    assert _transfer.known_hosts(SOURCES) == "source0 ssh-ed25519 A\nsource0 ssh-rsa B\nsource1 ssh-ed25519 C\n"
    words = _transfer.rsync("/tmp/x", 1, ["/b", "/c"])
    assert words[-4:] == ["--", "source1:/b", "source1:/c", "/"]
    assert {"--partial-dir=.rsync-partial", "--copy-links", "--ignore-times", "ssh -F /tmp/x/ssh_config"} <= set(words)


def test_what_a_killed_fetch_left_is_gone_on_with(tmp_path: Path) -> None:
    left, short, hidden = tmp_path / ".a[1].bin.x9YzAB", tmp_path / ".a[1].bin.short", tmp_path / ".a[1].bin.x9Y/AB"
    left.write_text("part")
    short.write_text("other")
    hidden.parent.mkdir()
    _transfer.take_up([str(tmp_path / "a[1].bin"), str(tmp_path / "b.bin")])
    assert (tmp_path / ".rsync-partial/a[1].bin").read_text() == "part"
    assert short.exists()
    assert not left.exists()
    assert _transfer.travelled("x\nLiteral data: 5 bytes\nMatched data: 7 bytes\n") == "Literal data: 5 bytes, Matched data: 7 bytes"


@pytest.mark.parametrize("bad", ["", "open folder", "foreign folder", "missing folder"])
def test_the_program_lies_where_root_alone_can_write(bad: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the walk over the folders says decides; the walk has tests of its own."""
    folder = tmp_path / "bin"
    folder.mkdir()

    class Way:
        at = str(folder)
        unsafe = {"open folder": f"{folder} has mode 0777", "foreign folder": f"{folder} belongs to ascend"}.get(bad, "")
        rest = ("bin",) if bad == "missing folder" else ()

        def __init__(self, path: str) -> None:
            assert path == str(folder)

        def __enter__(self) -> Way:
            self.fd = os.open(folder, os.O_RDONLY)
            return self

        def __exit__(self, *_: object) -> None:
            os.close(self.fd)

    monkeypatch.setattr(transfer_source, "walk", Way)
    program = folder / "sender"
    if bad:
        with pytest.raises(transfer_source.FolderError, match="root alone can write"):
            transfer_source.place(str(program), "text")
        assert list(folder.iterdir()) == []
        return
    assert transfer_source.place(str(program), "text") is True
    assert (program.read_text(), program.stat().st_mode & 0o7777) == ("text", 0o755)
    assert transfer_source.place(str(program), "text") is (os.geteuid() != 0)  # another owner than root: written again
    program.unlink()
    program.symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic link"):
        transfer_source.place(str(program), "other")
    assert not (tmp_path / "victim").exists()
