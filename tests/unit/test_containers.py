"""The pure parts of the rehearsal's containers."""
from __future__ import annotations

import ipaddress
import shutil
from pathlib import Path

import pytest

from rehearsal.containers import network, podman
from rehearsal.nodes import NodesError

ALL = (1 << 41) - 1
NO_SYS_RESOURCE = ALL & ~(1 << podman.CAP_SYS_RESOURCE)


def test_podman_is_left_alone_with_cgroup_v2() -> None:
    assert podman.containers_conf(cgroup_v2=True, root=True, capabilities=ALL, limits=(-1, -1), runc=False) is None
    # Without root podman limits itself, whatever the capabilities.
    assert podman.containers_conf(cgroup_v2=True, root=False, capabilities=0, limits=(4096, 100), runc=False) is None


def test_cgroup_v1_takes_runc_and_cgroupfs() -> None:
    text = podman.containers_conf(cgroup_v2=False, root=True, capabilities=ALL, limits=(-1, -1), runc=True)
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
    monkeypatch.setattr(podman, "CGROUP_V2", controllers)
    monkeypatch.setattr(shutil, "which", lambda program, path=None: None if program in {"crun", "runc"} - installed else f"/usr/bin/{program}")
    assert set(podman.missing_packages()) & {"crun", "runc"} == missing


def test_cgroup_v1_without_runc_says_what_to_install() -> None:
    with pytest.raises(NodesError, match=r"control groups version 1.*needs runc: found none.*package runc"):
        podman.containers_conf(cgroup_v2=False, root=True, capabilities=ALL, limits=(-1, -1), runc=False)


def test_cgroup_v1_without_root_is_refused() -> None:
    with pytest.raises(NodesError, match=r"version 1, where systemd cannot run.*Run this as root"):
        podman.containers_conf(cgroup_v2=False, root=False, capabilities=0, limits=(-1, -1), runc=True)


@pytest.mark.parametrize(("limits", "line"), [
    ((-1, -1), 'default_ulimits = ["nofile=20000:20000", "nproc=10000:10000"]'),
    ((4096, 50000), 'default_ulimits = ["nofile=4096:4096", "nproc=10000:10000"]'),
])
def test_root_without_sys_resource_stays_below_its_own_limits(limits: tuple[int, int], line: str) -> None:
    text = podman.containers_conf(cgroup_v2=True, root=True, capabilities=NO_SYS_RESOURCE, limits=limits, runc=True)
    assert text is not None
    assert line in text.splitlines()
    assert "runtime" not in text


ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
vpn0\t0000D50A\t00000000\t0001\t0\t0\t0\t00C0FFFF\t0\t0\t0
"""


def test_routes_are_read_and_avoided() -> None:
    taken = network.routed_networks(ROUTES)
    assert taken == [ipaddress.IPv4Network("192.0.2.0/24"), ipaddress.IPv4Network("10.213.0.0/18")]
    candidates = ["10.213.63.0/24", "192.0.2.0/25", "10.213.64.0/24"]
    assert network.free_subnets(candidates, taken) == ["10.213.64.0/24"]
    assert network.free_subnets(candidates, []) == candidates
