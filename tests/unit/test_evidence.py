"""What the logs on a node show, and the verdict over all nodes on recorded ones."""
import dataclasses
import json
import os
import shutil
import time
from pathlib import Path

import hypothesis
import pytest
from ansible_collections.ascend.cluster.plugins.module_utils import _evidence, _log_lines, _run, _training_log
from ansible_collections.ascend.cluster.plugins.module_utils._evidence import Collector, meaning
from ansible_collections.ascend.cluster.plugins.module_utils._fault_patterns import CAUSES, FRAMES, PATTERNS
from hypothesis import strategies

RECORDED = Path(__file__).parent / "recorded" / "runs"
ITERATION = " [2024-04-25 10:00:00] iteration        {}/      20 | lm loss: 6.0E+00 | grad norm: 1.0 |\n"
SUMMARY = """Failures:
  <NO_OTHER_FAILURES>
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2025-02-20_09:11:02
  host      : node1
  rank      : {rank} (local_rank: {local})
  exitcode  : {code} (pid: {pid})
  error_file: <N/A>
  traceback : Signal 9 (SIGKILL) received by PID {pid}
"""


class Run:
    """A run's folder on one node."""

    def __init__(self, folder, node_rank=1, nproc=8):
        self.folder, self.node_rank, self.nproc = folder, node_rank, nproc

    def log(self, text, name="train.log"):
        (self.folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())

    def rank(self, local, text, stream="stderr", attempt=0):
        place = self.folder / "ranks" / "none_k2m1x0" / f"attempt_{attempt}" / str(local)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{stream}.log").write_text(text)

    def record(self, rank, **words):
        (self.folder / "failures").mkdir(exist_ok=True)
        (self.folder / "failures" / f"rank{rank}.json").write_text(json.dumps(
            {"rank": rank, "time": 100.0, "kind": "exception", "type": "KeyError", "message": "7", "where": "a.py:1 in f", **words}))

    def collect(self, kernel="", unit="", seconds=60.0):
        return Collector(str(self.folder), self.node_rank, self.nproc, seconds).collect(kernel, unit)


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def roles(findings):
    return [(item["role"], item["cause"]) for item in findings]


# --- recorded logs of all nodes; each is one log of all ranks, without marks

# ei0006, out_of_memory: vllm-project/vllm-ascend#486 and hiyouga/LlamaFactory#5071; ej0001: LlamaFactory#3839; out_of_memory_on_8: #701, #5491;
# tbe_noise: vllm-project/vllm-ascend#1706; forkserver_noise: Ascend/pytorch#79; nan: epfLLM/Megatron-LLM#33
@pytest.mark.parametrize(("logs", "ranks", "cause", "words"), [
    (("ei0006", "out_of_memory"), [8], "npu_out_of_memory", "node2 (node rank 1), global rank 8 (local rank 0): NPU out of memory"),
    (("out_of_memory", "ei0006"), [0], "npu_out_of_memory", "node1 (node rank 0), global rank 0 (local rank 0): NPU out of memory"),
    (("ei0006", "ej0001"), [8], "last_process_running", "EJ0001: The communication process (HCCP) of this NPU could not start"),
    (("ei0006", "out_of_memory_on_8"), [8, 9, 10, 11, 12, 13, 14, 15], "npu_out_of_memory", "global ranks 8-15 (local ranks 0-7): NPU out of memory"),
    (("ei0006", "tbe_noise"), [8], "npu_out_of_memory", "NPU out of memory"),
    (("ei0006", "forkserver_noise"), [8], "npu_out_of_memory", "NPU out of memory"),
    (("ei0006", "ei0006"), [], "collective_timeout", "no log tells on which node it began"),
])
@pytest.mark.parametrize("ahead", [0.0, 3.0, -3600.0])
def test_recorded_logs(tmp_path, logs, ranks, cause, words, ahead):
    outcomes = {}
    for node_rank, name in enumerate(logs):
        folder = tmp_path / str(node_rank)
        folder.mkdir()
        text = (RECORDED / f"{name}.log").read_text()
        # torchrun's summary was recorded on another node.
        first = node_rank * 8
        for rank in range(8):
            text = text.replace(f"rank      : {8 + rank if 'node1' in text else rank} ", f"rank      : {first + rank} ")
        text = text.replace("RankID:8", f"RankID:{first}").replace("RankID:0", f"RankID:{first}")
        (folder / "train.log").write_text(text)
        outcomes[f"node{node_rank + 1}"] = {"outcome": "failed", "reason": "torchrun exited 1", "ended_at": 1.7e9 + ahead * node_rank,
                                            "clock": {"low": ahead * node_rank, "high": ahead * node_rank}, "iterations": [],
                                            "evidence": Collector(str(folder), node_rank, 8).collect()}
    verdict = _run.training_verdict(outcomes, {"last_iteration": 4, "log_interval": 1, "first_iteration": 0, "nproc_per_node": 8}, {})
    assert (verdict["ranks"], verdict["cause"]) == (ranks, cause)
    assert verdict["culprit"] == (f"node{ranks[0] // 8 + 1}" if ranks else "")
    assert words in verdict["message"]
    if ranks:
        assert "Lost their peers, which is a consequence:\n  node" in verdict["message"]


