"""The table of checks, and that each one finds its fault and nothing else."""
from __future__ import annotations

import html
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.ascend.cluster.plugins.module_utils import _check_forms, _check_table, _checks, _findings, _probe, _probe_fabric, _probe_kernel_log
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_probe import GOOD, PROBE, SETTINGS, judge, message, output, smi

UTILS = Path(_checks.__file__).parent


def hccn(device: int = 0, **change: str | None) -> list[str]:
    """What the probe says of one healthy NPU, with answers changed or left out (None); | parts lines."""
    answers: dict[str, str | None] = {
        "stat": "packet statistics:|roce_rx_err_pkt_num:3|mac_rx_fcs_err_pkt_num:0|mac_tx_total_pkt_num:100", "link": "link status: UP",
        "net_health": "net health status: Success", "ip": f"ipaddr:10.20.0.{device + 1}|netmask:255.255.0.0",
        "gateway": "Get gateway failed, because no gateway was preset there!", "netdetect": "netdetect address: 0.0.0.0",
        "tls": f"dev_id:{device}, tls switch[0](0:disable, 1:enable), tls preconfigured[1](0:non-preset, 1:preset), tls alarm time threshold[60]days",
        "optical": "Optical module is not present.", "link_stat": f"[devid {device}]current time        : Wed Aug  2 03:09:28 2023|"
        f"[devid {device}]link up count       : 1|[devid {device}]link change records :|[devid {device}]    Tue Aug  1 14:43:26 2023    LINK UP",
        "mtu": "mtu:1500", "speed": "Speed: 200000 Mb/s",
        "stat again": "packet statistics:|roce_rx_err_pkt_num:3|mac_rx_fcs_err_pkt_num:0|mac_tx_total_pkt_num:900"}
    answers.update({name.replace("stat_again", "stat again"): text for name, text in change.items()})
    return [f"{device}|{query}|0|{line}" for query, text in answers.items() if text is not None for line in text.split("|")]


def ecc(errors: int = 0, pages: int = 0) -> list[str]:
    """What npu-smi counts of the chip of 910b4_idle."""
    counters = {"NPU ID": 2, "HBM Single Bit Error Count": 7, "HBM Double Bit Error Count": errors, "HBM Double Bit Isolated Pages Count": pages, "Chip ID": 0}
    return [f"2 0|ecc|0|\t{name:42}: {count}" for name, count in counters.items()]


def optical(**change: str) -> str:
    """A module's answer, with some of its lines changed (Tx_Power0='9.0000 mW')."""
    text = (Path(__file__).parent / "recorded" / "hccn_tool" / "optical_910a_full.yml").read_text(encoding="utf-8")
    lines = re.search(r"(?m)^  optical info:\n(?:  .*\n)+", text)
    assert lines
    said = [line[2:] for line in lines.group().splitlines()]
    for name, value in change.items():
        label = name.replace("_", " ")
        assert sum(line.startswith(label) for line in said) == 1, label
        said = [f"{label} : {value}" if line.startswith(label) else line for line in said]
    return "|".join(said)


def checks_of(found: dict[str, Any]) -> dict[str, str]:
    return {one["check"]: one["found"] for one in found["findings"]}


def test_every_check_is_looked_for_and_every_text_can_be_filled() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in UTILS.glob("_*.py") if path.name != "_checks.py")
    for check in _checks.TABLE:
        assert f'"{check.name}"' in code, f"nothing looks for {check.name}"
        assert check.severity in ("failure", "warning")
        assert check.remedy.endswith((".", "{remedy}")), check.name
        names = re.findall(r"\{(\w+)\}", check.cause + check.expected + check.remedy)
        found = _checks.finding(check.name, "x", **dict.fromkeys(names, "y"))
        assert "{" not in found["cause"] + found["expected"] + found["remedy"].replace("{{", "")
    assert len(_checks.CHECKS) == len(_checks.TABLE)


