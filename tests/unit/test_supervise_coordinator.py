"""The states of a run: what the coordinator decides, event by event."""
from __future__ import annotations

import json

import pytest
from supervise import status
from supervise.config import Checkpoints
from supervise.coordinator import Coordinator
from supervise.nodes import checked

from tests.unit.supervise_tools import Fleet, config


@pytest.fixture
def fleet():
    return Fleet(config(max_restarts=1))


def test_nothing_starts_before_all_are_ready(fleet):
    fleet.say("n0", generation=0, phase="ready")
    fleet.say("n1", generation=0, phase="ready")
    fleet.say("n2", generation=0, phase="preparing")
    fleet.wait(100)
    assert fleet.c.phase == "forming"
    fleet.say("n2", phase="ready")
    fleet.c.tick()
    assert fleet.c.view()["phase"] == "running"


@pytest.mark.parametrize("how", ["silent", "closed"])
def test_a_node_that_went_again_is_waited_for(fleet, how):
    fleet.all(generation=0, phase="ready")
    if how == "closed":
        fleet.c.gone("n1", "i1")
        fleet.c.tick()
        assert fleet.c.phase == "forming"
        fleet.c.gone("n1", "another life of it")
    else:
        fleet.time += 1.9  # below a gap of the hub's own
        for _ in range(20):
            fleet.time += 1
            fleet.say("n0")
            fleet.say("n2")
        fleet.c.tick()
        assert fleet.c.phase == "forming"
    fleet.say("n1")
    fleet.c.tick()
    assert fleet.c.phase == "running"


def test_who_does_not_come_is_named(fleet):
    fleet.say("n0", generation=0, phase="ready")
    fleet.say("n1", generation=-1, phase="preparing")
    fleet.wait(599)
    assert fleet.c.phase == "forming"
    fleet.wait(5)
    assert (fleet.c.phase, fleet.c.code) == ("done", 1)
    assert fleet.c.verdict == "not ready within 600 s (times.form): n1 (preparing), n2 (never heard)"


def test_who_leaves_before_the_start_is_not_started_with_and_named(fleet):
    fleet.say("n0", generation=0, phase="ready")
    fleet.say("n2", generation=0, phase="ready")
    fleet.say("n2", phase="preparing", leaving="its machine shuts down")
    fleet.say("n1", generation=0, phase="ready")
    fleet.wait(604, quiet=["n2"])
    assert (fleet.c.phase, fleet.c.code, fleet.c.restarts) == ("done", 1, 0)
    assert fleet.c.verdict == "not ready within 600 s (times.form): n2 (silent: its machine shuts down)"


def test_a_node_that_cannot_ends_the_run_at_once(fleet):
    fleet.say("n1", generation=0, phase="unable", reason="no room")
    fleet.c.tick()
    assert (fleet.c.phase, fleet.c.code, fleet.c.verdict) == ("done", 1, "n1 cannot start: no room")


def test_success_needs_all(fleet):
    fleet.running()
    fleet.line(100)
    fleet.say("n0", phase="exited", rc=0)
    fleet.say("n1", phase="exited", rc=0)
    fleet.c.tick()
    assert fleet.c.phase == "running"
    fleet.c.gone("n0", "i1")  # done, and need not be heard
    fleet.wait(50, quiet=["n0", "n1"])
    assert fleet.c.phase == "running"
    fleet.say("n2", phase="exited", rc=0)
    fleet.c.tick()
    assert (fleet.c.phase, fleet.c.code, fleet.c.verdict) == ("done", 0, "succeeded: all 3 nodes ended with success, iteration 100")


def test_the_first_failure_is_the_culprit_and_each_node_is_noted_once(fleet):
    fleet.running()
    fleet.time += 1.5
    fleet.say("n1", failed={"rank": 1, "reason": "rank 1 failed: x"})
    assert (fleet.c.phase, fleet.c.cause, fleet.c.culprit["words"]) == ("stopping", "n1: rank 1 failed: x", "n1: rank 1 failed: x")
    fleet.say("n1", phase="exited", rc=1, reason="torchrun exited 1")
    fleet.say("n2", phase="exited", rc=1, reason=None)
    assert [(one["node"], one["rank"], one["reason"]) for one in fleet.c.order] == [
        ("n1", 1, "rank 1 failed: x"), ("n2", None, "its script ended with status 1")]
    assert fleet.c.culprit == fleet.c.order[0] and fleet.c.culprit["at"] == 1.5 and fleet.c.culprit["generation"] == 0


