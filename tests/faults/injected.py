"""Puts the faults of injected.yml into real trainings on two nodes of eight ranks, and scores what the product says of them.

    python -m tests.faults.injected [NAME …]

The nodes stay up between the rows, and go away at the end.
"""
from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import ansible_runner
import yaml

from rehearsal import artifacts, containers, nodes
from rehearsal.containers.podman import environment
from tests.playing import PROJECT, Site

HERE = Path(__file__).parent
FOLDER = PROJECT / ".rehearsal/faults"
RUNS = "/opt/ascend-cluster/runs"
RUN = f"{RUNS}/current"
PLAN = "@rehearsal/plans/recipe.yml"
VARIABLES = {"pretrain_new_run": True, "pretrain_unreachable_timeout": 20, "pretrain_stop_timeout": 20, "pretrain_poll_seconds": 2}


def table() -> list[dict[str, Any]]:
    """The rows of injected.yml."""
    rows: list[dict[str, Any]] = yaml.safe_load((HERE / "injected.yml").read_text(encoding="utf-8"))
    return rows


class Player:
    """Plays the project's playbooks on the nodes, and keeps the verdict."""

    def __init__(self, cluster: list[nodes.Node]) -> None:
        self.site = Site(FOLDER)
        self.instances = {node.name: node.instance for node in cluster}

    def play(self, playbook: str, **variables: Any) -> dict[str, Any]:
        """Run a playbook; returns the verdict and when it was given."""
        found: dict[str, Any] = {"text": []}

        def event(one: dict[str, Any]) -> bool:
            result = one.get("event_data", {}).get("res") or {}
            verdict = (result.get("ansible_facts") or {}).get("pretrain_verdict")
            if verdict:
                found.update(verdict=verdict, at=time.time())
            if one.get("stdout"):
                found["text"].append(one["stdout"])
            return False

        private = tempfile.mkdtemp(prefix="runner-", dir=FOLDER)
        try:
            run = ansible_runner.run(
                private_data_dir=private, project_dir=str(PROJECT), playbook=playbook, inventory=str(PROJECT / "molecule/inventory"), quiet=True,
                event_handler=event, cmdline=f"-e {PLAN}", extravars=variables,
                envvars={"ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0", "MOLECULE_EPHEMERAL_DIRECTORY": str(FOLDER),
                         "ANSIBLE_SSH_ARGS": f"-F {FOLDER}/ssh/config",
                         "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])})
        finally:
            shutil.rmtree(private, ignore_errors=True)
        found["status"] = run.status
        return found

    def power_off(self, node: str) -> None:
        """End a machine without a word; `power_on` brings it back."""
        subprocess.run(["podman", "kill", self.instances[node]], env=environment(), capture_output=True, check=True)

    def power_on(self) -> None:
        """Bring every node back."""
        containers.up(npus=8, folder=FOLDER / "ssh", name="ascend-faults", log=lambda line: None)

    def strike(self, row: dict[str, Any], over: threading.Event) -> None:
        """Wait for the iteration, then do what the row says from outside."""
        while not over.is_set():
            log = self.site.run("node2", f"cat {RUN}/train.log 2>/dev/null | grep -cE 'iteration +{row['at']}/'")
            if log.stdout.strip() not in ("", "0"):
                break
            time.sleep(0.5)
        row["struck"] = time.time()
        if row["run"] == "POWER_OFF":
            self.power_off(row["node"])
        else:
            self.site.run(row["node"], row["run"])


def one(player: Player, row: dict[str, Any]) -> dict[str, Any]:
    """Play a row; returns what was right."""
    environment = {"OMP_NUM_THREADS": 1}
    if "faults" in row:
        environment.update(zip(("STANDIN_FAULT", "STANDIN_RANK", "STANDIN_AT"), map(str, row["faults"]), strict=True))
    else:
        # Time to strike in.
        environment["STANDIN_ITERATION_SECONDS"] = 5
    over = threading.Event()
    outside = threading.Thread(target=player.strike, args=(row, over)) if "run" in row else None
    # An earlier row's log is not this one's, though both rows may be one run by its id.
    for node in player.site.nodes:
        player.site.run(node, f"rm -f {RUN} {RUNS}/*/train.log")
    if outside:
        outside.start()
    try:
        played = player.play("playbooks/pretrain.yml", **VARIABLES, **row.get("variables", {}), pretrain_environment_extra=environment)
    finally:
        over.set()
        if outside:
            outside.join()
        if row.get("run") == "POWER_OFF":
            player.power_on()
            # Its supervisor is back, and waits for a run that is over: what the message says to do ends it.
            player.play("playbooks/stop.yml", pretrain_stop_timeout=20)
    left = {node: player.site.run(node, "pgrep -u ascend -a").stdout for node in player.site.nodes}
    verdict, expect = played.get("verdict"), row["expect"]
    if not verdict:
        return {"name": row["name"], "node": False, "rank": False, "cause": False, "said": False, "wrong_blame": True, "seconds": None, "left": "",
                "found": "no verdict", "message": "\n".join(played["text"][-12:])}
    nodes_right = expect["node"] if isinstance(expect["node"], list) else [expect["node"]]
    causes = expect["cause"] if isinstance(expect["cause"], list) else [expect["cause"]]
    named = {verdict["culprit"]} if verdict["culprit"] else set(verdict["nodes"])
    words = verdict["message"].lower()
    journal = map(json.loads, player.site.run("node1", f"cat {RUN}/supervise/journal.jsonl").stdout.splitlines())
    end = row.get("struck") or next((float(event["time"]) for event in journal if event["event"] in ("failure", "done")), None)
    return {
        "name": row["name"], "node": not verdict["succeeded"] and (named <= set(nodes_right) if named else "" in nodes_right),
        "rank": not verdict["succeeded"] and set(verdict["ranks"]) <= set(expect["ranks"]) and bool(verdict["ranks"]) == bool(expect["ranks"]),
        "cause": verdict["cause"] in causes, "said": all(any(choice.lower() in words for choice in word.split("|")) for word in expect["say"]),
        "wrong_blame": verdict["succeeded"] or bool(named - set(nodes_right) or set(verdict["ranks"]) - set(expect["ranks"])),
        "seconds": played["at"] - end if end else None, "left": "; ".join(f"{node}: {text.strip()}" for node, text in left.items() if text),
        "found": f"{' or '.join(sorted(named)) or 'nobody'} {verdict['ranks']} {verdict['cause']}", "message": verdict["message"]}


def main() -> int:
    """Entry: 0 when every row has the right rank, nobody innocent is blamed, and no process is left."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.injected", description="Put faults into real trainings.")
    parser.add_argument("names", nargs="*", help="rows to play; all when none is named")
    wanted = parser.parse_args()
    rows = [row for row in table() if not wanted.names or row["name"] in wanted.names]
    artifacts.build("standin", ["recipe"])
    FOLDER.mkdir(parents=True, exist_ok=True)
    results = []
    try:
        player = Player(containers.up(npus=8, folder=FOLDER / "ssh", name="ascend-faults"))
        begun = time.monotonic()
        site = player.play("site.yml", pretrain_poll_seconds=2)
        if site["status"] != "successful":
            print("\n".join(site["text"][-30:]))
            print("site.yml failed: nothing could be injected")
            return 1
        print(f"site.yml: {time.monotonic() - begun:.0f} s", flush=True)
        for row in rows:
            begun = time.monotonic()
            results.append(one(player, row))
            result = results[-1]
            wrong = [key for key in ("node", "rank", "cause", "said") if not result[key]]
            wrong += ["wrong blame"] * result["wrong_blame"] + ["left"] * bool(result["left"])
            seconds = "unknown" if result["seconds"] is None else f"{result['seconds']:.1f} s"
            print(f"{row['name']}: {result['found']}; {seconds} from the end to the verdict; {time.monotonic() - begun:.0f} s in all"
                  + (f"; NOT RIGHT: {', '.join(wrong)}" if wrong else ""), flush=True)
            if wrong:
                print("    " + f"{result['message']}\n{result['left']}".replace("\n", "\n    "), flush=True)
    finally:
        with contextlib.suppress(nodes.NodesError):
            containers.down(FOLDER / "ssh")
    right = {key: sum(bool(result[key]) for result in results) for key in ("rank", "node", "cause", "said", "wrong_blame")}
    waited = sorted(result["seconds"] for result in results if result["seconds"] is not None)
    print(f"injected: {len(results)} faults; right rank {right['rank']}, node {right['node']}, cause {right['cause']}, words {right['said']}; "
          f"wrong blame {right['wrong_blame']}; seconds from the end to the verdict: median {waited[len(waited) // 2]:.1f}, most {waited[-1]:.1f}"
          if waited else f"injected: {json.dumps(right)}")
    good = right["rank"] == right["node"] == len(results) and not right["wrong_blame"] and not any(result["left"] for result in results)
    print("ok" if good else "MISSED: every rank right, nobody innocent blamed and nothing left running is wanted")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
