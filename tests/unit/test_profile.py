"""The golden profile: made of a good cluster, and others held against it."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ascend.cluster.plugins.filter import preflight_report as report_filter
from ansible_collections.ascend.cluster.plugins.module_utils import _checks, _compare, _findings, _profile

from tests.unit.test_checks import TLS_ON, hccn
from tests.unit.test_fixes import nodes, npu
from tests.unit.test_probe import SETTINGS, smi


def made() -> dict[str, Any]:
    found = _findings.report(nodes(), [], {**SETTINGS, "time": "2026-11-26T10:00:00Z"})["profile"]
    assert isinstance(found, dict)
    return found


def held(path: Path, **change: Any) -> dict[str, Any]:
    return report_filter.preflight_report(list("abc"), {host: {"__preflight_node": node} for host, node in nodes(**change).items()}, [],
                                          {**SETTINGS, "profile": str(path)})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "profile.json").write_text(json.dumps(made()), encoding="utf-8")
    return tmp_path / "profile.json"


def test_a_profile_has_what_is_compared_between_nodes() -> None:
    assert made() == {
        "profile": 1, "time": "2026-11-26T10:00:00Z",
        "nodes": {"npus": 1, "npu_name": "910B4", "driver": "24.1.rc1", "firmware": "7.1.0.6.220", "kernel": "5.10.0-60.18.0.50.oe2203.aarch64",
                  "system": "openEuler 22.03 LTS", "mtu": "1500", "processors": "192", "memory_gib": 1511},
        "npus": {"netmask": "255.255.0.0", "tls": 0, "mtu": 1500, "speed": 200000}}
    assert set(_compare.OF_NODES) < set(made()["nodes"]) and set(_compare.OF_NPUS) == set(made()["npus"])
    # "The driver version differs between the nodes" is told as "The driver version is not that of the profile".
    assert all(" differs" in _checks.CHECKS[name].cause for name in (_profile._NODES | _compare.OF_NPUS).values())


def test_a_cluster_is_as_its_own_profile_says(path: Path) -> None:
    report = held(path)
    assert (report["message"], report["warnings"]) == ("", "")


def test_all_nodes_alike_and_otherwise_than_the_profile(path: Path) -> None:
    report = held(path, **{host: {"firmware_info": "Version=7.0.0"} for host in "abc"})
    assert report["message"].splitlines()[2:] == [
        "a, b, c:", f"  - The firmware version is not that of the profile: found 7.0.0; expected 7.1.0.6.220, as in {path}. Install the same driver "
        "and firmware on all nodes. Or write the profile anew from a good cluster (check_cluster_profile_write)."]


@pytest.mark.parametrize(("change", "words", "refuses"), [
    ({"firmware_info": "Version=7.0.0"}, "The firmware version is not that of the profile: found 7.0.0; expected 7.1.0.6.220", True),
    ({"npu_smi_line": smi("910b4_idle", ("910B4 ", "910B3 "))}, "The kind of NPUs is not that of the profile: found 910B3; expected 910B4", False),
    ({"npu_smi_line": smi("910b4_idle", ("OK     ", "Critical"))}, "The number of usable NPUs is not that of the profile: found 0; expected 1", True),
    ({"kernel": "4.19.90"}, "The kernel is not that of the profile: found 4.19.90", False),
    ({"os_PRETTY_NAME": '"openEuler 24.03"'}, "The operating system is not that of the profile: found openEuler 24.03", False),
    ({"interface": "eth0 up 9000"}, "The MTU of the training network's interface is not that of the profile: found 9000; expected 1500", False),
    ({"processors": "96"}, "The number of processors is not that of the profile: found 96", False),
    ({"meminfo": [f"MemTotal {1400 << 20}"]}, "The memory of the host is not that of the profile: found 1400; expected 1511", False),
    ({"meminfo": [f"MemTotal {1490 << 20}"]}, "", False),
    (npu(1, tls=TLS_ON), "The TLS switch of NPUs is not that of the profile: found NPU 1: 1; expected 0", True),
    (npu(1, ip="ipaddr:10.20.1.2|netmask:255.0.0.0"), "The netmask of NPUs is not that of the profile: found NPU 1: 255.0.0.0", False),
    (npu(1, mtu="mtu:4096"), "The MTU of NPUs is not that of the profile: found NPU 1: 4096", False),
    (npu(1, speed="Speed: 100000 Mb/s"), "The speed of NPUs' links is not that of the profile: found NPU 1: 100000", False),
])
def test_drift_that_breaks_a_run_refuses_and_the_rest_is_told(path: Path, change: dict[str, Any], words: str, refuses: bool) -> None:
    report = held(path, b=change)
    told = report["message" if refuses else "warnings"]
    assert words in told and report["message" if not refuses else "warnings"].count("profile") == 0
    if not words:
        assert "profile" not in told


def test_an_attribute_that_was_taken_out_is_not_held_against(path: Path) -> None:
    profile = made()
    del profile["nodes"]["kernel"]
    path.write_text(json.dumps(profile), encoding="utf-8")
    assert "profile" not in held(path, b={"kernel": "4.19.90"})["warnings"]


@pytest.mark.parametrize(("text", "words"), [
    ('{"profile": 2, "nodes": {}, "npus": {}}', "found a profile of version 2, expected version 1"), ('{"nodes": {}}', "found JSON without a version"),
    ("[]", "found JSON without a version"), ("driver: 24", "found 'driver: 24', expected JSON"),
    ('{"profile": 1, "nodes": {"drivr": "1"}, "npus": {}}', 'found {"drivr": "1"} as nodes, expected values of npus, npu_name, driver'),
    ('{"profile": 1, "nodes": {}}', "found null as npus, expected values of netmask, tls"),
])
def test_a_file_that_is_no_profile_is_refused_with_words(path: Path, text: str, words: str) -> None:
    path.write_text(text, encoding="utf-8")
    message = held(path)["message"]
    assert f"check_cluster_profile: {path} cannot be used: " in message and words in message and "-e check_cluster_profile_write=true" in message


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    message = held(tmp_path / "none.json")["message"]
    assert f"there is no {tmp_path}/none.json on the controller. Correct the path, or write the profile: `ansible-playbook" in message


def test_without_a_profile_nothing_is_held_against(path: Path) -> None:
    report = _findings.report(nodes(b={"hccn": hccn(0)}), [], {**SETTINGS, "profile": {}, "profile_path": ""})
    assert "profile" not in report["message"] + report["warnings"]
