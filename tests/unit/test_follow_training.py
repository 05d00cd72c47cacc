"""Following a run: what is asked of which node, with nodes that the test plays."""
import json
import signal
import time
import types

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible_collections.ascend.cluster.plugins.action import follow_training, training_evidence


def line(n, iteration, generation=0, **more):
    return {"n": n, "generation": generation, "iteration": iteration, "total": 9, "loss": 6.0, "grad_norm": 1.0, "ms": 10.0, "skipped": 0, "nan": 0, **more}


def status(state="running", lines=(), epoch="e1", generation=0, **more):
    training = {**(lines[-1] if lines else {"iteration": 0}), "total": 9, "tokens_per_iteration": 100, "ranks": 4, "loaded": None}
    return {"version": 1, "from": "n1", "hub": True, "age": 0.0, "run": "abc", "epoch": epoch, "state": state, "since": 1.0, "generation": generation,
            "restarts": 0, "max_restarts": 0, "code": 0 if state == "done" else None, "verdict": "succeeded" if state == "done" else None, "cause": "",
            "training": training, "nodes": {"count": 2, "phases": {"ready": 1}}, "warnings": [], "lines": list(lines), **more}


def answer(**how):
    return {"run_id": "abc", "status": status(**how), "error": ""}


@pytest.fixture
def follow(monkeypatch):
    """Follow a node that answers with these; returns the result, what was asked, and what was said."""
    def run(answers, previous=None, run_id="abc", timeout=300, displays=True):
        waiting, asked, said = list(answers), [], []
        wanted = {"python": "/p", "program": "/s", "run_dir": "/x", "user": "ascend", "run_id": run_id, "node": "n1", "log_node": "n2", "poll_seconds": 5,
                  "unreachable_timeout": timeout, "previous": previous or {}}

        def execute(module_name, module_args, task_vars):
            assert module_name == "ascend.cluster.training_status"
            asked.append(module_args)
            found = waiting.pop(0)
            if isinstance(found, Exception):
                raise found
            return found

        action = follow_training.ActionModule.__new__(follow_training.ActionModule)
        monkeypatch.setattr(follow_training.ActionBase, "run", lambda self, tmp, task_vars: {})
        monkeypatch.setattr(follow_training.time, "sleep", lambda seconds: None)
        if displays:
            monkeypatch.setattr(follow_training.display, "display", said.append)
            monkeypatch.setattr(follow_training.display, "warning", lambda text: said.append(f"WARNING {text}"))
        action.validate_argument_spec = lambda spec: (None, wanted)
        action._execute_module = execute
        found = action.run(None, {})
        assert waiting == []
        return found, asked, said

    return run


def test_it_asks_until_the_end_and_says_each_iteration_once(follow):
    found, asked, said = follow([answer(state="forming"), answer(lines=[line(1, 1), line(2, 2)]), answer(lines=[line(3, 3, loss=None)]),
                                 answer(state="done", lines=[line(4, 4)])])
    assert found["over"] and found["status"]["state"] == "done" and found["changed"] is False
    assert said == [
        "Run abc: starts (generation 0); 1 of 2 nodes are ready", "Run abc: runs on 2 nodes (generation 0)",
        "n2: iteration     1/9 | lm loss 6.000000 | grad norm 1.000 | 0.01 s", "n2: iteration     2/9 | lm loss 6.000000 | grad norm 1.000 | 0.01 s",
        "n2: iteration     3/9 | lm loss MISSING | grad norm 1.000 | 0.01 s", "n2: iteration     4/9 | lm loss 6.000000 | grad norm 1.000 | 0.01 s",
        "Run abc: succeeded"]
    assert [one["after"] for one in asked] == [0, 0, 2, 3]
    assert [one["known"] for one in asked[:2]] == [{}, {"epoch": "e1", "state": "forming", "generation": 0}]
    assert {one["wait_seconds"] for one in asked} == {5}
    assert found["follower"]["seen"] == [[1, 6.0, 10.0], [2, 6.0, 10.0], [3, None, 10.0], [4, 6.0, 10.0]]
    assert "lines" not in found["status"]


