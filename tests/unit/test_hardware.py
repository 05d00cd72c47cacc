"""The simulated hardware says and does what is recorded of the real one, and refuses the rest."""
from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ascend.cluster.plugins.module_utils import _cann, _hccn_tool, _npu_smi, _npu_smi_more

from rehearsal.hardware import cann

ROOT = Path(cann.__file__).parent / "root"
NPU_SMI = ROOT / "usr/local/sbin/npu-smi"
HCCN_TOOL = ROOT / "usr/local/Ascend/driver/tools/hccn_tool"
HARDWARE = ROOT / "usr/libexec/rehearsal/hardware"
ARCH = platform.machine()
RECORDED = """\
+------------------------------------------------------------------------------------------------+
| npu-smi 23.0.5                   Version: 23.0.5                                               |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     910B4               | OK            | 88.9        39                0    / 0             |
| 0                         | 0000:C1:00.0  | 0           0    / 0          2858 / 32768         |
+===========================+===============+====================================================+
+---------------------------+---------------+----------------------------------------------------+
| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |
+===========================+===============+====================================================+
| No running processes found in NPU 0                                                            |
+===========================+===============+====================================================+
"""


class Node:
    """A root folder that stands for a node."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "etc/rehearsal").mkdir(parents=True)
        self.settings("NODE_INDEX=1\nNPU_COUNT=8\n")

    def settings(self, text: str) -> None:
        (self.root / "etc/rehearsal/node.env").write_text(text)

    def faults(self, *lines: str) -> None:
        (self.root / "etc/rehearsal/faults").write_text("".join(f"{line}\n" for line in lines))

    def run(self, *argv: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "REHEARSAL_ROOT": str(self.root)}
        return subprocess.run(
            [str(word) for word in argv], env=environment, input=stdin, capture_output=True, text=True, check=False
        )

    def read(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text()

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*"))


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "node")


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return cann.build_cann(tmp_path_factory.mktemp("cann"), "8.0.RC1")


def test_npu_smi_prints_the_recorded_table(node: Node) -> None:
    node.settings("NPU_COUNT=1\nNPU_NAME=910B4\nNPU_HBM_MB=32768\n")
    assert node.run(NPU_SMI, "info").stdout == RECORDED


def test_npu_smi_shows_every_chip_and_its_faults(node: Node) -> None:
    node.faults("npu_count=7", "npu_health_3=Alarm", "npu_busy_2=4711")
    lines = node.run(NPU_SMI, "info").stdout.splitlines()
    assert {len(line) for line in lines} == {98}
    health = [line.split("|")[2].strip() for line in lines if " 910B3 " in line]
    assert health == ["OK", "OK", "OK", "Alarm", "OK", "OK", "OK"]
    assert sum("No running processes" in line for line in lines) == 6
    assert any(re.match(r"\| 2 +0 +\| 4711 +\| python +\|", line) for line in lines)


def test_the_products_parser_reads_npu_smi(node: Node) -> None:
    node.faults("npu_count=3", "npu_health_1=Alarm", "npu_busy_2=4711")
    found = _npu_smi.parse(node.run(NPU_SMI, "info").stdout)
    assert [chip["health"] for chip in found["chips"]] == ["OK", "Alarm", "OK"]
    assert [_npu_smi.usable(chip) for chip in found["chips"]] == [True, False, True]
    assert [(process["npu"], process["pid"]) for process in found["processes"]] == [(2, 4711)]
    assert {chip["memory_total_mib"] for chip in found["chips"]} == {65536}


@pytest.mark.parametrize("argv", [[], ["info", "-l"], ["info", "-t", "board"], ["-v"]])
def test_npu_smi_refuses_what_is_not_recorded(node: Node, argv: list[str]) -> None:
    answer = node.run(NPU_SMI, *argv)
    assert answer.returncode != 0
    assert answer.stdout == ""


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("-i 0 -link -g", "link status: UP\n"),
        ("-i 2 -link -g", "link status: DOWN\n"),
        ("-i 0 -net_health -g", "net health status: Success\n"),
        ("-i 3 -net_health -g", "net health status: Unreachable\n"),
        ("-i 7 -ip -g", "ipaddr:10.20.1.8\nnetmask:255.255.0.0\n"),
        (
            "-i 0 -tls -g",
            "dev_id:0, tls switch[0](0:disable, 1:enable), tls preconfigured[1](0:non-preset, 1:preset), "
            "tls alarm time threshold[60]days\n",
        ),
    ],
)
def test_hccn_tool(node: Node, question: str, answer: str) -> None:
    node.faults("link_down_2", "net_health_3=Unreachable", "tls_4=1", "ping_loss_5")
    assert node.run(HCCN_TOOL, *question.split()).stdout == answer


def test_hccn_tool_switches(node: Node) -> None:
    node.faults("tls_4=1", "ping_loss_5")
    assert "tls switch[1]" in node.run(HCCN_TOOL, "-i", "4", "-tls", "-g").stdout
    assert " 0.00% packet loss" in node.run(HCCN_TOOL, *["-i", "4", "-ping", "-g", "address", "10.20.0.1"]).stdout
    assert " 100.00% packet loss" in node.run(HCCN_TOOL, *["-i", "5", "-ping", "-g", "address", "10.20.0.1"]).stdout


@pytest.mark.parametrize("question", ["", "-i 0", "-i x -link -g", "-i 8 -link -g", "-i 0 -link -s", "-i 0 -cdr -g"])
def test_hccn_tool_refuses_what_is_not_recorded(node: Node, question: str) -> None:
    answer = node.run(HCCN_TOOL, *question.split())
    assert answer.returncode != 0
    assert answer.stdout == ""


def ask(node: Node, query: str, device: int = 3) -> Any:
    """What the product's parser reads of an answer, taken through one pipe as the probe does."""
    words = ["address", "10.20.0.1"] if query == "ping" else []
    line = f'"$0" -i {device} -{query} -g "$@" 2>&1'
    answer = node.run("sh", "-c", line, HCCN_TOOL, *words)
    return _hccn_tool.answer(device, query, answer.returncode, answer.stdout.splitlines())


