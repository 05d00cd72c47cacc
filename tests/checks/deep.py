"""The faults of the tier deep: playbooks/check_cluster.yml on the two pretend nodes, with the environment installed."""
from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any, Callable

from rehearsal import artifacts

PROJECT = Path(__file__).resolve().parents[2]
ENVIRONMENT = "node_base,cann_toolkit,conda_env"


class Deep:
    """The playbook, and what it is played with."""

    def __init__(self, folder: Path, run: Callable[[str, str], Any]) -> None:
        """Args: the folder with the cluster's ssh configuration, and what runs a script on a node."""
        self.folder, self.run = folder, run

    def _play(self, playbook: str, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_SSH_ARGS": f"-F {self.folder / 'config'}",
                       "MOLECULE_EPHEMERAL_DIRECTORY": str(self.folder.parent)}
        return subprocess.run(["ansible-playbook", playbook, "-i", str(PROJECT / "molecule/inventory"), *words], cwd=PROJECT, env=environment, text=True,
                              capture_output=True, check=False)

    def install(self) -> None:
        """Install the environment on the nodes."""
        artifacts.build("standin", ["recipe"], log=lambda line: None)
        done = self._play("site.yml", "--tags", ENVIRONMENT)
        if done.returncode:
            raise SystemExit(f"The environment was not installed (site.yml --tags {ENVIRONMENT}):\n{done.stdout[-4000:]}{done.stderr[-2000:]}")

    def look(self, row: dict[str, Any]) -> list[tuple[str, str]]:
        """Measure with a row's fault in the nodes; node and check of every finding of the tier."""
        spoiled = row.get("on", ["node2"]) if row.get("check") else []
        reports = self.folder.parent / "reports"
        for node in spoiled:
            lines = "\\n".join(row.get("faults", []))
            self.run(node, f"printf '{lines}\\n' >/etc/rehearsal/faults; {row.get('before', ':')}")
        try:
            variables = {"check_cluster_report_dir": str(reports), **row.get("variables", {})}
            done = self._play("playbooks/check_cluster.yml", "-e", "check_cluster_tier=deep", "-e", json.dumps(variables))
        finally:
            for node in spoiled:
                self.run(node, f"rm -f /etc/rehearsal/faults; {row.get('after', ':')}")
        found = json.loads((reports / "checks.json").read_text(encoding="utf-8"))
        if found["not_begun"] or not found["measured"]:
            raise SystemExit(f"deep did not measure ({shlex.quote(found['not_begun'])}):\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
        (reports / f"{row.get('check', 'healthy')}.json").write_text(json.dumps(found), encoding="utf-8")
        # What quick says of nodes at any time is scored by its own rows.
        return [(item["node"], item["check"]) for item in found["findings"] if item["check"] in checks()]


def checks() -> set[str]:
    """Names of the checks of this tier and the next."""
    from ansible_collections.ascend.cluster.plugins.module_utils import _checks_deep

    return {row["name"] for row in _checks_deep.ROWS}


def rows(table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of faults.yml that are played here."""
    return [row for row in table if row["check"] in checks() and "without" not in row]
