"""Puts the faults of faults.yml into two pretend nodes, one after the other, and scores what the checks say.

    PYTHONPATH=collections python -m tests.checks.score [CHECK …]

The look is the preflight's own: its probe over ssh, its judgement; for the tier deep the playbook itself.
Exit status 1 when a fault was not found, or anybody was accused wrongly.
"""
from __future__ import annotations

import argparse
import base64
import contextlib
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.ascend.cluster.plugins.module_utils import _checks, _findings, _probe, _reach

from rehearsal import containers, nodes
from tests.checks import deep

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
FOLDER = PROJECT / ".rehearsal/checks/ssh"
FILES = PROJECT / "roles/preflight/files"
PORTS = [6000, 16666, 60000, 39825]
STATE = "/opt/ascend-cluster/state"
RECIPE: dict[str, Any] = yaml.safe_load((PROJECT / "stacks/recipe.yml").read_text(encoding="utf-8"))
SETTINGS: dict[str, Any] = {
    "min_python": "3.8", "supported_os": ["debian"], "supported_arch": ["x86_64", "aarch64"], "min_free_gib": 5, "min_cann_free_gib": 1,
    "workspace_path": "/opt/ascend-cluster", "cann_path": "/usr/local/Ascend", "driver_info": "/usr/local/Ascend/driver/version.info", "nproc_per_node": 2,
    "ports": {"master": "6000-6015", "supervisor": 29400, "hccl": "60000-60031", "device": 16666},
    "port_ranges": "6000-6015,16666,29400,60000-60031", "master": False, "max_clock_skew_seconds": 30, "platform": "", "precision": "bf16",
    "kernels_src": "Ascend-cann-kernels-910b_8.0.RC1_linux.run", "max_npu_memory_used_percent": 12, "user": "ascend", "unit": "ascend-pretrain.service",
    "memory_gib_per_rank": 0.5, "nfs": False, "ranks": {"node1": 0, "node2": 1},
    "checkpoint": {"all_bytes": 2 << 30, "node_bytes": [1 << 30, 1 << 30], "saves": 4}, "checkpoint_path": "/opt/ascend-cluster/ckpt",
    "versions": {"cann": "8.0.RC1", "torch_npu": "2.1.0.post3", "python": "3.8"},
    "version_tables": {"driver": RECIPE["cann"]["driver_pairs"], "cann": RECIPE["environment"]["cann_pairs"], "python": RECIPE["environment"]["python_pairs"]}}
# What a row's commands find: a folder that comes first on the PATH, another for files, and two ways to make a program.
SETUP = r"""
tmp=$(mktemp -d); bin=$tmp/bin; mkdir $bin; chmod 0755 $tmp $bin
say() { printf '#!/bin/sh\necho %s\n' "'$2'" >$bin/$1; chmod +x $bin/$1; }
wrap() { printf '#!/bin/sh\n%s "$@" | sed %s\n' "$(command -v $1)" "'$2'" >$bin/$1; chmod +x $bin/$1; }
"""


def table() -> list[dict[str, Any]]:
    """The rows of faults.yml."""
    rows: list[dict[str, Any]] = yaml.safe_load((HERE / "faults.yml").read_text(encoding="utf-8"))
    return rows