def test_a_node_without_faults_is_well_in_every_query(node: Node) -> None:
    found = {query: ask(node, query) for query in _hccn_tool.QUERIES}
    optical, link_stat, stat = (found.pop(query) for query in ("optical", "link_stat", "stat"))
    assert found == {
        "link": "UP", "net_health": "Success", "ip": {"address": "10.20.1.4", "netmask": "255.255.0.0"}, "gateway": "10.20.255.254",
        "netdetect": "10.20.0.1", "tls": {"switch": 0, "preconfigured": 1, "alarm_days": 60, "certificates": []}, "mtu": 1500, "speed": 200000,
        "lldp": "400GE1/1/4", "ping": {"sent": 3, "received": 3, "loss_percent": 0.0}}
    assert len(stat) == 32
    assert not any(value for name, value in stat.items() if not name.startswith("nic_"))
    low, high = (optical["thresholds"][f"rx_power_{end}_mw"] for end in ("low", "high"))
    assert optical["present"] and all(low < power < high for power in optical["rx_power_mw"])
    assert (optical["tx_los"], optical["rx_los"], min(optical["media_snr_db"])) == (0, 0, 22.1875)
    assert (link_stat["up_count"], link_stat["down_count"], [state for _, state in link_stat["changes"]]) == (1, 0, ["UP"])