# What the probe said, what is found of it.
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "inodes": ({"workspace_free_inodes": "2000"}, "2,000 at /opt"),
    "writable": ({"workspace_readonly": "/opt"}, "/opt"),
    "memory_available": ({"meminfo": ["MemTotal 33554432", "MemAvailable 1048576"]}, "1.0 GiB"),
    "swap": ({"meminfo": ["SwapTotal 8388608", "SwapFree 4194304"]}, "4.0 GiB swapped out"),
    "memory_limit": ({"memory_limit": ["max /a", f"{64 << 30} /sys/fs/cgroup/system.slice/memory.max"]}, "64.0 GiB of 1511.0 in /sys"),
    "huge_pages": ({"meminfo": [f"MemTotal {1511 << 20}", "HugePages_Free 200000", "Hugepagesize 2048"]}, "390.6 GiB of 1511.0"),
    "limits": ({"unit_limit": ["LimitNOFILESoft=1024", "LimitNPROCSoft=infinity", "LimitMEMLOCKSoft=infinity", "TasksMax=infinity"]},
               "LimitNOFILE of ascend-pretrain.service is 1024"),
    "roots_files": ({"roots_file": ["/opt/a", "/opt/b", "/opt/c", "/opt/d"]}, "/opt/a, /opt/b, /opt/c … (4 files)"),
    "disk_health": ({"disk_health": ["sda SMART overall-health self-assessment test result: FAILED!", "sdb SMART Health Status: OK"]}, "sda: FAILED!"),
    "read_speed": ({"read_speed": "0 /data/x.bin 268435456 bytes (268 MB, 256 MiB) copied, 20.1 s, 13.4 MB/s"}, "13 MB/s from /data/x.bin"),
    "npu_memory_errors": ({"npu_more": ecc(errors=2)}, "NPU 2 chip 0: HBM has 2 double bit errors since the start"),
    "npu_memory_worn": ({"npu_more": ecc(pages=64)}, "NPU 2 chip 0: HBM has 64 isolated pages"),
    "clock_synchronized": ({"synchronized": "no"}, "NTPSynchronized=no"),
    "own_name": ({"name_address": ""}, "no address"),
    "interface_up": ({"interface": ["eth0 down 1500"]}, "eth0 is down"),
    "firewall": ({"firewall": ["firewalld"]}, "firewalld"),
    "npu_warning": ({"npu_smi_line": smi("910b4_idle", ("OK     ", "Warning"))}, "NPU 2 chip 0"),
    "npu_on_bus": ({"pci": ["0000:c1:00.0", "0000:C2:00.0"]}, "2 on the bus, 1 in npu-smi; not there: 0000:c1:00.0"),
    "firmware_pair": ({"driver_info": ["Version=24.1.rc1", "compatible_version_fw=[6.4.0,6.4.99],[7.0.0,7.2.99]"], "firmware_info": "Version=7.3.0.1.231"},
                      "firmware 7.3.0.1.231 with driver 24.1.rc1"),
    "pair_planned": ({"driver_info": ["Version=22.0.4"]}, "driver 22.0.4 with CANN 8.0.RC1"),
    "pair_installed": ({"record": ["toolkit 8.0.RC3", "torch_npu-2.1.0.post3-cp38-x.whl sha256:1"]}, "torch_npu 2.1.0.post3 with CANN 8.0.RC3"),
    "kernel_driver_fault": ({"kernel_log": "[ 12.5] [ascend] [drv_pcie] [devdrv_x 4] Device is abnormal. (dev_id=5)"}, "Device is abnormal. (dev_id=5)"),
    "kernel_pcie": ({"kernel_log": "pcieport 0000:00:01.0: PCIe Bus Error: severity=Uncorrected (Fatal), type=Transaction Layer"}, "severity=Uncorrected"),
    "kernel_memory": ({"kernel_log": "EDAC MC0: 1 UE memory scrubbing error on CPU_SrcID#0"}, "1 UE memory"),
    "kernel_oom": ({"kernel_log": ["[1.0] Out of memory: Killed process 7 (a)", "[2.0] Out of memory: Killed process 8 (b)"]}, "process 8 (b) (and 1 more)"),
    "kernel_disk": ({"kernel_log": "EXT4-fs error (device sda1): ext4_find_entry:1455: inode #2: comm ls: reading directory lblock 0"}, "EXT4-fs error"),
    "kernel_stuck": ({"kernel_log": "INFO: task jbd2/sda1-8:311 blocked for more than 120 seconds."}, "blocked for more than 120"),
    "hccn_tool": ({"hccn_tool": []}, "none beside /usr/local/Ascend/driver/version.info"),
    "hccn_answers": ({"hccn": hccn(link="link is fine")}, "NPU 0: -link -g: link is fine (unknown)"),
    "hccn_busy": ({"hccn": hccn(tls="hccn_tool is busy, please try again.")}, "NPU 0: no answer to -tls"),
    "link": ({"hccn": hccn(link="link status: DOWN", net_health="net health status: Fault")}, "NPU 0: DOWN, and no optical module is seen"),
    "net_health": ({"hccn": hccn(net_health="net health status: Socket failed", netdetect="netdetect address: 10.20.255.254")}, "NPU 0: Socket fail"),
    "npu_address": ({"hccn": hccn(ip="Get ipconf failed, because no ip was preset there!")}, "NPU 0: none"),
    "npu_gateway": ({"hccn": hccn(gateway="default gateway:192.168.77.9, Iface:eth0")}, "NPU 0: 192.168.77.9 for 10.20.0.1/16"),
    "hccn_conf": ({"hccn": hccn(), "hccn_conf": ["address_0=10.20.0.9", "netmask_0=255.255.0.0"]}, "NPU 0: 10.20.0.9 in the file, 10.20.0.1 on the NPU"),
    "tls_certificate": ({"hccn": hccn(tls="         tls expiration status[2](0:normal, 1:near expiration, 2:has expired)|"
                                      "dev_id:0, tls switch[1](0:disable, 1:enable), tls alarm time threshold[60]days|"
                                      "dev_id:0, [pub cert] info:|         end_time[Mon Mar  2 03:10:27 2026 GMT]")}, "NPU 0: pub cert"),
    "link_flaps": ({"hccn": hccn(link_stat="[devid 0]current time        : Wed Aug  2 03:09:28 2023|[devid 0]link up count       : 2|"
                                 "[devid 0]link change records :|[devid 0]    Tue Aug  1 14:43:26 2023    LINK UP|"
                                 "[devid 0]    Tue Aug  1 14:40:26 2023    LINK DOWN")}, "NPU 0: 180 s until 2023-08-01T14:43:26"),
    "link_errors": ({"hccn": hccn(stat_again="packet statistics:|roce_rx_err_pkt_num:5|mac_rx_fcs_err_pkt_num:0|mac_tx_total_pkt_num:900")},
                    "NPU 0: roce_rx_err_pkt_num by 2"),
}