class Cluster:
    """Two pretend nodes, looked at by the preflight's own programs."""

    def __init__(self) -> None:
        self.addresses = {node.name: str(node.address) for node in containers.up(folder=FOLDER, name="ascend-checks", log=lambda line: None)}

    def run(self, node: str, script: str, user: str = "root") -> dict[str, Any]:
        """Run a script on a node; what Ansible's raw would return."""
        become = "" if user == "ops" else "sudo "
        words = ["ssh", "-F", str(FOLDER / "config"), f"ops@{node}", f"{become}sh -c {shlex.quote(script)}"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
        return {"rc": done.returncode, "stdout": done.stdout, "stderr": done.stderr, "msg": "" if done.returncode == 0 else "non-zero return code"}

    def look(self, node: str, row: dict[str, Any]) -> dict[str, Any]:
        """Look at a node with a row's fault in it, and judge it."""
        spoiled = node in row.get("on", ["node2"])
        arguments = {"user": "ascend", "python": "python3", **row.get("arguments", {})} if spoiled else {"user": row.get("arguments", {}).get("user", "ascend"),
                                                                                                         "python": "python3"}
        settings = {**SETTINGS, "address": self.addresses[node], **(row.get("settings", {}) if spoiled or "nfs" in row.get("settings", {}) else {})}
        probe = base64.b64encode((FILES / "probe_npus.sh").read_bytes() + b"\n" + (FILES / "probe.sh").read_bytes()).decode()
        words = [int(time.time()), settings["workspace_path"], settings["cann_path"], settings["driver_info"], settings["unit"], "",
                 " ".join(map(str, settings["ports"].values())), "/opt/ascend-cluster/runs", arguments["user"], STATE, settings["checkpoint_path"],
                 "/var/tmp/checks_data", "/opt/ascend-cluster/runs", f"{settings['cann_path']}/ascend-toolkit", arguments["python"]]
        look = f'/bin/sh -c "$(echo {probe} | base64 -d)" probe {shlex.join(map(str, words))}'
        if not spoiled:
            return _probe.node(self.run(node, look), settings, node)
        faults = "\\n".join(row.get("faults", []))
        inside = f'{SETUP}\n{row.get("sh", ":")}\nPATH=$bin:$PATH\nexport PATH\n{look}\nstatus=$?\nkill $(jobs -p) 2>/dev/null\nexit $status'
        if row.get("user"):
            return _probe.node(self.run(node, look, row["user"]), settings, node)
        # What is mounted goes with the namespace.
        script = (f"printf '{faults}\\n' >/etc/rehearsal/faults; unshare --mount sh -c {shlex.quote(inside)}; status=$?; "
                  "rm -f /etc/rehearsal/faults /tmp/pretrain_gpt.py /var/tmp/checks_data.bin; exit $status")
        return _probe.node(self.run(node, script), settings, node)

    def reach(self, row: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Let both nodes listen and connect, with a row's fault on the first."""
        program = f'-c "$(echo {base64.b64encode((FILES / "reach.py").read_bytes()).decode()} | base64 -d)"'
        programs = {node: f"{row.get('python', 'python3') if node == 'node2' else 'python3'} {program}" for node in self.addresses}
        ports, peers = " ".join(map(str, PORTS)), shlex.quote(" ".join(f"{name}={address}" for name, address in self.addresses.items()))
        self.run("node1", row["before"].replace("ADDRESS", self.addresses["node2"]))
        try:
            listened = {node: self.run(node, f"{programs[node]} listen {address} 30 {ports}") for node, address in self.addresses.items()}
            connected = {node: self.run(node, f"{programs[node]} connect 3 {node} {peers} {ports}") for node in self.addresses}
        finally:
            self.run("node1", row["after"].replace("ADDRESS", self.addresses["node2"]))
            for node in self.addresses:
                self.run(node, "pkill -f 'reach.py listen ADDRESS'")
        return {node: _reach.read(listened[node], connected[node]) for node in self.addresses}


def play(cluster: Cluster, row: dict[str, Any]) -> list[tuple[str, str]]:
    """Play a row; returns node and check of every finding."""
    with ThreadPoolExecutor() as pool:
        judged = dict(zip(cluster.addresses, pool.map(lambda node: cluster.look(node, {} if row.get("reach") else row), cluster.addresses)))
    if row.get("reach"):
        for node, found in cluster.reach(row).items():
            judged[node]["reach"] = found
    settings = {**SETTINGS, **row.get("settings", {})}
    return [(item["node"], item["check"]) for item in _findings.report(judged, [], settings)["result"]["findings"]]


def main() -> int:
    """Play the rows, print what became of each, and the score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", help="only these")
    wanted = parser.parse_args().checks
    rows = [row for row in table() if not wanted or row["check"] in wanted]
    without = {row["check"]: row["without"] for row in rows if "without" in row}
    rows = [row for row in rows if "without" not in row]
    found = accused = 0
    with contextlib.ExitStack() as stack:
        cluster = Cluster()
        stack.callback(containers.down, folder=FOLDER)
        healthy = play(cluster, {"on": []})
        print(f"{'healthy':20} {'clean' if not healthy else f'WRONG: {healthy}'}", flush=True)
        accused += len(healthy)
        measured = deep.Deep(FOLDER, cluster.run)
        of_deep = deep.rows(rows)
        # Last: what was installed is seen by the look as well.
        for row in [*(row for row in rows if row not in of_deep), *([{}] if of_deep else []), *of_deep]:
            if not row:
                measured.install()
                healthy = measured.look(row)
                print(f"{'healthy, deep':20} {'clean' if not healthy else f'WRONG: {healthy}'}", flush=True)
                accused += len(healthy)
                continue
            findings = measured.look(row) if row in of_deep else play(cluster, row)
            expected = {row["check"], *row.get("also", [])}
            there = any(check == row["check"] for _, check in findings)
            # Of a cut way between two nodes both may be named.
            wrong = [(node, check) for node, check in findings if check not in expected or (node not in row.get("on", ["node2"]) and not row.get("reach"))]
            found, accused = found + there, accused + len(wrong)
            print(f"{row['check']:20} {'found' if there else 'NOT FOUND'}{f', wrongly accused: {wrong}' if wrong else ''}", flush=True)
    missing = set(_checks.CHECKS) - {row["check"] for row in rows} - set(without) if not wanted else set()
    for check, why in without.items():
        print(f"{check:20} by unit tests alone: {why}")
    print(f"{len(_checks.CHECKS)} checks; {len(rows)} faults injected, {found} found, {accused} wrongly accused; {len(without)} by unit tests alone"
          + (f"; without any fault: {', '.join(sorted(missing))}" if missing else ""))
    return int(found < len(rows) or accused > 0 or bool(missing))


if __name__ == "__main__":
    with contextlib.suppress(nodes.NodesError):
        sys.exit(main())
    sys.exit(1)
