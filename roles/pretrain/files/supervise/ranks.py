"""The ranks on this node: those that the hook `failures` registered, when they began, and the first one that failed."""
from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import signal
from typing import Any

from supervise import processes
from supervise.stacks import main_thread, registered

_FRAMES = 12
_SUMMARY = re.compile(r"rank +: (\d+) \(local_rank: (\d+)\)\s+exitcode +: (-?\d+)")
_SUMMARY_BYTES = 64 * 1024


def signal_name(number: int) -> str:
    """SIGKILL for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def started(folder: str, expected: int) -> dict[str, Any] | None:
    """Seconds since the first and the last rank of this node began; None while some have not registered."""
    pids = registered(folder)
    found = [one for one in map(processes.stat, pids.values()) if one]
    if len(found) < expected:
        return None
    ages = [processes.age(one.started) for one in found]
    return {"of": "ranks", "first": max(ages), "last": min(ages)}


def records(folder: str) -> list[dict[str, Any]]:
    """What the hook wrote of ranks that raised or left, the earliest first."""
    found = []
    for path in glob.glob(os.path.join(glob.escape(folder), "failures", "rank*.json")):
        with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
            record = json.load(file)
            if isinstance(record, dict):
                found.append(record)
    return sorted(found, key=lambda one: float(one.get("time", 0)))


def failed(folder: str, known: dict[int, int]) -> dict[str, Any] | None:
    """The first rank of this node that failed: its global number and the reason; None while all is well.

    Args:
        folder: of the run.
        known: rank to pid, of those that have registered; kept by the caller, as a zombie has no environment to know it by.
    """
    known.update(registered(folder))
    said = records(folder)
    recorded = {record.get("rank") for record in said}
    looked = {rank: processes.stat(pid) for rank, pid in sorted(known.items())}
    wordless = {rank: f"rank {rank} (pid {known[rank]})" for rank, found in looked.items() if found is None and rank not in recorded}
    killed: list[dict[str, Any]] = []
    terminated = False
    for rank, found in looked.items():
        if not found or found.state != "Z" or not os.WIFSIGNALED(found.status):
            continue
        number = os.WTERMSIG(found.status)
        reason = f"rank {rank} (pid {known[rank]}) was killed by {signal_name(number)}"
        if number == signal.SIGTERM:
            # torchrun's, after it saw a failure; or somebody's, of which torchrun tells when it looks.
            terminated = True
        elif number == signal.SIGKILL and wordless:
            # By somebody, or by torchrun, for not ending on SIGTERM.
            killed.append({"rank": None, "reason": f"{reason}, after {', '.join(wordless.values())} had ended without a word"})
        else:
            killed.append({"rank": rank, "reason": reason})
    raised = []
    for record in said:
        if record.get("status"):
            where = f" at {record['where']}" if record.get("where") else ""
            words = f"{record.get('type', '')}: {record.get('message', '')}".strip(": ")
            raised.append({"rank": record.get("rank"), "reason": f"rank {record.get('rank')} (local {record.get('local_rank')}) failed: {words[:300]}{where}"})
    # No peer kills a rank, but a killed one lets its peers fail.
    first = killed + raised
    if not first and terminated and len(wordless) == 1:
        # torchrun waited for it before anybody saw how it ended.
        rank, name = next(iter(wordless.items()))
        return {"rank": rank, "reason": f"{name} ended without a word (killed?), and torchrun stopped the others"}
    return first[0] if first else None


def torchrun_says(folder: str) -> dict[str, Any] | None:
    """The rank that torchrun saw failing first, by the end of the log; None where it tells of none."""
    try:
        with open(os.path.join(folder, "train.log"), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _SUMMARY_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return None
    found = _SUMMARY.search(text.rpartition("Root Cause (first observed failure)")[2])
    if not found:
        return None
    rank, local, status = (int(word) for word in found.groups())
    how = f"was killed by {signal_name(-status)}" if status < 0 else f"ended with status {status}"
    return {"rank": rank, "reason": f"rank {rank} (local {local}) {how}"}


def main_threads(stacks: dict[int, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Stacks as `stacks.ask` returns them, cut to what tells where a rank stands: the innermost frames of its main thread."""
    cut = {}
    for rank, one in stacks.items():
        frames = main_thread(one["stack"])[:_FRAMES]
        lines = [f'  File "{file}", line {line} in {function}' for file, line, function in frames]
        cut[str(rank)] = {"state": one["state"], "stack": "\n".join(["Thread 0x0 (most recent call first):", *lines]) if frames else ""}
    return cut


def last_words(folder: str, stderr: str) -> str:
    """Why the launch script says that it failed: of its file `result`, else its last line."""
    with contextlib.suppress(OSError), open(os.path.join(folder, "result"), encoding="utf-8", errors="replace") as file:
        found = dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
        if found.get("reason"):
            return found["reason"][:400]
    with contextlib.suppress(OSError), open(stderr, "rb") as raw:
        raw.seek(max(0, os.fstat(raw.fileno()).st_size - 4096))
        lines = raw.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:400] if lines else ""
    return ""
