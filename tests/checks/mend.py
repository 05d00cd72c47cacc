"""Lets playbooks/check_cluster.yml mend faults of two pretend nodes, and hold them against a profile; says what became of each.

    PYTHONPATH=collections python -m tests.checks.mend

Exit status 1 when a fault was not found, not offered to be mended, not mended, or mended without being asked.
"""
from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from rehearsal import containers, nodes

PROJECT = Path(__file__).parents[2]
STATE = PROJECT / ".rehearsal/mend"
FOLDER = STATE / "ssh"
UNIT = "ascend-pretrain.service"
# On node2, ADDRESS being that of node1; and the checks that each shows.
FAULTS = {
    "tls_switch": ("echo tls_1=1 >>/etc/rehearsal/faults", {"tls_switch"}),
    "npu_address": ("echo ip_0=none >>/etc/rehearsal/faults", {"npu_address", "hccn_conf"}),
    "firewall": ("install -m 0755 /dev/stdin /usr/local/sbin/ufw; ip route add blackhole ADDRESS", {"reach_in", "reach_out", "firewall"}),
    "limits": (f"printf '[Service]\\nExecStart=/bin/sleep 600\\nLimitNOFILE=1024:4096\\n' >/run/systemd/system/{UNIT}; systemctl daemon-reload", {"limits"}),
}


