"""Real supervisors with a fake training: what ends a job, what is left of it, and how it goes on."""
from __future__ import annotations

import json
import os
import signal

import pytest
from supervise import processes

from rehearsal.supervisors import Cluster, ignores_sigterm, until


@pytest.fixture
def cluster(tmp_path):
    made = []

    def make(**settings):
        made.append(Cluster(tmp_path, **settings))
        return made[-1].start()

    yield make
    for one in made:
        one.close()


LONG = {"iterations": 1000}


def test_a_killed_rank_ends_all_and_is_named(cluster):
    three = cluster(nodes=3, ranks=2, training={**LONG, "kill_after": 5})
    three.until(lambda told: (told["skew"] or {}).get("of") == "ranks")
    os.kill(three.ranks("n1")[3], signal.SIGKILL)
    assert three.end() == [1, 1, 1]
    for name in three.names:
        result = three.result(name)
        assert (result["state"], result["code"], result["generation"], result["from"]) == ("done", 1, 0, name)
        assert result["culprit"]["node"] == "n1" and result["culprit"]["rank"] == 3
        assert "rank 3" in result["verdict"] and "SIGKILL" in result["verdict"]
        assert result["skew"]["of"] == "ranks" and result["skew"]["seconds"] >= 0
    journal = [json.loads(line) for line in (three.folder / "n0/supervise/journal.jsonl").read_text().splitlines()]
    assert [one["event"] for one in journal if one["event"] in ("running", "failure", "stopping", "done")][:3] == ["running", "failure", "stopping"]


def test_an_exception_is_told_with_its_words_and_the_newest_whole_checkpoint_is_loaded(cluster):
    faults = [{"node": 1, "iteration": 5, "kind": "corrupt"}]
    two = cluster(training={"iterations": 7, "save_every": 2, "faults": faults}, max_restarts=1)
    assert two.end() == [0, 0]
    result = two.result()
    assert (result["generation"], result["restarts"], result["verdict"]) == (1, 1, "succeeded: all 2 nodes ended with success, iteration 7")
    assert result["culprit"]["reason"].startswith("rank 1 (local 0) failed: ValueError: as planned at fake_training.py:")
    for name in two.names:
        kept = json.loads((two.folder / name / "supervise/evidence-0.json").read_text())
        assert (kept["version"], kept["generation"]) == (1, 0) and "generation 0: what the logs tell of its end is kept" in two.said(name)
        # After the restart its logs are put aside, and it is told all the same.
        raised = {rank: one["record"]["type"] for rank, one in kept["evidence"]["ranks"].items() if one["record"]}
        assert raised == ({"1": "ValueError"} if name == "n1" else {})
        assert not (two.folder / name / "supervise/evidence-1.json").exists(), "of a success there is nothing to tell"
    # That of iteration 4 is whole on n0 alone.
    assert result["training"]["loaded"] == 2 and result["checkpoint"]["newest"] == 7
    assert "iteration        3/" in (two.folder / "n1/train.log").read_text()
    assert "MASTER_PORT 6001, from iteration 2" in two.said("n1")


def test_a_script_that_refuses_is_quoted(cluster):
    two = cluster(training={**LONG, "faults": [{"node": 1, "kind": "refuse"}]})
    assert two.end() == [1, 1]
    assert two.result()["verdict"] == "n1: pretrain: refused as planned"
    assert two.result()["nodes"]["worst"][0]["name"] == "n1"