LOST = "rank 0 (local 0) failed: RuntimeError: Read error [10.0.0.2]:44742: Connection reset by peer at distributed_c10d.py:3252 in all_reduce"


def test_who_only_lost_its_peers_is_not_blamed_where_another_tells_of_more(fleet):
    fleet.running()
    fleet.say("n0", failed={"rank": 0, "reason": LOST})
    assert fleet.c.phase == "stopping" and fleet.c.culprit["node"] == "n0"
    assert fleet.c.cause == f"n0 lost a peer, and who is at fault is not known: {LOST}"
    fleet.say("n2", failed={"rank": 4, "reason": LOST})
    assert fleet.c.culprit["node"] == "n0", "it suffers as well"
    fleet.say("n1", failed={"rank": 3, "reason": "rank 3 (pid 9) was killed by SIGKILL"})
    assert (fleet.c.culprit["node"], fleet.c.culprit["rank"]) == ("n1", 3)
    assert fleet.c.cause == "n1: rank 3 (pid 9) was killed by SIGKILL"
    assert [one["node"] for one in fleet.c.order] == ["n0", "n2", "n1"]


@pytest.mark.parametrize(("how", "words"), [
    ("anew", "its supervisor was started anew"), ("closed", "the connection of its supervisor closed, and it did not come back"),
    ("silent", "not heard for 15 s (times.lost)")])
def test_a_supervisor_that_is_lost_with_its_ranks_is_blamed_not_their_peers(fleet, how, words):
    for reason, culprit in ((LOST, "n1"), ("rank 0 failed: ValueError: x", "n0")):
        again = Fleet(config(max_restarts=1))
        again.running()
        if how == "silent":
            again.wait(14, quiet=["n1"])
        again.say("n0", failed={"rank": 0, "reason": reason})
        if how == "anew":
            again.say("n1", incarnation="i2", generation=-1, phase="preparing", rc=None)
        elif how == "closed":
            again.c.gone("n1", "i1")
        again.said.pop("n1")
        again.say("n0", phase="stopped")
        again.say("n2", phase="stopped")
        again.wait(3)
        assert (again.c.phase, again.c.culprit["node"]) == ("forming", culprit)
        assert again.c.cause == (f"n1: {words}" if culprit == "n1" else f"n0: {reason}")


def test_the_first_of_two_that_tell_of_more_stays_the_culprit(fleet):
    fleet.running()
    fleet.say("n0", failed={"rank": 0, "reason": "rank 0 failed: ValueError: x"})
    fleet.say("n1", failed={"rank": 3, "reason": "rank 3 (pid 9) was killed by SIGKILL"})
    assert fleet.c.culprit["node"] == "n0" and fleet.c.cause == "n0: rank 0 failed: ValueError: x"


@pytest.mark.parametrize(("report", "words"), [
    ({"phase": "exited", "rc": 7}, "its script ended with status 7"),
    ({"leaving": "its machine shuts down"}, "its machine shuts down"),
    ({"phase": "stopped", "reason": "the hub was not heard"}, "the hub was not heard"),
    ({"phase": "stopped"}, "it stopped its script by itself"),
    ({"incarnation": "i2", "generation": -1, "phase": "preparing"}, "its supervisor was started anew")])
def test_what_ends_a_generation(fleet, report, words):
    fleet.running()
    fleet.say("n1", **report)
    assert (fleet.c.phase, fleet.c.cause) == ("stopping", f"n1: {words}")


def test_silence_and_a_closed_connection(fleet):
    fleet.running()
    fleet.wait(14, quiet=["n1"])
    assert fleet.c.phase == "running"
    fleet.wait(2, quiet=["n1"])
    assert fleet.c.cause == "n1: not heard for 15 s (times.lost)"
    again = Fleet(config())
    again.running()
    again.c.gone("n2", "i1")
    again.wait(1.5, quiet=["n2"], step=0.5)
    assert again.c.phase == "running"
    again.say("n2")  # back in time
    again.wait(10)
    assert again.c.phase == "running"
    again.c.gone("n2", "i1")
    again.wait(2.5, quiet=["n2"], step=0.5)
    assert again.c.cause == "n2: the connection of its supervisor closed, and it did not come back"


