"""Decisions about a run, and what its log says."""
import pytest
from ansible_collections.ascend.cluster.plugins.module_utils._run import launch_decision, training_verdict
from ansible_collections.ascend.cluster.plugins.module_utils._training_log import error_lines, iterations, lost_a_peer

LINE = (" [2024-04-25 10:00:00] iteration        {}/    1000 | consumed samples:          128 | elapsed time per iteration (ms): 31234.5 | "
        "learning rate: 1.250E-07 | global batch size:   128 | lm loss: {} | loss scale: 1.0 | grad norm: 35.123 | "
        "number of skipped iterations:   0 | number of nan iterations:   0 |")


def state(active=False, run="", status=""):
    result = {"status": status, "finished": "2026-01-01T00:00:00Z"} if status else {}
    return {"active": active, "current_run": run, "result": result}


@pytest.mark.parametrize(("states", "new_run", "action", "message"), [
    ([state(), state()], False, "launch", "Launching run abc on 2 nodes."),
    ([state(status="failed"), state(status="stopped")], False, "launch", "(earlier: failed, stopped)"),
    ([state(status="succeeded"), state(status="failed")], False, "launch", "earlier: failed, succeeded"),
    ([state(status="succeeded")] * 2, False, "finished", "nothing is launched"),
    ([state(status="succeeded")] * 2, True, "launch", "Launching"),
    ([state(True, "abc"), state(True, "abc")], False, "follow", "following it"),
    ([state(True, "abc"), state(True, "abc")], True, "refuse", "pretrain_new_run is true, but run abc is in progress"),
    ([state(True, "abc"), state(False, "abc")], False, "refuse", "half dead: it runs on n0 but not on n1"),
    ([state(True, "old"), state(True, "old")], False, "refuse", "Another run is in progress: old on n0, n1"),
])
def test_launch_decision(states, new_run, action, message):
    decision = launch_decision({f"n{i}": item for i, item in enumerate(states)}, "abc", new_run)
    assert decision["action"] == action
    assert message in decision["message"]


def test_iterations_are_read_from_the_real_format():
    text = "noise\n" + LINE.format(1, "1.045678E+01") + "\n" + LINE.format(2, "nan") + "\nnode1: iteration 3\n"
    first, second = iterations(text)
    assert (first.iteration, first.train_iters, first.lm_loss, first.grad_norm, first.elapsed_ms) == (1, 1000, 10.45678, 35.123, 31234.5)
    assert second.lm_loss != second.lm_loss  # nan, told as it is


def test_a_skipped_iteration_has_no_loss():
    skipped = LINE.format(7, "0").replace("lm loss: 0 |", "")
    assert next(iterations(skipped)).lm_loss is None


def outcome(kind, tail="", ended=0.0, losses=()):
    return {"outcome": kind, "reason": f"reason {kind}", "log": "/x/train.log", "log_tail": tail, "ended_at": ended,
            "iterations": [{"iteration": i, "lm_loss": loss, "elapsed_ms": 1000.0} for i, loss in losses]}


def test_success_needs_every_node():
    verdict = training_verdict({"a": outcome("succeeded"), "b": outcome("succeeded", losses=[(1, 6.5), (2, 6.0)])}, 2)
    assert verdict["succeeded"]
    assert "lm loss 6.5 at iteration 1, 6.0 at 2, 1.00 s per iteration" in verdict["message"]
    assert not training_verdict({"a": outcome("succeeded"), "b": outcome("stopped")}, 2)["succeeded"]


def test_the_culprit_is_not_who_lost_its_peer():
    lost = "[rank0]: RuntimeError: [../gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.2]:4242"
    own = "Traceback\n[rank2]: ValueError: bad shape\ntorch.distributed.elastic.multiprocessing.errors.ChildFailedError:"
    verdict = training_verdict({"a": outcome("failed", lost, 5.0), "b": outcome("failed", own, 9.0)}, 10)
    assert verdict["culprit"] == "b"
    assert "ValueError: bad shape" in verdict["message"]
    assert "Failed after it, or for losing it: a." in verdict["message"]


def test_torchruns_summary_is_no_error_of_a_nodes_own():
    lost = "[rank0]: RuntimeError: [../gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.2]:4242"
    summary = "torch.distributed.elastic.multiprocessing.errors.ChildFailedError:"
    own = "[rank2]: ValueError: bad shape"
    both = f"{own}\n{lost}\n{summary}"  # it failed by itself, and its other ranks then lost it
    for names in (("a", "b"), ("b", "a")):
        outcomes = {"a": outcome("failed", f"{lost}\n{summary}", 5.0), "b": outcome("failed", both, 9.0)}
        verdict = training_verdict({name: outcomes[name] for name in names}, 10)
        assert verdict["culprit"] == "b"
    # None of them has one: the first to end.
    verdict = training_verdict({"a": outcome("failed", f"{lost}\n{summary}", 9.0), "b": outcome("failed", lost, 5.0)}, 10)
    assert verdict["culprit"] == "b"


def test_between_equals_the_first_to_end_is_named():
    assert training_verdict({"a": outcome("failed", "", 9.0), "b": outcome("failed", "", 5.0)}, 10)["culprit"] == "b"


def test_a_stopped_node_is_never_the_culprit_beside_a_failed_one():
    verdict = training_verdict({"a": outcome("stopped", ended=1.0), "b": outcome("failed", ended=2.0)}, 10)
    assert verdict["culprit"] == "b"
    assert "Stopped: a." in verdict["message"]


def test_an_unreachable_node_is_told():
    verdict = training_verdict({"a": outcome("stopped"), "b": outcome("unreachable")}, 10)
    assert "may still run there: b" in verdict["message"]


def test_error_lines():
    text = "x\nValueError: a\nValueError: a\n[rank3]: torch.OutOfMemoryError: b\nEI0006: Getting socket times out\nok"
    assert error_lines(text) == ["ValueError: a", "[rank3]: torch.OutOfMemoryError: b", "EI0006: Getting socket times out"]
    assert lost_a_peer(text)
    assert not lost_a_peer("ValueError: a")
