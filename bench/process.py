"""Whole processes: timed, their memory sampled, their failures told."""
from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Iterator, Mapping, Sequence


class RunError(Exception):
    """A way that failed; its text holds the end of its output."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What a process was seen to do.

    Attributes:
        seconds: from its start to its end.
        output: all that it printed.
        processor: seconds that its tree computed, on all cores together.
        peak: largest sum of its tree's memory that was sampled, in bytes; 0 when none was.
        anonymous: the same, without pages of files, which the kernel can drop at any time.
    """

    seconds: float
    output: str
    processor: float = 0.0
    peak: int = 0
    anonymous: int = 0


def run(argv: Sequence[str], log: Path, cwd: Path, environment: Mapping[str, str], sample: float = 0.0) -> Run:
    """Run a program to its end.

    Args:
        argv: the program.
        log: file for its output.
        cwd: folder to run in.
        environment: all of its environment.
        sample: seconds between two looks at its memory; 0 for none (which costs it a little time).

    Raises:
        RunError: when its exit status is not 0.
    """
    with log.open("wb") as stream:
        start = time.perf_counter()
        # In a session of its own: that is how its tree is known, and ended when we are interrupted.
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, cwd=cwd,
                                   env=dict(environment), start_new_session=True)
        try:
            with _sampling(process.pid, sample) as memory:
                # Not process.wait(): the usage of this one tree is wanted as well.
                _, status, used = os.wait4(process.pid, 0)
                seconds = time.perf_counter() - start
                process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    output = log.read_text(encoding="utf-8", errors="replace")
    if process.returncode:
        raise RunError(f"{' '.join(argv)} ended with status {process.returncode}:\n" + "\n".join(output.splitlines()[-25:]))
    return Run(seconds, output, used.ru_utime + used.ru_stime, memory.peak, memory.anonymous)


class _Memory:
    def __init__(self) -> None:
        self.peak = self.anonymous = 0

    def look(self, session: int) -> None:
        """Add one sample over the processes of a session."""
        totals = [memory_of(pid) for pid in members(session)]
        self.peak = max(self.peak, sum(total for total, _ in totals))
        self.anonymous = max(self.anonymous, sum(anonymous for _, anonymous in totals))


@contextlib.contextmanager
def _sampling(session: int, every: float) -> Iterator[_Memory]:
    memory, ended = _Memory(), threading.Event()
    if not every:
        yield memory
        return

    def watch() -> None:
        while not ended.wait(every):
            memory.look(session)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        ended.set()
        thread.join()


def members(session: int) -> list[int]:
    """Process ids of a session, which is its first process and all that it started."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # ended meanwhile
                if session_of(Path(entry.path, "stat").read_text(encoding="utf-8", errors="replace")) == session:
                    found.append(int(entry.name))
    return found


def session_of(stat: str) -> int:
    """The session in a line of /proc/PID/stat. The program's name, in brackets, may hold spaces and brackets."""
    return int(stat.rpartition(")")[2].split()[3])


def memory_of(pid: int) -> tuple[int, int]:
    """Bytes of memory of a process, and those that belong to no file; pages shared by n processes count 1/n (PSS)."""
    try:
        return proportional(Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii"))
    except OSError:  # ended meanwhile
        return 0, 0


def proportional(rollup: str) -> tuple[int, int]:
    """Pss, and Pss_Anon + Pss_Shmem, of a /proc/PID/smaps_rollup, in bytes."""
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in rollup.splitlines())
           if name.startswith("Pss")}
    return 1024 * kib.get("Pss", 0), 1024 * (kib.get("Pss_Anon", 0) + kib.get("Pss_Shmem", 0))