def test_a_hub_that_was_frozen_blames_nobody(fleet):
    fleet.running()
    fleet.line(1)
    fleet.time += 3600
    fleet.c.gone("n1", "i1")
    fleet.c.tick()
    assert fleet.c.phase == "running"
    fleet.wait(1.5, quiet=["n1"], step=0.5)
    fleet.say("n1")
    fleet.wait(14)
    assert fleet.c.phase == "running"
    assert [event["event"] for event in fleet.c.events if event["event"] == "gap"] == ["gap"]


def test_who_stopped_as_a_frozen_hub_was_not_heard_is_not_blamed(fleet):
    fleet.running()
    fleet.time += 57
    fleet.say("n1", phase="stopped")
    assert fleet.c.culprit["node"] == "n0"
    assert fleet.c.cause == "n0: its supervisor did not get on for 57 s (frozen, or starved), and n1 stopped its script"
    # Too short for that, or long ago: it stopped for another reason.
    for seconds in (50, 3600):
        again = Fleet(config(max_restarts=1))
        again.running()
        again.time += seconds
        again.c.tick()
        if seconds > 60:
            again.say("n0", failed={"rank": 0, "reason": "x"})
            again.stopped()
            again.wait(60)
            again.running()
        again.say("n1", phase="stopped")
        assert again.c.cause == "n1: it stopped its script by itself"


def test_stopping_waits_for_all_that_live(fleet):
    fleet.running()
    fleet.say("n1", failed={"rank": 1, "reason": "x"})
    version = fleet.c.version
    fleet.say("n0", phase="stopped")
    fleet.say("n1", phase="stopped")
    # Says that nothing lives, but does not know of the stop yet: it may be about to start.
    fleet.say("n2", phase="ready", seen=version - 1)
    fleet.c.tick()
    assert fleet.c.phase == "stopping"
    fleet.say("n2", phase="ready", epoch="of another hub")
    fleet.c.tick()
    assert fleet.c.phase == "stopping"
    fleet.say("n2", phase="ready")
    fleet.c.tick()
    assert (fleet.c.phase, fleet.c.generation) == ("forming", 1)


def test_a_lost_node_is_not_waited_for_and_one_that_does_not_stop_is_named(fleet):
    fleet.running()
    fleet.wait(16, quiet=["n1"])
    fleet.say("n0", phase="stopped")
    fleet.say("n2", phase="stopping")
    fleet.c.tick()
    fleet.wait(140, quiet=["n1"])
    assert fleet.c.phase == "stopping"
    fleet.wait(20, quiet=["n1"])
    assert fleet.c.phase == "forming"
    assert fleet.c.warnings == ["generation 0 may still live on n2: it did not end within 150 s"]
    fleet.wait(700, quiet=["n1"])  # neither comes
    assert fleet.c.verdict == ("not ready within 600 s (times.form): n0 (stopped), n1 (silent), n2 (stopping); "
                               "this was after: n1: not heard for 15 s (times.lost)")


def fail_and_stop(fleet, name="n1"):
    fleet.say(name, failed={"rank": 1, "reason": "x"})
    fleet.stopped()


def test_the_journal_tells_when_each_generation_trains():
    fleet = Fleet(config(max_restarts=1))
    for generation, iteration in ((0, 1), (1, 6)):
        fleet.running(whole=[5])
        fleet.time += 1
        fleet.line(iteration)
        fleet.line(iteration + 1)
        assert [(one["generation"], one["iteration"]) for one in fleet.c.events if one["event"] == "trains"] == [(0, 1), (1, 6)][:generation + 1]
        fail_and_stop(fleet)
        fleet.wait(30)


def test_no_restart_by_default():
    fleet = Fleet()
    fleet.running(whole=[5])
    fleet.all(whole=[5, 10])
    fail_and_stop(fleet)
    assert (fleet.c.phase, fleet.c.code, fleet.c.verdict, fleet.c.generation) == ("done", 1, "n1: x", 0)


