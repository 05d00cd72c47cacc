"""Supervisors in tests: settings, a coordinator with members that are played, and real ones on this machine."""
from __future__ import annotations

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

from supervise import processes
from supervise.config import Config, Times
from supervise.coordinator import Coordinator
from supervise.nodes import checked

from rehearsal import fake_training

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "roles" / "pretrain" / "files" / "supervise"
HOOKS = ROOT / "roles" / "ascendspeed" / "files"
TOKEN = "0123456789abcdef" * 4


def config(nodes=3, times=None, **settings):
    names = tuple(f"n{number}" for number in range(nodes))
    return Config(**{"run": "r1", "node": "n0", "nodes": names, "address": "127.0.0.1", "hub": "127.0.0.1", "port": 1, "master_port": 6000,
                     "token_file": "", "run_dir": "/nonexistent", "command": ("true",), "times": Times(**(times or {})), **settings})


class Fleet:
    """A coordinator and what its nodes say; time passes when it is told to."""

    def __init__(self, settings=None, kept=None, epoch="e1", at=1000.0):
        self.config, self.time = settings or config(), at
        self.c = Coordinator(self.config, lambda: self.time, epoch, kept or {})
        self.said = {}

    def wait(self, seconds, beats=True, quiet=(), step=1.0):
        """Let time pass in steps, with everybody's report repeated but for those who are quiet."""
        end = self.time + seconds
        while self.time < end:
            self.time = min(end, self.time + step)
            for name in list(self.said) if beats else []:
                if name not in quiet:
                    self.say(name)
            self.c.tick()

    def say(self, name, incarnation=None, **report):
        """A report, the last one changed; it knows of the view of now unless told otherwise."""
        before = self.said.get(name, {"incarnation": "i1", "generation": -1, "phase": "preparing"})
        now = {**before, "seen": self.c.version, "epoch": self.c.epoch, **report, **({"incarnation": incarnation} if incarnation else {})}
        self.said[name] = {key: value for key, value in now.items() if key not in ("lines", "seen", "epoch")}
        self.c.report(name, now["incarnation"], checked({key: value for key, value in now.items() if key != "incarnation"}))

    def all(self, **report):
        for name in self.config.nodes:
            self.say(name, **report)

    def ready(self, **report):
        """All are ready in the generation of now."""
        self.all(generation=self.c.generation, phase="ready", rc=None, failed=None, reason=None, **report)
        self.c.tick()

    def running(self, **report):
        """… and started."""
        self.ready(**report)
        assert self.c.phase == "running"
        self.all(phase="running")

    def stopped(self):
        """All have stopped."""
        self.all(phase="stopped")
        self.c.tick()

    def line(self, iteration, name=None, ms=1000.0):
        self.say(name or self.config.nodes[-1], iteration=iteration, lines=[[iteration, 100, 6.0, 1.0, ms, 0, 0]])


def python():
    """Python 3.8 where there is one, as on the nodes."""
    found = [shutil.which("python3.8"), *sorted(Path.home().glob(".pyenv/versions/3.8*/bin/python3.8"))]
    works = (str(path) for path in found if path and subprocess.run([str(path), "-c", ""], check=False, capture_output=True).returncode == 0)
    return next(works, sys.executable)


PYTHON = python()


