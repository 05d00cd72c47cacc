"""What the preflight finds, and how it says so."""
from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.ascend.cluster.plugins.filter import preflight_report as report_filter
from ansible_collections.ascend.cluster.plugins.module_utils import _probe
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HERE = Path(__file__).parent
PROBE = HERE.parent.parent / "roles" / "preflight" / "files" / "probe.sh"
SMI = {name: yaml.safe_load((HERE / "recorded" / "npu_smi" / f"{name}.yml").read_text(encoding="utf-8"))
       for name in ("910b4_idle", "910b_busy_tight_slash", "driver_broken")}

SETTINGS: dict[str, Any] = {
    "min_python": "3.8", "supported_os": ["openEuler", "debian", "rhel"], "supported_arch": ["aarch64", "x86_64"],
    "min_free_gib": 100, "min_cann_free_gib": 10, "workspace_path": "/opt/ascend-cluster", "cann_path": "/usr/local/Ascend",
    "driver_info": "/usr/local/Ascend/driver/version.info", "nproc_per_node": 1, "hccl_ports": "60000-60031,16666",
    "address": "192.0.2.11", "master_port": 6000, "max_clock_skew_seconds": 30,
}
GOOD: dict[str, list[str]] = {
    "sent": ["1000"], "date": ["1001"], "uid": ["0"], "arch": ["aarch64"], "os_ID": ['"openEuler"'],
    "os_PRETTY_NAME": ['"openEuler 22.03 LTS"'], "python": ["/usr/bin/python3"], "python_rc": ["0"],
    "python_version": ["3.9.9"], "workspace_parent": ["/opt"], "workspace_free_kib": [str(500 << 20)],
    "cann_parent": ["/usr/local"], "cann_free_kib": [str(50 << 20)], "cann_filesystem": ["ext2/ext3"],
    "driver_info": ["Version=24.1.rc1", "ascendhal_version=7.35.19"], "npu_smi": ["/usr/local/sbin/npu-smi"],
    "npu_smi_rc": ["0"], "npu_smi_line": SMI["910b4_idle"]["output"].splitlines(), "address": ["127.0.0.1 lo", "192.0.2.11 eth0"],
    "systemd": ["1"], "unit_state": ["inactive"],
}


def output(**change: Any) -> dict[str, Any]:
    values = {**GOOD, **{key: value if isinstance(value, list) else [value] for key, value in change.items()}}
    lines = [f"{key}={line}" for key, lines in values.items() for line in lines if line is not None]
    return {"rc": 0, "stdout": "\n".join(["Welcome!", _probe.BEGIN, *lines, _probe.END, "logout"])}


def judge(host: str = "node1", over: dict[str, Any] | None = None, **change: Any) -> dict[str, Any]:
    return _probe.node(output(**change), {**SETTINGS, **(over or {})}, host)


def test_a_good_node() -> None:
    found = judge()
    assert found["findings"] == []
    assert found["job"] == "inactive"
    assert found["facts"] == {"npus": 1, "npu_names": ["910B4"], "driver": "24.1.rc1", "python": "3.9.9", "arch": "aarch64",
                              "clock_offset": 1}


@pytest.mark.parametrize(("change", "words"), [
    ({"python_version": "3.7.9"}, ["too old", "3.7.9", "Python 3.8", "preflight_min_python", "ansible_python_interpreter"]),
    ({"python_version": "3.10.1", "min": "3.11"}, ["too old", "Python 3.11"]),
    ({"python": []}, ["No Python", "none on the PATH"]),
    ({"python": [], "python_configured": "/opt/x"}, ["No Python", "no /opt/x", "Correct ansible_python_interpreter"]),
    ({"python_rc": "127", "python_version": "pyenv: not found"}, ["does not run", "pyenv: not found"]),
    ({"uid": "1000"}, ["not run as root", "uid 1000"]),
    ({"os_ID": "arch", "os_PRETTY_NAME": '"Arch Linux"'}, ["operating system", "Arch Linux", "preflight_supported_os"]),
    ({"arch": "riscv64"}, ["architecture", "riscv64", "preflight_supported_arch"]),
    ({"systemd": []}, ["systemd does not run"]),
    ({"workspace_free_kib": str(34 << 20)}, ["34.0 GiB at /opt", "preflight_min_free_gib", "cluster_workspace"]),
    ({"workspace_free_kib": []}, ["unknown", "df -P /opt"]),
    ({"cann_free_kib": str(3 << 20)}, ["3.0 GiB", "preflight_min_cann_free_gib"]),
    ({"cann_filesystem": "nfs"}, ["shared storage", "nfs"]),
    ({"driver_info": []}, ["driver is not installed", "version.info"]),
    ({"npu_smi": []}, ["npu-smi is not installed"]),
    ({"npu_smi_rc": "255", "npu_smi_line": SMI["driver_broken"]["output"].splitlines()}, ["no NPU", "return code 255", "dcmi"]),
    ({"npu_smi_rc": "124", "npu_smi_line": [""]}, ["no NPU", "124", "no output"]),
    ({"listen": "6000 77 python3"}, ["master port 6000", "python3 (pid 77)", "pretrain_master_port"]),
    ({"listen": "60003 - -"}, ["HCCL", "60003", "an unknown process", "preflight_hccl_ports"]),
    ({"address": ["10.0.0.5 eth0", "fe80::1 eth0"]}, ["cluster_address", "192.0.2.11", "10.0.0.5"]),
])
def test_a_finding_names_what_was_found_and_the_way_out(change: dict[str, Any], words: list[str]) -> None:
    over = {"min_python": change.pop("min")} if "min" in change else {}
    findings = judge(over=over, **change)["findings"]
    assert len(findings) == 1
    text = _probe.report({"node1": {"findings": findings, "job": "inactive", "facts": {}}}, [], SETTINGS)["message"]
    assert all(word in text for word in words), text


