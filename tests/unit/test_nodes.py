"""What containers and virtual machines of the rehearsal share."""
from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

from rehearsal import nodes
from rehearsal.nodes import rootfs, ssh
from rehearsal.nodes.furnish import furnish

NODES = [nodes.Node("node1", "10.213.64.11", 40001, "x-node1"), nodes.Node("node2", "10.213.64.12", 40002, "x-node2")]


def test_ssh_reads_its_configuration_back(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    config = folder / "config"
    config.write_text(ssh.ssh_config(NODES, folder, tmp_path, "prefix"))
    program = shutil.which("ssh")
    assert program is not None
    shown = subprocess.run([program, "-F", str(config), "-G", "node2"], capture_output=True, text=True, check=True).stdout
    settings = dict(line.split(" ", 1) for line in shown.splitlines() if " " in line)
    assert settings["hostname"] == "127.0.0.1"
    assert settings["port"] == "40002"
    assert settings["user"] == "ops"
    assert settings["hostkeyalias"] == "node2"
    assert settings["stricthostkeychecking"] in ("true", "yes")
    assert settings["userknownhostsfile"].strip('"') == str(folder / "known_hosts")
    assert settings["identityfile"].strip('"') == str(folder / "id_ed25519")
    assert settings["controlpath"] == str(tmp_path / "prefix-node2-40002")


def test_known_hosts_has_a_line_for_each_node() -> None:
    text = ssh.known_hosts([("node1", "ssh-ed25519 AAAA root@node1"), ("node2", "ssh-ed25519 BBBB root@node2")])
    assert text == "node1 ssh-ed25519 AAAA\nnode2 ssh-ed25519 BBBB\n"


def test_two_folders_are_two_clusters() -> None:
    one, other = (nodes.cluster_name("ascend-rehearsal", Path(folder)) for folder in ("/a/ssh", "/b/ssh"))
    assert one != other
    assert one == nodes.cluster_name("ascend-rehearsal", Path("/a/ssh"))
    assert one.startswith("ascend-rehearsal-")


DEB822 = """\
Types: deb
# a comment: with a colon
URIs: http://mirror.example/debian
Suites: trixie trixie-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security/
Suites: trixie-security
Components: main

Types: deb
URIs: http://off.example/debian
Suites: trixie
Components: main
Enabled: no
"""
ONE_LINE = """\
# deb http://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/x.gpg] https://packages.example/tool bookworm main
deb [arch=amd64] https://mirror.example/debian bookworm main non-free
deb-src https://sources.example/debian bookworm main
deb https://mirror.example/debian-security bookworm-security main
"""


def test_mirrors_are_read_from_both_formats() -> None:
    assert rootfs.debian_sources([("debian.sources", DEB822)], "bookworm") == [
        "deb http://mirror.example/debian bookworm main",
        "deb http://mirror.example/debian-security/ bookworm-security main"]
    assert rootfs.debian_sources([("sources.list", ONE_LINE)], "bookworm") == [
        "deb https://mirror.example/debian bookworm main",
        "deb https://mirror.example/debian-security bookworm-security main"]
    assert rootfs.debian_sources([("other.list", "deb https://ubuntu.example/ubuntu jammy main\n")], "bookworm") == []


def test_a_key_depends_on_every_input_and_its_place() -> None:
    assert rootfs.digest([b"a", b"b"]) == rootfs.digest([b"a", b"b"])
    assert len({rootfs.digest(parts) for parts in ([b"a", b"b"], [b"b", b"a"], [b"ab"], [b"a", b"b", b""])}) == 4


def test_a_node_that_is_furnished_again_keeps_its_folders() -> None:
    """Of a folder that is packed tar makes the node's root's alone while it unpacks: whoever imports a module then does not find it."""
    packed: list[bytes] = []
    furnish(0, 2, "key", lambda command, given: packed.append(given) if command[0] == "tar" else None)
    with tarfile.open(fileobj=io.BytesIO(packed[0])) as tar:
        members = tar.getmembers()
    assert {"usr/local/sbin/npu-smi", "usr/libexec/rehearsal/hardware"} <= {member.name for member in members}
    assert all(member.isfile() and member.uid == 0 for member in members)