def until(condition, what, seconds=60.0):
    """Wait for something that comes; generous, as a machine may be busy."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.03)
    raise AssertionError(f"did not come: {what() if callable(what) else what}")


def free_address():
    """127.x.y. of this process, and a port that is free on all of its nodes."""
    pid = os.getpid()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.{1 + pid % 200}.{1 + pid // 200 % 250}.", probe.getsockname()[1]


TIMES = {"beat": 0.3, "lost": 2.5, "orphan": 4, "form": 30, "first": 30, "hang": 3, "dump": 3, "grace": 5, "save": 30, "tail": 2, "backoff": 0.1}


class Cluster:
    """Real supervisors on addresses of the loopback, with a fake training."""

    def __init__(self, folder, nodes=2, ranks=1, times=None, training=None, **settings):
        # Unlike that of any other test: what bears its mark is killed.
        self.folder, self.run = folder, os.urandom(6).hex()
        self.prefix, self.port = free_address()
        self.names = [f"n{number}" for number in range(nodes)]
        self.processes = {}
        for number, name in enumerate(self.names):
            run = folder / name
            (run / "supervise").mkdir(parents=True, mode=0o700)
            (run / "ckpt").mkdir()
            (run / "supervise" / "token").write_text(TOKEN)
            (run / "supervise" / "token").chmod(0o600)
            plan = {"node": number, "nodes": nodes, "ranks": ranks, "run_dir": str(run), "hooks": str(HOOKS), "checkpoints": str(run / "ckpt"),
                    "iterations": 8, "seconds": 0.1, "save_every": 1000, "save_seconds": 0, "saves": False, "kill_after": 1, "faults": [], **(training or {})}
            self.write(name, {
                "version": 1, "run": self.run, "node": name, "nodes": self.names, "address": self.address(name), "hub": self.address("n0"), "port": self.port,
                "master_port": 6000, "token_file": str(run / "supervise" / "token"), "run_dir": str(run), "nproc_per_node": ranks,
                "command": ["/usr/bin/env", f"ASCEND_RUN_DIR={run}", PYTHON, fake_training.__file__, json.dumps(plan)],
                "train_iters": plan["iterations"], "tokens_per_iteration": 512, "times": {**TIMES, **(times or {})},
                "checkpoints": {"folder": str(run / "ckpt"), "shards": [fake_training.shard(number)]}, **settings})

    def address(self, name):
        return self.prefix + str(1 + int(name[1:]))

    def config(self, name):
        return self.folder / name / "supervise" / "config.json"

    def write(self, name, settings):
        self.config(name).write_text(json.dumps(settings))

    def change(self, name, **settings):
        self.write(name, {**json.loads(self.config(name).read_text()), **settings})

    def start(self, *names):
        for name in names or self.names:
            with (self.folder / f"{name}.out").open("ab") as output:
                self.processes[name] = subprocess.Popen([PYTHON, str(PROGRAM), "run", str(self.config(name))], stdout=output, stderr=output)
        return self

    def said(self, name):
        return (self.folder / f"{name}.out").read_text()

    def ask(self, name="n0", *words, what="status"):
        done = subprocess.run([PYTHON, str(PROGRAM), "ask", what, str(self.config(name)), *words], capture_output=True, text=True, check=False)
        assert done.returncode in (0, 4), done.stderr
        return json.loads(done.stdout)

    def until(self, condition, name="n0", seconds=60.0, words=()):
        """Ask until the answer is as wanted."""
        seen = {}

        def look():
            seen.clear()
            seen.update(self.ask(name, *words))
            return "error" not in seen and condition(seen)

        until(look, lambda: f"{seen}\n" + "\n".join(self.said(one) for one in self.processes), seconds)
        return dict(seen)

    def training(self, iteration=1):
        """Wait until it trains."""
        return self.until(lambda told: told["state"] == "running" and told["training"]["iteration"] >= iteration)

    def end(self, *names, seconds=60.0):
        """Wait for the supervisors to end; their statuses, and the result that each wrote."""
        names = names or tuple(self.names)
        until(lambda: all(self.processes[name].poll() is not None for name in names),
              lambda: "\n".join(f"{name}: {self.processes[name].poll()}\n{self.said(name)}" for name in names), seconds)
        for name in names:
            assert not self.jobs(name), f"processes are left on {name}"
        return [self.processes[name].returncode for name in names]

    def result(self, name="n0"):
        return json.loads((self.folder / name / "supervise" / "result.json").read_text())

    def jobs(self, name):
        """Living processes of a node's job."""
        return processes.marked(f"SUPERVISE_JOB={self.run}/{name}")

    def ranks(self, name):
        return {int(path.stem[4:]): int(path.read_text()) for path in (self.folder / name / "stacks").glob("rank*.pid")}

    def kill(self, name, number=signal.SIGKILL):
        self.processes[name].send_signal(number)

    def close(self):
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
        for name in self.names:
            for pid in self.jobs(name):
                processes.send(pid, signal.SIGKILL)