def test_a_restart_between_two_questions_is_told_with_its_cause_once(follow):
    again = {"generation": 1, "restarts": 1, "cause": "n1: rank 0 died"}
    found, _, said = follow([answer(), answer(**again), answer(state="stopping", generation=1, restarts=1, cause="n2: not heard"),
                             answer(**{**again, "generation": 2, "restarts": 2, "cause": "n2: not heard"})]
                            + [AnsibleConnectionFailure("gone")] * 2)
    assert said[:4] == [
        "Run abc: runs on 2 nodes (generation 0)", "Run abc: runs on 2 nodes (generation 1, 1 restart so far, after: n1: rank 0 died)",
        "Run abc: is being stopped: n2: not heard", "Run abc: runs on 2 nodes (generation 2, 2 restarts so far)"]
    # The next node's follower goes on from there.
    _, _, said = follow([answer(state="forming", generation=3, restarts=3, cause="n2: not heard"),
                         answer(generation=3, restarts=3, cause="n2: not heard"), answer(generation=4, restarts=4, cause="n2: not heard"),
                         answer(state="stopping", generation=4, restarts=4, cause="n1: lost its peers"),
                         answer(generation=5, restarts=5, cause="n2: not heard"), answer(state="done")], previous=found)
    assert said[4] == "Run abc: runs on 2 nodes (generation 5, 5 restarts so far, after: n2: not heard)", "not who was thought of first"
    assert said[:3] == [
        "Run abc: starts again (generation 3, after: n2: not heard); 1 of 2 nodes are ready", "Run abc: runs on 2 nodes (generation 3, 3 restarts so far)",
        "Run abc: runs on 2 nodes (generation 4, 4 restarts so far, after: n2: not heard)"]


def test_a_node_that_is_lost_for_a_moment_is_asked_again(follow):
    for trouble in (AnsibleConnectionFailure("gone"), {"unreachable": True, "msg": "gone"}, {"failed": True, "msg": "gone"}, {},
                    {"run_id": "abc", "status": {}, "error": "no supervisor answers"}):
        found, _, _ = follow([answer(), trouble, answer(), trouble, answer(state="done")])
        assert found["over"]


@pytest.mark.parametrize(("trouble", "words"), [
    (AnsibleConnectionFailure("gone"), "it is not reached: gone"), ({"unreachable": True, "msg": "gone"}, "gone"), ({}, "the node gave no answer"),
    ({"run_id": "abc", "status": {}, "error": "no supervisor answers"}, "no supervisor answers")])
def test_a_node_that_stays_lost_ends_its_turn_and_the_next_goes_on_from_there(follow, trouble, words):
    found, _, said = follow([answer(lines=[line(1, 1)]), trouble, trouble])
    assert not found["over"]
    assert found["silent"] == {"n1": words}
    assert said[-1] == f"WARNING n1 does not answer: {words}"
    again, asked, said = follow([answer(state="done", lines=[line(2, 2)])], previous=found, run_id=None)
    assert again["over"] and again["silent"] == {}
    assert (asked[0]["run_id"], asked[0]["after"]) == ("abc", 1)
    assert said == ["n2: iteration     2/9 | lm loss 6.000000 | grad norm 1.000 | 0.01 s", "Run abc: succeeded"]


def test_where_nobody_answers_for_too_long_it_is_over(follow):
    before = {"answered": time.monotonic() - 400, "silent": {"n2": "gone"}, "run_id": "abc"}
    found, _, _ = follow([{}, {}], previous=before)
    assert found["over"] and found["status"] == {} and found["silent"] == {"n2": "gone", "n1": "the node gave no answer"}
    found, _, _ = follow([{}, {}], previous={**before, "answered": time.monotonic() - 200})
    assert not found["over"]


def test_more_lines_than_one_answer_holds_are_asked_for_at_once_even_at_the_end(follow):
    many = [line(number, number) for number in range(1, 501)]
    found, asked, said = follow([answer(state="done", lines=many), answer(state="done", lines=[line(501, 501)])])
    assert found["over"]
    assert (asked[1]["after"], asked[1]["wait_seconds"]) == (500, 0)
    assert len(said) == 502 and said.count("Run abc: succeeded") == 1


def test_the_figures_are_left_for_the_display_where_there_is_one(follow, monkeypatch, tmp_path):
    follow([answer(state="done")])
    monkeypatch.setenv("ASCEND_CLUSTER_LIVE", str(tmp_path / "gone"))
    follow([answer(state="done")])
    monkeypatch.setenv("ASCEND_CLUSTER_LIVE", str(tmp_path))
    follow([answer(lines=[line(1, 3)]), answer(state="done", lines=[line(2, 4)])])
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert (figures["iteration"], figures["total"], figures["asked"], figures["state"]) == (4, 9, "n1", "done")


# --- the clock of a node whose evidence is gathered


