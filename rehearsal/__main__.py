"""Run the real site.yml on pretend nodes of this machine.

    python -m rehearsal run [--nodes containers|vm] [--stack NAME] [--upstream auto|real|standin]
                            [--plan small|recipe] [-- ARGUMENTS OF ansible-playbook]

Brings up the nodes, builds what they are given, runs site.yml on inventory/rehearsal, and ends with a summary.
On virtual machines the data is shared by NFS, and it goes on: the worker is rebooted, and site.yml run again must find all in place.
Whatever follows ``--`` goes to ansible-playbook, for example ``-- --tags dataset`` or ``-- -e pretrain_new_run=true``.
"""
from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import ansible_runner
import yaml

from rehearsal import artifacts, containers, machines, nodes, stacks
from rehearsal.report import Report

PLAYBOOK = nodes.PROJECT / "site.yml"
INVENTORY = nodes.PROJECT / "inventory/rehearsal"


WORKER = "node2"


def plan_files(kind: str, upstream: str, plan: str) -> list[str]:
    """Files of variables for a kind of nodes and of upstream code and a plan, relative to the project, later ones stronger."""
    wanted = {"real": upstream == "real", "recipe": plan == "recipe", "vm": kind == "vm"}
    return [f"rehearsal/plans/{name}.yml" for name, applies in wanted.items() if applies]


def _variables(kind: str, stack: str, upstream: str, plan: str) -> list[str]:
    """The words that give ansible-playbook the variables of a rehearsal."""
    return ["-e", f"cluster_stack={stack}", *(word for name in plan_files(kind, upstream, plan) for word in ("-e", f"@{name}"))]


