"""What the preflight finds, and how it says so."""
from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.ascend.cluster.plugins.filter import preflight_report as report_filter
from ansible_collections.ascend.cluster.plugins.module_utils import _checks, _findings, _npu_chips, _probe, _probe_versions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HERE = Path(__file__).parent
PROBE = HERE.parent.parent / "roles" / "preflight" / "files" / "probe.sh"
# As it travels: one program of two files.
PROGRAM = "\n".join(PROBE.with_name(name).read_text(encoding="utf-8") for name in ("probe_npus.sh", "probe.sh"))
SMI = {name: yaml.safe_load((HERE / "recorded" / "npu_smi" / f"{name}.yml").read_text(encoding="utf-8"))
       for name in (path.stem for path in (HERE / "recorded" / "npu_smi").glob("*.yml"))}

SETTINGS: dict[str, Any] = {
    "min_python": "3.8", "supported_os": ["openEuler", "debian", "rhel"], "supported_arch": ["aarch64", "x86_64"],
    "min_free_gib": 100, "min_cann_free_gib": 10, "workspace_path": "/opt/ascend-cluster", "cann_path": "/usr/local/Ascend",
    "driver_info": "/usr/local/Ascend/driver/version.info", "nproc_per_node": 1,
    "ports": {"master": "6000-6015", "supervisor": 29400, "hccl": "60000-60031", "device": 16666},
    "port_ranges": "6000-6015,16666,29400,60000-60031", "master": True, "address": "192.0.2.11", "max_clock_skew_seconds": 30,
    "platform": "", "precision": "bf16", "kernels_src": "/srv/Ascend-cann-kernels-910b_8.0.RC1_linux.run", "max_npu_memory_used_percent": 12,
    "user": "ascend", "unit": "ascend-pretrain.service", "nodes": 2, "memory_gib_per_rank": 4,
    "versions": {"cann": "8.0.RC1", "torch_npu": "2.1.0.post3", "python": "3.8"},
    "version_tables": {"cann": {"2.1.0.post3": ["8.0.RC1"]}, "python": {"2.1.0.post3": ["3.8", "3.9"]},
                       "driver": {"8.0.RC1": {"fits": ["24.1.RC1", "25.2"], "fails": ["22.0"]}}},
}
GOOD: dict[str, list[str]] = {
    "sent": ["1000"], "date": ["1001"], "uid": ["0"], "arch": ["aarch64"], "os_ID": ['"openEuler"'],
    "os_PRETTY_NAME": ['"openEuler 22.03 LTS"'], "python": ["/usr/bin/python3"], "python_rc": ["0"],
    "python_version": ["3.9.9"], "workspace_parent": ["/opt"], "workspace_free_kib": [str(500 << 20)],
    "cann_parent": ["/usr/local"], "cann_free_kib": [str(50 << 20)], "cann_filesystem": ["ext2/ext3"],
    "driver_info": ["Version=24.1.rc1", "ascendhal_version=7.35.19"], "npu_smi": ["/usr/local/sbin/npu-smi"],
    "npu_smi_rc": ["0"], "npu_smi_line": SMI["910b4_idle"]["output"].splitlines(), "address": ["127.0.0.1 lo", "192.0.2.11 eth0"],
    "systemd": ["1"], "unit_state": ["inactive"], "kernel": ["5.10.0-60.18.0.50.oe2203.aarch64"], "processors": ["192"],
    "meminfo": [f"MemTotal {1511 << 20}", f"MemAvailable {1480 << 20}", f"SwapTotal {4 << 20}", f"SwapFree {4 << 20}"],
    "memory_limit": ["max /sys/fs/cgroup/system.slice/memory.max"], "name": ["node1"], "name_address": ["192.0.2.11"], "synchronized": ["yes"],
    "interface": ["lo unknown 65536", "eth0 up 1500"], "ephemeral": ["32768-60999"], "firmware_info": ["Version=7.1.0.6.220"],
    "kernel_log_read": ["1"], "npu_more": ["2 0|ecc|0|HBM Double Bit Error Count : 0", "2 0|ecc|0|HBM Double Bit Isolated Pages Count : 0",
                                           "2 0|ecc|0|Chip ID : 0"],
    "workspace_free_inodes": ["30000000"], "hccn_tool": ["/usr/local/Ascend/driver/tools/hccn_tool"],
}


