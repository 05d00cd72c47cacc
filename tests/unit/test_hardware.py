"""The simulated hardware says and does what is recorded of the real one, and refuses the rest."""
from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

import pytest
from ansible_collections.ascend.cluster.plugins.module_utils import _cann, _npu_smi

from rehearsal.hardware import cann

ROOT = Path(cann.__file__).parent / "root"
NPU_SMI = ROOT / "usr/local/sbin/npu-smi"
HCCN_TOOL = ROOT / "usr/local/Ascend/driver/tools/hccn_tool"
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


@pytest.mark.parametrize("question", ["", "-i 0", "-i x -link -g", "-i 8 -link -g", "-i 0 -link -s", "-i 0 -speed -g"])
def test_hccn_tool_refuses_what_is_not_recorded(node: Node, question: str) -> None:
    answer = node.run(HCCN_TOOL, *question.split())
    assert answer.returncode != 0
    assert answer.stdout == ""


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
