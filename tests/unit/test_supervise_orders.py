"""The coordinator under any order of events: what must never be, and what must come in the end.

The members are played: each has a queue of views that it has not read yet and one of reports that are under way, jobs that start, end and die, and
supervisors that are killed and come back. Time passes between any two of these.
"""
from __future__ import annotations

import json

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from supervise.coordinator import Coordinator
from supervise.nodes import AT_REST, checked

from tests.unit.supervise_tools import config

NAMES = ("n0", "n1", "n2")
MOST = 2
# Short ones: between two looks of the coordinator at most 2 s may pass, else it takes them for its own gap.
TIMES = {"lost": 4, "orphan": 8, "form": 30, "first": 40, "hang": 20, "dump": 2, "grace": 5, "save": 20, "tail": 6, "backoff": 1}


class Member:
    """A supervisor as docs/run.md has it, without its I/O."""

    def __init__(self, name, life):
        self.name, self.life = name, f"{name}.{life}"
        self.generation, self.phase, self.seen, self.epoch, self.rc, self.failed = -1, "preparing", 0, "", None, None
        self.job, self.job_epoch = None, ""  # generation of the job that lives
        self.views, self.reports, self.here, self.leaving = [], [], True, None

    def report(self, whole):
        return {"generation": self.generation, "phase": self.phase, "seen": self.seen, "epoch": self.epoch, "rc": self.rc, "failed": self.failed,
                "leaving": self.leaving, "whole": sorted(whole)}

    def obey(self, view):
        """Returns whether it started a job."""
        self.seen, self.epoch = view["v"], view["epoch"]
        if self.job is not None:
            if (view["generation"], view["epoch"]) != (self.job, self.job_epoch) or view["phase"] not in ("running", "dumping"):
                self.phase = "stopping"
        elif self.leaving:
            pass
        elif view["phase"] == "forming" and view["generation"] != self.generation:
            self.generation, self.phase, self.rc, self.failed = view["generation"], "preparing", None, None
        elif view["phase"] == "running" and view["generation"] == self.generation and self.phase == "ready":
            self.phase, self.job, self.job_epoch = "running", view["generation"], view["epoch"]
            return True
        return False