def test_gives_up_after_as_many_starts_without_a_new_checkpoint():
    fleet = Fleet(config(max_restarts=2))
    waited = []
    for generation in range(3):
        fleet.wait(0.1)
        began = fleet.time
        fleet.ready()
        while fleet.c.phase == "forming":
            fleet.wait(1)
        waited.append(round(fleet.time - began))
        fleet.all(phase="running")
        assert fleet.c.generation == generation
        fail_and_stop(fleet)
    assert (fleet.c.phase, fleet.c.restarts) == ("done", 2)
    assert fleet.c.verdict == "n1: x. Gave up: 3 starts in a row brought no new checkpoint (pretrain_max_restarts is 2)"
    assert waited[0] == 0 and 19 <= waited[1] <= 21 and 39 <= waited[2] <= 41


def test_a_new_checkpoint_on_all_nodes_starts_the_count_anew():
    fleet = Fleet(config(max_restarts=1))
    for generation in range(4):
        fleet.wait(60)
        fleet.ready()
        fleet.all(phase="running")
        assert (fleet.c.phase, fleet.c.generation) == ("running", generation)
        fleet.all(whole=[generation + 1])
        fail_and_stop(fleet)
        assert fleet.c.strikes == 0
    fleet.wait(60)
    fleet.ready()
    assert fleet.c.view()["load"] == 4
    fleet.all(phase="running")
    for name in ("n0", "n1"):  # not on all
        fleet.say(name, whole=[5])
    fail_and_stop(fleet)
    assert fleet.c.strikes == 1


def test_the_newest_that_is_whole_on_all_is_loaded():
    fleet = Fleet(config(max_restarts=1))
    fleet.running(whole=[5])
    assert fleet.c.view()["load"] is None  # as the script was rendered
    fleet.say("n0", whole=[5, 10, 15])
    fleet.say("n1", whole=[5, 10], lacking={"15": "mp_rank_01: it is cut off"})
    fleet.say("n2", whole=None)  # needs no file
    assert status.brief(fleet.c)["checkpoint"] == {"newest": 10, "lacking": {"n1": "iteration 15: mp_rank_01: it is cut off"}}
    fail_and_stop(fleet)
    fleet.wait(30)
    fleet.ready()
    assert (fleet.c.phase, fleet.c.view()["load"]) == ("running", 10)


def test_from_the_beginning_is_said():
    fleet = Fleet(config(max_restarts=1))
    fleet.running()
    fail_and_stop(fleet)
    fleet.wait(30)
    fleet.ready()
    assert (fleet.c.phase, fleet.c.view()["load"], status.brief(fleet.c)["training"]["loaded"]) == ("running", 0, 0)
    assert {"event": "load", "iteration": 0, "beginning": True}.items() <= next(one for one in fleet.c.events if one["event"] == "load").items()


def test_a_checkpoint_that_is_whole_no_longer_is_not_passed_over():
    fleet = Fleet(config(max_restarts=1))
    fleet.running(whole=[5])
    fail_and_stop(fleet)
    fleet.wait(30)
    fleet.say("n1", whole=[], incarnation="a new disk")
    fleet.ready()
    assert (fleet.c.phase, fleet.c.code) == ("done", 1)
    assert fleet.c.verdict == ("the checkpoint of iteration 5 was whole, and now none is on all nodes (n1: iteration 5: there is none). "
                               "Nothing is started from the beginning by itself; this was after: n1: x")


def test_a_resumed_run_begins_from_what_is_whole():
    fleet = Fleet(config(resume=10))
    fleet.all(whole=[5, 10])
    fleet.say("n1", whole=[5], lacking={"10": "a: it is cut off"})
    fleet.ready()
    assert (fleet.c.phase, fleet.c.view()["load"]) == ("running", 5)
    empty = Fleet(config(resume=10))
    empty.ready(whole=[])
    assert (empty.c.code, empty.c.verdict) == (1, "no checkpoint is whole on all nodes (there is none). Nothing is started from the beginning by itself")


def test_a_run_that_is_resumed_from_an_older_checkpoint_never_takes_a_newer_one_of_the_other_course():
    fleet = Fleet(config(resume=5, max_restarts=9))
    fleet.all(whole=[5, 10])
    fleet.ready()
    assert (fleet.c.view()["load"], fleet.c.best) == (5, 5)
    for whole, load in (([5, 10], 5), ([5, 8, 10], 5), ([5, 8, 10, 11], 11)):
        fleet.running(whole=whole)
        fail_and_stop(fleet)
        kept, at = fleet.c.kept(), fleet.time
        fleet = Fleet(fleet.config, kept, "another life of the hub", at)
        fleet.all(whole=whole, generation=kept["generation"], phase="preparing")
        fleet.wait(600)
        fleet.ready()
        assert (fleet.c.phase, fleet.c.view()["load"]) == ("running", load)