def test_a_nodes_clock_is_bounded_by_its_answers():
    clock = training_evidence.Clock()
    # Asked at 100, the node's module ran from 131 to 133 by its clock, the answer came at 104: it is 29 to 31 s ahead.
    clock.answered(100.0, [131.0, 133.0], 104.0)
    assert clock.bounds() == {"low": 29.0, "high": 31.0}
    clock.answered(200.0, [230.5, 231.0], 201.5)
    assert clock.bounds() == {"low": 29.5, "high": 30.5}
    # Set in between: what was known holds no more.
    clock.answered(300.0, [300.0, 301.0], 301.0)
    assert clock.bounds() == {"low": 0.0, "high": 0.0}


def gather(monkeypatch, found):
    def execute(module_name, module_args, task_vars):
        assert (module_name, module_args) == ("ascend.cluster.training_evidence", {"run_id": "abc"})
        if isinstance(found, Exception):
            raise found
        return found

    action = training_evidence.ActionModule.__new__(training_evidence.ActionModule)
    monkeypatch.setattr(training_evidence.ActionBase, "run", lambda self, tmp, task_vars: {})
    action._task, action._execute_module = types.SimpleNamespace(args={"run_id": "abc"}), execute
    return action.run(None, {})


@pytest.mark.parametrize("found", [AnsibleConnectionFailure("gone"), {"unreachable": True, "msg": "gone"}, {"failed": True, "msg": "gone"}])
def test_logs_that_cannot_be_read_hide_no_failure_and_end_nothing(monkeypatch, found):
    answer = gather(monkeypatch, found)
    assert answer == {"changed": False, "evidence": {}, "error": "gone", "clock": {"low": -60.0, "high": 60.0}}


def test_evidence_comes_with_the_nodes_clock(monkeypatch):
    now = time.time()
    answer = gather(monkeypatch, {"evidence": {"ranks": {}}, "result": {"status": "failed"}, "began_done": [now + 30, now + 30]})
    assert (answer["error"], answer["evidence"], answer["result"]) == ("", {"ranks": {}}, {"status": "failed"})
    assert 25 < answer["clock"]["low"] <= answer["clock"]["high"] < 35


def test_an_interrupt_waits_until_what_is_displayed_is_told(follow, monkeypatch):
    happened = []
    for number in (signal.SIGINT, signal.SIGTERM):
        before = signal.signal(number, lambda number, frame: happened.append(number))
        try:
            with follow_training.uninterrupted():
                signal.raise_signal(number)  # to this thread: a worker has no other
                assert happened == []
            assert happened.pop() == number
        finally:
            signal.signal(number, before)


def test_all_that_is_displayed_is_displayed_uninterrupted(follow, monkeypatch):
    held = []

    def masked(*_):
        held.append({signal.SIGINT, signal.SIGTERM} <= signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    monkeypatch.setattr(follow_training.display, "display", masked)
    monkeypatch.setattr(follow_training.display, "warning", masked)
    found, *_ = follow([answer(lines=[line(1, 1)]), *[AnsibleConnectionFailure("away")] * 2], displays=False)
    assert not found["over"] and len(held) > 2 and all(held)
    masked()
    assert held[-1] is False


def test_a_worker_whose_playbook_is_gone_asks_no_more(follow, monkeypatch):
    monkeypatch.setattr(follow_training.multiprocessing, "parent_process", lambda: types.SimpleNamespace(pid=100))
    parents = iter([100, 1])
    monkeypatch.setattr(follow_training.os, "getppid", lambda: next(parents))
    with pytest.raises(AnsibleError, match="the playbook that followed is gone"):
        follow([answer(lines=[line(1, 1)])])
    # Nor the next node, where it was gone before that one's turn.
    monkeypatch.setattr(follow_training.os, "getppid", lambda: 1)
    with pytest.raises(AnsibleError, match="the playbook that followed is gone"):
        follow([])


def test_a_run_that_no_node_knows_is_waited_for_by_nobody(follow):
    none = {"run_id": "abc", "status": {}, "absent": True, "error": "there is no run on this node"}
    found, *_ = follow([none])
    assert (found["over"], found["absent"], found["silent"]) == (False, ["n1"], {"n1": "there is no run on this node"})
    # The turn of the same one again: all others that were asked know none either.
    again, *_ = follow([none], previous={**found, "silent": {**found["silent"], "n2": "no run"}, "absent": ["n1", "n2"]})
    assert again["over"] and again["status"] == {}
    # One does not answer: it may know it.
    again, *_ = follow([none], previous={**found, "silent": {**found["silent"], "n2": "not reached"}})
    assert not again["over"]
    again, *_ = follow([answer(), none], previous=found)
    assert (again["over"], again["absent"], again["silent"]) == (False, ["n1"], {"n1": "there is no run on this node"})