class Cluster:
    """Two pretend nodes, and the playbook."""

    def __init__(self) -> None:
        self.addresses = {node.name: str(node.address) for node in containers.up(folder=FOLDER, name="ascend-mend", log=lambda line: None)}
        self.problems: list[str] = []

    def run(self, script: str, stdin: str = "") -> str:
        """Run a script as root on node2."""
        words = ["ssh", "-F", str(FOLDER / "config"), "ops@node2", "sudo sh -c " + "'" + script.replace("'", "'\\''") + "'"]
        return subprocess.run(words, input=stdin, capture_output=True, text=True, check=True, timeout=60).stdout

    def put(self) -> None:
        """Put all faults into node2."""
        stand_in = (Path(__file__).parent / "ufw.sh").read_text(encoding="utf-8")
        for script, _ in FAULTS.values():
            self.run(script.replace("ADDRESS", self.addresses["node1"]), stand_in)

    def state(self) -> str:
        """All on node2 that a fix may change."""
        return self.run(f"cat /etc/rehearsal/faults /etc/hccn.conf /run/rehearsal-ufw /etc/systemd/system/{UNIT}.d/* 2>/dev/null; ip route; "
                        f"systemctl show {UNIT} --property=LimitNOFILE --property=LimitNOFILESoft")

    def look(self, *words: str) -> tuple[str, set[str], dict[str, int]]:
        """Play; returns what was said, the checks that found something on node2, and how many tasks changed something, by node."""
        environment = {**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
        done = subprocess.run(["ansible-playbook", "playbooks/check_cluster.yml", "-i", "inventory/rehearsal", "-e", f"rehearsal_nodes={FOLDER}",
                               "-e", f"check_cluster_report_dir={STATE}", *words], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
        report: dict[str, Any] = {"findings": [{"node": "node2", "check": "no report"}]}
        with contextlib.suppress(FileNotFoundError):
            report = json.loads((STATE / "checks.json").read_text(encoding="utf-8"))
            (STATE / "checks.json").unlink()
        changed = {name: int(count) for name, count in re.findall(r"(?m)^(node\d) .*changed=(\d+)", done.stdout)}
        return (f"status {done.returncode}\n{' '.join(done.stdout.split())} {done.stderr}",
                {item["check"] for item in report["findings"] if item["node"] == "node2"}, changed)

    def expect(self, what: str, good: bool, *shown: Any) -> None:
        """Say what became of it."""
        print(f"{what:60} {'ok' if good else 'WRONG'}", flush=True)
        if not good:
            self.problems.append(what)
            print(*shown, sep="\n", flush=True)


def mend(cluster: Cluster) -> None:
    """Put the faults, mend them, and look again."""
    fixes = ",".join(FAULTS)
    healthy = cluster.look()
    cluster.expect("healthy nodes are clean", healthy[1] == set() and healthy[0].startswith("status 0"), *healthy)
    cluster.put()
    before = cluster.state()
    said, found, changed = cluster.look()
    for fix, (_, checks) in FAULTS.items():
        cluster.expect(f"{fix}: found, and offered", bool(checks & found) and f"-e check_cluster_fix={fix}`" in said, said, found)
    cluster.expect("nothing is mended unasked", cluster.state() == before and sum(changed.values()) == 0, changed)
    said, _, changed = cluster.look("--check", "-e", f"check_cluster_fix={fixes}")
    cluster.expect("check mode says what it would do, and does not",
                   cluster.state() == before and all(f"node2: {fix}: " in said for fix in FAULTS) and "To be done, without check mode:" in said, said)
    said, _, _ = cluster.look("-e", "check_cluster_fix=tls,limits")
    cluster.expect("an unknown name is refused with the list",
                   "names tls: expected some of firewall, limits, npu_address, tls_switch" in said and cluster.state() == before, said)
    cluster.run(f"systemctl start {UNIT}")
    said, _, _ = cluster.look("-e", "check_cluster_fix=tls_switch")
    cluster.run(f"systemctl stop {UNIT}")
    cluster.expect("where our run is in progress nothing is done", "node2: tls_switch is left, for our own run is in progress" in said
                   and cluster.state() == before, said)
    said, found, changed = cluster.look("-e", f"check_cluster_fix={fixes}")
    for fix, (_, checks) in FAULTS.items():
        cluster.expect(f"{fix}: mended, and gone", not checks & found and f"node2: {fix}: " in said, said, found)
    cluster.expect("and the look is clean", said.startswith("status 0") and changed == {"node1": 0, "node2": 1}, said, changed)
    after = cluster.state()
    said, found, changed = cluster.look("-e", f"check_cluster_fix={fixes}")
    cluster.expect("a second run changes nothing", cluster.state() == after and sum(changed.values()) == 0 and found == set(), said, found, changed)
    cluster.run("printf 'tls_1=1\\nset_lost_1\\nip_0=none\\nset_fails_0\\n' >>/etc/rehearsal/faults")
    said, found, _ = cluster.look("-e", "check_cluster_fix=tls_switch,npu_address")
    cluster.expect("what does not help is a failure, with its words", said.startswith("status 2") and "node2: tls_switch did not help" in said
                   and "node2: npu_address did not help" in said and "Cmd execute failed! (exit status 1)" in said, said)
    cluster.run("rm /etc/rehearsal/faults")


def profile(cluster: Cluster) -> None:
    """Write one, and hold the nodes against it."""
    path = STATE / "profile.json"
    path.unlink(missing_ok=True)
    said, _, _ = cluster.look("-e", f"check_cluster_profile={path}")
    cluster.expect("a profile that is not there is told", said.startswith("status 2") and f"there is no {path} on the controller" in said, said)
    cluster.run("echo link_down_1 >/etc/rehearsal/faults")
    said, _, _ = cluster.look("-e", f"check_cluster_profile={path}", "-e", "check_cluster_profile_write=true")
    cluster.expect("none is written of a cluster with failures", not path.exists() and f"{path} is not written" in said, said)
    cluster.run("rm /etc/rehearsal/faults")
    said, _, _ = cluster.look("-e", f"check_cluster_profile={path}", "-e", "check_cluster_profile_write=true")
    cluster.expect("a profile is written of a good cluster", said.startswith("status 0") and path.exists(), said)
    said, found, _ = cluster.look("-e", f"check_cluster_profile={path}")
    cluster.expect("the cluster is as it says", said.startswith("status 0") and found == set(), said, found)
    text = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**text, "nodes": {**text["nodes"], "firmware": "9.9"}}), encoding="utf-8")
    said, found, _ = cluster.look("-e", f"check_cluster_profile={path}")
    cluster.expect("another firmware than the profile's refuses", said.startswith("status 2") and found == {"profile_failure"}
                   and "The firmware version is not that of the profile" in said, said, found)


def main() -> int:
    """Bring the nodes up, play, and take them down."""
    STATE.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        stack.callback(containers.down, folder=FOLDER)
        cluster = Cluster()
        mend(cluster)
        profile(cluster)
    print(f"{len(cluster.problems)} wrong" + "".join(f"\n  {one}" for one in cluster.problems))
    return int(bool(cluster.problems))


if __name__ == "__main__":
    with contextlib.suppress(nodes.NodesError):
        sys.exit(main())
    sys.exit(1)