@pytest.mark.parametrize(("minutes", "words"), [
    ((2, 30, 58), "3 times within an hour, last at 2023-08-02T02:58:20"), ((0, 2, 30, 58), "4 times within an hour, last at 2023-08-02T02:58:20"),
    ((2, 58), ""), ((2, 30, 62), "")])
def test_short_outages_are_a_finding_where_they_are_many(minutes: tuple[int, ...], words: str) -> None:
    changes = "".join(f"|[devid 0]    Wed Aug  2 {2 + at // 60:02}:{at % 60:02}:{second} 2023    LINK {state}"
                      for at in reversed(minutes) for second, state in ((20, "UP"), (10, "DOWN")))
    found = checks_of(judge(hccn=hccn(link_stat="[devid 0]current time        : Wed Aug  2 03:09:28 2023|[devid 0]link up count       : 5|"
                                                "[devid 0]link change records :" + changes), npu_device=["0"]))
    assert found == ({"link_flaps": f"NPU 0: {words}"} if words else {})


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_a_node_is_found_and_nothing_else(name: str) -> None:
    change, words = FAULTS[name]
    healthy = {"hccn": hccn(), "npu_device": ["0"]}
    assert judge(**healthy)["findings"] == []
    found = checks_of(judge(**{**healthy, **change}))
    assert list(found) == [name], found
    assert words in found[name]
    # It is worded, and refuses where the table says so.
    report = _findings.report({"a": judge("a", **{**healthy, **change}), "b": judge("b", hccn=hccn(7))}, [], SETTINGS)
    text = report["message" if _checks.CHECKS[name].severity == "failure" else "warnings"]
    assert words in text and _findings.report({"a": judge(**healthy)}, [], SETTINGS)["warnings"] == ""
    strict = _findings.report({"a": judge(**{**healthy, **change})}, [], {**SETTINGS, "strict": True})
    assert strict["count"] == 1 and strict["warnings"] == ""


@pytest.mark.parametrize(("change", "name", "words"), [
    ({"Tx_Power1": "0.2817 mW"}, "optical_power", "Tx lane 1 has 0.2817 mW"), ({"Rx_Power1": "3.5482 mW"}, "optical_power", "Rx lane 1 has 3.5482 mW"),
    ({"Media_SNR_Lane2": "19.9000 dB"}, "optical_snr", "media lane 2 has 19.9 dB"), ({}, "", ""),
    # The limits of the data where a module tells none.
    ({"TxPower_High_Thres": "NA", "Tx_Power0": "2.6000 mW"}, "optical_power", "Tx lane 0 has 2.6 mW"),
])
def test_optics(change: dict[str, str], name: str, words: str) -> None:
    """A recorded 910A, whose second lane gets hardly any light; what is added comes beside."""
    good = {"Tx_Power0": "1.4000 mW", "Rx_Power1": "0.9000 mW"}
    found = checks_of(judge(hccn=hccn(optical=optical(**{**good, **change}))))
    assert list(found) == ([name] if name else []) and words in "".join(found.values())


def test_the_recorded_module_is_found() -> None:
    found = judge(hccn=hccn(optical=optical()))["findings"]
    assert [(one["check"], one["found"]) for one in found] == [
        ("optical_power", "NPU 0: Tx lane 0 has 4.4035 mW"), ("optical_power", "NPU 0: Rx lane 1 has 0.0054 mW")]
    assert "0.1445 to 3.5481 mW" in found[1]["expected"]


@pytest.mark.parametrize("change", [
    {"net_health": "net health status: Init"}, {"net_health": "net health status: Detect ip set"},
    {"optical": "The command is not supported on this product."}, {"stat_again": None},
    {"speed": "Speed: Unknown!"}, {"link_stat": "Cmd execute failed!"},
    # Down for 12 s only, or long ago, or for the first time.
    {"link_stat": "[devid 0]current time : Wed Aug  2 03:09:28 2023|[devid 0]link up count : 2|[devid 0]link change records :|"
                  "[devid 0] Tue Aug  1 14:43:26 2023 LINK UP|[devid 0] Tue Aug  1 14:43:14 2023 LINK DOWN"},
    {"link_stat": "[devid 0]current time : Fri Aug  4 03:09:28 2023|[devid 0]link up count : 2|[devid 0]link change records :|"
                  "[devid 0] Tue Aug  1 14:43:26 2023 LINK UP|[devid 0] Tue Aug  1 14:33:14 2023 LINK DOWN"},
])
def test_what_is_no_fault(change: dict[str, str]) -> None:
    assert judge(hccn=hccn(**change))["findings"] == []