def test_a_supervisor_that_has_come_back_has_seen_no_checkpoint_yet():
    fleet = Fleet(config(max_restarts=2, train_iters=200, checkpoints=Checkpoints("/c", ("a",), keep=1)))
    fleet.all(whole=[100])
    fleet.running()
    for name, whole in (("n0", [100, 200]), ("n1", [100]), ("n2", [100, 200])):
        fleet.say(name, whole=whole)
    assert (fleet.c.best, fleet.c.view()["keep_from"]) == (100, 100)
    fleet.say("n1", incarnation="i2", generation=-1, phase="preparing", whole=[])
    assert (fleet.c.phase, fleet.c.best, fleet.c.view()["keep_from"]) == ("stopping", 100, 0)
    fleet.stopped()
    assert fleet.c.phase == "forming"


def test_a_new_checkpoint_counts_though_a_damaged_one_had_a_higher_number():
    fleet = Fleet(config(max_restarts=1))
    fleet.running(whole=[100, 200])
    fail_and_stop(fleet)
    for whole in ([100, 150], [100, 150, 180]):  # 200 is damaged
        fleet.wait(60)
        fleet.running(whole=whole[:-1])
        fleet.all(whole=whole)
        fail_and_stop(fleet)
        assert (fleet.c.phase, fleet.c.strikes) == ("forming", 0)


def test_where_most_others_are_lost_at_once_none_of_them_is_named():
    fleet = Fleet(config(nodes=8))
    fleet.running()
    fleet.wait(30, quiet=fleet.config.nodes[1:6])
    assert (fleet.c.phase, fleet.c.culprit["node"]) == ("stopping", "")
    assert fleet.c.cause == ("5 of the 7 nodes beside n0, where the supervisors meet, are not heard for 15 s (times.lost): the link of n0, or what joins it "
                             "with n1, n2, n3, n4, n5")
    some = Fleet(config(nodes=8))
    some.running()
    some.wait(30, quiet=some.config.nodes[5:])
    assert some.c.cause == "n5: not heard for 15 s (times.lost)"


def test_whole_ones_are_counted_as_nodes_change_their_mind():
    fleet = Fleet()
    fleet.all(whole=None)
    assert fleet.c.nodes.whole() == frozenset()
    fleet.say("n0", whole=[5])
    assert fleet.c.nodes.whole() == {5}
    fleet.say("n1", whole=[10])
    assert fleet.c.nodes.whole() == frozenset()
    fleet.say("n1", whole=[10, 5])
    assert fleet.c.nodes.whole() == {5}
    fleet.say("n2", whole=[])
    assert fleet.c.nodes.whole() == frozenset()
    fleet.say("n2", whole=None)
    fleet.say("n0", whole=None)
    assert fleet.c.nodes.whole() == {5, 10}


def test_nothing_is_started_again_after_the_last_iteration():
    fleet = Fleet(config(max_restarts=3, train_iters=100))
    fleet.running()
    fleet.all(whole=[100])
    fail_and_stop(fleet)
    assert (fleet.c.phase, fleet.c.code) == ("done", 1)
    assert fleet.c.verdict == "n1: x. The checkpoint of the last iteration, 100, is whole on all nodes: there is nothing to start again"


def test_a_hang_at_the_exit(fleet):
    fleet.running()
    fleet.say("n0", phase="exited", rc=0)
    fleet.wait(179)
    fleet.say("n1", phase="exited", rc=0)
    assert fleet.c.phase == "running"
    fleet.wait(3)
    assert fleet.c.cause == "n2: 2 of 3 nodes ended with success, and after 180 s (times.tail) n2 still runs: a hang at the exit"


def test_no_first_iteration(fleet):
    fleet.running()
    fleet.wait(1799)
    assert fleet.c.phase == "running"
    fleet.wait(3)
    assert (fleet.c.phase, fleet.c.cause) == ("dumping", "no iteration in the log within 1800 s of the start (times.first)")