@pytest.mark.parametrize(("fault", "query", "part", "expected"), [
    ("link_down_3", "link", "", "DOWN"), ("net_health_3=Init", "net_health", "", "Init"), ("ip_3=10.20.1.3", "ip", "address", "10.20.1.3"),
    ("ip_3=none", "ip", "kind", "not_set"), ("ip_3=empty", "ip", "kind", "not_set"), ("netmask_3=255.255.255.0", "ip", "netmask", "255.255.255.0"),
    ("gateway_3=10.20.0.9", "gateway", "", "10.20.0.9"), ("gateway_3=none", "gateway", "kind", "not_set"), ("netdetect_3=0.0.0.0", "netdetect", "", "0.0.0.0"),
    ("tls_3=1", "tls", "switch", 1), ("mtu_3=9000", "mtu", "", 9000), ("speed_3=100000", "speed", "", 100000), ("lldp_3=10GE2", "lldp", "", "10GE2"),
    ("lldp_3=none", "lldp", "kind", "no_answer"), ("ping_loss_3", "ping", "received", 0), ("stat_3=roce_rx_err_pkt_num:17", "stat", "roce_rx_err_pkt_num", 17),
    ("optical_3=absent", "optical", "kind", "absent"), ("optical_3=not_present", "optical", "present", False),
    ("optical_3=initializing", "optical", "kind", "busy"), ("optical_3=unreachable", "optical", "kind", "no_answer"),
    ("optical_3=unsupported", "optical", "kind", "unsupported"), ("rx_power_3=0.0054", "optical", "rx_power_mw", [1.0189, 0.0054, 0.9907, 1.0213]),
    ("tx_power_3=4.4035", "optical", "tx_power_mw", [4.4035, 1.3968, 1.414, 1.4988]), ("rx_los_3=0xff", "optical", "rx_los", 255),
    ("snr_3=15.2", "optical", "media_snr_db", [23.1211, 22.6289, 15.2, 23.2969]), ("optical_temperature_3=75", "optical", "temperature_c", 75.0),
    ("hccn_says_3=Something else", "tls", "words", "Something else (exit status 1)"), ("hccn_says_3_link=Cmd execute failed!", "link", "kind", "no_answer"),
    ("hccn_says_3_link=Cmd execute failed!", "net_health", "", "Success"),
])
def test_every_fault_of_a_port_is_read_and_the_next_one_is_well(node: Node, fault: str, query: str, part: str, expected: object) -> None:
    node.faults(fault)
    found = ask(node, query)
    assert (found if not part else found[part] if isinstance(found, dict) else getattr(found, part)) == expected
    well = Node(node.root.parent / "well")
    assert ask(node, query, 4) == ask(well, query, 4)


@pytest.mark.parametrize("expiration", [0, 1, 2])
def test_a_certificate(node: Node, expiration: int) -> None:
    node.faults(f"tls_expiration_3={expiration}")
    assert ask(node, "tls")["certificates"] == [{"name": "pub cert", "ends": "2026-03-02T03:10:27Z", "expiration": expiration}]


def test_a_port_that_flaps(node: Node) -> None:
    node.faults("link_flaps_3=2", "link_flap_seconds_3=45", "link_down_3")
    found = ask(node, "link_stat")
    times = [datetime.fromisoformat(time) for time, _ in found["changes"]]
    assert (found["up_count"], found["down_count"]) == (3, 3)
    assert [state for _, state in found["changes"]] == ["DOWN", "UP", "DOWN", "UP", "DOWN", "UP"]
    assert times == sorted(times, reverse=True)
    assert timedelta(seconds=44) <= times[1] - times[2] <= timedelta(seconds=46)


def test_counters_rise_between_two_looks_and_a_busy_tool_answers_the_second_time(node: Node) -> None:
    node.faults("stat_rising_3=roce_rx_err_pkt_num", "busy_once_4")
    assert [ask(node, "stat")["roce_rx_err_pkt_num"] for _ in range(3)] == [10, 20, 30]
    assert ask(node, "stat")["nic_tx_all_pkg_num"] == ask(node, "stat")["nic_tx_all_pkg_num"]
    assert [ask(node, "link", 4) for _ in range(2)] == [("busy", "hccn_tool is busy, please try again."), "UP"]
    node.run(HARDWARE)
    assert ask(node, "stat")["roce_rx_err_pkt_num"] == 10
    assert ask(node, "link", 4).kind == "busy"


