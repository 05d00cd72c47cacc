"""What a look at the cluster costs the controller: playbooks/check_cluster.yml over 2, 16 and 64 hosts that are not there.

    PYTHONPATH=collections python -m bench.checks [--write-docs]

In place of ssh stands a script (recorded_ssh.sh) that prints at once what the probe says of the simulated hardware. So the seconds are the
controller's own; what a node needs to look, and what ssh's client computes, comes on top. Every host is seen healthy, or there is no table.
"""
from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Sequence

from bench import process
from bench.report import between

ROOT = Path(__file__).resolve().parents[1]
HARDWARE = ROOT / "rehearsal/hardware/root"
FILES = ROOT / "roles/preflight/files"
PAGE = ROOT / "docs/checks.md"
SIZES = (2, 16, 64)
#: Sizes that are told by the slope between the last two that were measured.
TOLD = (128, 1000)
#: Of the simulated hardware's recording this is kept; the rest is the machine's that records.
KEPT = ("npu_device", "npu_smi", "npu_smi_rc", "npu_smi_line", "npu_more", "hccn", "hccn_tool", "driver_info", "firmware_info")
#: The rest of a healthy node, with NUMBER for the host's.
HEALTHY = """\
uid=0
arch=aarch64
kernel=5.10.0-216.0.0.115.oe2203sp4.aarch64
processors=192
name=nodeNUMBER
name_address=10.30.0.NUMBER
synchronized=yes
kernel_log_read=1
meminfo=MemTotal 1584398336
meminfo=MemAvailable 1552398336
meminfo=SwapTotal 4194304
meminfo=SwapFree 4194304
memory_limit=max /sys/fs/cgroup/system.slice/memory.max
ephemeral=32768-60999
os_ID=openEuler
os_VERSION_ID="22.03"
os_PRETTY_NAME="openEuler 22.03 (LTS-SP4)"
python=/usr/bin/python3
python_rc=0
python_version=3.9.9
workspace_parent=/opt
workspace_free_kib=6442450944
workspace_filesystem=xfs
workspace_free_inodes=300000000
cann_parent=/usr/local
cann_free_kib=629145600
cann_filesystem=xfs
cann_free_inodes=30000000
address=127.0.0.1 lo
address=10.30.0.NUMBER enp67s0f0
interface=lo unknown 65536
interface=enp67s0f0 up 1500
systemd=1
unit_state=inactive
"""


class BenchError(Exception):
    """A look that cannot be counted; its text says why."""


@dataclasses.dataclass(frozen=True)
class Look:
    """What a look at so many hosts cost: seconds that passed, seconds that the controller computed, and remote executions a host."""

    hosts: int
    seconds: float
    processor: float
    executions: int

    @property
    def each(self) -> float:
        """Seconds of computing a host."""
        return self.processor / self.hosts


def record(scratch: Path) -> list[str]:
    """Let the probe look at the simulated hardware of one node, whose number in NPUs' addresses is 250; returns what it says of it."""
    root = scratch / "recorded"
    (root / "etc/rehearsal").mkdir(parents=True)
    (root / "etc/rehearsal/node.env").write_text("NODE_INDEX=250\nNPU_COUNT=8\n", encoding="utf-8")
    environment = {**os.environ, "REHEARSAL_ROOT": str(root), "PATH": f"{HARDWARE}/usr/local/sbin:{os.environ['PATH']}"}
    subprocess.run([HARDWARE / "usr/libexec/rehearsal/hardware"], env=environment, check=True)
    program = "\n".join((FILES / name).read_text(encoding="utf-8") for name in ("probe_npus.sh", "probe.sh"))
    # Of its arguments only the driver's place matters for what is kept.
    words = [int(time.time()), scratch, scratch, HARDWARE / "usr/local/Ascend/driver/version.info", "no-such.service", "", "7000", *[scratch] * 8]
    said = subprocess.run(["/bin/sh", "-c", program, "probe", *map(str, words)], env=environment, capture_output=True, text=True, check=True)
    kept = [line for line in said.stdout.splitlines() if line.partition("=")[0] in KEPT]
    return kept + [f"hccn_conf={line}" for line in (root / "etc/hccn.conf").read_text(encoding="utf-8").splitlines()]


def of_host(recorded: Sequence[str], number: int) -> str:
    """Make what the probe says on one host."""
    return HEALTHY.replace("NUMBER", str(number)) + "\n".join(recorded).replace("10.20.250.", f"10.20.{number}.") + "\n"