def test_the_first_line_of_a_coarse_log_and_a_save_before_it_are_waited_for():
    coarse = Fleet(config(log_interval=10))
    coarse.running()
    coarse.wait(1800)
    coarse.say("n1", saved=1)
    coarse.wait(9 * 120 - 10)
    assert coarse.c.phase == "running"
    coarse.say("n1", saved=2)
    coarse.wait(1800 + 9 * 120 - 1)
    assert coarse.c.phase == "running"
    coarse.wait(3)
    assert coarse.c.cause == "no iteration in the log within 2880 s of the start (times.first)"


STACK = 'Thread 0x0 (most recent call first):\n  File "{}.py", line 3 in {}'


def test_a_hang_names_the_rank_that_stands_elsewhere(fleet):
    fleet.running()
    fleet.line(1)
    fleet.wait(599)
    assert fleet.c.phase == "running"
    fleet.wait(3)
    assert (fleet.c.phase, fleet.c.cause) == ("dumping", "no iteration after 1 for 600 s")
    for name, rank in (("n0", 0), ("n2", 2)):
        fleet.say(name, stacks={str(rank): {"stack": STACK.format("torch/distributed/c10d", "all_reduce"), "state": "sleeping"}})
    fleet.wait(5)
    assert fleet.c.phase == "dumping"
    fleet.say("n1", stacks={"1": {"stack": STACK.format("dataset", "read"), "state": "sleeping"}})
    fleet.c.tick()
    assert fleet.c.phase == "stopping"
    assert fleet.c.culprit["node"] == "n1" and fleet.c.culprit["rank"] == 1
    assert fleet.c.cause.startswith("n1: no iteration after 1 for 600 s. global rank 1 on n1 (local rank 0) stands elsewhere than the 2 that wait")


def test_a_hang_without_answers_is_over_after_the_dump(fleet):
    fleet.running()
    fleet.line(1)
    fleet.wait(602)
    fleet.say("n0", failed={"rank": 0, "reason": "died of the signal"})  # noted, but not to blame
    fleet.wait(12)
    assert fleet.c.phase == "stopping" and fleet.c.cause.startswith("no iteration after 1 for 600 s. Nothing is known of the ranks of n0")
    assert fleet.c.culprit["node"] == "" and len(fleet.c.order) == 2


def test_slow_iterations_and_saves_are_no_hang(fleet):
    fleet.running()
    for iteration in range(1, 5):
        fleet.wait(100)
        fleet.line(iteration, ms=100000.0)
    assert 1090 <= fleet.c.pace.limit() <= 1110
    for size in range(1, 40):  # a save that takes an hour
        fleet.wait(100)
        fleet.say("n0", saved=size)
        assert fleet.c.phase == "running"
    assert status.brief(fleet.c)["training"]["saving"]
    fleet.wait(1000)
    assert fleet.c.phase == "running" and not status.brief(fleet.c)["training"]["saving"]
    fleet.wait(110)
    assert fleet.c.phase == "dumping"


def test_lines_are_numbered_and_those_of_a_new_connection_are_not_told_twice(fleet):
    fleet.running()
    fleet.say("n2", lines=[[1, 100, 6.0, 1.0, 5.0, 0, 0], [2, 100, 5.9, 1.0, 5.0, 0, 0]])
    fleet.say("n2", lines=[[1, 100, 6.0, 1.0, 5.0, 0, 0], [2, 100, 5.9, 1.0, 5.0, 0, 0], [3, 100, None, 1.0, 5.0, 0, 1]])
    assert [(line["n"], line["iteration"], line["loss"], line["nan"]) for line in status.lines_after(fleet.c, 1)] == [(2, 2, 5.9, 0), (3, 3, None, 1)]
    assert status.brief(fleet.c)["training"]["iteration"] == 3


def test_the_skew_is_by_the_hubs_clock(fleet):
    fleet.ready()
    for name, of, first, last in (("n0", "ranks", 10.0, 9.0), ("n1", "scripts", 5.0, 5.0)):
        fleet.say(name, phase="running", started={"of": of, "first": first, "last": last})
    assert fleet.c.pace.skew() is None
    fleet.say("n2", phase="running", started={"of": "ranks", "first": 9.5, "last": 8.25})
    assert fleet.c.pace.skew() == {"seconds": 5.0, "first": "n0", "last": "n1", "of": "scripts"}
    fleet.say("n1", started={"of": "ranks", "first": 9.9, "last": 8.0})
    assert fleet.c.pace.skew() == {"seconds": 2.0, "first": "n0", "last": "n1", "of": "ranks"}


