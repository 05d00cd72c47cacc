"""What is left of a training on a node: processes of its runs, and who holds an NPU.

Runs on the nodes: Python 3.8. A process of a run is known by its environment, which torchrun and all below it inherit.
"""
from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import time
from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _processes

#: seconds that SIGKILL may take
KILLED = 10.0


def words(pid: int) -> str:
    """Process, user and command, for people."""
    user = "?"
    with contextlib.suppress(OSError):
        uid = os.stat(f"/proc/{pid}").st_uid
        user = str(uid)
        with contextlib.suppress(KeyError):
            user = pwd.getpwuid(uid).pw_name
    return f"{pid} ({user}: {_processes.command(pid)})"


def of_runs(run_dir: str) -> list[int]:
    """Living processes, of those that the caller may look at, that belong to a run of this folder."""
    return _processes.of_environment(lambda one: one.startswith(f"ASCEND_RUN_DIR={run_dir.rstrip('/')}/"))


def _send(number: int, some: list[int]) -> None:
    for pid in some:
        _processes.send(pid, number)


def end(run_dir: str, grace: float, killed: float = KILLED) -> dict[str, Any]:
    """End the caller's processes of the runs: SIGTERM, and after `grace` seconds SIGKILL. ``ended`` and ``left``, in words."""
    there = {pid: words(pid) for pid in of_runs(run_dir)}
    left = list(there)
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, killed)):
        deadline = time.monotonic() + seconds
        _send(number, left)
        while left and time.monotonic() < deadline:
            time.sleep(0.1)
            left = of_runs(run_dir)
            # What was started meanwhile, by a script that goes on.
            _send(number, [pid for pid in left if pid not in there])
            there.update({pid: words(pid) for pid in left if pid not in there})
    return {"ended": [said for pid, said in there.items() if pid not in left], "left": [there[pid] for pid in left]}


def verdict(run_dir: str) -> str:
    """How the latest run ended by its supervisor's word, "" where it has none."""
    with contextlib.suppress(OSError, ValueError), open(os.path.join(run_dir, "current", "supervise", "result.json"), encoding="utf-8") as file:
        data = json.load(file)
        return str(data.get("verdict") or "") if isinstance(data, dict) else ""
    return ""
