"""What is left of a training on a node: processes of its runs, and who holds an NPU.

Runs on the nodes: Python 3.8. A process of a run is known by its environment, which torchrun and all below it inherit.
"""
from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import signal
import time
from typing import Any, Iterator

DEVICES = "/dev/davinci"
#: seconds that SIGKILL may take
KILLED = 10.0


def pids() -> Iterator[int]:
    """All processes there are."""
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False


def words(pid: int) -> str:
    """Process, user and command, for people."""
    command, user = "?", "?"
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            command = file.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()[:80] or "?"
        uid = os.stat(f"/proc/{pid}").st_uid
        user = str(uid)
        with contextlib.suppress(KeyError):
            user = pwd.getpwuid(uid).pw_name
    return f"{pid} ({user}: {command})"


def of_runs(run_dir: str) -> list[int]:
    """Living processes, of those that the caller may look at, that belong to a run of this folder."""
    marks, found = (f"ASCEND_RUN_DIR={run_dir.rstrip('/')}/".encode(), b"SUPERVISE_JOB="), []
    for pid in pids():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
            if any(one.startswith(marks) for one in file.read().split(b"\0")) and pid != os.getpid() and _lives(pid):
                found.append(pid)
    return sorted(found)


def _send(number: int, some: list[int]) -> None:
    for pid in some:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


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


def holders(devices: str = DEVICES) -> list[tuple[int, str]]:
    """(pid, device) of the processes that hold an NPU open."""
    pattern, found = re.compile(re.escape(devices) + r"\d+$"), []
    for pid in pids():
        with contextlib.suppress(OSError):
            held = set()
            for number in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    held.add(os.readlink(f"/proc/{pid}/fd/{number}"))
            found += [(pid, device) for device in sorted(held) if pattern.match(device)]
    return sorted(found)


def verdict(run_dir: str) -> str:
    """How the latest run ended by its supervisor's word, "" where it has none."""
    with contextlib.suppress(OSError, ValueError), open(os.path.join(run_dir, "current", "supervise", "result.json"), encoding="utf-8") as file:
        data = json.load(file)
        return str(data.get("verdict") or "") if isinstance(data, dict) else ""
    return ""