def test_npus_with_the_same_fault_are_told_together_and_one_that_is_silent_is_told() -> None:
    down = [line for device in (0, 1, 2, 5) for line in hccn(device, link="link status: DOWN")]
    found = judge(hccn=down, npu_device=["0", "1", "2", "5", "7"])
    assert checks_of(found) == {"link": "NPU 0-2, 5: DOWN, and no optical module is seen", "hccn_answers": "NPU 7: nothing"}


def test_an_npu_that_hangs_is_not_taken_for_well() -> None:
    found = judge(hccn=[*hccn(0), "1|stat|124|"], npu_device=["0", "1"])
    assert checks_of(found) == {"hccn_answers": "NPU 1: -stat -g: nothing (timeout)"}


def test_a_node_alone_does_not_need_the_fabric() -> None:
    found = judge(hccn=hccn(link="link status: DOWN"))
    assert "The network link of an NPU is down" in message(a=found, b=judge("b", hccn=hccn(4)))
    report = _findings.report({"a": found}, [], SETTINGS)
    assert (report["count"], "The network link of an NPU is down" in report["warnings"]) == (0, True)


def nodes(**change: list[str]) -> dict[str, dict[str, Any]]:
    """Three nodes with two NPUs each, all in one subnet; the answers of one of them by name."""
    found = {}
    for number, name in enumerate("abc"):
        lines = change.get(name) or [line for device in (0, 1)
                                     for line in hccn(device, ip=f"ipaddr:10.20.{number}.{device + 1}|netmask:255.255.0.0")]
        found[name] = _probe.node(output(hccn=lines), SETTINGS, name)
    return found


def test_a_healthy_cluster_compares_clean() -> None:
    report = _findings.report(nodes(), [], SETTINGS)
    assert (report["message"], report["warnings"]) == ("", "")


TLS_ON = "dev_id:1, tls switch[1](0:disable, 1:enable), tls preconfigured[1](0:non-preset, 1:preset), tls alarm time threshold[60]days"


@pytest.mark.parametrize(("second", "words"), [
    ({"tls": TLS_ON}, "b:\n  - The TLS switch of NPUs differs: found NPU 1: 1; expected 0, as on 5 of 6 NPUs. Set the same everywhere: `hccn_tool -i <NPU> "
                      "-tls -s enable 0`."),
    ({"ip": "ipaddr:10.20.2.2|netmask:255.255.0.0"}, "c:\n  - Two NPUs have the same address: found 10.20.2.2: NPU 1 of b and NPU 1 of c"),
    ({"ip": "ipaddr:10.20.1.2|netmask:255.255.255.0"}, "b:\n  - The netmask of NPUs differs: found NPU 1: 255.255.255.0"),
    ({"ip": "ipaddr:10.99.1.2|netmask:255.255.0.0"}, "b:\n  - An NPU has no way to the subnets of others: found NPU 1 in 10.99.0.0/16, without a gateway"),
    ({"mtu": "mtu:4096"}, "b:\n  - The MTU of NPUs differs: found NPU 1: 4096; expected 1500, as on 5 of 6 NPUs"),
])
def test_what_differs_on_one_npu_is_found_in_comparison(second: dict[str, str], words: str) -> None:
    lines = [*hccn(0, ip="ipaddr:10.20.1.1|netmask:255.255.0.0"), *hccn(1, **{"ip": "ipaddr:10.20.1.2|netmask:255.255.0.0", **second})]
    report = _findings.report(nodes(b=lines), [], SETTINGS)
    text = report["message"] + report["warnings"]
    assert words in text
    if "netmask" not in words:
        assert text.count("  - ") == 1, text


def test_a_fabric_that_is_not_judged_is_said() -> None:
    """As the tool of a 950 answers; it is no finding, and never taken for well."""
    queries = ("stat", "link", "net_health", "ip", "gateway", "tls", "mtu", "stat again")
    deaf = [f"{device}|{query}|255|Command unsupported" for device in (0, 1) for query in queries]
    report = _findings.report(nodes(b=deaf, c=deaf), [], SETTINGS)
    assert (report["message"], report["warnings"]) == ("", "")
    words = "; not looked at: stat, link, net_health, ip, gateway, tls, mtu of NPU 0, 1 (hccn_tool does not tell) on b, c"
    assert words in report["summary"]
    assert "not looked at" not in _findings.report(nodes(), [], SETTINGS)["summary"]
    # One question that it knows is judged, and the others are said all the same.
    some = [line.replace("255|Command unsupported", "0|link status: DOWN") if "|link|" in line else line for line in deaf]
    found = _findings.report(nodes(b=some), [], SETTINGS)
    assert "b:\n  - The network link of an NPU is down: found NPU 0, 1: DOWN" in found["message"]
    assert found["result"]["unknown"] == ["stat, net_health, ip, gateway, tls, mtu of NPU 0, 1 (hccn_tool does not tell) on b"]


