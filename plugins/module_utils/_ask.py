"""Ask the supervisors of a run how it stands, on one of its nodes and as the training user. Runs on the nodes: Python 3.8."""
from __future__ import annotations

import json
import os
import subprocess
import time
from typing import Any, Mapping, Sequence

#: seconds between two questions while there is no news: a supervisor's beat
BETWEEN = 2.0
#: seconds that one question may take: the program gives the hub and the node's own supervisor 5 s each for every step
PATIENCE = 60.0


def run_of(run_dir: str, run_id: str | None) -> str:
    """The run that is asked for, else the one that the link `current` names, "" where there is none."""
    if run_id:
        return run_id
    try:
        return os.path.basename(os.readlink(os.path.join(run_dir, "current")))
    except OSError:
        return ""


def once(python: str, program: str, config: str, words: Sequence[str]) -> dict[str, Any]:
    """``status`` and ``error`` of one question."""
    try:
        done = subprocess.run([python, program, "ask", "status", config, *words], capture_output=True, timeout=PATIENCE, check=False)
    except OSError as error:
        return {"status": {}, "error": f"{python} cannot be run: {error.strerror}: site.yml installs it (cluster_python)"}
    except subprocess.TimeoutExpired:
        return {"status": {}, "error": f"{program} gave no answer within {PATIENCE:.0f} s"}
    try:
        answer = json.loads(done.stdout.decode("utf-8", "replace"))
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it said nothing"]
        return {"status": {}, "error": f"{program} ask status {config} ended with status {done.returncode}: {last[0][:400]}"}
    return {"status": {}, "error": str(answer["error"])} if "error" in answer else {"status": answer, "error": ""}


def is_news(status: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Whether an answer tells more than who asks knows already."""
    return bool(status.get("lines")) or status.get("state") == "done" or any(status.get(name) != value for name, value in known.items())


def ask(python: str, program: str, run_dir: str, run_id: str | None, words: Sequence[str], known: Mapping[str, Any], wait: float) -> dict[str, Any]:
    """``run_id``, ``status``, ``error``, and ``absent`` where there is no such run; answers at once where nobody can tell, or nothing is known yet."""
    run = run_of(run_dir, run_id)
    config = os.path.join(run_dir, run, "supervise", "config.json")
    if not run:
        return {"run_id": "", "status": {}, "absent": True, "error": f"there is no run on this node: no link {run_dir}/current. site.yml launches one"}
    if not os.path.exists(config):
        return {"run_id": run, "status": {}, "absent": True,
                "error": f"run {run} has no {config} on this node: list_training.yml names the runs that there are"}
    deadline = time.monotonic() + wait
    while True:
        answer = once(python, program, config, words)
        if answer["error"] or not known or is_news(answer["status"], known) or time.monotonic() + BETWEEN > deadline:
            return {"run_id": run, **answer}
        time.sleep(BETWEEN)
