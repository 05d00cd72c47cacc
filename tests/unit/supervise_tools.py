"""Supervisors in tests: settings, and a coordinator with members that are played."""
from __future__ import annotations

from supervise.config import Config, Times
from supervise.coordinator import Coordinator
from supervise.nodes import checked


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
