"""The pure parts of the rehearsal's nodes."""
from __future__ import annotations

import ipaddress
import shutil
import subprocess
from pathlib import Path

import pytest

from rehearsal import nodes

ALL = (1 << 41) - 1
NO_SYS_RESOURCE = ALL & ~(1 << nodes.CAP_SYS_RESOURCE)
NODES = [nodes.Node("node1", "10.213.64.11", 40001, "x-node1"), nodes.Node("node2", "10.213.64.12", 40002, "x-node2")]


def test_podman_is_left_alone_with_cgroup_v2() -> None:
    assert nodes.containers_conf(cgroup_v2=True, root=True, capabilities=ALL, limits=(-1, -1), runc=False) is None
    # Without root podman limits itself, whatever the capabilities.
    assert nodes.containers_conf(cgroup_v2=True, root=False, capabilities=0, limits=(4096, 100), runc=False) is None


def test_cgroup_v1_takes_runc_and_cgroupfs() -> None:
    text = nodes.containers_conf(cgroup_v2=False, root=True, capabilities=ALL, limits=(-1, -1), runc=True)
    assert text is not None
    assert 'runtime = "runc"' in text
    assert 'cgroup_manager = "cgroupfs"' in text
    assert "default_ulimits" not in text


@pytest.mark.parametrize(("unified", "installed", "missing"), [
    (False, {"crun"}, {"runc"}), (False, {"runc"}, set()), (True, {"crun"}, set()), (True, {"runc"}, set()), (True, set(), {"crun"})])
def test_a_runtime_is_missing_when_podman_cannot_use_what_is_there(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unified: bool, installed: set[str], missing: set[str]) -> None:
    controllers = tmp_path / "cgroup.controllers"
    if unified:
        controllers.touch()
    monkeypatch.setattr(nodes, "CGROUP_V2", controllers)
    monkeypatch.setattr(shutil, "which", lambda program, path=None: None if program in {"crun", "runc"} - installed else f"/usr/bin/{program}")
    assert set(nodes.missing_packages()) & {"crun", "runc"} == missing


def test_cgroup_v1_without_runc_says_what_to_install() -> None:
    with pytest.raises(nodes.NodesError, match=r"control groups version 1.*needs runc: found none.*package runc"):
        nodes.containers_conf(cgroup_v2=False, root=True, capabilities=ALL, limits=(-1, -1), runc=False)


def test_cgroup_v1_without_root_is_refused() -> None:
    with pytest.raises(nodes.NodesError, match=r"version 1, where systemd cannot run.*Run this as root"):
        nodes.containers_conf(cgroup_v2=False, root=False, capabilities=0, limits=(-1, -1), runc=True)


@pytest.mark.parametrize(("limits", "line"), [
    ((-1, -1), 'default_ulimits = ["nofile=20000:20000", "nproc=10000:10000"]'),
    ((4096, 50000), 'default_ulimits = ["nofile=4096:4096", "nproc=10000:10000"]'),
])
def test_root_without_sys_resource_stays_below_its_own_limits(limits: tuple[int, int], line: str) -> None:
    text = nodes.containers_conf(cgroup_v2=True, root=True, capabilities=NO_SYS_RESOURCE, limits=limits, runc=True)
    assert text is not None
    assert line in text.splitlines()
    assert "runtime" not in text


def test_ssh_reads_its_configuration_back(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    config = folder / "config"
    config.write_text(nodes.ssh_config(NODES, folder, tmp_path, "prefix"))
    ssh = shutil.which("ssh")
    assert ssh is not None
    shown = subprocess.run([ssh, "-F", str(config), "-G", "node2"], capture_output=True, text=True, check=True).stdout
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
    text = nodes.known_hosts([("node1", "ssh-ed25519 AAAA root@node1"), ("node2", "ssh-ed25519 BBBB root@node2")])
    assert text == "node1 ssh-ed25519 AAAA\nnode2 ssh-ed25519 BBBB\n"


def test_two_folders_are_two_clusters() -> None:
    one, other = (nodes.cluster_name("ascend-rehearsal", Path(folder)) for folder in ("/a/ssh", "/b/ssh"))
    assert one != other
    assert one == nodes.cluster_name("ascend-rehearsal", Path("/a/ssh"))
    assert one.startswith("ascend-rehearsal-")


ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
vpn0\t0000D50A\t00000000\t0001\t0\t0\t0\t00C0FFFF\t0\t0\t0
"""


def test_routes_are_read_and_avoided() -> None:
    taken = nodes.routed_networks(ROUTES)
    assert taken == [ipaddress.IPv4Network("192.0.2.0/24"), ipaddress.IPv4Network("10.213.0.0/18")]
    candidates = ["10.213.63.0/24", "192.0.2.0/25", "10.213.64.0/24"]
    assert nodes.free_subnets(candidates, taken) == ["10.213.64.0/24"]
    assert nodes.free_subnets(candidates, []) == candidates


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
    assert nodes.debian_sources([("debian.sources", DEB822)], "bookworm") == [
        "deb http://mirror.example/debian bookworm main",
        "deb http://mirror.example/debian-security/ bookworm-security main"]
    assert nodes.debian_sources([("sources.list", ONE_LINE)], "bookworm") == [
        "deb https://mirror.example/debian bookworm main",
        "deb https://mirror.example/debian-security bookworm-security main"]
    assert nodes.debian_sources([("other.list", "deb https://ubuntu.example/ubuntu jammy main\n")], "bookworm") == []


def test_a_key_depends_on_every_input_and_its_place() -> None:
    assert nodes.digest([b"a", b"b"]) == nodes.digest([b"a", b"b"])
    assert len({nodes.digest(parts) for parts in ([b"a", b"b"], [b"b", b"a"], [b"ab"], [b"a", b"b", b""])}) == 4