@pytest.mark.parametrize(("change", "words"), [
    ({"hccn": hccn(tls="The command is not supported on this product.")}, "tls of NPU 0 (hccn_tool does not tell)"),
    ({"hccn": hccn(link_stat="Cmd execute failed!")}, "link_stat of NPU 0 (hccn_tool does not tell)"),
    ({"npu_more": []}, "errors of the memory of NPU 2 (npu-smi info -t ecc does not tell)"),
    ({"npu_more": ["2 0|ecc|124|"]}, "errors of the memory of NPU 2 (npu-smi info -t ecc does not tell)"),
    ({"npu_more": ["2 0|ecc|0|so and so"]}, "errors of the memory of NPU 2 (npu-smi info -t ecc does not tell)"),
    ({"kernel_log_read": []}, "the kernel's log (dmesg cannot be read)"),
    ({"disk_silent": ["sda", "sdb"]}, "the health of sda, sdb (no smartctl or nvme, or they do not tell)"),
    ({"read_speed": "1 /x.bin dd: failed to open '/x.bin': Invalid argument"}, "how fast /x.bin is read (dd: failed to open '/x.bin': Invalid argument)"),
    ({"read_speed": "127 /x.bin "}, "how fast /x.bin is read (dd said nothing)"),
])
def test_what_is_not_looked_at_is_said_in_all_forms_and_is_no_finding(change: dict[str, Any], words: str) -> None:
    found = judge("b", **change)
    assert (found["findings"], found["facts"]["unknown"]) == ([], [words])
    report = _findings.report({"a": judge("a"), "b": found}, [], SETTINGS)
    assert report["result"]["unknown"] == [f"{words} on b"] and report["result"]["status"] == "clean"
    assert report["summary"].endswith(f"; not looked at: {words} on b")
    assert f"<li>{html.escape(words)} on b" in _check_forms.as_html(report["result"])
    assert f"Not looked at: {words} on b." in " ".join(_check_table.lines(report["result"], 200))
    assert _findings.report({"b": found}, [], SETTINGS)["result"]["unknown"] == [words]


def test_who_could_not_be_tried_is_said() -> None:
    made = {**{name: {**judge(name), "reach": {"listening": [1], "tried": True, "unreached": []}} for name in "ab"}, "c": judge("c", unit_state="active"),
            "d": _probe.node({}, SETTINGS, "d")}
    report = _findings.report(made, [], {**SETTINGS, "reach_always": True})
    assert report["result"]["unknown"] == ["who reaches it, and whom it reaches (our own run is in progress) on c",
                                           "who reaches it, and whom it reaches (it gave no answer) on d"]
    assert _findings.report(made, [], SETTINGS)["result"]["unknown"] == []
    two = {name: made[name] for name in "cd"} | {"a": judge("a")}
    assert "whom it reaches (no other node could be tried) on a" in " ".join(_findings.report(two, [], {**SETTINGS, "reach_always": True})["result"]["unknown"])
    assert _findings.report({"a": judge("a")}, [], {**SETTINGS, "reach_always": True})["result"]["unknown"] == []


def test_an_npu_that_is_gone_is_told_once() -> None:
    gone = [f"1|{query}|4|The device is not exist!" for query in ("stat", "link", "ip", "optical", "tls")]
    assert checks_of(judge(hccn=[*hccn(0), *gone])) == {"hccn_answers": "NPU 1: The device is not exist! (absent)"}


@pytest.mark.parametrize(("gateway", "wrong"), [("10.20.0.1", True), ("10.21.0.1", True), ("10.20.255.254", False), ("0.0.0.0", False)])
def test_a_gateway_is_another_address_in_the_same_subnet(gateway: str, wrong: bool) -> None:
    assert list(checks_of(judge(hccn=hccn(gateway=f"default gateway:{gateway}, Iface:eth0")))) == (["npu_gateway"] if wrong else [])


def test_planes_without_gateways_are_no_fault() -> None:
    """As a recorded 910A has them: NPU 0 of every node in one network, NPU 1 in another."""
    lines = {name: [line for device in (0, 1) for line in hccn(device, ip=f"ipaddr:192.168.{device}.{number + 1}|netmask:255.255.255.0")]
             for number, name in enumerate("abc")}
    assert _findings.report(nodes(**lines), [], SETTINGS)["message"] == ""
    gateway = [line for device in (0, 1) for line in hccn(device, ip=f"ipaddr:10.99.0.{device + 1}|netmask:255.255.255.0",
                                                          gateway=f"default gateway:10.99.0.254, Iface:eth{device}")]
    assert "no way" not in _findings.report(nodes(b=gateway), [], SETTINGS)["message"].split("a, c")[0]