def test_os_release_of_a_rebuild_counts_by_id_like() -> None:
    assert judge(os_ID='"rocky"', os_ID_LIKE='"rhel centos fedora"')["findings"] == []


def test_space_for_cann_is_not_asked_for_once_it_is_there() -> None:
    assert judge(cann_free_kib="1", cann_installed="1")["findings"] == []


@pytest.mark.parametrize("change", [{"workspace_used": "1"}, {"unit_state": "active"}])
def test_checkpoints_may_fill_the_disk(change: dict[str, Any]) -> None:
    assert judge(workspace_free_kib="1", **change)["findings"] == []
    assert [one["cause"] for one in judge(workspace_free_kib=[], cann_free_kib="1", **change)["findings"]] == [
        "The free space for /opt/ascend-cluster is unknown", "Too little free space for /usr/local/Ascend"]


def test_faulty_and_busy_npus() -> None:
    found = judge(over={"nproc_per_node": 3}, npu_smi_line=SMI["910b_busy_tight_slash"]["output"].splitlines())
    causes = {finding["cause"]: finding["found"] for finding in found["findings"]}
    assert causes["An NPU is not healthy"] == "NPU 12 chip 0 is Critical"
    assert causes["Too few NPUs"] == "2 usable of 3"
    assert causes["NPUs are in use"] == "NPU 0 by python (pid 41234), python3.8 (pid 41235)"


@pytest.mark.parametrize("state", _probe.RUNNING)
def test_the_running_job_is_no_finding(state: str) -> None:
    found = judge(unit_state=state, listen=["6000 1 python", "60000 1 python"],
                  npu_smi_line=SMI["910b_busy_tight_slash"]["output"].replace("Critical", "OK").splitlines())
    assert (found["findings"], found["job"]) == ([], state)


@pytest.mark.parametrize(("result", "words"), [
    ({"unreachable": True, "msg": "Task failed: Failed to connect to the host via ssh: connect to host x: timed out"},
     ["cannot be reached: found connect to host x: timed out", "`ansible node1 "]),
    ({"failed": True, "msg": "Task failed: Missing sudo password"}, ["may not become root: found Missing sudo password",
                                                                     "--ask-become-pass"]),
    ({"rc": 1, "stderr": "sudo: a password is required", "msg": "non-zero return code"}, ["may not become root", "sudo: a"]),
    ({"rc": 127, "stdout": "sh: base64: not found", "msg": "non-zero return code"}, ["did not run", "127", "base64: not found"]),
    ({"rc": 0, "stdout": _probe.BEGIN + "\nuid=0\n"}, ["did not run"]),
    ({}, ["did not run"]),
])
def test_no_answer(result: dict[str, Any], words: list[str]) -> None:
    found = _probe.node(result, SETTINGS, "node1")
    assert (found["job"], found["facts"], len(found["findings"])) == ("unknown", {}, 1)
    message = _probe.report({"node1": found}, [], SETTINGS)["message"]
    assert all(word in message for word in words), message


def test_many_nodes_stay_readable() -> None:
    nodes = {f"node{i}": judge(f"node{i}", python_version="3.7.9") if 3 <= i < 20 else judge(f"node{i}") for i in range(128)}
    for i in range(100, 110):
        nodes[f"node{i}"] = judge(f"node{i}", workspace_free_kib=str(i << 19))
    found = _probe.report(nodes, ["plan_seq_length is odd."], SETTINGS)
    assert found["count"] == 3
    assert found["message"].startswith("Preflight: 3 findings on 27 of 128 nodes. Nothing has been changed.")
    assert "The inventory and the plan:\n  - plan_seq_length is odd." in found["message"]
    assert "node3, node4, node5 … node19 (17 nodes):\n  - Python is too old" in found["message"]
    assert "50.0 GiB at /opt on node100; 50.5 GiB at /opt on node101" in found["message"]
    assert "and 6 more; expected at least 100 GiB" in found["message"]
    assert len(found["message"].splitlines()) < 15