def test_a_loss_that_vanished_to_the_end_is_no_success():
    with (RECORDED / "nan.log").open() as file:
        seen = [dataclasses.asdict(item) for item in _training_log.iterations(file)]
    outcomes = {"node1": {"outcome": "succeeded"}, "node2": {"outcome": "succeeded", "iterations": seen}}
    verdict = _run.training_verdict(outcomes, {"last_iteration": 4, "log_interval": 1, "first_iteration": 0, "nproc_per_node": 8}, {})
    assert (verdict["succeeded"], verdict["cause"]) == (False, "nan_loss")
    assert "the loss of the last iteration logged, 4, is missing (bad since iteration 2)" in verdict["message"]


# --- whose words they are

def test_the_own_log_of_a_rank_tells_whose_words_they_are(run):
    run.rank(3, "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nRuntimeError: NPU out of memory. Tried to allocate 1 GiB\n")
    run.rank(4, "fine\n", stream="stdout")
    run.log("[default3]:RuntimeError: NPU out of memory. Tried to allocate 1 GiB\ntorchrun: Address already in use\n")
    found = run.collect()
    assert list(found["ranks"]) == ["11"]
    (finding,) = found["ranks"]["11"]["findings"]
    assert (finding["role"], finding["cause"], finding["count"]) == ("cause", "npu_out_of_memory", 1)
    assert finding["context"] == ["Traceback (most recent call last):", '  File "a.py", line 1, in f']
    assert finding["file"].endswith("attempt_0/3/stderr.log")
    # What the tee says of no rank is torchrun's own.
    assert roles(found["node"]) == [("cause", "port_in_use")]


@pytest.mark.parametrize("line", [
    "[default3]:RuntimeError: NPU out of memory", "[rank11]: RuntimeError: NPU out of memory", "[default3]:[rank11]: RuntimeError: NPU out of memory",
    "RuntimeError: NPU out of memory. Tried to allocate 2 GiB (NPU 3; 60 GiB)", "[default1]:step 1/2\r[default3]:RuntimeError: NPU out of memory",
    "[default1]:iteration 3[default3]:RuntimeError: NPU out of memory",
    "[ERROR] 2025-04-08-18:07:20 (PID:7, Device:3, RankID:11) NPU out of memory",
])
def test_marks_and_words_tell_the_rank_in_one_log_of_all(run, line):
    run.log(f"start\n{line}\nend\n")
    found = run.collect()
    assert list(found["ranks"]) == ["11"]
    assert found["node"] == []


def test_a_pid_tells_the_rank_by_torchruns_summary(run):
    run.log(SUMMARY.format(rank=13, local=5, code=1, pid=4242) + "EJ0001: [PID: 4242] Failed to initialize the HCCP process\n")
    found = run.collect()
    assert roles(found["ranks"]["13"]["findings"]) == [("cause", "last_process_running")]


def test_ranks_of_other_nodes_are_not_taken(run):
    run.log("[ERROR] (PID:7, Device:3, RankID:2) NPU out of memory\n")
    found = run.collect()
    assert found["ranks"] == {} and len(found["node"]) == 1


def test_torchruns_summary(run):
    run.log(SUMMARY.format(rank=13, local=5, code=-9, pid=4242))
    found = run.collect()
    at = time.mktime((2025, 2, 20, 9, 11, 2, 0, 0, -1))
    assert found["ranks"]["13"]["exit"] == {"code": -9, "pid": 4242, "at": [at - 6, at + 1]}
    assert found["first_observed"] == 13


def test_a_summary_that_was_cut_off_still_tells_the_first(run):
    run.log("torch.distributed.elastic: [ERROR] failed (exitcode: -11) local_rank: 2 (pid: 5) of binary: python\nFailures:\n")
    found = run.collect()
    assert found["ranks"]["10"]["exit"] == {"code": -11, "pid": 5, "at": None}
    assert found["first_observed"] == 10


def test_the_hooks_record(run):
    run.record(9, time=123.5, kind="exit", type="SystemExit", message="", status=0)
    run.record(2)  # of another node
    (run.folder / "failures" / "rank10.json").write_text("{half")
    (run.folder / "failures" / "rank12.json").write_text('["no", "object"]')
    found = run.collect()
    assert list(found["ranks"]) == ["9"]
    record = found["ranks"]["9"]["record"]
    assert (record["kind"], record["status"], record["at"]) == ("exit", 0, [123.5, 123.5])