@pytest.mark.parametrize(("tool", "fault", "words"), [(HCCN_TOOL, "hang_hccn_3", "-i 3 -link -g"), (NPU_SMI, "hang_npu_smi", "info -m")])
def test_a_tool_that_hangs(node: Node, tool: Path, fault: str, words: str) -> None:
    node.faults(fault)
    assert node.run("timeout", "1", tool, *words.split()).returncode == 124


def test_each_npu_has_a_file_and_no_device_that_is_not_there(node: Node) -> None:
    assert node.run(HARDWARE).returncode == 0
    assert sorted(path.name for path in (node.root / "dev").iterdir()) == [f"davinci{number}" for number in range(8)]
    node.settings("NODE_INDEX=1\nNPU_COUNT=2\n")
    assert node.run(HARDWARE).returncode == 0
    assert sorted(path.name for path in (node.root / "dev").iterdir()) == ["davinci0", "davinci1"]


def test_hccn_conf_agrees_with_the_devices_until_a_fault_says_otherwise(node: Node) -> None:
    def read() -> dict[int, dict[str, str]]:
        assert node.run(HARDWARE).returncode == 0
        return _hccn_tool.read_conf(node.read("/etc/hccn.conf"))

    node.faults("ip_2=10.20.1.7", "gateway_5=none", "tls_6=1")
    conf = read()
    assert sorted(conf) == list(range(8))
    for device, keys in conf.items():
        assert {"address": keys["address"], "netmask": keys["netmask"]} == ask(node, "ip", device)
        assert (keys["tls_enable"], keys.get("gateway", "none")) == (str(ask(node, "tls", device)["switch"]), "none" if device == 5 else "10.20.255.254")
    assert (conf[2]["address"], conf[6]["tls_enable"]) == ("10.20.1.7", "1")
    node.faults("conf_address_3=10.20.9.9")
    stale = read()
    assert (stale[3]["address"], ask(node, "ip")["address"]) == ("10.20.9.9", "10.20.1.4")
    node.faults()
    assert read()[3]["address"] == "10.20.1.4"


def test_what_hccn_tool_sets_stays_and_is_kept_in_its_file(node: Node) -> None:
    assert node.run(HARDWARE).returncode == 0
    node.faults("tls_3=1", "ip_3=none")
    assert (ask(node, "tls")["switch"], ask(node, "ip").kind) == (1, "not_set")
    assert node.run(HCCN_TOOL, *["-i", "3", "-tls", "-s", "enable", "0"]).stdout == "Cmd executed successfully!\n"
    assert node.run(HCCN_TOOL, *["-i", "3", "-ip", "-s", "address", "10.20.7.7", "netmask", "255.255.255.0"]).stdout == "Cmd executed successfully!\n"
    assert (ask(node, "tls")["switch"], ask(node, "ip")) == (0, {"address": "10.20.7.7", "netmask": "255.255.255.0"})
    conf = _hccn_tool.read_conf(node.read("/etc/hccn.conf"))
    assert (conf[3]["address"], conf[3]["netmask"], conf[3]["tls_enable"], conf[4]["address"]) == ("10.20.7.7", "255.255.255.0", "0", "10.20.1.5")
    assert ask(node, "tls", 4)["switch"] == 0
    preset = node.run(HCCN_TOOL, *["-i", "4", "-tls", "-s", "enable", "1"]).stdout
    assert preset.startswith("[Warning] The currently loaded is a preset certificate") and preset.endswith("\nCmd executed successfully!\n")
    assert ask(node, "tls", 4)["switch"] == 1


@pytest.mark.parametrize("question", ["-i 3 -tls -s enable 2", "-i 3 -tls -s 0", "-i 3 -ip -s address 10.20.7.7", "-i 3 -ip -s address x netmask 255.0.0.0",
                                      "-i 9 -tls -s enable 0"])
def test_hccn_tool_sets_nothing_that_it_does_not_know(node: Node, question: str) -> None:
    node.run(HARDWARE)
    before = node.read("/etc/hccn.conf")
    answer = node.run(HCCN_TOOL, *question.split())
    assert answer.returncode != 0 and "success" not in answer.stdout and node.read("/etc/hccn.conf") == before


