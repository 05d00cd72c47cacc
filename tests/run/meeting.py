"""Real supervisors on the loopback, with a fake training: what needs more than two nodes, injected clocks or strangers; and unit tests that are such cases."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rehearsal.supervisors import Cluster, ignores_sigterm, until
from tests.playing import PROJECT
from tests.run.controller import Missed, expect
from tests.run.table import CASES, Case, Told, case

#: nothing keeps the nodes of a fake training in step: their checkpoints must not be far apart
LONG = {"iterations": 100000, "seconds": 0.2, "save_every": 25}
#: each node's wall clock: the first is hours ahead and jumps every second, the others are an hour off
CLOCK = """
import time
_real, _name = time.time, %r
time.time = lambda: _real() + {"n0": 3600 * (int(_real()) %% 3 + 1), "n1": 3600, "n2": -3600}.get(_name, 0)
"""


def _cluster(stack: ExitStack, nodes: int, **settings: Any) -> Cluster:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="test-run-")))
    made = Cluster(folder, nodes, **{"training": LONG, **settings})
    stack.callback(made.close)
    return made


def _journal(some: Cluster) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (some.folder / "n0/supervise/journal.jsonl").read_text(encoding="utf-8").splitlines()]


def _times(some: Cluster) -> list[float]:
    """Of all events, by the master's wall clock."""
    return [float(one["time"]) for one in _journal(some)]


def _at(some: Cluster, event: str, generation: int) -> float:
    """When the hub noted this, by its clock."""
    def noted() -> list[float]:
        return [float(one["at"]) for one in _journal(some) if one.get("event") == event and one.get("generation") == generation]

    return float(until(noted, f"{event} of generation {generation} in the journal")[0])


def _kill_one(some: Cluster, name: str, told: Told) -> None:
    """A rank of this node is killed: it is named, all stop, and start again."""
    before = some.until(lambda now: now["state"] == "running" and now["checkpoint"]["newest"] > (now["training"]["loaded"] or 0) and not now["strikes"])
    rank = int(name[1:])
    os.kill(some.ranks(name)[rank], signal.SIGKILL)
    now = some.until(lambda now: now["state"] == "running" and now["generation"] == before["generation"] + 1)
    expect((now["culprit"]["node"], now["culprit"]["rank"]) == (name, rank) and "SIGKILL" in now["culprit"]["reason"], f"{name} is named", now["culprit"])
    expect(now["training"]["loaded"] >= before["checkpoint"]["newest"], "it goes on from a checkpoint", now["training"]["loaded"])
    failed, formed, ran = (_at(some, event, before["generation"] + after) for event, after in (("failure", 0), ("forming", 1), ("running", 1)))
    told.seconds.append(f"{name}: known, all stopped {formed - failed:.1f} later, runs again {ran - failed:.1f}")
    told.saw = str(now["cause"])


@case("16 supervisors: a rank is killed on the first, a middle and the last node", nodes=False)
def sixteen(_: None) -> Told:
    told = Told()
    with ExitStack() as stack:
        some = _cluster(stack, 16, max_restarts=1).start()
        for name in ("n0", "n7", "n15"):
            _kill_one(some, name, told)
        some.ask("n9", what="stop", who="night-watch")
        expect(some.end() == [3] * 16, "all end")
    return told


@case("no controller: one of 3 supervisors is frozen, then the hub, then a rank dies while another one ignores SIGTERM", nodes=False)
def nobody_looks(_: None) -> Told:
    told, lost, orphan, grace = Told(), 5, 8, 3
    with ExitStack() as stack:
        stubborn = {"node": 1, "generation": 2, "iteration": 2, "kind": "stubborn"}
        some = _cluster(stack, 3, max_restarts=3, times={"lost": lost, "orphan": orphan, "grace": grace},
                        training={**LONG, "save_every": 1000, "kill_after": 1000, "faults": [stubborn]}).start()

        def trains(generation: int) -> None:
            some.until(lambda now: now["state"] == "running" and now["generation"] == generation and now["training"]["iteration"] > (
                now["training"]["loaded"] or 0) and now["skew"])

        def gone(what: str, name: str, setting: str, limit: int, *of: str) -> None:
            begun = time.monotonic()
            os.kill(some.ranks(name)[int(name[1:])], signal.SIGKILL) if setting == "grace" else some.kill(name, signal.SIGSTOP)
            until(lambda: not any(map(some.jobs, of)), f"nothing lives on {', '.join(of)}")
            took = time.monotonic() - begun
            where = "the others" if len(of) == 2 else "any node"
            told.seconds.append(f"{what}: nothing lives on {where} after {took:.1f} (= {setting} {limit} + {took - limit:.1f})")
            expect(took < limit + 30, f"they stop when {setting} is over", took)

        trains(0)
        gone("n2 frozen", "n2", "lost", lost, "n0", "n1")
        some.kill("n2", signal.SIGCONT)
        trains(1)
        gone("the hub frozen", "n0", "orphan", orphan, "n1", "n2")
        some.kill("n0", signal.SIGCONT)
        trains(2)
        until(lambda: ignores_sigterm(some.ranks("n1").get(1)), "a rank that ignores SIGTERM")
        gone("a rank of n2 killed", "n2", "grace", grace, *some.names)
        trains(3)
        some.ask(what="stop")
        expect(some.end() == [3] * 3, "all end")
        told.saw = "; ".join(str(one["words"]) for one in some.result()["order"])
        expect([one["node"] for one in some.result()["order"]] == ["n2", "n0", "n2"], "each at fault is named", some.result()["order"])
    return told


