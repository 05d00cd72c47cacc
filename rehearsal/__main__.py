"""Run the real site.yml on pretend nodes of this machine.

    python -m rehearsal run [-- ARGUMENTS OF ansible-playbook]

Brings up the nodes, builds what they are given, runs site.yml on inventory/rehearsal, and ends with a summary.
Whatever follows ``--`` goes to ansible-playbook, for example ``-- --tags dataset`` or ``-- -e pretrain_new_run=true``.
"""
from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import ansible_runner

from rehearsal import artifacts, nodes
from rehearsal.report import Report

PLAYBOOK = nodes.PROJECT / "site.yml"
INVENTORY = nodes.PROJECT / "inventory/rehearsal"


def rehearse(arguments: list[str], report: Report) -> bool:
    """Make nodes and artifacts where they are missing, and run site.yml. Returns whether it succeeded."""
    report.begin_stage("Build what the nodes are given")
    artifacts.build(log=report.doing)
    report.begin_stage("Bring up the nodes")
    nodes.up(log=report.doing)
    # ansible-runner keeps its own files in a folder; nothing of it is needed afterwards.
    private = tempfile.mkdtemp(prefix="runner-", dir=nodes.STATE)
    try:
        run = ansible_runner.run(
            private_data_dir=private, project_dir=str(nodes.PROJECT), playbook=PLAYBOOK.name, inventory=str(INVENTORY),
            cmdline=subprocess.list2cmdline(arguments) or None, quiet=True, event_handler=report.event,
            envvars={"ANSIBLE_CONFIG": str(nodes.PROJECT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0",
                     "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])})
        # What ansible says before and after its events: for instance a syntax error.
        if not report.stats:
            with run.stdout as output:
                report.line(output.read())
    finally:
        shutil.rmtree(private, ignore_errors=True)
    return bool(run.status == "successful")


def facts() -> dict[str, str]:
    """What a person wants to know at the end: nodes, versions, and where things lie."""
    listed = json.loads((nodes.FOLDER / "nodes.json").read_text(encoding="utf-8")) if (nodes.FOLDER / "nodes.json").exists() else {}
    found = {"nodes": ", ".join(f"{name} ({node['address']})" for name, node in listed.items())}
    found.update(artifacts.versions())
    found["look around"] = f"ssh -F {os.path.relpath(nodes.FOLDER / 'config')} node1"
    found["on the nodes"] = "/opt/ascend-cluster/runs/current (script, log, result), /opt/ascend-cluster/Megatron-LM/ckpt (checkpoint)"
    found["one step again"] = "ansible-playbook -i inventory/rehearsal playbooks/<step>.yml"
    found["clean up"] = "make clean"
    return found


def main() -> int:
    """Entry: 0 when the rehearsal succeeded."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("command", choices=["run"])
    parser.add_argument("arguments", nargs="*", help="passed to ansible-playbook, after --")
    wanted = parser.parse_args()
    # A TERM shall end the playbook as Ctrl-C does: stages are closed, the summary is shown.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    stamp = datetime.datetime.now().strftime("%Y%m%dT%H%M%S")
    with Report(nodes.STATE / "logs" / f"rehearsal-{stamp}.log") as report:
        try:
            succeeded = rehearse(wanted.arguments, report)
        except (nodes.NodesError, artifacts.ArtifactsError) as error:
            report.line(f"FAILED: {error}")
            succeeded = False
        except KeyboardInterrupt:
            report.line("Interrupted. A training that was started goes on; `make rehearsal` follows it, "
                        "playbooks/stop.yml stops it.")
            succeeded = False
        report.summary(succeeded, facts())
    return 0 if succeeded else 1


if __name__ == "__main__":
    sys.exit(main())
