"""Processes: our children, all below us in whatever session, those of a mark, and who holds NPUs. Linux's /proc, without root."""
from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import re
import signal
import subprocess
from typing import Any, Iterator, Mapping, NamedTuple, Sequence

_PR_SET_CHILD_SUBREAPER = 36
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
    except OSError:
        return None
    return Stat(words[0], int(words[1]), int(words[19]), int(words[49]) if len(words) > 49 else 0)


def age(started: int) -> float:
    """Seconds since a moment of `Stat.started`."""
    with open("/proc/uptime", encoding="ascii") as file:
        return float(file.read().split()[0]) - started / os.sysconf("SC_CLK_TCK")


def pids() -> Iterator[int]:
    """All processes there are."""
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def descendants() -> list[int]:
    """All living processes below this one; being their subreaper it has those whose parents are dead, too."""
    children: dict[int, list[int]] = {}
    for pid in pids():
        found = stat(pid)
        if found:
            children.setdefault(found.parent, []).append(pid)
    below, wave = [], [os.getpid()]
    while wave:
        wave = [child for pid in wave for child in children.get(pid, [])]
        below += wave
    return [pid for pid in below if lives(pid)]


def lives(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    found = stat(pid)
    return found is not None and found.state not in "ZX"


def marked(mark: str) -> list[int]:
    """Living processes, other than this one, whose environment began with NAME=VALUE."""
    found = []
    for pid in pids():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
            if mark.encode() in file.read().split(b"\0") and pid != os.getpid() and lives(pid):
                found.append(pid)
    return found


def holders(devices: str = DEVICES) -> list[tuple[int, str]]:
    """(pid, device) of the processes, as far as we may look, that hold an NPU open."""
    pattern, found = re.compile(re.escape(devices) + r"\d+$"), []
    for pid in pids():
        with contextlib.suppress(OSError):
            for number in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    target = os.readlink(f"/proc/{pid}/fd/{number}")
                    if pattern.match(target):
                        found.append((pid, target))
                        break
    return found


def name(pid: int) -> str:
    """Command of a process, for people."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()[:80] or "?"
    return "?"


def send(pid: int, number: int) -> None:
    """Send a signal to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


class Children:
    """All children of this process are started and waited for here, so that those which it adopts can be waited for as well."""

    def __init__(self) -> None:
        self._ended: dict[int, tuple[subprocess.Popen[bytes], asyncio.Future[int]]] = {}
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        asyncio.get_event_loop().add_signal_handler(signal.SIGCHLD, self._reap)

    def start(self, words: Sequence[str], environment: Mapping[str, str] | None = None, stdin: Any = subprocess.DEVNULL, stdout: Any = None,
              stderr: Any = None) -> tuple[int, asyncio.Future[int]]:
        """Start a program in a session of its own: its pid, and its status to come (negative: by a signal).

        Raises:
            OSError: it cannot be started.
        """
        process = subprocess.Popen(words, env=environment, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True)
        ended: asyncio.Future[int] = asyncio.get_event_loop().create_future()
        self._ended[process.pid] = process, ended
        return process.pid, ended

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                if pid in self._ended:
                    process, ended = self._ended.pop(pid)
                    process.returncode = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
                    if not ended.done():
                        ended.set_result(process.returncode)

    async def run(self, words: Sequence[str], seconds: float, given: bytes = b"") -> tuple[int, str]:
        """Run a short program: its status (124: it took too long) and the last line that it said."""
        import tempfile

        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as output:
            stdin.write(given)
            stdin.seek(0)
            try:
                pid, ended = self.start(words, None, stdin, output, output)
            except OSError as error:
                return 127, f"{words[0]}: {error.strerror}"
            try:
                status = await asyncio.wait_for(ended, seconds)
            except asyncio.TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                return 124, f"not done after {seconds:g} s"
            output.seek(0)
            lines = output.read()[-4096:].decode("utf-8", "replace").strip().splitlines()
        return status, lines[-1][:400] if lines else ""


async def sweep(mark: str, seconds: float = 10.0) -> list[str]:
    """Kill all below us and all with a mark; what SIGKILL did not end, in words."""
    deadline = asyncio.get_event_loop().time() + seconds
    while True:
        left = sorted({*descendants(), *marked(mark)})
        for pid in left:
            send(pid, signal.SIGKILL)
        if not left:
            return []
        if asyncio.get_event_loop().time() > deadline:
            states = {pid: stat(pid) for pid in left}
            return [f"{pid} ({name(pid)}, state {found.state})" for pid, found in states.items() if found]
        await asyncio.sleep(0.05)