@pytest.mark.parametrize(("change", "words", "refuses"), [
    ({"firmware_info": "Version=7.0.0"}, "The firmware version differs between the nodes: found 7.0.0; expected 7.1.0.6.220, as on 2 of 3 nodes", True),
    ({"kernel": "4.19.90"}, "The kernel differs between the nodes: found 4.19.90", False),
    ({"os_PRETTY_NAME": '"openEuler 24.03"'}, "The operating system differs between the nodes: found openEuler 24.03", False),
    ({"interface": "eth0 up 9000"}, "The MTU of the training network's interface differs between the nodes: found 9000; expected 1500", False),
    ({"meminfo": [f"MemTotal {1400 << 20}"]}, "The memory of the host differs between the nodes: found 1400 GiB; expected 1511 GiB, as on 2 of 3 nodes", False),
    ({"meminfo": [f"MemTotal {1500 << 20}"]}, "", False),
    ({"processors": "96"}, "The number of processors differs between the nodes: found 96; expected 192", False),
    ({"npu_smi_line": smi("910b4_idle", ("910B4 ", "910B3 "))}, "The kind of NPUs differs between the nodes: found 910B3; expected 910B4", False),
    ({"npu_smi_line": smi("910b4_idle")}, "", False),
])
def test_what_differs_on_one_node_is_found_in_comparison(change: dict[str, Any], words: str, refuses: bool) -> None:
    report = _findings.report({"a": judge("a"), "b": judge("b"), "c": judge("c", **change)}, [], SETTINGS)
    assert words in report["message" if refuses else "warnings"]
    assert bool(report["message"] + report["warnings"]) == bool(words)
    assert not words or f"c:\n  - {words}" in report["message"] + report["warnings"]


def test_a_chip_with_less_memory_than_its_like() -> None:
    two = smi("910b2c_high_ids")
    rows = [number for number, line in enumerate(two) if "/ 65536" in line]
    assert len(rows) > 1
    two[rows[0]] = two[rows[0]].replace("/ 65536", "/ 57344")
    assert "has 57344 MiB" in checks_of(judge(npu_smi_line=two)).get("npu_memory_size", "")
    assert "npu_memory_size" not in checks_of(judge(npu_smi_line=smi("910b2c_high_ids")))


@pytest.mark.parametrize("change", [
    {"npu_more": ecc(pages=15)}, {"npu_more": ["2 0|ecc|255|This device does not support querying ecc."]}, {"npu_more": ["2 0|ecc|124|"]},
    {"unit_limit": ["LimitNOFILESoft=65536", "LimitNPROCSoft=2048", "LimitMEMLOCKSoft=18446744073709551615", "TasksMax=18446744073709551615"]},
    {"unit_limit": ["DefaultLimitNPROCSoft=2048"]}, {"unit_limit": ["LimitNOFILESoft=", "TasksMax=[not set]"]},
    {"disk_health": ["sda SMART Health Status: OK", "nvme0n1 critical_warning\t\t\t: 0", "nvme1n1 critical_warning : 0x0"]},
    {"read_speed": "0 /x.bin 268435456 bytes (268 MB, 256 MiB) copied, 5.2 s, 51.6 MB/s"}, {"read_speed": "1 /x.bin dd: failed to open"},
    {"meminfo": [f"MemTotal {1511 << 20}", "HugePages_Free 193000", "Hugepagesize 2048"]},
])
def test_what_is_well_or_not_known_is_no_finding(change: dict[str, Any]) -> None:
    assert judge(**change)["findings"] == []


@pytest.mark.parametrize(("change", "check", "words"), [
    ({"npu_more": ecc(pages=16)}, "npu_memory_errors", "NPU 2 chip 0: HBM has 16 isolated pages"),
    ({"npu_more": ecc(pages=63)}, "npu_memory_errors", "NPU 2 chip 0: HBM has 63 isolated pages"),
    ({"unit_limit": ["LimitMEMLOCKSoft=8388608"]}, "limits", "LimitMEMLOCK of ascend-pretrain.service is 8388608"),
    ({"unit_limit": ["TasksMax=2047"]}, "limits", "TasksMax of ascend-pretrain.service is 2047"),
    ({"unit_limit": ["DefaultLimitNPROCSoft=2047"]}, "limits", "DefaultLimitNPROC of the service manager (/etc/systemd/system.conf) is 2047"),
    ({"disk_health": ["nvme0n1 critical_warning\t\t\t: 0x4"]}, "disk_health", "nvme0n1: critical_warning 0x4"),
    ({"read_speed": "124 /x.bin "}, "read_speed", "not 256 MiB of /x.bin in 20 s"),
    ({"read_speed": "137 /x.bin "}, "read_speed", "not 256 MiB of /x.bin in 20 s"),
    ({"read_speed": "0 /x.bin 268435456 bytes (268 MB, 256 MiB) copied, 5.4 s, 49.7 MB/s"}, "read_speed", "50 MB/s from /x.bin"),
    ({"read_speed": "1 /x.bin dd: error reading '/x.bin': Input/output error"}, "read_error", "/x.bin: dd: error reading '/x.bin': Input/output error"),
    ({"roots_file": [f"/r/{number}" for number in range(20)]}, "roots_files", "/r/0, /r/1, /r/2 … (20 or more files)"),
])
def test_bounds_of_what_is_looked_at(change: dict[str, Any], check: str, words: str) -> None:
    assert checks_of(judge(**change)) == {check: words}