def test_findings_of_the_same_nodes_share_a_heading() -> None:
    nodes = {name: judge(name, arch="riscv64", systemd=[]) for name in ("a", "b")}
    assert _probe.report({**nodes, "c": judge("c")}, [], SETTINGS)["message"].count("a, b:") == 1


def test_nodes_are_compared() -> None:
    two = [line for line in SMI["910b_busy_tight_slash"]["output"].splitlines() if "python" not in line]
    nodes = {"a": judge("a"), "b": judge("b"), "c": judge("c", npu_smi_line=[line for line in two if "Critical" not in line
                                                                          and "0000:42" not in line]),
             "d": judge("d", driver_info="Version=23.0.5"), "e": judge("e", date="1090")}
    message = _probe.report(nodes, [], SETTINGS)["message"]
    assert "c:\n  - The number of usable NPUs differs between the nodes: found 2; expected 1, as on 4 of 5 nodes" in message
    assert "d:\n  - The driver version differs between the nodes: found 23.0.5; expected 24.1.rc1" in message
    assert "e:\n  - The clock differs from the other nodes: found +89 s; expected at most 30 s" in message


def test_what_nfs_needs_is_asked_for_where_it_is_used() -> None:
    nodes = {name: judge(name, user_ids=ids) for name, ids in (("a", "2000:2000"), ("b", "2000:2000"), ("c", "1001:1001"), ("d", []))}
    assert _probe.report(nodes, [], SETTINGS)["message"] == ""
    message = _probe.report(nodes, [], {**SETTINGS, "nfs": True})["message"]
    assert "c:\n  - The training user has other numbers (uid:gid) than on the other nodes: found 1001:1001; expected 2000:2000, as on 2 of 3" in message
    assert "node_base_uid" in message
    assert judge(over={"nfs": True}, nfs_client="1")["findings"] == []
    found = judge(over={"nfs": True})["findings"]
    assert [one["cause"] for one in found] == ["The kernel has no NFS client"]


def test_too_few_npus_are_not_said_twice() -> None:
    nodes = {"a": judge("a"), "b": judge("b", npu_smi_line=SMI["910b4_idle"]["output"].replace("OK ", "Alarm").splitlines())}
    message = _probe.report(nodes, [], SETTINGS)["message"]
    assert "Too few NPUs" in message
    assert "differs" not in message


def test_summary() -> None:
    found = _probe.report({"a": judge("a"), "b": judge("b", unit_state="active")}, [], SETTINGS)
    assert (found["message"], found["count"]) == ("", 0)
    assert found["summary"] == ("2 nodes ready: NPUs on each 1 (910B4), driver 24.1.rc1, Python 3.9.9, aarch64; "
                                "the training job runs on 1")


def test_report_filter_counts_a_node_without_judgement() -> None:
    call = report_filter.FilterModule().filters()["preflight_report"]
    hostvars: dict[str, Any] = {"a": {"__preflight_node": judge("a")}, "b": {}}
    assert "b:\n  - The node did not run the probe" in call(["a", "b"], hostvars, [], SETTINGS)["message"]


@pytest.mark.parametrize("used", [False, True])
def test_the_real_probe_speaks_this_language(tmp_path: Path, used: bool) -> None:
    runs = tmp_path / "my runs"
    runs.mkdir()
    if used:
        (runs / "current").symlink_to("a-run")
    done = subprocess.run(["/bin/sh", str(PROBE), "1", "/nowhere/at/all", "/usr/local/Ascend", "/nowhere", "none.service", "",
                           "1-65535", str(runs), "root", "python3.99", "python3"], capture_output=True, text=True, check=True)
    values = _probe.parse(done.stdout)
    assert values["sent"] == ["1"]
    assert values["workspace_parent"] == ["/"]
    assert int(values["workspace_free_kib"][0]) > 0
    assert ("workspace_used" in values) == used
    assert values["user_ids"] == ["0:0"]
    assert values["python_rc"] == ["0"]
    assert values["arch"] and values["uid"] and values["os_ID"]
    assert all(len(line.split(None, 2)) == 3 for line in values.get("listen", []))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(sorted({*GOOD, "listen", "cann_installed", "workspace_used", "python_configured"})),
                       st.lists(st.text("0a .=|-:", max_size=12), max_size=3)))
def test_any_answer_is_judged_without_an_exception(change: Any) -> None:
    found = judge(**change)
    assert isinstance(_probe.report({"a": found, "b": judge()}, [], SETTINGS)["message"], str)