def test_a_setting_that_fails_and_one_that_is_lost(node: Node) -> None:
    node.run(HARDWARE)
    node.faults("tls_3=1", "set_fails_3", "tls_4=1", "set_lost_4")
    answers = [node.run(HCCN_TOOL, "-i", str(device), *["-tls", "-s", "enable", "0"]) for device in (3, 4)]
    assert [(answer.returncode, answer.stdout) for answer in answers] == [(1, ""), (0, "Cmd executed successfully!\n")]
    assert answers[0].stderr == "Cmd execute failed!\n"
    assert [ask(node, "tls", device)["switch"] for device in (3, 4)] == [1, 1]


def test_another_driver_and_firmware(node: Node) -> None:
    for part in ("driver", "firmware"):
        path = f"usr/local/Ascend/{part}/version.info"
        (node.root / path).parent.mkdir(parents=True)
        (node.root / path).write_bytes((ROOT / path).read_bytes())
    before = [node.read(f"usr/local/Ascend/{part}/version.info") for part in ("driver", "firmware")]
    node.faults("driver_version=24.1.rc2", "firmware_version=7.3.0.1.231")
    node.run(HARDWARE)
    assert node.read("usr/local/Ascend/driver/version.info") == before[0].replace("Version=24.1.rc1\n", "Version=24.1.rc2\n", 1) != before[0]
    assert "\nVersion=" not in node.read("usr/local/Ascend/firmware/version.info")
    assert node.read("usr/local/Ascend/firmware/version.info").startswith("Version=7.3.0.1.231\n")
    node.faults()
    node.run(HARDWARE)
    assert [node.read(f"usr/local/Ascend/{part}/version.info") for part in ("driver", "firmware")] == before


def more(node: Node, query: str, words: str) -> Any:
    answer = node.run(NPU_SMI, *words.split())
    return _npu_smi_more.answer(query, answer.returncode, answer.stdout.splitlines())


def test_npu_smi_answers_about_single_chips(node: Node) -> None:
    node.faults("npu_health_1=Alarm", "npu_code_1=80E18401", "npu_ecc_2=3", "npu_isolated_2=64")
    found = more(node, "map", "info -m")
    assert [(chip["npu"], chip["device"], chip["options"]) for chip in found] == [(npu, npu, ["-i", str(npu), "-c", "0"]) for npu in range(8)]
    assert more(node, "health", "info -t health -i 0 -c 0") == {"health": "OK", "codes": [], "information": []}
    sick = more(node, "health", "info -t health -i 1 -c 0")
    assert (sick["health"], sick["codes"]) == ("Alarm", ["80E18401"])
    assert not any(more(node, "ecc", "info -t ecc -i 1 -c 0").values())
    worn = more(node, "ecc", "info -t ecc -i 2 -c 0")
    assert (worn["hbm_double_bit_error_count"], worn["hbm_double_bit_isolated_pages_count"]) == (3, 64)
    assert more(node, "health", "info -t health -i 8 -c 0").kind == "absent"
    node.faults("npu_smi_fails")
    assert more(node, "map", "info -m").kind == "no_answer"


def test_npu_smi_shows_memory_that_is_held_and_another_version(node: Node) -> None:
    node.faults("npu_memory_3=60000", "npu_smi_version=25.2.0")
    answer = node.run(NPU_SMI, "info").stdout
    found = _npu_smi.parse(answer)
    assert found["version"] == "25.2.0"
    assert [chip["memory_used_mib"] for chip in found["chips"]] == [2858, 2858, 2858, 60000, 2858, 2858, 2858, 2858]
    assert {len(line) for line in answer.splitlines()} == {98}