def output(**change: Any) -> dict[str, Any]:
    values = {**GOOD, **{key: value if isinstance(value, list) else [value] for key, value in change.items()}}
    lines = [f"{key}={line}" for key, lines in values.items() for line in lines if line is not None]
    return {"rc": 0, "stdout": "\n".join(["Welcome!", _probe.BEGIN, *lines, _probe.END, "logout"])}


def smi(case: str, *change: tuple[str, str]) -> list[str]:
    text = SMI[case]["output"]
    for old, new in change:
        assert old in text
        text = text.replace(old, new)
    return list(text.splitlines())


def judge(host: str = "node1", over: dict[str, Any] | None = None, **change: Any) -> dict[str, Any]:
    return _probe.node(output(**change), {**SETTINGS, **(over or {})}, host)


def causes(found: dict[str, Any]) -> dict[str, str]:
    return {one["cause"]: one["found"] for one in found["findings"]}


def message(found: dict[str, Any] | None = None, **nodes: dict[str, Any]) -> str:
    return str(_findings.report({"node1": found} if found else nodes, [], SETTINGS)["message"])


def test_a_good_node() -> None:
    found = judge()
    assert found["findings"] == []
    assert found["job"] == "inactive"
    assert found["facts"] == {"npus": 1, "npu_names": ["910B4"], "unknown": [], "driver": "24.1.rc1", "python": "3.9.9", "arch": "aarch64",
                              "clock_offset": 1, "npu_name": "910B4", "firmware": "7.1.0.6.220", "kernel": "5.10.0-60.18.0.50.oe2203.aarch64",
                              "system": "openEuler 22.03 LTS", "interface": "eth0", "mtu": "1500", "memory_gib": 1511, "processors": "192", "fabric": {},
                              "python_path": "/usr/bin/python3", "launched": False, "hccn_tool": "/usr/local/Ascend/driver/tools/hccn_tool", "firewalls": [],
                              "low_limits": {}, "torch_devices": [], "ephemeral": "32768-60999", "ephemeral_samples": [39825, 46883, 53941],
                              "checkpoint_free_bytes": 0, "checkpoint_shared": False}


@pytest.mark.parametrize(("change", "words"), [
    ({"python_version": "3.7.9"}, ["too old", "3.7.9", "Python 3.8", "preflight_min_python", "ansible_python_interpreter"]),
    ({"python_version": "3.10.1", "min": "3.11"}, ["too old", "Python 3.11"]),
    ({"python": []}, ["No Python", "none on the PATH"]),
    ({"python": [], "python_configured": "/opt/x"}, ["No Python", "no /opt/x", "Correct ansible_python_interpreter"]),
    ({"python_rc": "127", "python_version": "pyenv: not found"}, ["does not run", "pyenv: not found"]),
    ({"uid": "1000"}, ["not run as root", "uid 1000"]),
    ({"os_ID": "arch", "os_PRETTY_NAME": '"Arch Linux"'}, ["operating system", "Arch Linux", "rhel in ID or ID_LIKE", "set node_base_platform"]),
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
    ({"listen": "6000 77 python3"}, ["master port 6000", "python3 (pid 77)", "master of cluster_ports"]),
    ({"listen": "29400 77 python3"}, ["master port 29400", "python3 (pid 77)", "supervisor of cluster_ports"]),
    ({"listen": "60003 - -"}, ["HCCL", "60003", "an unknown process", "60000-60031 to be free", "hccl of cluster_ports"]),
    ({"address": ["10.0.0.5 eth0", "fe80::1 eth0"]}, ["cluster_address", "192.0.2.11", "10.0.0.5"]),
])
def test_a_finding_names_what_was_found_and_the_way_out(change: dict[str, Any], words: list[str]) -> None:
    over = {"min_python": change.pop("min")} if "min" in change else {}
    findings = judge(over=over, **change)["findings"]
    assert len(findings) == 1
    text = _findings.report({"node1": {"findings": findings, "job": "inactive", "facts": {}}}, [], SETTINGS)["message"]
    assert all(word in text for word in words), text


def test_ports_that_this_node_does_not_need() -> None:
    """6010 and more are those of X11 that sshd forwards; the NPUs' own is not the host's; and only the master listens for the others."""
    assert judge(listen=["6001 7 sshd", "6010 7 sshd", "6015 7 sshd", "16666 7 x", "6016 7 x", "29401 7 x"])["findings"] == []
    assert judge(listen=["6000 7 x", "29400 7 x"], over={"master": False})["findings"] == []