# a stop

def test_a_stop_while_forming(fleet):
    fleet.c.stop("ann")
    assert (fleet.c.phase, fleet.c.code, fleet.c.verdict) == ("done", 3, "stopped: asked for by ann")
    fleet.c.stop("bob")
    assert fleet.c.stop_asked == "ann"


def test_a_start_that_never_was_is_not_counted(fleet):
    fleet.running()
    fail_and_stop(fleet)
    assert fleet.c.phase == "forming"
    fleet.c.stop("ann")
    assert (fleet.c.phase, fleet.c.restarts, fleet.c.culprit["words"]) == ("done", 0, "n1: x")


@pytest.mark.parametrize("phase", ["running", "dumping", "stopping"])
def test_a_stop_in_other_states(fleet, phase):
    fleet.running(whole=[7])
    if phase == "dumping":
        fleet.wait(1803)
    if phase == "stopping":
        fleet.say("n1", failed={"rank": 1, "reason": "x"})
    assert fleet.c.phase == phase
    fleet.c.stop("ann")
    assert fleet.c.phase == "stopping"
    fleet.stopped()
    assert (fleet.c.phase, fleet.c.code, fleet.c.verdict) == ("done", 3, "stopped: asked for by ann; checkpoint of iteration 7")


def test_a_stop_that_saves():
    fleet = Fleet(config(stop_saves=True))
    fleet.running()
    assert not fleet.c.view()["save"]
    fleet.c.stop("ann")
    assert fleet.c.view()["save"]
    fleet.all(phase="stopping")
    fleet.wait(1940)
    assert fleet.c.phase == "stopping"
    fleet.wait(15)
    assert fleet.c.phase == "done"


def test_ranks_that_hang_are_not_waited_for_to_save():
    fleet = Fleet(config(stop_saves=True, max_restarts=1))
    fleet.running()
    fleet.wait(1803)
    assert fleet.c.phase == "dumping"
    fleet.c.stop("ann")
    assert (fleet.c.phase, fleet.c.view()["save"], fleet.c.culprit["node"]) == ("stopping", False, "")
    assert fleet.c.culprit["words"].endswith("A stop was asked for by ann before all ranks had told where they stand")
    fleet.stopped()
    assert (fleet.c.phase, fleet.c.code, fleet.c.verdict) == ("done", 3, "stopped: asked for by ann")


def test_who_has_saved_and_gone_is_no_failure():
    fleet = Fleet(config(stop_saves=True))
    fleet.running()
    fleet.c.stop("ann")
    fleet.say("n1", phase="stopped")
    fleet.c.gone("n1", "i1")
    fleet.wait(30, quiet=["n1"])
    assert fleet.c.view()["save"] and not fleet.c.order


@pytest.mark.parametrize("how", ["failed before", "fails", "lost"])
def test_no_save_without_all_ranks(how):
    fleet = Fleet(config(stop_saves=True, max_restarts=1))
    fleet.running()
    if how == "failed before":
        fleet.say("n1", failed={"rank": 1, "reason": "x"})
    fleet.c.stop("ann")
    version = fleet.c.version
    if how == "fails":
        assert fleet.c.view()["save"]
        fleet.say("n1", failed={"rank": 1, "reason": "x"})
    if how == "lost":
        fleet.all(phase="stopping")
        fleet.wait(20, quiet=["n1"])
    assert not fleet.c.view()["save"]
    assert how == "failed before" or fleet.c.version > version, "the members are told"
    fleet.all(phase="stopping")
    fleet.wait(145, quiet=["n1"])
    assert fleet.c.phase == "stopping"
    fleet.wait(10)
    assert (fleet.c.phase, fleet.c.code) == ("done", 3)


# a hub that was started anew

def anew(fleet, **settings):
    return Fleet(config(max_restarts=1, **settings), json.loads(json.dumps(fleet.c.kept())), "e2", at=5.0)