def test_archive_names(tmp_path: Path, archives: list[Path]) -> None:
    assert [path.name for path in archives] == [
        f"Ascend-cann-toolkit_8.0.RC1_linux-{ARCH}.run",
        "Ascend-cann-kernels-910b_8.0.RC1_linux.run",
    ]
    assert cann.build_cann(tmp_path, "8.0.0", "aarch64")[1].name == "Ascend-cann-kernels-910b_8.0.0_linux-aarch64.run"


def test_the_same_input_gives_the_same_archive(tmp_path: Path, archives: list[Path]) -> None:
    again = cann.build_cann(tmp_path, "8.0.RC1")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in archives]


def test_check(node: Node, archives: list[Path], tmp_path: Path) -> None:
    before = node.files()
    good = node.run("bash", archives[0], "--check")
    assert (good.returncode, good.stdout) == (
        0,
        "Verifying archive integrity...  100%   SHA256 checksums are OK. All good.\n",
    )
    for content in (archives[0].read_bytes()[:-1] + b"x", archives[0].read_bytes()[:-9]):
        corrupt = tmp_path / "corrupt.run"
        corrupt.write_bytes(content)
        assert node.run("bash", corrupt, "--check").returncode == 2
        assert node.run("bash", corrupt, "--quiet", "--install").returncode == 2
    assert node.files() == before


INSTALL = ["--quiet", "--install", "--install-for-all", "--install-path=/usr/local/Ascend"]


def test_install_writes_what_the_vendors_writes(node: Node, archives: list[Path]) -> None:
    for archive in archives:
        answer = node.run("bash", archive, *INSTALL)
        assert answer.returncode == 0, answer.stderr
        assert f"{archive.stem} install success, installed in /usr/local/Ascend." in answer.stdout
    home = "/usr/local/Ascend/ascend-toolkit"
    info = dict(
        line.split("=", 1) for line in node.read(f"{home}/latest/{ARCH}-linux/ascend_toolkit_install.info").splitlines()
    )
    assert list(info) == ["package_name", "version", "innerversion", "compatible_version", "arch", "os", "path"]
    assert (info["version"], info["path"]) == ("8.0.RC1", f"{home}/8.0.RC1/{ARCH}-linux")
    assert "version_dir=8.0.RC1\n" in node.read(f"{home}/latest/opp_kernel/version.info")
    assert node.read("/etc/Ascend/ascend_cann_install.info") == f"Toolkit_InstallPath={home}\n"
    assert "install success" in node.read("/var/log/ascend_seclog/ascend_toolkit_install.log")
    assert "Simulated for the rehearsal" in node.read(f"{home}/latest/{ARCH}-linux/README")


def test_set_env_has_the_vendors_weaknesses(node: Node, archives: list[Path]) -> None:
    node.run("bash", archives[0], *INSTALL)
    script = node.root / "usr/local/Ascend/ascend-toolkit/set_env.sh"
    assert node.run("env", "-u", "PYTHONPATH", "bash", "-uc", f". {script}").returncode != 0
    twice = node.run("bash", "-c", f". {script}; . {script}; echo $PATH").stdout
    assert twice.count("/ascend-toolkit/latest/bin:") == 2


def test_kernels_need_the_toolkit(node: Node, archives: list[Path]) -> None:
    answer = node.run("bash", archives[1], *INSTALL)
    assert answer.returncode == 1
    assert "install the toolkit first" in answer.stdout


def test_another_path_than_before_is_refused(node: Node, archives: list[Path]) -> None:
    node.run("bash", archives[0], *INSTALL)
    answer = node.run("bash", archives[0], "--quiet", "--upgrade", "--install-path=/opt/Ascend")
    assert answer.returncode == 1
    assert "is different from the last one, /usr/local/Ascend" in answer.stdout