def test_a_firewall_is_told_with_the_ports_to_open() -> None:
    found = judge(firewall=["ufw"])["findings"][0]
    assert "6000-6015,16666,29400,60000-60031 (cluster_ports) and the ephemeral range (32768-60999)" in found["remedy"]
    assert ": `ufw allow from <address>`. " in found["remedy"]
    both = judge(firewall=["firewalld", "nftables (a chain of input with policy drop)"])["findings"][0]
    assert "`firewall-cmd --permanent" in both["remedy"] and "` and `nft insert rule" in both["remedy"]


@pytest.mark.parametrize("text", [[], "32768", "a-b", "32768-"])
def test_samples_of_an_unknown_range_are_none(text: Any) -> None:
    assert judge(ephemeral=text)["facts"]["ephemeral_samples"] == []


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
    assert causes(found) == {"An NPU is not healthy": "NPU 12 chip 0 is Critical", "An NPU has the health Warning": "NPU 3 chip 0",
                             "Too few NPUs": "2 usable of 3",
                             "NPUs are in use": "NPU 0 by python (pid 41234), python3.8 (pid 41235)"}


@pytest.mark.parametrize("state", _checks.RUNNING)
def test_the_running_job_is_no_finding(state: str) -> None:
    found = judge(unit_state=state, listen=["6000 1 python", "60000 1 python"],
                  npu_smi_line=SMI["910b_busy_tight_slash"]["output"].replace("Critical", "OK").replace("Warning", "OK").splitlines())
    assert (found["findings"], found["job"]) == ([], state)


@pytest.mark.parametrize(("result", "words"), [
    ({"unreachable": True, "msg": "Task failed: Failed to connect to the host via ssh: connect to host x: timed out"},
     ["cannot be reached: found connect to host x: timed out", "`ansible node1 "]),
    ({"failed": True, "msg": "Task failed: Missing sudo password"}, ["may not become root: found Missing sudo password",
                                                                     "--ask-become-pass"]),
    ({"rc": 1, "stderr": "sudo: a password is required", "msg": "non-zero return code"}, ["may not become root", "sudo: a"]),
    ({"rc": 127, "stdout": "sh: base64: not found", "msg": "non-zero return code"}, ["did not run", "127", "base64: not found"]),
    ({"rc": 0, "stdout": _probe.BEGIN + "\nuid=0\n"}, ["did not run"]),
    # As ansible-core words `timeout: 300` of a task.
    ({"failed": True, "msg": "Task failed: Timed out after 300 second(s).", "timedout": {"frame": "x", "period": 300}},
     ["did not end: found none within 300 s; expected an end within 300 s",
      "`ansible node1 -b -m ansible.builtin.raw -a \"ps -eo pid,stat,wchan:30,comm | grep ' D'\"`"]),
    ({}, ["did not run"]),
])
def test_no_answer(result: dict[str, Any], words: list[str]) -> None:
    found = _probe.node(result, SETTINGS, "node1")
    assert (found["job"], found["facts"], len(found["findings"])) == ("unknown", {}, 1)
    text = _findings.report({"node1": found}, [], SETTINGS)["message"]
    assert all(word in text for word in words), text


def test_many_nodes_stay_readable() -> None:
    nodes = {f"node{i}": judge(f"node{i}", python_version="3.7.9") if 3 <= i < 20 else judge(f"node{i}") for i in range(128)}
    for i in range(100, 110):
        nodes[f"node{i}"] = judge(f"node{i}", workspace_free_kib=str(i << 19))
    found = _findings.report(nodes, ["plan_seq_length is odd."], SETTINGS)
    assert found["count"] == 3
    assert found["message"].startswith("Preflight: 3 findings on 27 of 128 nodes. Nothing has been changed.")
    assert "The inventory and the plan:\n  - plan_seq_length is odd." in found["message"]
    assert "node3, node4, node5 … node19 (17 nodes):\n  - Python is too old" in found["message"]
    assert "50.0 GiB at /opt on node100; 50.5 GiB at /opt on node101" in found["message"]
    assert "and 6 more; expected at least 100 GiB" in found["message"]
    assert len(found["message"].splitlines()) < 15


def test_findings_of_the_same_nodes_share_a_heading() -> None:
    nodes = {name: judge(name, arch="riscv64", systemd=[]) for name in ("a", "b")}
    assert _findings.report({**nodes, "c": judge("c")}, [], SETTINGS)["message"].count("a, b:") == 1