def test_the_kernel_and_the_unit_are_heard(run):
    found = run.collect("Out of memory: Killed process 7 (python) total-vm:1kB\nsome disk error\n", "unit: Failed with result 'oom-kill'.\n1\n2\n")
    assert roles(found["journal"]) == [("cause", "host_out_of_memory")] * 2
    # Without a result the script has not told anything: the journal has its last words.
    assert found["tail"] == ["unit: Failed with result 'oom-kill'.", "1", "2"]
    run.log("\n".join(str(number) for number in range(30)))
    (run.folder / "result").write_text("status=failed\n")
    assert run.collect("", "x\n")["tail"] == [str(number) for number in range(10, 30)]


# --- what counts

def test_what_the_training_went_on_after_ended_nothing(run):
    error = "[default7]:ConnectionError: retrying\n"
    run.log(error + ITERATION.format(1) + ITERATION.format(2))
    assert run.collect()["ranks"] == {}
    # One line may overtake another in the tee.
    run.log(error + ITERATION.format(1))
    assert len(run.collect()["ranks"]["15"]["findings"]) == 1
    run.log(ITERATION.format(1) + ITERATION.format(2) + error)
    assert len(run.collect()["ranks"]["15"]["findings"]) == 1


def test_a_caught_exception_is_not_what_ended_a_rank(run):
    caught = "Traceback (most recent call last):\nModuleNotFoundError: No module named 'amp_C'\nfalling back\n"
    run.rank(2, caught + "RuntimeError: Connection closed by peer\n")
    assert roles(run.collect()["ranks"]["10"]["findings"]) == [("cascade", "")]
    run.rank(2, caught)
    assert roles(run.collect()["ranks"]["10"]["findings"]) == [("cause", "import_error")]
    run.rank(2, "KeyError: 1\nValueError: 2\nBrokenPipeError: [Errno 32] Broken pipe\n")
    assert [item["line"] for item in run.collect()["ranks"]["10"]["findings"]] == ["ValueError: 2"]
    # Clear words stay, whatever the loss of peers prints after them.
    run.rank(2, "RuntimeError: NPU out of memory\nRuntimeError: HCCL error in: x\n")
    assert roles(run.collect()["ranks"]["10"]["findings"]) == [("cause", "npu_out_of_memory"), ("cascade", "")]


def test_an_earlier_try_is_not_read_but_a_rotated_log_is(run):
    run.log("[default1]:RuntimeError: NPU out of memory\n", "train.20250101T000000Z.log")
    run.log("fine\n")
    assert run.collect()["ranks"] == {}
    run.log("[default1]:RuntimeError: NPU out of memory\n", "train.log.1")
    assert list(run.collect()["ranks"]) == ["9"]


def test_the_same_line_is_kept_once_and_different_ones_are_bounded(run):
    run.rank(0, "".join(f"ValueError: {number}\n" for number in range(1000)) + "".join(f"{word}Error: x\n" for word in "abcdefghijklmnopqrstuvwxyz" * 2))
    kept = run.collect()["ranks"]["8"]["findings"]
    assert len(kept) == 1  # of exceptions that say nothing the last
    run.log("".join(f"[default0]:{chr(97 + number % 26)}{chr(97 + number // 26)}Error: Address already in use\n" for number in range(600)))
    shutil.rmtree(run.folder / "ranks")
    assert len(run.collect()["ranks"]["8"]["findings"]) == _evidence._KEPT


@pytest.mark.parametrize(("text", "expected"), [
    ("RuntimeError: something else", ("cause", "python_exception", "", True)),
    ("json.decoder.JSONDecodeError: Expecting value", ("cause", "python_exception", "", True)),
    ("ImportError: x", ("cause", "import_error", "", True)),
    ("ImportError: libhccl.so: cannot open shared object file", ("cause", "import_error", "", True)),
    ("EI0006: [PID: 1] Getting socket times out", ("cascade", "", "EI0006", False)),
    ("EJ0001: Failed to initialize the HCCP process", ("cause", "last_process_running", "EJ0001", False)),
    ("EZ7777: nobody knows", ("confirmation", "", "EZ7777", False)),
    ("RuntimeError: HcclAllreduce, error code is 6 EJ0001", ("cause", "last_process_running", "EJ0001", False)),
    ("FutureWarning: ValueError: will be raised", ("noise", "", "", False)),
    ("        Solution: check out of memory: NPU out of memory", ("noise", "", "", False)),
    ("DataLoader worker (pid 5) is killed by signal: Terminated. ", ("noise", "", "", False)),
    ("RuntimeError: DataLoader worker (pid 5) is killed by signal: Killed. ", ("cause", "data_worker", "", False)),
    ("  x = ValueError('in code')", None), ("error rate: 0.5 Errors", None), ("validation Error: 3", None), ("", None),
])
def test_meaning(text, expected):
    found = meaning(text)
    assert (found and (found.role, found.cause, found.code, found.generic)) == expected


