"""Who is blamed, and who is not: situations in which an innocent rank looks guilty."""
import json
import time

import pytest
from ansible_collections.ascend.cluster.plugins.module_utils import _fault_codes, _run
from ansible_collections.ascend.cluster.plugins.module_utils._evidence import Collector

T0 = 1764126432.0
LOST = "RuntimeError: [../third_party/gloo/gloo/transport/tcp/pair.cc:598] Connection closed by peer [10.0.0.9]:5000\n"
KEY_ERROR = "Traceback (most recent call last):\n  File \"/opt/x/pretrain_gpt.py\", line 12, in train_step\n    f(x)\nKeyError: 'tokens'\n"
#: torch 2.13 ends the peers of a failed rank and lists them as well (pytorch/pytorch#160908), by SIGKILL after 30 s
CLOSING = "W1125 10:00:00.511000 1 torch/distributed/elastic/multiprocessing/api.py:1002] Sending process {} closing signal SIGTERM\n"
#: what torchrun and a rank print that are stopped
STOPPED = """W1125 10:00:02.511000 1 torch/distributed/elastic/agent/server/api.py:719] Received 15 death signal, shutting down workers
torch.distributed.elastic.multiprocessing.api.SignalException: Process 1 got signal: 15
"""


def summary(node_rank, first, *others, at=T0):
    """torchrun's summary of (local rank, exit code): the first failure, then the others."""
    def entry(local, code):
        when = time.strftime("%Y-%m-%d_%H:%M:%S", time.localtime(at))
        return f"  time      : {when}\n  rank      : {8 * node_rank + local} (local_rank: {local})\n  exitcode  : {code} (pid: {5000 + local})\n"
    return "".join(map(entry, *zip(*others))) + "Root Cause (first observed failure):\n" + entry(*first) if others else \
        "Root Cause (first observed failure):\n" + entry(*first)


class Cluster:
    """Nodes with their run folders, and the verdict on them."""

    def __init__(self, folder):
        self.folder, self.outcomes = folder, {}

    def node(self, log="", ranks=None, records=None, outcome="failed", reason="torchrun exited 1", ended=T0 + 1, kernel="", mixed=False):
        node_rank = len(self.outcomes)
        folder = self.folder / str(node_rank)
        (folder / "failures").mkdir(parents=True)
        for local, text in (ranks or {}).items():
            if mixed:
                log = text + log
                continue
            place = folder / "ranks/none_x/attempt_0" / str(local)
            place.mkdir(parents=True)
            (place / "stderr.log").write_text(text)
        (folder / "train.log").write_text(log)
        for local, record in (records or {}).items():
            rank = 8 * node_rank + local
            (folder / f"failures/rank{rank}.json").write_text(record if isinstance(record, str) else json.dumps(
                {"rank": rank, "time": T0, "kind": "exception", "type": "KeyError", "message": "'tokens'", "where": "a.py:1 in f", "status": 1, **record}))
        evidence = {} if outcome == "unreachable" else Collector(str(folder), node_rank, 8).collect(kernel)
        self.outcomes[f"node{node_rank + 1}"] = {"outcome": outcome, "reason": reason, "ended_at": ended, "clock": {"low": -0.3, "high": 0.3},
                                                 "evidence": evidence}

    def stopped(self, **how):
        self.node(**{"log": STOPPED, "outcome": "stopped", "reason": "stopped after the failure of node2: torchrun exited 1", "ended": T0 + 20, **how})

    def found(self):
        return _run.training_verdict(self.outcomes, {"last_iteration": 20, "log_interval": 1, "first_iteration": 0, "nproc_per_node": 8}, {})

    def message(self):
        return self.found()["message"]

    def verdict(self):
        found = self.found()
        return found["culprit"], found["ranks"], found["cause"]


@pytest.fixture
def cluster(tmp_path):
    return Cluster(tmp_path)


# --- what torchrun ended itself

@pytest.mark.parametrize("silent", [False, True])
def test_a_rank_that_torchrun_killed_after_its_grace_time_began_nothing(cluster, silent):
    peers = [(local, -15) for local in (0, 1, 2, 4, 6, 7)]
    log = "".join(CLOSING.format(5000 + local) for local, _ in [*peers, (5, 0)]) + summary(1, (3, 1), *peers, (5, -9))
    cluster.stopped()
    cluster.node(log, {3: "hm\n" if silent else KEY_ERROR}, ended=T0 + 31)
    assert cluster.verdict() == ("node2", [11], "unknown" if silent else "python_exception")


def test_a_rank_that_was_killed_on_a_node_that_lost_its_peer_began_nothing(cluster):
    cluster.node(CLOSING.format(5005) + summary(0, (0, 1), (5, -9)), {0: LOST}, ended=T0 + 33)
    cluster.node(summary(1, (3, 1)), {3: "hm\n"})
    assert cluster.verdict() == ("node2", [11], "unknown")


