"""The runs in a node's folder of runs, by the files that their supervisors left. Runs on the node, as the training user: Python 3.8."""
from __future__ import annotations

import contextlib
import json
import os
from typing import Any, Mapping

from . import _ask

ENDS: Mapping[Any, str] = {0: "succeeded", 1: "failed", 3: "stopped"}


def read(path: str) -> dict[str, Any]:
    """An object of JSON; {} where there is none that can be read."""
    with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
        data = json.load(file)
        return data if isinstance(data, dict) else {}
    return {}


def moment(path: str) -> float | None:
    """When a file was written, seconds since 1970."""
    try:
        return os.stat(path).st_mtime
    except OSError:
        return None


def launcher_result(folder: str) -> dict[str, str]:
    """How the launch script of this node ended: the key=value lines that it left, {} where there are none."""
    try:
        with open(os.path.join(folder, "result"), encoding="utf-8", errors="replace") as file:
            return dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
    except OSError:
        return {}


def told(run: str, folder: str, status: Mapping[str, Any]) -> dict[str, Any]:
    """What a list of runs tells of one, by its status, or where there is none by what else lies there."""
    training = status.get("training") or {}
    first = training.get("first") or {}
    # The token is new for each launch.
    began = moment(os.path.join(folder, "supervise", "token"))
    if not status:
        by_script = launcher_result(folder)
        last = by_script.get("last_iteration", "")
        return {"run": run, "state": by_script.get("status", "unknown"), "iteration": int(last) if last.isdigit() else None, "total": None, "first_loss": None,
                "loss": None, "began": began or moment(os.path.join(folder, "ranks")), "ended": moment(os.path.join(folder, "result")), "restarts": None,
                "generation": None, "culprit": None}
    done = status.get("state") == "done"
    return {"run": run, "state": ENDS.get(status.get("code"), "unknown") if done else status.get("state"), "iteration": training.get("iteration"),
            "total": training.get("total"), "first_loss": first.get("loss"), "loss": training.get("loss"), "began": began,
            "ended": status.get("time") if done else None, "restarts": status.get("restarts"), "generation": status.get("generation"),
            "culprit": status.get("culprit")}


def runs(python: str, program: str, run_dir: str) -> list[dict[str, Any]]:
    """Every run, the current one by its supervisors where they answer."""
    current = _ask.run_of(run_dir, None)
    found = []
    try:
        names = sorted(os.listdir(run_dir))
    except OSError:
        names = []
    for name in names:
        folder = os.path.join(run_dir, name)
        # A run's script lies there from its launch on; links, locks and what somebody put there are none.
        if os.path.islink(folder) or not os.path.exists(os.path.join(folder, "pretrain_mixtral.sh")):
            continue
        status = read(os.path.join(folder, "supervise", "result.json"))
        if not status and name == current:
            status = _ask.once(python, program, os.path.join(folder, "supervise", "config.json"), [])["status"]
        found.append({**told(name, folder, status), "current": name == current})
    return found
