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
    #: in words, and when it was started
    there: dict[int, tuple[str, int]] = {}

    def started(pid: int) -> int:
        found = _processes.stat(pid)
        return found.started if found else -1

    def new() -> list[int]:
        """Who is seen for the first time: what was there, and what a script that goes on has started meanwhile."""
        some = [pid for pid in of_runs(run_dir) if pid not in there]
        there.update({pid: (words(pid), started(pid)) for pid in some})
        return some

    def living() -> list[int]:
        """Those seen that have not ended, by their ids: one that is ending has no environment any more, and still holds its NPU."""
        return [pid for pid, (_, since) in there.items() if _processes.lives(pid) and started(pid) == since]

    left = new()
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, killed)):
        deadline = time.monotonic() + seconds
        _send(number, left)
        while left and time.monotonic() < deadline:
            time.sleep(0.1)
            _send(number, new())
            left = living()
    return {"ended": [said for pid, (said, _) in there.items() if pid not in left], "left": [there[pid][0] for pid in left]}


def verdict(run_dir: str) -> str:
    """How the latest run ended by its supervisor's word, "" where it has none."""
    with contextlib.suppress(OSError, ValueError), open(os.path.join(run_dir, "current", "supervise", "result.json"), encoding="utf-8") as file:
        data = json.load(file)
        return str(data.get("verdict") or "") if isinstance(data, dict) else ""
    return ""