def test_nodes_are_compared() -> None:
    two = [line for line in smi("910b_busy_tight_slash", ("30710/", "3071 /")) if "python" not in line]
    nodes = {"a": judge("a"), "b": judge("b"), "c": judge("c", npu_smi_line=[line for line in two if "Critical" not in line
                                                                          and "0000:42" not in line]),
             "d": judge("d", driver_info="Version=23.0.5"), "e": judge("e", date="1090")}
    text = _findings.report(nodes, [], SETTINGS)["message"]
    assert "c:\n  - The number of usable NPUs differs between the nodes: found 2; expected 1, as on 4 of 5 nodes" in text
    assert "d:\n  - The driver version differs between the nodes: found 23.0.5; expected 24.1.rc1" in text
    assert "e:\n  - The clock differs from the other nodes: found +89 s; expected at most 30 s" in text


def test_what_nfs_needs_is_asked_for_where_it_is_used() -> None:
    nodes = {name: judge(name, user_ids=ids) for name, ids in (("a", "2000:2000"), ("b", "2000:2000"), ("c", "1001:1001"), ("d", []))}
    assert _findings.report(nodes, [], SETTINGS)["message"] == ""
    text = _findings.report(nodes, [], {**SETTINGS, "nfs": True})["message"]
    assert "c:\n  - The training user has other numbers (uid:gid) than on the other nodes: found 1001:1001; expected 2000:2000, as on 2 of 3" in text
    assert "node_base_uid" in text
    assert judge(over={"nfs": True}, nfs_client="1")["findings"] == []
    found = judge(over={"nfs": True})["findings"]
    assert [one["cause"] for one in found] == ["The kernel has no NFS client"]


def test_too_few_npus_are_not_said_twice() -> None:
    nodes = {"a": judge("a"), "b": judge("b", npu_smi_line=SMI["910b4_idle"]["output"].replace("OK ", "Alarm").splitlines())}
    text = _findings.report(nodes, [], SETTINGS)["message"]
    assert "Too few NPUs" in text
    assert "differs" not in text


def test_summary() -> None:
    found = _findings.report({"a": judge("a"), "b": judge("b", unit_state="active")}, [], SETTINGS)
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
    state = tmp_path / "state"
    state.mkdir()
    (state / "cann_toolkit.txt").write_text("toolkit 8.0.RC1\nkernels 8.0.RC1\n")
    (state / "conda_env.txt").write_text("# wheels\npython 3.8\ntorch-2.1.0-cp38-cp38-linux_x86_64.whl sha256:1\ntorch_npu-2.1.0.post3-cp38-x.whl sha256:2\n")
    if used:
        (runs / "current").symlink_to("a-run")
    done = subprocess.run(["/bin/sh", "-c", PROGRAM, "probe", "1", "/nowhere/at/all", "/usr/local/Ascend", "/nowhere", "none.service", "",
                           "1-65535", str(runs), "root", str(state), str(tmp_path / "ckpt"), str(tmp_path / "data"), str(tmp_path), "/nowhere",
                           "python3.99", "python3"],
                          capture_output=True, text=True, check=True)
    values = _probe.parse(done.stdout)
    assert values["sent"] == ["1"]
    assert values["workspace_parent"] == ["/"]
    assert int(values["workspace_free_kib"][0]) > 0
    assert ("workspace_used" in values) == used
    assert _probe_versions.installed(values) == {"cann": "8.0.RC1", "torch_npu": "2.1.0.post3", "python": "3.8"}
    mine = sorted(str(path) for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink() and path.owner() == "root")
    assert sorted(values.get("roots_file", [])) == mine
    assert int(values["checkpoints_free_kib"][0]) > 0 and values["checkpoints_parent"] == [str(tmp_path)]
    assert values["user_ids"] == ["0:0"]
    assert values["python_rc"] == ["0"]
    assert values["arch"] and values["uid"] and values["os_ID"]
    assert values["ephemeral"] == ["-".join(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="utf-8").split())]
    assert all(len(line.split(None, 2)) == 3 for line in values.get("listen", []))