class Orders(RuleBasedStateMachine):
    """All that may happen."""

    @initialize(stops=st.booleans(), runs=st.integers(0, 4), late=st.sampled_from([None, *NAMES]), leaves=st.sampled_from([None, *NAMES]))
    def begin(self, stops, runs, late, leaves):
        self.time, self.life, self.epochs = 0.0, 0, 1
        self.config = config(max_restarts=MOST, stop_saves=stops, times=TIMES)
        self.c = Coordinator(self.config, lambda: self.time, "e1", {})
        self.members = {name: Member(name, 0) for name in NAMES}
        self.sent, self.stop_asked, self.top = 0, False, 0
        self.whole = {name: set() for name in NAMES}
        self.runs_with = None  # the generation that runs
        #: restarts since the coordinator heard of a new checkpoint
        self.idle, self.seen_restarts, self.seen_best = 0, 0, 0
        self.were_ready = set()
        self.publish()
        if runs:
            self.settle(3, [name for name in NAMES if name != late])
        if leaves and leaves != late:
            self.machine_shuts_down(leaves)
            self.hub_reads(leaves)
            self.settle(1, [name for name in NAMES if name != leaves])

    # the network

    def publish(self):
        """What the hub does after each event: the state on disk, then the view to all who are connected."""
        kept = self.c.kept()
        self.disk = json.dumps(kept)
        if self.c.best > self.seen_best:
            self.idle, self.seen_best = 0, self.c.best
        if self.c.restarts > self.seen_restarts:
            self.idle, self.seen_restarts = self.idle + 1, self.c.restarts
        if self.c.phase == "running" and self.c.generation != self.runs_with:
            self.runs_with = self.c.generation
            assert not [name for name in NAMES if self.c.nodes.reports[name]["leaving"]], "started with one that had said that it leaves"
        if self.c.version != self.sent:
            self.sent = self.c.version
            for member in self.members.values():
                if member.here:
                    member.views.append(self.c.view())

    @rule(name=st.sampled_from(NAMES))
    def beat(self, name):
        member = self.members[name]
        if member.here:
            member.reports.append(member.report(self.whole[name]))

    @rule(name=st.sampled_from(NAMES))
    def hub_reads(self, name):
        member = self.members[name]
        if member.reports and member.here:
            self.c.report(name, member.life, checked(member.reports.pop(0)))
            member.views.append(self.c.view())
            self.publish()

    @rule(name=st.sampled_from(NAMES))
    def member_reads(self, name):
        member = self.members[name]
        if not member.views or not member.here:
            return
        if member.obey(member.views.pop(0)):
            assert {(one, member.job) for one in NAMES} <= self.were_ready, "started before all were ready"
        member.reports.append(member.report(self.whole[name]))

    @rule(name=st.sampled_from(NAMES))
    def becomes_ready(self, name):
        member = self.members[name]
        if member.phase == "preparing" and member.generation >= 0 and not member.leaving:
            self.gets_ready(member)
            self.beat(name)

    def gets_ready(self, member):
        member.phase = "ready"
        self.were_ready.add((member.name, member.generation))

    @rule(name=st.sampled_from(NAMES), how=st.sampled_from(["0", "1", "rank"]))
    def job_ends(self, name, how):
        member = self.members[name]
        if member.job is None:
            return
        if how == "rank" and member.phase == "running":
            member.failed = {"rank": int(name[1]), "reason": "failed"}
        else:
            member.job, member.rc = None, int(how == "1")
            member.phase = "stopped" if member.phase == "stopping" else "exited"
        self.beat(name)

    @rule(name=st.sampled_from(NAMES))
    def connection_breaks(self, name):
        member = self.members[name]
        member.views, member.reports = [], []
        self.c.gone(name, member.life)
        self.publish()

    @rule(name=st.sampled_from(NAMES))
    def hangs_up_to_call_again(self, name):
        """It says so, and is no supervisor that died."""
        self.members[name].views, self.members[name].reports = [], []

    @rule(name=st.sampled_from(NAMES))
    def machine_shuts_down(self, name):
        """Its supervisor says that it leaves, and ends its job."""
        member = self.members[name]
        if not member.here or member.leaving:
            return
        member.leaving, member.phase = "its machine shuts down", "preparing" if member.job is None else "stopping"
        self.beat(name)

    @rule(name=st.sampled_from(NAMES))
    def machine_dies(self, name):
        member = self.members[name]
        member.job, member.here = None, False
        member.views, member.reports = [], []

    @rule(name=st.sampled_from(NAMES))
    def supervisor_comes_back(self, name):
        self.life += 1
        before = self.members[name]
        if before.here:
            self.c.gone(name, before.life)
        self.members[name] = Member(name, self.life)  # whose first deed is to end what is left of the job
        self.beat(name)
        self.members[name].views.append(self.c.view())
        self.publish()

    @rule(name=st.sampled_from(NAMES), more=st.integers(1, 2))
    def saves(self, name, more):
        if self.members[name].job is not None:
            self.whole[name].add(max(self.whole[name], default=0) + more)

    @rule(seconds=st.sampled_from([0.05, 1.0, 1.9]))
    def ticks(self, seconds):
        self.time += seconds
        self.c.tick()
        self.publish()

    @rule(seconds=st.sampled_from([3, 10, 45]), silent=st.sets(st.sampled_from(NAMES), max_size=2))
    def time_passes(self, seconds, silent):
        """Everybody but a few beats on."""
        end = self.time + seconds
        while self.time < end:
            self.time += 1.5
            for name in NAMES:
                if name not in silent and self.members[name].here:
                    self.c.report(name, self.members[name].life, checked(self.members[name].report(self.whole[name])))
            self.c.tick()
            self.publish()
        for name in silent:  # long gone from the hub: it stops itself
            member = self.members[name]
            if seconds > self.config.times.orphan and member.job is not None:
                member.job, member.phase, member.rc = None, "stopped", 1

    @rule()
    def freezes(self):
        self.time += 500
        self.publish()

    @precondition(lambda self: self.epochs < 4)
    @rule()
    def hub_dies_and_comes_back(self):
        self.epochs += 1
        self.c = Coordinator(self.config, lambda: self.time, f"e{self.epochs}", json.loads(self.disk))
        self.sent = 0
        for member in self.members.values():
            member.reports = []
        self.publish()

    @rule(sure=st.integers(0, 5))
    def stop(self, sure):
        if sure:
            return
        if self.c.phase != "done":
            self.stop_asked = True
        self.c.stop("ann")
        self.publish()

    # what must never be

    @invariant()
    def never_two_generations_at_once(self):
        if hasattr(self, "members"):
            assert len({member.job for member in self.members.values() if member.job is not None}) <= 1

    @invariant()
    def no_more_restarts_than_allowed(self):
        if hasattr(self, "members"):
            assert self.idle <= MOST + 1
            assert self.c.strikes <= MOST + 1

    @invariant()
    def one_culprit_and_each_node_once(self):
        if not hasattr(self, "members"):
            return
        noted = [(one["generation"], one["node"]) for one in self.c.order if one["node"]]
        hangs = [(one["generation"], one["node"]) for one in self.c.order if "no iteration" in one["reason"]]
        assert len(set(noted)) + len(hangs) >= len(noted)
        if self.c.culprit:
            assert self.c.culprit in self.c.order

    @invariant()
    def the_generation_only_rises(self):
        if hasattr(self, "members"):
            assert self.c.generation >= self.top
            self.top = self.c.generation

    # what must come

    def settle(self, rounds, names=NAMES):
        """The network works, everybody obeys and stops when asked."""
        for _ in range(rounds):
            for name in names:
                member = self.members[name]
                member.views.append(self.c.view())
                while member.views:
                    self.member_reads(name)
                if member.phase == "preparing" and member.generation >= 0 and not member.leaving:
                    self.gets_ready(member)
                if member.phase == "stopping":
                    member.job, member.phase, member.rc = None, "stopped", -15
                member.reports = [member.report(self.whole[name])]
                self.hub_reads(name)
            self.time += 1.0
            self.c.tick()
            self.publish()

    @rule(rounds=st.integers(1, 5), but=st.sets(st.sampled_from(NAMES), max_size=1))
    def all_goes_well_for_a_while(self, rounds, but):
        names = [name for name in NAMES if name not in but]
        for name in names:
            if not self.members[name].here or self.members[name].leaving:
                self.supervisor_comes_back(name)
        self.settle(rounds, names)

    def teardown(self):
        """The network works again: the run ends, by a stop where one was asked for, and nothing lives after it."""
        if not hasattr(self, "members"):
            return
        self.stop(0)
        for name in NAMES:
            if not self.members[name].here or self.members[name].leaving:
                self.supervisor_comes_back(name)
        for _ in range(30):
            self.settle(4)
            if self.c.phase == "done":
                break
        self.settle(2)
        assert self.c.phase == "done"
        assert not self.stop_asked or self.c.code == 3
        assert all(member.job is None and member.phase in AT_REST for member in self.members.values())


Orders.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None, derandomize=True)
TestOrders = Orders.TestCase