def test_the_codes_of_a_chip_say_why_it_is_not_healthy() -> None:
    said = ["\tHealth Status       : Alarm", "\tError Code          : 80E18401 8C084E00", "\tError Information   : a heartbeat is lost"]
    found = judge(npu_smi_line=smi("910b4_idle", ("OK     ", "Alarm  ")), npu_more=[f"2 0|health|0|{line}" for line in said])
    assert checks_of(found)["npu_health"] == "NPU 2 chip 0 is Alarm (80E18401, 8C084E00: a heartbeat is lost)"
    said[0] = said[0].replace("Alarm", "Warning")
    found = judge(npu_smi_line=smi("910b4_idle", ("OK     ", "Warning")), npu_more=[f"2 0|health|0|{line}" for line in said])
    assert checks_of(found) == {"npu_warning": "NPU 2 chip 0 (80E18401, 8C084E00: a heartbeat is lost)"}


def test_a_container_that_holds_npus_is_named() -> None:
    busy = smi("910b_busy_tight_slash", ("Critical", "OK      "), ("Warning", "OK     "))
    seen = [f"{pid}|root|{place}|{name}|{name} x.py" for pid, place, name in (("41234", "3f2a1b9c0d1e", "python"), ("41235", "-", "python3.8"))]
    found = checks_of(judge(npu_smi_line=busy, process=seen))
    assert found["npu_container"] == "python (pid 41234) in 3f2a1b9c0d1e"
    assert found["npus_idle"] == "NPU 0 by python3.8 (pid 41235 of root)"
    # Not listed by npu-smi, but its memory is held, and somebody has it open.
    held = smi("910b4_idle", ("2858 / 32768", "20000/ 32768"))
    seen = ["7|root|3f2a1b9c0d1e|python|python x.py", "8|root|-|serve|serve", "9|root|-|agent|agent"]
    found = checks_of(judge(npu_smi_line=held, process=seen, holder=["7", "8", ""]))
    assert found["npu_container"] == "python (pid 7) in 3f2a1b9c0d1e"
    assert found["npu_memory_held"].endswith("; open NPUs have serve (pid 8 of root)")
    # Open and idle is nothing: a monitor does that.
    assert judge(process=seen, holder=["7", "8"])["findings"] == []


CHECKPOINT = {"all_bytes": 300, "node_bytes": [100, 200], "saves": 4}


@pytest.mark.parametrize(("free", "change", "words"), [
    ((1, 1), {}, ["Preflight: 1 warning on 2 of 2 nodes", "a, b:\n  - No room for two checkpoints in /ckpt: found 0.0 GB; expected 0.0 GB, twice what "
                  "the plan writes there (4 will be written, and all are kept unless pretrain_keep_checkpoints is set). Free the disk, set "
                  "cluster_checkpoint_dir to a larger one, or raise plan_save_interval."]),
    ((1, 0), {}, ["a:\n  - No room"]), ((0, 0), {}, []),
    # Launches have filled it; or a job writes there now.
    ((1, 1), {"workspace_used": "1"}, []),
    # All of both nodes on one disk.
    ((1, 1), {"checkpoints_filesystem": "nfs"}, ["a, b:\n  - No room"]),
])
def test_a_disk_without_room_for_two_checkpoints(free: tuple[int, int], change: dict[str, Any], words: list[str]) -> None:
    """KiB that are free on each node; 0 tells none."""
    made = {host: judge(host, checkpoints_free_kib=str(kib) if kib else [], **change) for host, kib in zip("ab", free)}
    given = {**SETTINGS, "checkpoint_path": "/ckpt", "ranks": {"b": 1, "a": 0}, "checkpoint": {**CHECKPOINT, "node_bytes": [513, 513], "all_bytes": 1026}}
    text = _findings.report(made, [], given)["warnings"]
    assert all(word in text for word in words) and bool(text) == bool(words), text


def test_a_disk_is_compared_with_what_its_own_ranks_write() -> None:
    made = {host: judge(host, checkpoints_free_kib=str(400_000_000_000 >> 10)) for host in "ab"}
    given = {**SETTINGS, "checkpoint_path": "/ckpt", "ranks": {"a": 1, "b": 0}}
    sizes = {"all_bytes": 400_000_000_000, "node_bytes": [100_000_000_000, 300_000_000_000], "saves": 2}
    text = _findings.report(made, [], {**given, "checkpoint": sizes})["warnings"]
    assert "a:\n  - No room for two checkpoints in /ckpt: found 400.0 GB; expected 600.0 GB" in text and "a, b" not in text and "\nb:" not in text
    # Unknown is no finding: a plan whose sizes are not known, or nodes that are not all there.
    assert _findings.report(made, [], {**given, "checkpoint": {}})["warnings"] == ""
    assert _findings.report({"a": made["a"]}, [], {**given, "checkpoint": sizes})["warnings"] == ""
    shared = {host: judge(host, checkpoints_free_kib=str(700_000_000_000 >> 10), checkpoints_filesystem="lustre") for host in "ab"}
    assert "a, b:\n  - No room for two checkpoints in /ckpt: found 700.0 GB; expected 800.0 GB" in _findings.report(
        shared, [], {**given, "checkpoint": sizes})["warnings"]