def test_what_hangs_on_a_node_does_not_hang_the_probe(tmp_path: Path) -> None:
    """A tool that does not mind SIGTERM, and a path of a dead mount; `timeout` stands for one that waits ten times shorter."""
    stubs = {"npu-smi": "trap '' TERM\nsleep 600", "test": "trap '' TERM\ncase \"$*\" in '-e /dead/ckpt') sleep 600 ;; esac\nexec /usr/bin/test \"$@\"",
             "timeout": "kill=''; [ \"$1\" != -k ] || { kill='-k 0.1'; shift 2; }\nseconds=$1\nshift\nexec /usr/bin/timeout $kill $((seconds / 10)) \"$@\""}
    for name, body in stubs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(["/bin/sh", "-c", PROGRAM, "probe", "1", "/", "/nowhere", "/nowhere", "none.service", "", "1-2", "/nowhere", "root", "/nowhere",
                           "/dead/ckpt", "/nowhere", "", "/nowhere", "python3"], capture_output=True, text=True, check=True, timeout=120,
                          env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    values = _probe.parse(done.stdout)
    assert values["checkpoints_parent"] == ["/dead/ckpt"] and "checkpoints_free_kib" not in values
    assert values["npu_smi_rc"] == ["137"] and int(values["workspace_free_kib"][0]) > 0


@pytest.mark.parametrize("installed", [False, True])
@pytest.mark.parametrize("kind", ["nfs", "NFS4", "ceph-fuse", "fuseblk"])
def test_shared_storage_is_refused_for_cann_until_it_is_there(kind: str, installed: bool) -> None:
    found = causes(judge(cann_filesystem=kind, cann_installed=["1"] if installed else []))
    assert found == ({} if installed else {"/usr/local/Ascend lies on shared storage": kind})


@pytest.mark.parametrize(("seconds", "refused"), [(1031, False), (1032, True), (971, False), (970, True)])
def test_a_clock_may_be_as_far_off_as_the_setting_says(seconds: int, refused: bool) -> None:
    nodes = {"a": judge("a"), "b": judge("b"), "c": judge("c", date=str(seconds))}
    text = message(**nodes)
    assert ("c:\n  - The clock differs from the other nodes: found" in text) == refused, text
    assert (text != "") == refused


def test_a_derivative_system_is_taken_by_the_platform_that_the_site_names() -> None:
    assert causes(judge(os_ID='"foo"', os_ID_LIKE=[])) == {"The operating system is not supported": "openEuler 22.03 LTS"}
    assert judge(over={"platform": "redhat"}, os_ID='"foo"', os_ID_LIKE=[])["findings"] == []


@pytest.mark.parametrize("lines", [["| Card | Model | State |", "| 0    | 910B3 | fine  |"], [*smi("910b4_idle")[:-4], "| 2       0                 | 41"]])
def test_a_table_that_is_not_understood_is_a_finding_that_quotes_it(lines: list[str]) -> None:
    found = judge(npu_smi_line=lines)
    assert list(causes(found)) == ["npu-smi prints a table that is not understood"]
    assert " ".join(lines[-1].split()) in message(found)
    assert "is unknown. Run `npu-smi info` on the node, and report its output." in message(found)


CASE_OF_29_GIB = smi("910prob_idle", ("18   / 32768", "29356/ 32768"), ("8    / 32768", "29356/ 32768"))


def test_memory_that_is_held_without_a_process_is_a_finding() -> None:
    quiet = {"precision": "fp16", "kernels_src": ""}
    assert causes(judge(over=quiet, npu_smi_line=CASE_OF_29_GIB)) == {
        "Memory of NPUs is held, though npu-smi lists no process there": "NPU 0, 1: 29356 of 32768 MiB"}
    text = message(judge(over=quiet, npu_smi_line=CASE_OF_29_GIB))
    assert "expected at most 12 % in use on an idle chip (preflight_max_npu_memory_used_percent). A process in a container" in text
    assert judge(over={**quiet, "max_npu_memory_used_percent": 90}, npu_smi_line=CASE_OF_29_GIB)["findings"] == []
    assert judge(over=quiet, npu_smi_line=CASE_OF_29_GIB, unit_state="active")["findings"] == []


def test_the_processes_of_one_chip_do_not_excuse_another() -> None:
    assert causes(judge(npu_smi_line=smi("910b2c_held_by_one"))) == {
        "NPUs are in use": "NPU 0 by python3.8 (pid 124528)",
        "Memory of NPUs is held, though npu-smi lists no process there": "NPU 1: 20687 of 65536 MiB"}
    held = judge(over={"kernels_src": ""}, npu_smi_line=smi("a3_second_chip_busy", ("| 1       1   ", "| 1       0   ")))
    assert causes(held)["Memory of NPUs is held, though npu-smi lists no process there"] == "NPU 1 chip 1: 10568 of 65536 MiB"


@pytest.mark.parametrize(("percent", "refused"), [(8.8, False), (8.7, True)])
def test_the_threshold_of_held_memory(percent: float, refused: bool) -> None:
    """2858 of 32768 MiB are 8.72 %."""
    assert bool(judge(over={"max_npu_memory_used_percent": percent})["findings"]) == refused


IDLE = ["910b4_idle", "910prob_idle", "910b_first_generation", "a3_idle_id_2", "950_npu_id_column"]


@pytest.mark.parametrize("case", IDLE)
def test_an_idle_node_of_every_generation_is_ready_for_what_its_chips_can(case: str) -> None:
    assert judge(over={"precision": "fp16", "kernels_src": ""}, npu_smi_line=smi(case))["findings"] == []


@pytest.mark.parametrize(("case", "bf16", "kernels"), [
    ("910b4_idle", True, "910b"), ("910b2c_high_ids", True, "910b"), ("910prob_idle", False, "910"), ("910b_first_generation", False, "910"),
    ("a3_idle_id_2", True, "a3"), ("310p_two_chips", False, "310p"), ("950_npu_id_column", True, "950"),
])
@pytest.mark.parametrize(("archive", "made_for"), [
    ("Ascend-cann-kernels-910b_8.0.RC1_linux.run", "910b"), ("Ascend-cann-kernels-910_8.0.RC3_linux-aarch64.run", "910"),
    ("Atlas-A3-cann-kernels_8.2.RC1_linux-aarch64.run", "a3"), ("Ascend-cann-A3-ops_8.5.0_linux-x86_64.run", "a3"),
    ("Ascend-cann-910b-ops_9.1.0_linux-aarch64.run", "910b"), ("Ascend-cann-950-ops_9.1.0_linux-x86_64.run", "950"),
    ("Ascend-cann-310p-ops_9.0.0_linux-aarch64.run", "310p"), ("kernels.run", ""),
])
def test_chips_are_compared_with_bf16_and_the_kernels(case: str, bf16: bool, kernels: str, archive: str, made_for: str) -> None:
    found = causes(judge(over={"kernels_src": f"https://example.org/a/{archive}?x=1"}, npu_smi_line=smi(case), unit_state="active"))
    assert ("The chips do not compute in bf16" in found) == (not bf16)
    assert ("The package of kernels is for other chips" in found) == (made_for not in ("", kernels))


def test_chips_of_another_generation_are_named_with_the_way_out() -> None:
    text = message(judge(npu_smi_line=smi("910prob_idle")))
    assert ("The chips do not compute in bf16: found 910ProB, Atlas training series (Ascend 910); expected Atlas A2 (910B1 to 910B4), A3 or 950, "
            "as plan_precision is bf16. Train on such nodes, or set plan_precision to fp16") in text
    assert ("The package of kernels is for other chips: found Ascend-cann-kernels-910b_8.0.RC1_linux.run for 910ProB, Atlas training series "
            "(Ascend 910); expected Ascend-cann-kernels-910_… (from CANN 8.5 on Ascend-cann-910-ops_…). Set cann_toolkit_kernels_src") in text


def test_kernels_that_are_there_count_more_than_the_name_of_an_archive() -> None:
    assert judge(npu_smi_line=smi("a3_idle_id_2"), kernels=["ascend910b", "ascend910_93"])["findings"] == []
    assert list(causes(judge(npu_smi_line=smi("a3_idle_id_2"), kernels="ascend910b"))) == ["The package of kernels is for other chips"]


@pytest.mark.parametrize(("name", "memory", "chips", "generation"), [
    ("910A", 32768, 1, "910"), ("910ProA", 32768, 1, "910"), ("910PremiumA", 32768, 1, "910"), ("Ascend910ProB", 32768, 1, "910"),
    ("910B", 32768, 1, "910"), ("910B", 65536, 1, ""), ("910B", 0, 1, ""), ("910B1", 65536, 1, "910b"), ("Ascend 910B3", 65536, 1, "910b"),
    ("910B4-1", 65536, 1, "910b"), ("Ascend910", 65536, 2, "a3"), ("Ascend910", 65536, 1, ""), ("Ascend910", 32768, 2, ""),
    ("Ascend910_9391", 65536, 1, "a3"), ("Ascend950PR", 131072, 1, "950"), ("310P3", 44280, 2, "310p"), ("310B4", 15609, 1, "310b"),
    ("", 65536, 1, ""), ("1910B3", 65536, 1, ""),
])
def test_the_generation_of_a_name(name: str, memory: int, chips: int, generation: str) -> None:
    node = [{"npu": 0, "chip": number, "name": name, "memory_total_mib": memory} for number in range(chips)]
    node.append({"npu": 1, "chip": 0, "name": "910B3", "memory_total_mib": 65536})
    found = _npu_chips.generation(node[0], node)
    assert (found.kernels if found else "") == generation


def test_a_generation_that_npu_smi_does_not_tell_is_said_and_refuses_nothing() -> None:
    found = judge(npu_smi_line=smi("910b4_idle", ("910B4    ", "Ascend910")))
    assert found["findings"] == []
    assert _findings.report({"a": found}, [], SETTINGS)["summary"].endswith(
        "; not looked at: the generation of Ascend910, so whether it has bf16, and kernels of its own (npu-smi does not tell)")


LEFT = ["41234|ascend|-|python|/opt/x/bin/python -u pretrain_gpt.py --local-rank=0", "41235|ascend|unit|python3.8|python3.8 -c worker"]


def test_processes_that_an_earlier_run_left_are_named_with_what_ends_them() -> None:
    busy = smi("910b_busy_tight_slash", ("Critical", "OK      "), ("Warning", "OK     "))
    found = judge(npu_smi_line=busy, process=LEFT, unit_state="failed")
    assert causes(found) == {"Processes of an earlier run are left":
                             "pretrain_gpt.py (pid 41234), python3.8 (pid 41235) of ascend on NPU 0"}
    text = message(found)
    assert "expected none while ascend-pretrain.service does not run. End them: `ansible node1 -b -m ansible.builtin.raw -a 'kill -KILL 41234 41235'`" in text
    both = message(a=found, b=judge("b", process=["7|ascend|-|torchrun|/usr/bin/python3 /opt/x/bin/torchrun --nnodes 2"]))
    assert "a, b:\n  - Processes of an earlier run are left: found pretrain_gpt.py (pid 41234)" in both
    assert "; torchrun (pid 7) of ascend on b;" in both
    assert "`ansible NODE -b -m ansible.builtin.raw -a \"pkill -KILL -u ascend -f 'torchrun|pretrain_gpt.py|pretrain_mixtral.sh'\"`" in both
    assert judge(npu_smi_line=busy, process=LEFT, unit_state="active")["findings"] == []
    assert "Run playbooks/stop.yml, which stops the unit that they belong to." in message(judge(process=LEFT, unit_state=[]))


@pytest.mark.parametrize(("line", "left"), [
    ("7|ascend|-|bash|/usr/bin/env bash /opt/ascend-cluster/runs/r/pretrain_mixtral.sh", True),
    ("7|ascend|-|torchrun|/opt/conda/bin/torchrun --nnodes 1", True), ("7|root|unit|tee|tee -a train.log", True),
    ("7|root|-|python|python pretrain_gpt.py", False), ("7|ascend|-|vim|vim pretrain_gpt.py", False),
    ("7|ascend|-|grep|grep torchrun x", False), ("7|ascend|-|bash|-bash", False), ("7|ascend|-|python|", False), ("7|ascend", False),
])
def test_a_process_is_ours_by_its_owner_and_program_or_by_the_unit(line: str, left: bool) -> None:
    assert (list(causes(judge(process=line))) == ["Processes of an earlier run are left"]) == left


@pytest.mark.parametrize(("line", "words"), [
    ("41234|bob|-|python|python serve.py", "python (pid 41234 of bob), python3.8 (pid 41235)"),
    ("41234|ascend|-|python|python other.py", "python (pid 41234 of ascend), python3.8 (pid 41235)"),
    ("41234|bob|-|python|a title of its own", "python (pid 41234 of bob), python3.8 (pid 41235)"),
    ("41234|bob|-|pt_main_thread|/usr/bin/python serve.py", "python (pid 41234 of bob), python3.8 (pid 41235)"),
    # In a container npu-smi's ids are not those of /proc: another program there is not the one that is listed.
    ("41234|root|-|sshd|sshd: root", "python (pid 41234), python3.8 (pid 41235)"),
])
def test_a_process_of_somebody_else_is_named_with_its_owner(line: str, words: str) -> None:
    found = judge(npu_smi_line=smi("910b_busy_tight_slash", ("Critical", "OK      "), ("Warning", "OK     ")), process=line)
    assert causes(found) == {"NPUs are in use": f"NPU 0 by {words}"}


def test_only_the_cann_that_is_wanted_counts_as_installed(tmp_path: Path) -> None:
    """With the recipe's there, and a link to another version, current's has still to come."""
    kernels = "opp/built-in/op_impl/ai_core/tbe/kernel/ascend910b/add"
    (tmp_path / "ascend-toolkit/latest" / kernels).mkdir(parents=True)
    (tmp_path / "cann-9.0.0" / kernels).mkdir(parents=True)
    (tmp_path / "cann").symlink_to("cann-9.0.0")
    found = {}
    for home in ("ascend-toolkit", "cann-9.0.0", "cann-9.1.0"):
        done = subprocess.run(["/bin/sh", "-c", PROGRAM, "probe", "1", "/nowhere", str(tmp_path), "/nowhere", "none.service", "", "1-2", "/runs", "nobody",
                               "/nowhere", "/nowhere", "/nowhere", "", str(tmp_path / home), "python3"], capture_output=True, text=True, check=True)
        values = _probe.parse(done.stdout)
        assert values["cann_exists"] == ["1"]
        found[home] = (values.get("cann_installed"), values.get("kernels"))
    assert found == {"ascend-toolkit": (["1"], ["ascend910b"]), "cann-9.0.0": (["1"], ["ascend910b"]), "cann-9.1.0": (None, None)}


def test_the_real_probe_finds_a_process_that_a_launch_left(tmp_path: Path) -> None:
    script = tmp_path / "pretrain_gpt.py"
    script.write_text("import time\nprint('up', flush=True)\ntime.sleep(600)\n", encoding="utf-8")
    npu_smi = tmp_path / "npu-smi"
    npu_smi.write_text("#!/bin/sh\ncat '" + str(tmp_path / "table") + "'\n", encoding="utf-8")
    npu_smi.chmod(0o755)
    kernels = tmp_path / "Ascend/ascend-toolkit/latest/opp/built-in/op_impl/ai_core/tbe/kernel"
    for folder in ("ascend910b/add", "ascend910/ops_oam"):
        (kernels / folder).mkdir(parents=True)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as left, \
            subprocess.Popen([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"], stdout=subprocess.PIPE) as other:
        try:
            assert left.stdout and left.stdout.readline() and other.stdout and other.stdout.readline()
            (tmp_path / "table").write_text("\n".join(smi("910b_busy_tight_slash", ("| 41235 ", f"| {other.pid} "), ("python3.8", "python   "))),
                                            encoding="utf-8")
            done = subprocess.run(["/bin/sh", "-c", PROGRAM, "probe", "1", "/nowhere", str(tmp_path / "Ascend"), "/nowhere", "none.service", "", "1-2", "/runs",
                                   pwd.getpwuid(os.getuid()).pw_name, "/nowhere", "/nowhere", "/nowhere", "",
                                   str(tmp_path / "Ascend/ascend-toolkit"), "python3"], capture_output=True, text=True, check=True,
                                  env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
        finally:
            left.kill()
            other.kill()
    values = _probe.parse(done.stdout)
    owner = pwd.getpwuid(os.getuid()).pw_name
    seen = {int(line.split("|")[0]): line.split("|")[1:] for line in values["process"]}
    assert seen[left.pid][0] == owner and seen[left.pid][1] == "-" and str(script) in seen[left.pid][3]
    assert other.pid in seen
    assert values["kernels"] == ["ascend910b"]
    # This machine may have other trainings.
    lines = [line for line in done.stdout.splitlines() if not line.startswith("process=") or line.startswith((f"process={left.pid}|", f"process={other.pid}|"))]
    found = _probe.node({"stdout": "\n".join(lines)}, {**SETTINGS, "user": owner}, "node1")
    assert causes(found)["Processes of an earlier run are left"] == f"pretrain_gpt.py (pid {left.pid}) of {owner}"
    assert f"(pid {other.pid} of {owner})" in causes(found)["NPUs are in use"]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(sorted({*GOOD, "listen", "cann_installed", "workspace_used", "python_configured", "process", "kernels", "record",
                                        "unit_limit", "roots_file", "disk_health", "read_speed", "npu_more", "holder", "checkpoints_free_kib"})),
                       st.lists(st.text("0a .=|-:", max_size=12), max_size=3)))
def test_any_answer_is_judged_without_an_exception(change: Any) -> None:
    found = judge(**change)
    assert isinstance(_findings.report({"a": found, "b": judge()}, [], SETTINGS)["message"], str)