# --- words of ranks that lived

@pytest.mark.parametrize("words", [
    "sample 3: 'how to fix RuntimeError: NPU out of memory?'\n",
    "mkdir: cannot create directory /root/.cache: Permission denied\n",
    "wandb: ERROR Failed to write: OSError: [Errno 28] No space left on device\n",
    "RuntimeError: DataLoader worker (pid(s) 4711) exited unexpectedly\n",
    "ImportError: no flash_attn, fall back\n",
])
@pytest.mark.parametrize("mixed", [False, True])
def test_a_rank_that_lived_until_it_was_stopped_did_not_begin_it(cluster, words, mixed):
    cluster.stopped(ranks={0: words}, mixed=mixed)
    cluster.node(summary(1, (3, 1)), {3: KEY_ERROR})
    assert cluster.verdict() == ("node2", [11], "python_exception")
    assert "Failed later" not in cluster.message()


def test_a_peer_on_the_same_node_that_lived_did_not_begin_it_either(cluster):
    cluster.node(summary(0, (3, 1)), {3: KEY_ERROR, 5: "wandb: ERROR: No space left on device\n"})
    cluster.stopped()
    assert cluster.verdict() == ("node1", [3], "python_exception")


def test_a_rank_with_clear_words_that_only_hung_began_it_where_the_others_only_lost_it(cluster):
    cluster.stopped(ranks={0: "RuntimeError: NPU out of memory. Tried to allocate 2.00 GiB\n"})
    cluster.node(summary(1, (3, 1)), {3: LOST})
    assert cluster.verdict() == ("node1", [0], "npu_out_of_memory")


def test_a_rank_with_a_vendors_code_that_only_hung_is_not_passed_over(cluster):
    cluster.stopped(ranks={0: "EJ0001: 2025-11-20-03:07:00.167.645 Failed to initialize the HCCP process\n"})
    cluster.node(summary(1, (3, 1)), {3: KEY_ERROR})
    assert cluster.verdict() == ("node1", [0], "last_process_running")


@pytest.mark.parametrize("mixed", [False, True])
def test_words_in_passing_of_a_rank_that_then_lost_its_peer_are_not_what_ended_it(cluster, mixed):
    cluster.node(summary(0, (0, 1)), {0: "mkdir: cannot create directory /root/.cache: Permission denied\n" + LOST}, mixed=mixed)
    cluster.node(summary(1, (3, 1)), {3: KEY_ERROR})
    assert cluster.verdict() == ("node2", [11], "python_exception")


def test_an_exception_that_was_followed_by_the_loss_of_peers_is_what_ended_it(cluster):
    cluster.node(summary(0, (0, 1)), {0: "RuntimeError: NPU out of memory. Tried to allocate 2.00 GiB\n" + LOST})
    cluster.node(summary(1, (3, 1)), {3: KEY_ERROR})
    assert cluster.verdict() == ("node1", [0], "npu_out_of_memory")


def test_words_after_the_loss_of_a_peer_are_weaker_than_an_exception_elsewhere(cluster):
    cluster.node(summary(0, (0, 1)), {0: LOST + "OSError: [Errno 28] No space left on device: 'core'\n"})
    cluster.node(summary(1, (3, 1)), {3: KEY_ERROR})
    assert cluster.verdict() == ("node2", [11], "python_exception")


def test_a_record_tells_more_than_words_in_passing(cluster):
    cluster.node(summary(0, (0, 1)), {0: "mkdir: Permission denied\n" + LOST}, {0: {}})
    cluster.stopped()
    assert cluster.verdict() == ("node1", [0], "python_exception")


@pytest.mark.parametrize("code", sorted(row.code for row in _fault_codes.CODES.values() if (row.role, row.cause) == ("cause", "unknown")))
def test_a_vendors_code_without_a_cause_of_its_own_lays_the_fault_on_its_rank(cluster, code):
    cluster.node(summary(0, (3, 1)), {3: f"RuntimeError: x, error code is {code}\n" if code.isdigit() else f"{code}: x\n"})
    cluster.node(summary(1, (3, 1)), {3: ""})
    assert cluster.verdict() == ("node1", [3], "unknown")


# --- killed

def test_a_rank_that_recorded_its_exception_and_was_killed_then(cluster):
    cluster.node(summary(0, (3, -9)), {3: ""}, {3: {}})
    cluster.stopped()
    assert cluster.verdict() == ("node1", [3], "python_exception")


def test_a_rank_that_was_killed_after_it_had_lost_its_peer(cluster):
    cluster.node(summary(0, (3, -9)), {3: LOST})
    cluster.node(summary(1, (3, 1)), {3: ""})
    assert cluster.verdict() == ("node2", [11], "unknown")


