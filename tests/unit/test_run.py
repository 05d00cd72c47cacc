"""Decisions about a run, and what its log says."""
import pytest
from ansible_collections.ascend.cluster.plugins.module_utils._run import launch_decision, training_verdict


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
    # One node has succeeded while another still saves.
    ([state(True, "abc"), state(False, "abc", "succeeded")], False, "follow", "following it"),
    ([state(True, "abc"), state(False, "old", "succeeded")], False, "refuse", "half dead: it runs on n0 but not on n1"),
    ([state(False, "abc", "failed"), state(True, "abc"), state(False, "abc", "succeeded")], False, "refuse", "on n1 but not on n0."),
    ([state(False, "abc"), state(True, "abc")], False, "refuse", "half dead: it runs on n1 but not on n0"),
    ([state(False, "abc", "succeeded"), state(True, "abc"), state(False, "abc")], False, "refuse", "half dead: it runs on n1 but not on n2"),
    # One is away, rebooted say: the supervisors wait for it, at the master's.
    ([state(True, "abc"), state(False, "abc")], False, "follow", "It does not run on n1: the others wait for that"),
    ([state(True, "abc"), state(False, "abc", "failed"), state(False, "abc", "succeeded")], False, "follow", "It does not run on n1: the others"),
    ([state(True, "abc"), state(False, "abc")], True, "refuse", "pretrain_new_run is true, but run abc is in progress"),
    ([state(True, "old"), state(True, "old")], False, "refuse", "Another run is in progress: old on n0, n1"),
])
def test_launch_decision(states, new_run, action, message):
    decision = launch_decision({f"n{i}": item for i, item in enumerate(states)}, "abc", new_run)
    assert decision["action"] == action
    assert message in decision["message"]


EXPECTED = {"last_iteration": 2, "log_interval": 1, "first_iteration": 0, "nproc_per_node": 8}
GOOD = [(1, 6.5), (2, 6.0)]


def outcome(kind, reason=None, ended=0.0, losses=(), evidence=None):
    return {"outcome": kind, "reason": f"reason {kind}" if reason is None else reason, "log": "/x/train.log", "ended_at": ended, "evidence": evidence or {},
            "clock": {"low": 0.0, "high": 0.0},
            "iterations": [{"iteration": i, "train_iters": 2, "lm_loss": loss, "grad_norm": 1.0, "elapsed_ms": 1000.0} for i, loss in losses]}


def judge(expected=EXPECTED, **outcomes):
    return training_verdict(outcomes, expected, {name: f"10.0.0.{i}" for i, name in enumerate(outcomes, start=1)})


def test_success_needs_every_node():
    verdict = judge(a=outcome("succeeded"), b=outcome("succeeded", losses=GOOD))
    assert verdict["succeeded"]
    assert verdict["losses"] == [[1, 6.5], [2, 6.0]]
    assert (verdict["culprit"], verdict["nodes"], verdict["ranks"], verdict["cause"]) == ("", [], [], "")
    assert "Trained 2 iterations on 2 nodes; lm loss 6.5 at iteration 1, 6.0 at 2, 1.00 s per iteration" in verdict["message"]
    assert not judge(a=outcome("succeeded"), b=outcome("stopped", losses=GOOD))["succeeded"]


@pytest.mark.parametrize(("losses", "cause", "words"), [
    ([(1, 6.5), (2, None)], "nan_loss", "the loss of the last iteration logged, 2, is missing"),
    ([(1, 6.5), (2, float("nan"))], "nan_loss", "is nan"),
    ([(1, 6.5)], "exit_early", "the last iteration logged is 1 of 2"),
    ([], "exit_early", "the last iteration logged is none of 2"),
    ([(2, 6.0)], "exit_early", "only 1 of 2 iterations were logged between 0 and 2"),
])
def test_status_0_everywhere_is_no_success_by_itself(losses, cause, words):
    verdict = judge(a=outcome("succeeded"), b=outcome("succeeded", losses=losses))
    assert not verdict["succeeded"]
    assert (verdict["culprit"], verdict["cause"]) == ("", cause)
    assert "is no success" in verdict["message"] and words in verdict["message"]


def test_who_found_the_loss_to_be_nan_is_not_the_culprit():
    reason = "torchrun exited 0, but the loss of the last iteration logged, 2, is missing (bad since iteration 2)"
    verdict = judge(a=outcome("stopped"), b=outcome("failed", reason, losses=[(1, 6.5), (2, None)]))
    assert (verdict["succeeded"], verdict["culprit"], verdict["cause"]) == (False, "", "nan_loss")
    # Of the log the script saw all, and the verdict perhaps the last line alone.
    verdict = judge({**EXPECTED, "first_iteration": -1}, a=outcome("stopped"), b=outcome("failed", reason.replace("since iteration 2", "since iteration 1"),
                                                                                         losses=[(2, None)]))
    assert "is no success: the loss of the last iteration logged, 2, is missing (bad since iteration 1); " in verdict["message"]
    # A node that failed otherwise is looked at.
    verdict = judge(a=outcome("failed", "torchrun exited 1"), b=outcome("failed", reason, losses=[(1, 6.5), (2, None)]))
    assert verdict["culprit"] == "a"


def test_a_resumed_run_logs_what_is_left():
    verdict = judge({**EXPECTED, "last_iteration": 2, "first_iteration": 1}, a=outcome("succeeded", losses=[(2, 6.0)]))
    assert verdict["succeeded"]
    assert judge({**EXPECTED, "first_iteration": -1}, a=outcome("succeeded", losses=[(2, 6.0)]))["succeeded"]


def test_between_equals_the_first_to_end_is_named():
    assert judge(a=outcome("failed", ended=9.0), b=outcome("failed", ended=5.0))["culprit"] == "b"
    verdict = judge(a=outcome("failed", ended=9.0), b=outcome("failed", ended=8.0))
    assert (verdict["culprit"], verdict["nodes"]) == ("", ["b", "a"])
    assert "which of them was the first cannot be told" in verdict["message"]


def test_a_stopped_node_is_never_the_culprit_beside_a_failed_one():
    verdict = judge(a=outcome("stopped", ended=1.0), b=outcome("failed", ended=2.0))
    assert verdict["culprit"] == "b"
    assert "Stopped: a." in verdict["message"]


def test_an_unreachable_node_is_told():
    verdict = judge(a=outcome("stopped"), b=outcome("unreachable"))
    assert (verdict["culprit"], verdict["cause"]) == ("b", "machine_lost")
    assert "may still run there: b" in verdict["message"]


def test_the_last_lines_are_shown_where_nothing_explains_it():
    verdict = judge(a=outcome("failed", "the unit ended with status 127 without telling a result (killed?)", evidence={"tail": ["bash: torchrun: not found"]}),
                    b=outcome("stopped"))
    assert verdict["culprit"] == "a"
    assert "The last lines on a:\n  bash: torchrun: not found" in verdict["message"]
