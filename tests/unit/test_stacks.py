"""Where ranks stand: real processes with the hook, and the verdict over given stacks."""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.ascend.cluster.plugins.module_utils import _stacks

HOOKS = Path(__file__).parents[2] / "roles" / "ascendspeed" / "files"
NODES = ["node1", "node2"]
WORKER = """
import sys, time
sys.path.insert(0, {hooks!r})
sys.dont_write_bytecode = True
import ascend_cluster_hooks
ascend_cluster_hooks.install("failures")
def stands_here():
    print("ready", flush=True)
    while True:
        time.sleep(0.01)
stands_here()
"""


@pytest.fixture
def ranks(tmp_path):
    """Start ranks of a run in `tmp_path`; they are ended after the test."""
    started = {}

    def start(rank, run=tmp_path):
        process = subprocess.Popen([sys.executable, "-c", WORKER.format(hooks=str(HOOKS))], stdout=subprocess.PIPE, text=True,
                                   env={**os.environ, "RANK": str(rank), "LOCAL_RANK": "0", "ASCEND_RUN_DIR": str(run)})
        started[rank] = process
        for line in process.stdout:
            if line == "ready\n":
                return process
        raise AssertionError("it never began")

    yield start
    for process in started.values():
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_ranks_tell_where_they_stand_and_go_on(tmp_path, ranks):
    processes = [ranks(0), ranks(1)]
    for _ in range(2):
        found = _stacks.ask(str(tmp_path), 20)
        assert sorted(found) == [0, 1]
        for one in found.values():
            assert _stacks.main_thread(one["stack"])[0][2] == "stands_here"
            assert one["stack"].count("stands_here") == 1, "only what it said this time"
            assert one["state"] in ("running", "sleeping")
    assert all(process.poll() is None for process in processes)


def test_a_rank_that_cannot_answer_is_told_by_its_state(tmp_path, ranks):
    ranks(0)
    stopped = ranks(1)
    stopped.send_signal(signal.SIGSTOP)
    dead = ranks(2)
    dead.kill()
    dead.wait()
    deadline = time.monotonic() + 30
    while _stacks.process_state(stopped.pid) != "stopped by a signal":
        assert time.monotonic() < deadline
    found = _stacks.ask(str(tmp_path), 1)
    assert (found[1]["stack"], found[1]["state"]) == ("", "stopped by a signal")
    assert (found[2]["stack"], found[2]["state"]) == ("", "gone")
    verdict = _stacks.verdict(found, ["node1"], 3)
    assert verdict["ranks"] == [1, 2]
    assert "global rank 1 on node1 (local rank 1) could not write its stack: its process is stopped by a signal." in verdict["message"]


def test_a_process_that_is_not_of_this_run_is_never_signalled(tmp_path, ranks):
    other = ranks(0, run=tmp_path / "other")
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "rank0.pid").write_text(str(other.pid))
    (tmp_path / "stacks" / "rank1.pid").write_text("no number")
    (tmp_path / "stacks" / "rankX.pid").write_text("1")
    found = _stacks.ask(str(tmp_path), 1)
    assert found == {0: {"stack": "", "state": "gone"}, 1: {"stack": "", "state": "gone"}}
    assert other.poll() is None


def stack(*frames):
    return {"state": "sleeping", "stack": "Thread 0x00007f (most recent call first):\n  File \"/usr/lib/threading.py\", line 1 in wait\n\n"
            "Current thread 0x00007e (most recent call first):\n" + "".join(f'  File "{file}", line {line} in {name}\n' for file, line, name in frames)}


REDUCE = stack(("/env/torch/distributed/distributed_c10d.py", 100, "all_reduce"), ("/m/megatron/training/training.py", 5, "train_step"))
LOADING = stack(("/m/megatron/core/datasets/indexed_dataset.py", 412, "get"), ("/m/megatron/training/training.py", 4, "train_step"))
SAVING = stack(("/m/megatron/training/checkpointing.py", 300, "save"), ("/m/megatron/training/training.py", 9, "train"))


def test_who_does_not_wait_is_waited_for():
    found = {rank: REDUCE for rank in range(16)}
    found[11] = LOADING
    verdict = _stacks.verdict(found, NODES, 8)
    assert verdict["ranks"] == [11]
    assert "global rank 11 on node2 (local rank 3) stands elsewhere than the 15 that wait for others: in get (indexed_dataset.py:412)." in verdict["message"]
    assert "15 of 16 ranks: waits in train_step (training.py:5)" in verdict["message"]


def test_a_node_that_gave_no_answer_is_not_taken_for_one_that_hangs():
    found = {rank: REDUCE for rank in range(8)}
    found[2] = LOADING
    verdict = _stacks.verdict(found, NODES, 8, ["node2"])
    assert verdict["ranks"] == [2]
    assert "Nothing is known of the ranks of node2: no answer." in verdict["message"] and "7 of 8 ranks: waits" in verdict["message"]
    nobody = _stacks.verdict({rank: REDUCE for rank in range(8)}, NODES, 8, ["node2"])
    assert nobody["ranks"] == [] and "who is missing cannot be told" in nobody["message"]


def test_who_waits_in_another_collective():
    found = {rank: REDUCE for rank in range(4)}
    found[2] = stack(("/env/torch/distributed/distributed_c10d.py", 7, "barrier"), ("/m/megatron/training/checkpointing.py", 3, "save_checkpoint"))
    verdict = _stacks.verdict(found, NODES, 2)
    assert verdict["ranks"] == [2]
    assert "global rank 2 on node2 (local rank 0) waits elsewhere than most: in save_checkpoint (checkpointing.py:3)." in verdict["message"]


def test_where_all_stand_together_nobody_is_named():
    for place in (REDUCE, LOADING):
        verdict = _stacks.verdict({rank: place for rank in range(4)}, NODES, 2)
        assert verdict["ranks"] == []
        assert "No rank stands elsewhere" in verdict["message"]
    verdict = _stacks.verdict({0: LOADING, 1: LOADING, 2: SAVING, 3: SAVING}, NODES, 2)
    assert verdict["ranks"] == [], "two and two: neither side is most"


def test_a_node_that_did_not_answer():
    verdict = _stacks.verdict({0: REDUCE, 1: REDUCE}, NODES, 2)
    assert verdict["ranks"] == [2, 3]
    assert "global rank 2 on node2 (local rank 0) could not write its stack: its process is unknown, it has not registered." in verdict["message"]


def test_many_nodes_that_did_not_answer_are_counted():
    nodes = [f"node{number}" for number in range(1, 129)]
    verdict = _stacks.verdict({rank: REDUCE for rank in range(8)}, nodes, 8)
    assert verdict["ranks"] == list(range(8, 1024))
    assert "So could not 1000 more; 1016 ranks in all, on node2, node3, " in verdict["message"]
    assert "node17 …." in verdict["message"]
    assert len(verdict["message"].splitlines()) == 18


def test_without_a_training_nobody_is_named():
    verdict = _stacks.verdict({}, NODES, 2)
    assert verdict["ranks"] == []
    assert f"No rank of a training is there to be asked on {', '.join(NODES)}: none runs" in verdict["message"]


def test_nodes_that_gave_no_answer_are_not_said_to_run_nothing():
    one = _stacks.verdict({}, ["a", "b"], 2, ["b"])["message"]
    assert one.startswith("No rank of a training is there to be asked on a: none runs") and one.endswith("Nothing is known of the ranks of b: no answer.")
    assert _stacks.verdict({}, ["a", "b"], 2, ["a", "b"])["message"] == "Nothing is known of the ranks of a, b: no answer."