def test_a_container_is_not_asked_about_its_hosts_clock_and_bus() -> None:
    assert judge(container="podman", synchronized="no", pci=["0000:c1:00.0", "0000:c2:00.0"])["findings"] == []


def test_the_quick_tier_asks_a_node_at_most_six_times() -> None:
    """By its tasks: what runs on the controller is no remote execution, and nothing is looped."""
    local = {f"ansible.builtin.{name}" for name in ("set_fact", "debug", "fail", "include_tasks", "import_tasks", "assert")}
    folder = PROBE.parents[1] / "tasks"
    tasks = [task for path in folder.glob("*.yml") for task in yaml.safe_load(path.read_text(encoding="utf-8"))]
    remote = [task for task in tasks if not local & set(task) and task.get("delegate_to") != "localhost"]
    assert {"ansible.builtin.raw"} == {name for task in remote for name in task if name.startswith("ansible.")}, "raw alone needs no Python"
    assert 1 < len(remote) <= 6 and not any("loop" in task for task in remote)


def test_the_probe_looks_for_the_words_that_are_judged() -> None:
    assert f"\nfaults='{_probe_kernel_log.PATTERN}'\n" in PROBE.read_text(encoding="utf-8")


# Of programs of users, or said of a healthy device: Ascend/samples#16, and logs beside killed jobs.
@pytest.mark.parametrize("line", [
    "[ascend] [ERROR] [devmm] [devmm_svm_device_fault 1] Vm fault failed. (hostpid=1; devid=0)", "[ascend] [devmm] Devmm_free_process details.",
    "[ascend] [ERROR] [devmm] Va is error, can not fault", "[ascend] [ERROR] devmm_pin_user_pages_fast 213 Get_user_pages_fast fail", "Release module success.",
    "pcieport 0000:00:01.0: PCIe Bus Error: severity=Corrected, type=Physical Layer", "EDAC MC0: 1 CE memory read error",
])
def test_lines_of_the_kernel_that_mean_no_fault_of_the_node(line: str) -> None:
    assert not re.search(_probe_kernel_log.PATTERN, line)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_no_false_alarm_in_a_healthy_cluster(data: st.DataObject) -> None:
    """Sizes, numbers of NPUs and their first id, generations, planes or one subnet, with TLS everywhere or nowhere."""
    count = data.draw(st.integers(1, 12))
    first, chips = data.draw(st.sampled_from([0, 4, 24])), data.draw(st.sampled_from([1, 2, 8, 16]))
    case = data.draw(st.sampled_from(["910b4_idle", "a3_idle_id_2", "910prob_idle", "950_npu_id_column"]))
    planes, on = data.draw(st.booleans()), data.draw(st.sampled_from([0, 1]))
    over = {"precision": "fp16", "kernels_src": "", "nodes": count}
    made = {}
    for node in range(count):
        lines = []
        for device in range(first, first + chips):
            address = f"10.{device}.{node}.1" if planes else f"10.0.{node}.{device + 1}"
            lines += hccn(device, ip=f"ipaddr:{address}|netmask:{'255.255.0.0' if planes else '255.0.0.0'}",
                          tls=f"dev_id:{device}, tls switch[{on}](0:disable, 1:enable), tls alarm time threshold[60]days",
                          net_health=f"net health status: {data.draw(st.sampled_from(['Success', 'Init']))}")
        made[f"node{node}"] = judge(f"node{node}", over=over, hccn=lines, npu_smi_line=smi(case),
                                    npu_device=[str(device) for device in range(first, first + chips)],
                                    date=str(1000 + data.draw(st.integers(0, 10))), meminfo=[f"MemTotal {(1511 << 20) - data.draw(st.integers(0, 9 << 20))}"])
    report = _findings.report(made, [], {**SETTINGS, **over})
    assert (report["message"], report["warnings"]) == ("", "")
    assert set(GOOD) and _probe_fabric.listed(list(range(chips)))


def test_the_page_of_checks_is_that_of_the_table() -> None:
    root = Path(__file__).parents[2]
    text = (root / "docs/checks.md").read_text(encoding="utf-8")
    made = runpy.run_path(str(root / "docs/checks.py"))["page"](text)
    assert text == made, "docs/checks.md is out of date: run `PYTHONPATH=collections python docs/checks.py`"


def test_every_check_has_a_fault_that_is_put_into_nodes() -> None:
    rows = yaml.safe_load((Path(__file__).parents[1] / "checks/faults.yml").read_text(encoding="utf-8"))
    assert {row["check"] for row in rows} == set(_checks.CHECKS)
    assert {name for row in rows for name in row.get("also", [])} <= set(_checks.CHECKS)