def test_frames_tell_what_words_do_not():
    assert _evidence.place_of(['  File "x/tokenization_utils_base.py", line 3, in f', "KeyError: 3"]) == "tokenizer_unreadable"
    assert _evidence.place_of(['  File "megatron/training/checkpointing.py", line 3, in load_checkpoint']) == "checkpoint_unreadable"
    assert _evidence.place_of(["  File \"a.py\""]) == ""


def test_the_table_is_whole():
    assert all(row.role in ("cause", "cascade", "pointer", "confirmation", "noise") for row in PATTERNS)
    assert {row.cause for row in PATTERNS} | {cause for cause, _ in FRAMES} <= {"", *CAUSES}
    assert all(row.source and row.anchor for row in PATTERNS)
    assert all(row.cause for row in PATTERNS if row.role == "cause")
    assert all(cause.words and cause.remedy for cause in CAUSES.values())
    assert len({(row.anchor, row.expression) for row in PATTERNS}) == len(PATTERNS)


@pytest.mark.parametrize("row", PATTERNS, ids=lambda row: row.anchor)
def test_every_line_of_a_pattern_holds_one_of_its_anchors(row):
    # The logs are searched for the anchors: a line without one is never seen.
    @hypothesis.settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck), derandomize=True)
    @hypothesis.given(strategies.from_regex(row.expression, fullmatch=True))
    def check(line):
        assert any(anchor in line for anchor in row.anchor.split("|"))

    check()


# --- large logs

def test_an_ordinary_line_is_not_looked_at():
    lines = (RECORDED / "nan.log").read_text().splitlines()
    assert lines and not [word for line in lines for word in _evidence.INTEREST if word in line]


def test_what_does_not_fit_the_time_is_said_and_the_end_is_read_all_the_same(run, monkeypatch):
    monkeypatch.setattr(_log_lines, "LAST_PART", 1000)
    run.log("[default0]:RuntimeError: NPU out of memory\n" + "x" * 99 + "\n" * 50 + ("y" * 99 + "\n") * 100 + "[default5]:ValueError: at the end\n")
    found = run.collect(seconds=0.0)
    assert "13" in found["ranks"]
    assert found["left_out"] > 0
    assert run.collect()["left_out"] == 0 and set(run.collect()["ranks"]) == {"8", "13"}


def test_carriage_returns_and_endless_lines(run):
    run.log(b"[default2]:" + b"\r".join(b"10%%|#  | %d/99" % number for number in range(9999)) + b"\r[default2]:RuntimeError: NPU out of memory\n")
    assert list(run.collect()["ranks"]) == ["10"]
    run.log(b"x" * 3_000_000 + b"\r[default2]:RuntimeError: NPU out of memory")
    assert list(run.collect()["ranks"]) == ["10"]
    run.log(b"\xff\x00\n[default2]:RuntimeError: NPU out of memory \xff\n")
    assert list(run.collect()["ranks"]) == ["10"]


def test_a_log_that_cannot_be_read(run):
    os.mkfifo(run.folder / "other")
    (run.folder / "train.log").mkdir()
    assert run.collect()["ranks"] == {}
    assert Run(run.folder / "none").collect() == {"ranks": {}, "node": [], "journal": [], "first_observed": None, "tail": [], "searched": 0, "left_out": 0}


# --- time

@pytest.mark.parametrize(("text", "seconds", "width"), [
    ("[ERROR] 2025-04-08-18:07:20 (PID:1)", (2025, 4, 8, 18, 7, 20), 1.0), ("2025-04-08-18:07:20.444.436", (2025, 4, 8, 18, 7, 20), 0.001),
    ("[2025-02-20 09:11:02,511] torch", (2025, 2, 20, 9, 11, 2), 0.001), (" [2024-04-25 10:00:00] iteration", (2024, 4, 25, 10, 0, 0), 1.0),
    ("2025-02-20_09:11:02", (2025, 2, 20, 9, 11, 2), 1.0),
])
def test_moments(text, seconds, width):
    low, high = _log_lines.moment(text)
    assert int(low) == int(time.mktime((*seconds, 0, 0, -1)))
    assert high - low == pytest.approx(width, abs=1e-6)


def test_no_moment():
    assert _log_lines.moment("10:00:00") is None
    assert _log_lines.moment("9999-99-99 99:99:99") is None
