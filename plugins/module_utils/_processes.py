"""Processes of this machine: their states, those of a mark, and who holds NPUs. Linux's /proc; without root only what the caller may look at.

Runs on the nodes, in modules and in the supervisor of a run: Python 3.8, standard library only.
"""
from __future__ import annotations

import contextlib
import glob
import os
import re
import stat as mode
from typing import Callable, Iterator, NamedTuple

DEVICES = "/dev/davinci"


class Stat(NamedTuple):
    """Of /proc/PID/stat."""

    state: str
    parent: int
    #: clock ticks since the machine's start
    started: int
    #: as wait() has it; of a zombie alone
    status: int


def stat(pid: int) -> Stat | None:
    """State of a process; None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            words = file.read().rpartition(")")[2].split()
        return Stat(words[0], int(words[1]), int(words[19]), int(words[49]) if len(words) > 49 else 0)
    except (OSError, IndexError):
        return None


def age(started: int) -> float:
    """Seconds since a moment of `Stat.started`."""
    with open("/proc/uptime", encoding="ascii") as file:
        return float(file.read().split()[0]) - started / os.sysconf("SC_CLK_TCK")


def pids() -> Iterator[int]:
    """All processes there are."""
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def lives(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    found = stat(pid)
    return found is not None and found.state not in "ZX"


def of_environment(is_one: Callable[[str], bool]) -> list[int]:
    """Living processes, other than this one, whose environment began with a NAME=VALUE of which `is_one` is true; in order."""
    found = []
    for pid in pids():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
            if any(is_one(os.fsdecode(one)) for one in file.read().split(b"\0")) and pid != os.getpid() and lives(pid):
                found.append(pid)
    return sorted(found)


def marked(mark: str) -> list[int]:
    """Those with just this NAME=VALUE."""
    return of_environment(mark.__eq__)


def _identity(path: str) -> tuple[int, ...]:
    # A file stands for a device in the rehearsal.
    one = os.stat(path)
    return (one.st_rdev,) if mode.S_ISCHR(one.st_mode) else (one.st_dev, one.st_ino)


def holders(devices: str = DEVICES) -> list[tuple[int, str]]:
    """(pid, device) of the processes that hold an NPU of this machine open, in containers too, each device once; in order."""
    pattern, found = re.compile(re.escape(devices) + r"\d+$"), set()
    # The path that a process tells is the one in its container, where it may be another device's.
    here = {_identity(path): path for path in glob.glob(glob.escape(devices) + "[0-9]*") if pattern.match(path)}
    for pid in pids() if here else ():
        with contextlib.suppress(OSError):
            for number in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    target = os.readlink(f"/proc/{pid}/fd/{number}")
                    device = here.get(_identity(f"/proc/{pid}/fd/{number}")) if pattern.match(target) else None
                    if device:
                        found.add((pid, device))
    return sorted(found)


def command(pid: int) -> str:
    """Command of a process, for people."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()[:80] or "?"
    return "?"


def send(pid: int, number: int) -> None:
    """Send a signal to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