def play(arguments: list[str], report: Report) -> bool:
    """Run site.yml. Returns whether it succeeded; its statistics replace those of a run before."""
    report.stats = {}
    # ansible-runner keeps its own files in a folder; nothing of it is needed afterwards.
    private = tempfile.mkdtemp(prefix="runner-", dir=nodes.STATE)
    try:
        run = ansible_runner.run(
            private_data_dir=private, project_dir=str(nodes.PROJECT), playbook=PLAYBOOK.name, inventory=str(INVENTORY),
            cmdline=shlex.join(arguments) or None, quiet=True, event_handler=report.event,
            envvars={"ANSIBLE_CONFIG": str(nodes.PROJECT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0",
                     "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])})
        # What ansible says before and after its events: for instance a syntax error.
        if not report.stats:
            with run.stdout as output:
                report.line(output.read())
    finally:
        shutil.rmtree(private, ignore_errors=True)
    return bool(run.status == "successful")


def again_after_reboot(arguments: list[str], report: Report) -> bool:
    """Reboot the worker and run site.yml once more. Returns whether that changed nothing and launched nothing."""
    report.begin_stage(f"Reboot {WORKER}")
    machines.reboot(WORKER, log=report.doing)
    said = len(report.messages)
    succeeded = play(arguments, report)
    report.begin_stage(f"Expect that the reboot of {WORKER} left all in place")
    problems = ["site.yml failed"] if not succeeded else []
    if report.changed:
        changed = ", ".join(f"{name} {stats['changed']}" for name, stats in report.stats.items() if stats.get("changed"))
        problems.append(f"tasks changed something, expected none: {changed}")
    if succeeded and not any("nothing is launched" in message for message in report.messages[said:]):
        problems.append('the training was not found finished ("nothing is launched" was not said)')
    for problem in problems:
        report.line(f"    After the reboot of {WORKER}: {problem}.")
    if not problems:
        report.line("    changed=0, nothing was launched")
    return not problems


def rehearse(kind: str, stack: str, upstream: str, plan: str, arguments: list[str], report: Report) -> bool:
    """Make nodes and artifacts where they are missing, and run site.yml. Returns whether all of it succeeded."""
    report.begin_stage("Build what the nodes are given")
    artifacts.build(upstream, [stack], log=report.doing)
    report.begin_stage("Bring up the nodes")
    npus = 2
    for name in plan_files(kind, upstream, plan):
        npus = yaml.safe_load((nodes.PROJECT / name).read_text(encoding="utf-8")).get("plan_nproc_per_node", npus)
    words = [*_variables(kind, stack, upstream, plan), *arguments]
    if kind == "vm":
        machines.up(npus=npus, log=report.doing)
    else:
        containers.up(npus=npus, log=report.doing)
    succeeded = play(words, report)
    # A part of site.yml (or a check) leaves nothing to prove.
    if kind == "vm" and succeeded and not arguments:
        return again_after_reboot(words, report)
    return succeeded


def facts(kind: str, stack: str, upstream: str, plan: str) -> dict[str, str]:
    """What a person wants to know at the end: nodes, versions, and where things lie."""
    folder = machines.FOLDER if kind == "vm" else containers.FOLDER
    listed = json.loads((folder / "nodes.json").read_text(encoding="utf-8")) if (folder / "nodes.json").exists() else {}
    found = {"nodes": ", ".join(f"{name} ({node['address']})" for name, node in listed.items())}
    found.update(artifacts.versions(upstream, stack))
    found["look around"] = f"ssh -F {os.path.relpath(folder / 'config')} node1"
    found["on the nodes"] = ("/opt/ascend-cluster/runs/current (script, log, result), "
                             f"/opt/ascend-cluster{stacks.read(stack)['folder']}/Megatron-LM/ckpt (checkpoint)")
    if kind == "vm":
        found["consoles"] = f"{os.path.relpath(folder)}/node*/console.log"
        found["end the machines"] = "python -m rehearsal.machines down"
    found["one step again"] = " ".join(
        ["ansible-playbook -i inventory/rehearsal", *_variables(kind, stack, upstream, plan), "playbooks/<step>.yml"])
    found["clean up"] = "make clean"
    return found


def main() -> int:
    """Entry: 0 when the rehearsal succeeded."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal", description=__doc__.splitlines()[0] if __doc__ else None,
                                     epilog="Whatever follows -- goes to ansible-playbook.")
    parser.add_argument("command", choices=["run"])
    parser.add_argument("--nodes", choices=["containers", "vm"], default="containers",
                        help="vm: two virtual machines, the data shared by NFS, the stand-in trainer, and a reboot of the worker")
    parser.add_argument("--stack", choices=stacks.NAMES, default="recipe", help="which software trains (stacks/)")
    parser.add_argument("--upstream", choices=["auto", "real", "standin"], default="auto",
                        help="train with the real Megatron-LM and AscendSpeed, or with the stand-ins; auto: the real ones where their "
                             "urls (MEGATRON_URL, ASCENDSPEED_URL or the roles' own) answer")
    parser.add_argument("--plan", choices=["small", "recipe"], default="small",
                        help="recipe: 2 nodes x 8 ranks, TP2 PP4 EP2, 8 experts")
    # Not argparse's own handling of --: it wants no options between the command and what follows.
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    arguments = words[split + 1:]
    wanted = parser.parse_args(words[:split])
    if wanted.nodes == "vm" and (wanted.upstream == "real" or wanted.plan != "small"):
        parser.error("--nodes vm takes the stand-in trainer and its own small plan: without hardware acceleration more takes hours")
    # A TERM shall end the playbook as Ctrl-C does: stages are closed, the summary is shown.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    stamp = datetime.datetime.now().strftime("%Y%m%dT%H%M%S")
    with Report(nodes.STATE / "logs" / f"rehearsal-{stamp}.log") as report:
        upstream = "standin"
        try:
            upstream = artifacts.choose("standin" if wanted.nodes == "vm" else wanted.upstream, wanted.stack)
            why = ""
            if wanted.nodes == "containers" and wanted.upstream == "auto":
                why = " (their urls answer)" if upstream == "real" else " (the urls of the real code do not answer)"
            report.line(f"Training code: {upstream}{why}")
            succeeded = rehearse(wanted.nodes, wanted.stack, upstream, wanted.plan, arguments, report)
        except (nodes.NodesError, artifacts.ArtifactsError) as error:
            report.line(f"FAILED: {error}")
            succeeded = False
        except KeyboardInterrupt:
            report.line("Interrupted. A training that was started goes on; `make rehearsal` follows it, "
                        "playbooks/stop.yml stops it.")
            succeeded = False
        report.summary(succeeded, facts(wanted.nodes, wanted.stack, upstream, wanted.plan))
    return 0 if succeeded else 1


if __name__ == "__main__":
    sys.exit(main())