def test_a_hub_that_was_started_anew_goes_on_with_the_next_generation(fleet):
    fleet.running(whole=[5])
    second = anew(fleet)
    assert second.c.view()["phase"] == "stopping" and second.c.cause == "n0: the supervisor of the master was started anew"
    second.c.tick()
    assert second.c.phase == "stopping", "nobody has been heard yet"
    second.all(generation=0, phase="stopped", whole=[5])
    second.c.tick()
    assert (second.c.phase, second.c.generation, second.c.restarts, second.c.strikes) == ("forming", 1, 0, 1)
    second.wait(30)
    second.ready()
    assert (second.c.phase, second.c.view()["load"], second.c.restarts) == ("running", 5, 1)
    third = anew(second)
    third.all(generation=1, phase="stopped", whole=[5])
    third.c.tick()
    assert third.c.phase == "done" and "Gave up: 2 starts in a row" in third.c.verdict, "the count survives"


def test_a_hub_that_was_started_anew_does_not_wait_for_ever(fleet):
    fleet.running()
    second = anew(fleet)
    second.wait(16, step=1)
    assert second.c.phase == "forming"


def test_a_stop_survives(fleet):
    fleet.running()
    fleet.c.stop("ann")
    second = anew(fleet)
    second.all(generation=0, phase="running")
    second.c.tick()
    assert second.c.phase == "stopping"
    second.stopped()
    assert (second.c.phase, second.c.code, second.c.verdict) == ("done", 3, "stopped: asked for by ann")
    third = anew(second)
    assert (third.c.phase, third.c.code, third.c.verdict) == ("done", 3, "stopped: asked for by ann")


def test_a_generation_that_the_disk_forgot_is_not_used_again(fleet):
    fleet.say("n1", generation=6, phase="running")
    assert (fleet.c.generation, fleet.c.phase, fleet.c.ran) == (7, "forming", True)
    fleet.say("n2", generation=7, phase="stopped")
    assert fleet.c.generation == 8


# what is told

def test_ports_go_round(fleet):
    ports = []
    for fleet.c.generation in range(18):
        ports.append(fleet.c.view()["port"])
    assert ports == [*range(6000, 6016), 6000, 6001]


def test_what_may_be_pruned():
    fleet = Fleet(config(checkpoints=Checkpoints(keep=2)))
    assert fleet.c.view()["keep_from"] == 0
    fleet.all(whole=[5])
    assert fleet.c.view()["keep_from"] == 0, "the only whole one stays"
    fleet.all(whole=[5, 10, 15])
    assert fleet.c.view()["keep_from"] == 10
    fleet.say("n1", whole=[5])
    assert fleet.c.view()["keep_from"] == 0


def test_a_status_of_many_nodes_is_as_short_as_one_of_few():
    sizes = {}
    for count in (2, 1000):
        fleet = Fleet(config(nodes=count))
        fleet.running(whole=[5], free=10**12)
        fleet.line(5)
        told = status.brief(fleet.c)
        assert told["nodes"]["count"] == count and len(told["nodes"]["worst"]) == min(count, 10)
        sizes[count] = len(json.dumps(told)), len(json.dumps(status.full(fleet.c)))
    assert sizes[1000][0] < 4500
    assert 100_000 < sizes[1000][1] < 300_000


def test_the_worst_come_first():
    fleet = Fleet(config(nodes=30))
    fleet.running()
    fleet.c.gone("n7", "i1")
    fleet.wait(3, quiet=["n7"])
    fleet.say("n9", phase="exited", rc=1)
    assert [one["name"] for one in status.brief(fleet.c)["nodes"]["worst"]][:2] == ["n7", "n9"]


@pytest.mark.parametrize("message", [None, [], {}, {"phase": "ready"}, {"phase": "odd", "generation": 1, "seen": 1},
                                     {"phase": "ready", "generation": "1", "seen": 1}, {"phase": "ready", "generation": 1, "seen": 1, "more": 1}])
def test_what_is_no_report(message):
    with pytest.raises(ValueError, match="no report"):
        checked(message)


def test_the_clock_is_asked_for_nothing_but_differences():
    one, other = Fleet(at=0.0), Fleet(at=1e9)
    for fleet in (one, other):
        fleet.running()
        fleet.wait(3)
        fleet.say("n0", failed={"rank": 0, "reason": "x"})
    assert one.c.kept() == other.c.kept()
    assert isinstance(one.c, Coordinator)