# --- moments

def test_words_without_a_moment_may_be_as_late_as_the_end_of_their_node(cluster):
    cluster.node("", {3: "RuntimeError: NPU out of memory\n"}, ended=T0)
    cluster.node("", {3: ""}, {3: {"time": T0 + 0.5, "type": "RuntimeError", "message": "NPU out of memory"}})
    assert cluster.verdict()[0] == ""


# --- aborts that are a consequence

# https://github.com/vllm-project/vllm-ascend/issues/4972 has such a watchdog
@pytest.mark.parametrize("mixed", [False, True])
def test_an_abort_by_the_watchdog_is_a_consequence(cluster, mixed):
    text = "[E1125 10:00:00 ProcessGroupNCCL.cpp:616] Watchdog caught collective operation timeout\nFatal Python error: Aborted\n"
    cluster.node(summary(0, (2, -6)), {2: text}, mixed=mixed)
    cluster.node(summary(1, (3, 1)), {3: KEY_ERROR})
    assert cluster.verdict() == ("node2", [11], "python_exception")


@pytest.mark.parametrize("where", ["distributed_c10d.py:3 in barrier", "signal.py:1 in handler"])
def test_an_exception_of_a_record_that_is_a_consequence(cluster, where):
    kind = "RuntimeError" if "c10d" in where else "KeyboardInterrupt"
    cluster.node("", {3: ""}, {3: {"type": kind, "message": "unknown words", "where": where, "time": T0 - 9}})
    cluster.node(summary(1, (3, 1)), {3: ""})
    assert cluster.verdict() == ("node2", [11], "unknown")


def test_an_exception_raised_in_a_collective_is_a_consequence(cluster):
    text = 'Traceback (most recent call last):\n  File "/opt/torch/distributed/distributed_c10d.py", line 3, in barrier\nRuntimeError: unknown words\n'
    cluster.node(summary(0, (3, 1)), {3: text})
    cluster.node(summary(1, (3, 1), at=T0 + 2), {3: ""}, ended=T0 + 3)
    assert cluster.verdict() == ("node2", [11], "unknown")


def test_an_abort_is_no_fault_where_one_log_does_not_tell_who_lost_its_peer(cluster):
    lost = "[Rank 2] HCCL watchdog thread terminated with exception\n"
    cluster.node(lost + summary(0, (2, -6), (3, -6)))
    cluster.node(lost + summary(1, (1, -6)))
    assert cluster.verdict() == ("", [], "collective_timeout")


def test_an_abort_is_ones_own_where_the_log_of_the_rank_tells_of_no_lost_peer(cluster):
    cluster.node(summary(0, (2, -6)), {2: "terminate called after throwing an instance of 'std::runtime_error'\n", 3: LOST})
    cluster.node(summary(1, (1, 1)), {1: LOST})
    assert cluster.verdict() == ("node1", [2], "killed")


def test_nobody_is_blamed_where_the_watchdog_aborts_everybody(cluster):
    text = "[E1125 10:00:00 ProcessGroupNCCL.cpp:616] Watchdog caught collective operation timeout\nFatal Python error: Aborted\n"
    for node_rank in (0, 1):
        cluster.node(summary(node_rank, (2, -6), (3, -6)), {2: text, 3: text})
    assert cluster.verdict() == ("", [], "collective_timeout")


# --- the kernel

@pytest.mark.parametrize(("line", "code", "cause"), [
    ("Out of memory: Killed process 999 (mysqld) total-vm:1kB", -9, "killed"), ("Out of memory: Killed process 5003 (python) total-vm:1kB", -11, "killed"),
    ("Out of memory: Killed process 5003 (python) total-vm:1kB", -9, "host_out_of_memory"),
    ("oom-kill:constraint=CONSTRAINT_MEMCG,task=python,pid=5003,uid=0", -9, "host_out_of_memory"),
    ("unit: Failed with result 'oom-kill'.", -9, "host_out_of_memory"),
])
def test_the_kernel_explains_the_end_of_the_process_that_it_killed(cluster, line, code, cause):
    cluster.stopped()
    cluster.node(summary(1, (3, code)), {3: ""}, kernel=line + "\n")
    assert cluster.verdict() == ("node2", [11], cause)


# --- whole nodes

def test_a_node_that_could_not_be_stopped_was_not_lost_first(cluster):
    cluster.node(outcome="unreachable", reason="could not be stopped after the failure of node2: torchrun exited 1: no answer")
    cluster.node(summary(1, (3, 1)), {3: KEY_ERROR}, {3: {}})
    assert cluster.verdict() == ("node2", [11], "python_exception")