def look(recorded: Sequence[str], hosts: int, scratch: Path) -> Look:
    """Run the playbook over so many hosts.

    Raises:
        BenchError: when a host was not seen healthy.
    """
    folder = scratch / str(hosts)
    (folder / "said").mkdir(parents=True)
    for number in range(1, hosts + 1):
        (folder / "said" / f"host{number}").write_text(of_host(recorded, number), encoding="utf-8")
    inventory = {"ascend_nodes": {
        "hosts": {f"node{number}": {"ansible_host": f"host{number}", "cluster_address": f"10.30.0.{number}"} for number in range(1, hosts + 1)},
        "vars": {"ansible_ssh_executable": str(ROOT / "bench/recorded_ssh.sh"), "ansible_user": "ops"}}}
    (folder / "hosts.yml").write_text(json.dumps(inventory), encoding="utf-8")
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0", "SAID": str(folder / "said"),
                   "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests/callbacks"), "ANSIBLE_CALLBACKS_ENABLED": "remote_executions",
                   "REMOTE_EXECUTIONS_FILE": str(folder / "counts.json")}
    try:
        done = process.run(["ansible-playbook", "playbooks/check_cluster.yml", "-i", str(folder / "hosts.yml")], folder / "log", ROOT, environment)
    except process.RunError as error:
        raise BenchError(str(error)) from error
    expect_healthy(json.loads((folder / "checks/checks.json").read_text(encoding="utf-8")), hosts)
    return Look(hosts, done.seconds, done.processor, executions(json.loads((folder / "counts.json").read_text(encoding="utf-8"))))


def expect_healthy(found: dict[str, Any], hosts: int) -> None:
    """Refuse a look that did not see so many healthy hosts.

    Raises:
        BenchError: with what was found instead.
    """
    if found["status"] != "clean" or len(found["nodes"]) != hosts:
        raise BenchError(f"the hosts are not seen healthy, which they are meant to be (bench/checks.py, HEALTHY): {found['status']}, {len(found['nodes'])} of "
                         f"{hosts} nodes, {json.dumps(found['findings'][:3], indent=1)}")


def executions(counts: dict[str, dict[str, int]]) -> int:
    """Tell the most that any host was sent, the controller aside."""
    return max(sum(roles.values()) for host, roles in counts.items() if host != "localhost")


def told(looks: Sequence[Look], hosts: int) -> tuple[float, float]:
    """Tell the seconds and the computed seconds of so many hosts by the slope between the last two that were measured."""
    before, last = looks[-2:]
    more = (hosts - last.hosts) / (last.hosts - before.hosts)
    return last.seconds + more * (last.seconds - before.seconds), last.processor + more * (last.processor - before.processor)


def table(looks: Sequence[Look], cores: int) -> str:
    """Write the table, and what follows from it."""
    lines = ["| hosts | seconds | CPU, s | CPU a host, s | a host, against the first row | remote executions a host |",
             "| ---: | ---: | ---: | ---: | ---: | ---: |"]
    lines += [f"| {one.hosts} | {one.seconds:.1f} | {one.processor:.1f} | {one.each:.2f} | {one.each / looks[0].each:.2f} | {one.executions} |"
              for one in looks]
    before, last = looks[-2:]
    slope = (last.processor - before.processor) / (last.hosts - before.hosts)
    estimates = [f"{hosts:,} nodes {seconds:.0f} s ({processor:.0f} s of CPU)" for hosts in TOLD for seconds, processor in [told(looks, hosts)]]
    lines += ["", f"Measured on {cores} cores in one run. From {before.hosts} to {last.hosts} hosts each more costs {slope:.2f} s of CPU. "
                  f"By that slope, which is an estimate: {', '.join(estimates)} on as many cores."]
    return "\n".join(lines)


def main() -> int:
    """Measure, print, and write the page where that is wanted."""
    parser = argparse.ArgumentParser(prog="make bench-checks ARGS=…", description=str(__doc__).split("\n\n", 1)[0], allow_abbrev=False)
    parser.add_argument("--write-docs", action="store_true", help="write the figures into docs/checks.md")
    args = parser.parse_args()
    looks: list[Look] = []
    try:
        with tempfile.TemporaryDirectory(prefix="bench-checks.") as name:
            recorded = record(Path(name))
            for hosts in SIZES:
                looks.append(look(recorded, hosts, Path(name)))
                print(f"{hosts} hosts: {looks[-1].seconds:.1f} s, {looks[-1].processor:.1f} s of CPU", flush=True)
    except (BenchError, OSError, subprocess.CalledProcessError) as error:
        print(f"bench-checks: error: {error}", file=sys.stderr)
        return 1
    content = table(looks, os.cpu_count() or 1)
    print(content)
    if args.write_docs:
        PAGE.write_text(between(PAGE.read_text(encoding="utf-8"), "cost", content), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