def test_upgrade_takes_the_kernels_away(node: Node, archives: list[Path], tmp_path: Path) -> None:
    older = cann.build_cann(tmp_path / "older", "7.0.0")
    assert node.run("bash", archives[0], "--quiet", "--upgrade").returncode == 1
    for archive in older:
        assert node.run("bash", archive, *INSTALL).returncode == 0
    assert node.run("bash", archives[0], *INSTALL).returncode == 1
    assert node.run("bash", archives[0], "--quiet", "--upgrade").returncode == 0
    latest = node.root / "usr/local/Ascend/ascend-toolkit/latest"
    assert "version=8.0.RC1\n" in (latest / f"{ARCH}-linux/ascend_toolkit_install.info").read_text()
    assert not (latest / "opp_kernel").exists()
    assert node.run("bash", archives[1], *INSTALL).returncode == 0
    assert node.run("bash", archives[0], "--uninstall").returncode == 0
    assert not latest.exists()


def test_versions_from_85_on_stand_side_by_side(node: Node, archives: list[Path], tmp_path: Path) -> None:
    for version in ("8.5.2", "9.0.0"):
        built = cann.build_cann(tmp_path, version)
        assert [path.name for path in built] == [f"Ascend-cann-toolkit_{version}_linux-{ARCH}.run", f"Ascend-cann-910b-ops_{version}_linux-{ARCH}.run"]
        for archive in built:
            answer = node.run("bash", archive, *INSTALL)
            assert answer.returncode == 0, answer.stdout + answer.stderr
    for archive in archives:
        assert node.run("bash", archive, *INSTALL).returncode == 0
    ascend = node.root / "usr/local/Ascend"
    assert os.readlink(ascend / "cann") == "cann-9.0.0"
    for version in ("8.5.2", "9.0.0"):
        for record in ("toolkit", "ops"):
            assert f"version={version}\n" in (ascend / f"cann-{version}/{ARCH}-linux/ascend_{record}_install.info").read_text()
        script = ascend / f"cann-{version}/set_env.sh"
        assert node.run("bash", "-c", f". {script}; echo $ASCEND_TOOLKIT_HOME").stdout == f"/usr/local/Ascend/cann-{version}\n"


def test_the_product_reads_what_it_installs(node: Node, archives: list[Path], tmp_path: Path) -> None:
    """From its state the role decides that a second run has nothing to do."""
    ascend = node.root / "usr/local/Ascend"

    def seen(home: str, latest: str) -> tuple[str, str]:
        arguments = [ascend, ascend / home, ascend / latest, ascend / latest / f"{ARCH}-linux/ascend_toolkit_install.info", "/nowhere",
                     node.root / "etc/Ascend/ascend_cann_install.info"]
        state = _cann.state(*map(str, arguments))
        return state["toolkit"], state["kernels"]

    new = cann.build_cann(tmp_path, "9.0.0")
    assert seen("cann-9.0.0", "cann-9.0.0") == ("", "")
    for archive in [*new, *archives]:
        node.run("bash", archive, *INSTALL)
    assert seen("cann-9.0.0", "cann-9.0.0") == ("9.0.0", "9.0.0")
    assert seen("ascend-toolkit", "ascend-toolkit/latest") == ("8.0.RC1", "8.0.RC1")
    assert node.run("bash", new[1], "--uninstall").returncode == 0
    assert seen("cann-9.0.0", "cann-9.0.0") == ("9.0.0", "")


def test_another_architecture_is_refused(node: Node, tmp_path: Path) -> None:
    foreign = cann.build_cann(tmp_path, "8.0.RC1", "riscv64")[0]
    answer = node.run("bash", foreign, *INSTALL)
    assert answer.returncode == 1
    assert f"is for riscv64, but the current architecture is {ARCH}" in answer.stdout


def test_eula_and_options(node: Node, archives: list[Path]) -> None:
    before = node.files()
    assert node.run("bash", archives[0], "--install", stdin="n\n").returncode == 1
    assert node.run("bash", archives[0], "--install", "--upgrade").returncode == 1
    for option in ("--full", "--install-path=relative", "--", "--nox11"):
        answer = node.run("bash", archives[0], option)
        assert (answer.returncode, f"Unrecognized flag : {option}" in answer.stderr) == (1, True)
    assert node.files() == before
    assert node.run("bash", archives[0], "--install", stdin="y\n").returncode == 0