def test_a_hang_shows_stacks_and_starts_again(cluster):
    faults = [{"node": 1, "rank": 1, "iteration": 4, "kind": "hang"}]
    two = cluster(ranks=2, training={**LONG, "seconds": 0.05, "faults": faults}, times={"hang": 3}, max_restarts=1)
    told = two.until(lambda told: told["generation"] == 1 and told["state"] == "running" and told["training"]["iteration"] > 4)
    assert told["culprit"]["rank"] == 3 and told["culprit"]["node"] == "n1"
    assert told["culprit"]["reason"].startswith("no iteration after 3 for 3 s. global rank 3 on n1 (local rank 1) stands elsewhere than most: in fail")
    assert told["training"]["loaded"] == 0
    told = two.command("n1", "status", "--full", "--after", "0")
    assert [one["name"] for one in told["nodes"]["all"]] == two.names
    assert [line["iteration"] for line in told["lines"] if line["generation"] == 0] == [1, 2, 3]
    two.ask(what="stop")
    assert two.end() == [3, 3]


def test_a_stop_waits_for_a_save_that_torchrun_would_cut(cluster):
    two = cluster(ranks=2, training={**LONG, "saves": 500, "save_seconds": 3, "kill_after": 1}, stop_saves=True, times={"grace": 2})
    two.training(2)
    assert two.command("n1", "stop", "--who", "ann")["stop_asked"] == "ann"
    two.until(lambda told: told["state"] == "stopping" and told["training"]["saving"])
    assert two.end() == [3, 3]
    assert two.result()["checkpoint"]["newest"] == 500 and two.result()["verdict"] == "stopped: asked for by ann; checkpoint of iteration 500"


def test_a_stop_without_a_save_is_not_held_up(cluster):
    two = cluster(training={**LONG, "saves": 500, "save_seconds": 60, "kill_after": 1})
    two.training(2)
    two.ask(what="stop")
    assert two.end() == [3, 3]
    assert two.result()["checkpoint"]["newest"] == 0
    assert not list(two.folder.glob("*/supervise/evidence-*")), "nobody asks why a run ended that was stopped"


def test_what_ignores_sigterm_is_killed_in_whatever_session(cluster):
    faults = [{"node": 1, "iteration": 2, "kind": "stubborn"}]
    two = cluster(training={**LONG, "faults": faults, "kill_after": 1000}, times={"grace": 1, "hang": 60})
    two.training(1)
    pid = until(lambda: two.ranks("n1").get(1), "a rank")
    until(lambda: ignores_sigterm(pid), "a rank that ignores SIGTERM")
    assert os.getsid(pid) == pid
    two.ask(what="stop")
    assert two.end() == [3, 3]
    assert not processes.lives(pid)


def test_torchrun_alone_killed(cluster):
    two = cluster(training=LONG)
    two.training(2)
    rank = two.ranks("n1")[1]
    os.kill(processes.stat(rank).parent, signal.SIGKILL)
    assert two.end() == [1, 1]
    assert not processes.lives(rank)
    assert two.result()["verdict"] == "n1: the launch script ended with status -9"


def test_a_hang_at_the_exit_of_one(cluster):
    two = cluster(training={"iterations": 3, "faults": [{"node": 0, "kind": "linger"}]}, times={"tail": 2}, max_restarts=3)
    assert two.end() == [1, 1]
    assert two.result()["verdict"].startswith("n0: 1 of 2 nodes ended with success, and after 2 s (times.tail) n0 still runs: a hang at the exit. The "
                                              "checkpoint of the last iteration, 3, is whole on all nodes")


def test_who_cannot_start_says_why_and_the_site_is_told(tmp_path):
    two = Cluster(tmp_path, training=LONG, on_end=f"cat > {tmp_path}/told")
    two.change("n1", ready=["/bin/sh", "-c", "echo looked; echo the data are gone; exit 3"])
    try:
        two.start()
        assert two.end() == [1, 1]
    finally:
        two.close()
    assert two.result("n1")["verdict"] == "n1 cannot start: the data are gone"
    assert json.loads((tmp_path / "told").read_text())["verdict"] == "n1 cannot start: the data are gone"
    assert not (tmp_path / "n0/train.log").exists()
    assert two.start().end() == [0, 0] and "is over: n1 cannot start" in two.said("n0"), "a reboot does not begin anew"
