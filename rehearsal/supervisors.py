"""Real supervisors on addresses of this machine's loopback, with a fake training: for tests and `make bench-run`."""
from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Mapping

from supervise import ask, processes
from supervise import config as config_file

from rehearsal import fake_training

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = ROOT / "roles" / "pretrain" / "files" / "supervise"
HOOKS = ROOT / "roles" / "ascendspeed" / "files"
TOKEN = "0123456789abcdef" * 4
TIMES = {"beat": 0.3, "lost": 30, "orphan": 60, "form": 60, "first": 60, "hang": 60, "dump": 3, "grace": 5, "save": 30, "tail": 60, "backoff": 0.1}


def python() -> str:
    """Python 3.8 where there is one, as on the nodes; else this one."""
    found = [shutil.which("python3.8"), *sorted(Path.home().glob(".pyenv/versions/3.8*/bin/python3.8"))]
    works = (str(path) for path in found if path and subprocess.run([str(path), "-c", ""], check=False, capture_output=True).returncode == 0)
    return next(works, sys.executable)


PYTHON = python()


def until(condition: Callable[[], Any], what: str | Callable[[], str], seconds: float = 120.0) -> Any:
    """Wait for something that comes; generous, as a machine may be busy.

    Raises:
        AssertionError: it did not.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.03)
    raise AssertionError(f"did not come: {what() if callable(what) else what}")


def free_port() -> int:
    """A port that nobody has on any address."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def ignores_sigterm(pid: int | None) -> bool:
    """Whether a process is there and ignores SIGTERM."""
    words = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").split() if pid else []
    return "SigIgn:" in words and bool(int(words[words.index("SigIgn:") + 1], 16) >> (signal.SIGTERM - 1) & 1)


class Cluster:
    """Supervisors n0, n1, … below a folder; `prefix` is 127.x.y. of this process."""

    def __init__(self, folder: Path, nodes: int = 2, ranks: int = 1, times: Mapping[str, float] | None = None,
                 training: Mapping[str, Any] | None = None, **settings: Any) -> None:
        # Unlike that of any other: what bears its mark is killed.
        self.folder, self.run = folder, os.urandom(6).hex()
        self.prefix, self.port = f"127.{1 + os.getpid() % 200}.{1 + os.getpid() // 200 % 250}.", free_port()
        self.names = [f"n{number}" for number in range(nodes)]
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        for number, name in enumerate(self.names):
            run = folder / name
            (run / "supervise").mkdir(parents=True, mode=0o700)
            (run / "ckpt").mkdir()
            (run / "supervise" / "token").write_text(TOKEN)
            (run / "supervise" / "token").chmod(0o600)
            plan = {"node": number, "nodes": nodes, "ranks": ranks, "run_dir": str(run), "hooks": str(HOOKS), "checkpoints": str(run / "ckpt"),
                    "iterations": 8, "seconds": 0.1, "save_every": 1000, "save_seconds": 0, "saves": 0, "kill_after": 1, "faults": [], **(training or {})}
            self.write(name, {
                "version": 1, "run": self.run, "node": name, "nodes": self.names, "address": self.address(name), "hub": self.address("n0"),
                "port": self.port, "master_port": 6000, "token_file": str(run / "supervise" / "token"), "run_dir": str(run), "nproc_per_node": ranks,
                "command": ["/usr/bin/env", f"ASCEND_RUN_DIR={run}", PYTHON, str(fake_training.__file__), json.dumps(plan)],
                "train_iters": plan["iterations"], "tokens_per_iteration": 512, "times": {**TIMES, **(times or {})},
                "checkpoints": {"folder": str(run / "ckpt"), "shards": [fake_training.shard(number)]}, **settings})

    def address(self, name: str) -> str:
        """Of a node."""
        return self.prefix + str(1 + int(name[1:]))

    def config(self, name: str) -> Path:
        """Of a node: its settings."""
        return self.folder / name / "supervise" / "config.json"

    def settings(self, name: str) -> dict[str, Any]:
        """As they are."""
        return dict(json.loads(self.config(name).read_text()))

    def write(self, name: str, settings: Mapping[str, Any]) -> None:
        """Other ones."""
        self.config(name).write_text(json.dumps(settings))

    def change(self, name: str, **settings: Any) -> None:
        """Some other ones."""
        self.write(name, {**self.settings(name), **settings})

    def start(self, *names: str, **environment: str) -> Cluster:
        """Start the supervisors, or some."""
        for name in names or self.names:
            with (self.folder / f"{name}.out").open("ab") as output:
                self.processes[name] = subprocess.Popen([PYTHON, str(PROGRAM), "run", str(self.config(name))], stdout=output, stderr=output,
                                                        env={**os.environ, **environment})
        return self

    def said(self, name: str) -> str:
        """All that a supervisor printed."""
        return (self.folder / f"{name}.out").read_text()

    def ask(self, name: str = "n0", what: str = "status", full: bool = False, after: int | None = None, who: str = "ann") -> dict[str, Any]:
        """As the program asks, without the start of a process."""
        found = config_file.load(str(self.config(name)))
        return asyncio.run(ask.ask(found, found.token(), {"what": what, "full": full, "after": after, "who": who}))

    def command(self, name: str, what: str, *words: str) -> dict[str, Any]:
        """By the program itself."""
        done = subprocess.run([PYTHON, str(PROGRAM), "ask", what, str(self.config(name)), *words], capture_output=True, text=True, check=False)
        return dict(json.loads(done.stdout))

    def until(self, condition: Callable[[dict[str, Any]], Any], name: str = "n0", seconds: float = 120.0) -> dict[str, Any]:
        """Ask until the answer is as wanted."""
        seen: dict[str, Any] = {}

        def look() -> Any:
            seen.clear()
            seen.update(self.ask(name))
            return "error" not in seen and condition(seen)

        until(look, lambda: f"{seen}\n" + "\n".join(self.said(one) for one in self.processes), seconds)
        return dict(seen)

    def training(self, iteration: int = 1) -> dict[str, Any]:
        """Wait until it trains."""
        return self.until(lambda told: told["state"] == "running" and told["training"]["iteration"] >= iteration)

    def end(self, *names: str, seconds: float = 120.0) -> list[int | None]:
        """Wait for the supervisors, or some, to end with nothing left of their jobs; returns their statuses."""
        wanted = names or tuple(self.names)
        until(lambda: all(self.processes[name].poll() is not None for name in wanted),
              lambda: "\n".join(f"{name}: {self.processes[name].poll()}\n{self.said(name)}" for name in wanted), seconds)
        left = {name: self.jobs(name) for name in wanted}
        if any(left.values()):
            raise AssertionError(f"processes are left: {left}")
        return [self.processes[name].returncode for name in wanted]

    def result(self, name: str = "n0") -> dict[str, Any]:
        """What a supervisor wrote at the end."""
        return dict(json.loads((self.folder / name / "supervise" / "result.json").read_text()))

    def jobs(self, name: str) -> list[int]:
        """Living processes of a node's job."""
        return processes.marked(f"SUPERVISE_JOB={self.run}/{name}")

    def ranks(self, name: str) -> dict[int, int]:
        """Rank to pid."""
        return {int(path.stem[4:]): int(path.read_text()) for path in (self.folder / name / "stacks").glob("rank*.pid")}

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a supervisor a signal."""
        self.processes[name].send_signal(number)

    def close(self) -> None:
        """Kill all that is left."""
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
        for name in self.names:
            for pid in self.jobs(name):
                processes.send(pid, signal.SIGKILL)