@case("8 nodes, of which node 7 never comes", nodes=False)
def never_comes(_: None) -> Told:
    told = Told()
    with ExitStack() as stack:
        some = _cluster(stack, 8, times={"form": 5})
        some.start(*some.names[:7])
        expect(some.end(*some.names[:7]) == [1] * 7, "all end")
        over = _at(some, "done", 0)
        told.seconds.append(f"over {over:.1f} (= form 5 + {over - 5:.1f})")
        told.saw = some.result()["verdict"]
        expect("n7 (never heard)" in told.saw and "n6" not in told.saw, "n7 alone is named", told.saw)
    return told


@case("wall clocks an hour off on two nodes, jumping by hours on the master; a rank is killed", nodes=False)
def clock_jumps(_: None) -> Told:
    told = Told()
    with ExitStack() as stack:
        some = _cluster(stack, 3, max_restarts=1)
        for name in some.names:
            place = some.folder / f"clock-{name}"
            place.mkdir()
            (place / "sitecustomize.py").write_text(CLOCK % name, encoding="utf-8")
            some.start(name, PYTHONPATH=str(place))
        first = some.training(3)
        ahead = round((_times(some)[0] - time.time()) / 3600)
        until(lambda: int(time.time()) % 3 == ahead % 3, "a second in which the master's clock is another hour")
        _kill_one(some, "n1", told)
        now = some.training(8)
        expect(now["generation"] == first["generation"] + 1 and len(now["order"]) == 1, "nothing else happens", now["order"])
        expect(max(_times(some)) - min(_times(some)) > 3000, "the master's clock did jump", _times(some))
        some.ask(what="stop")
        expect(some.end() == [3] * 3, "all end")
    return told


@case("a rank fails in every start; meanwhile the hub is killed and comes back: it still counts", nodes=False)
def counters_survive(_: None) -> Told:
    told = Told()
    with ExitStack() as stack:
        faults = [{"node": 1, "generation": generation, "iteration": 3, "kind": "raise"} for generation in range(20)]
        some = _cluster(stack, 2, max_restarts=3, training={**LONG, "save_every": 1000, "seconds": 0.5, "faults": faults}).start()
        before = some.until(lambda now: now["state"] == "running" and now["generation"] == 2)
        some.kill("n0")
        some.processes["n0"].wait()
        some.start("n0")
        expect(some.end() == [1, 1], "it gives up")
        result = some.result()
        told.saw = result["verdict"]
        expect("Gave up: 4 starts in a row" in told.saw and result["generation"] == 3, "four starts in all", result["generation"], told.saw)
        expect(before["strikes"] == 2, "two of them before the hub went", before["strikes"])
    return told


def _unit(name: str, what: str, test: str) -> None:
    """A unit test that is such a case."""
    file, _, function = test.partition("::")

    def play(_: None) -> Told:
        words = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", f"tests/unit/{file}.py", "-k", function or file]
        done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Missed(done.stdout[-3000:] + done.stderr[-500:])
        return Told(saw=f"as asserted in tests/unit/{file}.py" + f" ({function})" * bool(function))
    CASES.append(Case(name, what, False, play))


_unit("strangers_loopback", "wrong tokens, half lines, HTTP, more silent connections than are let in", "test_supervise_meeting::test_strangers")
_unit("older_launch", "a supervisor of an earlier launch, and a second one of this",
      "test_supervise_meeting::test_a_supervisor_of_an_earlier_launch_and_a_second_one")
_unit("port_taken", "the supervisors' port is taken", "test_supervise_meeting::test_a_port_that_is_taken")
_unit("shutdown", "a machine shuts down in order", "test_supervise_meeting::test_a_machine_that_shuts_down_is_no_wish_to_stop")
_unit("stop_without_hub", "a stop while no hub is there",
      "test_supervise_meeting::test_without_a_hub_a_stop_is_one_nodes_and_then_nobody_is_asked")
_unit("long_save", "a stop during a save that torchrun would cut", "test_supervise_runs::test_a_stop_waits_for_a_save_that_torchrun_would_cut")
_unit("stubborn", "ranks that ignore SIGTERM, in sessions of their own",
      "test_supervise_runs::test_what_ignores_sigterm_is_killed_in_whatever_session")
_unit("hang_at_exit", "success on all but one node, which hangs at its exit", "test_supervise_runs::test_a_hang_at_the_exit_of_one")
_unit("two_at_once", "failures of several nodes at once",
      "test_supervise_coordinator::test_the_first_failure_is_the_culprit_and_each_node_is_noted_once")
_unit("slow_save", "a save that takes longer than `hang`", "test_supervise_coordinator::test_slow_iterations_and_saves_are_no_hang")
_unit("orders", "any order of events (hypothesis)", "test_supervise_orders")