@pytest.mark.parametrize(("later", "expected"), [(9.0, ("node1", [], "stopped")), (-30.0, ("node2", [9], "python_exception"))])
def test_one_unit_that_is_stopped_by_hand(cluster, later, expected):
    cluster.node(STOPPED, reason="the launch script was stopped from outside this run of Ansible")
    cluster.node("", {1: "ValueError: unknown words\n"}, {1: {"type": "ValueError", "message": "unknown words", "time": T0 + later}}, ended=T0 + later + 1)
    assert cluster.verdict() == expected


def test_a_node_that_would_not_stop_began_nothing(cluster):
    cluster.node(summary(0, (3, 1)), {3: ""})
    cluster.node(reason="ascend-pretrain.service is still deactivating after a stop")
    assert cluster.verdict() == ("node1", [3], "unknown")


def test_a_killed_unit_whose_ranks_had_lost_a_peer_is_weaker_than_an_exception(cluster):
    cluster.node("", {3: LOST}, reason="the unit ended with status 9 without telling a result (killed?)")
    cluster.node(summary(1, (3, 1)), {3: KEY_ERROR})
    assert cluster.verdict() == ("node2", [11], "python_exception")


def test_a_node_that_left_early_after_it_had_lost_a_peer_is_not_blamed(cluster):
    cluster.node("", {3: LOST}, reason="torchrun exited 0, but the last iteration logged is 3 of 20")
    cluster.node(summary(1, (3, 1)), {3: ""})
    assert cluster.verdict() == ("node2", [11], "unknown")


def test_words_of_one_of_two_ranks_that_failed_name_none_of_them(cluster):
    cluster.node(summary(0, (3, 1), (4, 1)), {3: KEY_ERROR}, mixed=True)
    cluster.stopped()
    assert cluster.verdict() == ("node1", [], "python_exception")


def test_a_rank_that_leaves_after_it_had_lost_a_peer_is_not_blamed(cluster):
    cluster.node("", {3: LOST}, {3: {"kind": "exit", "status": 1}})
    cluster.node(summary(1, (3, 1)), {3: ""})
    assert cluster.verdict() == ("node2", [11], "unknown")


def test_the_same_words_of_ranks_that_ended_by_them_on_every_node_are_the_cause(cluster):
    full = "OSError: [Errno 28] No space left on device\n"
    cluster.node(summary(0, (3, 1), (5, 1)), {3: full, 5: KEY_ERROR})
    cluster.node(summary(1, (3, 1)), {3: full})
    assert cluster.verdict() == ("", [3, 11], "disk_full")


# --- records

@pytest.mark.parametrize(("left", "expected"), [(3.0, ("", [*range(8), 11], "unknown")), (-60.0, ("node1", [*range(8)], "exit_early"))])
def test_ranks_that_leave_when_they_are_stopped_are_not_blamed_alone(cluster, left, expected):
    leaves = {"kind": "exit", "type": "SystemExit", "message": "", "status": None, "time": T0 + left}
    cluster.stopped(records={local: leaves for local in range(8)}, ended=T0 + 5)
    cluster.node(summary(1, (3, 1), at=T0 + 2), {3: ""}, ended=T0 + 3)
    assert cluster.verdict() == expected


@pytest.mark.parametrize("record", [
    '{"rank": 1e400, "time": 1}', '{"rank": 0, "time": NaN, "kind": "exception"}', '{"rank": 0, "time": 1e400}', "null", "[" * 60000,
    '{"rank": 0, "time": 1764126432, "kind": "exit", "status": {}}',
])
def test_an_absurd_record_harms_nothing(cluster, record):
    cluster.node(summary(0, (0, 1)), {0: KEY_ERROR}, {0: record})
    cluster.stopped()
    assert cluster.verdict() == ("node1", [0], "python_exception")


def test_a_record_tells_the_moment_of_the_same_words_in_one_log_of_all(cluster):
    for later in (3.0, 0.0):
        cluster.node(summary(len(cluster.outcomes), (3, 1), at=T0 + later), {3: KEY_ERROR}, {3: {"time": T0 + later}}, mixed=True, ended=T0 + later + 1)
    assert cluster.verdict() == ("node2", [11], "python_exception")


# --- words

# https://github.com/modelscope/ms-swift/issues/3932
def test_a_return_code_after_a_colon_is_read(cluster):
    for node_rank in (0, 1):
        cluster.node(summary(node_rank, (3, 1)), {3: "RuntimeError: ACL stream synchronize failed, error code:107020\n"})
    assert cluster.verdict() == ("", [], "collective_timeout")


def test_an_exception_without_error_in_its_name(cluster):
    cluster.stopped()
    cluster.node(summary(1, (3, 1)), {3: "StopIteration\n"})
    assert cluster.verdict() == ("node2", [11], "python_exception")
