"""The follower of one node, with a node that the test plays."""
import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.ascend.cluster.plugins.action import follow_training
from ansible_collections.ascend.cluster.plugins.modules import training_state

LINE = ("iteration        {}/       9 | elapsed time per iteration (ms): 10.0 | lm loss: 6.0E+00 | grad norm: 1.0 |\n")


def state(active=True, run="abc", text="", result=None, status=0):
    return {"active": active, "active_state": "active" if active else "inactive", "current_run": run, "log": "/x/train.log", "log_text": text,
            "log_offset": 0, "result": result or {}, "exec_main_status": status, "ended_at": 1.0, "clock": [1000.0, 1000.0]}


@pytest.fixture
def follow(tmp_path, monkeypatch):
    """Follow a node that answers with these states, the last one for ever; returns the outcome and what was asked of the node."""
    asked = []

    def run(states, show_progress=True, unreachable_timeout=300):
        answers = list(states)
        wanted = {"unit": "u", "run_dir": "/x", "user": "ascend", "run_id": "abc", "meeting": str(tmp_path), "show_progress": show_progress, "poll_seconds": 0,
                  "unreachable_timeout": unreachable_timeout, "stop_timeout": 1, "node_rank": 1, "nproc_per_node": 8}

        def execute(module_name, module_args, task_vars):
            asked.append(module_args.get("argv", module_name))
            if module_name == "ascend.cluster.training_evidence":
                assert module_args == {"unit": "u", "run_dir": "/x", "user": "ascend", "run_id": "abc", "node_rank": 1, "nproc_per_node": 8}
                if isinstance(run.evidence, Exception):
                    raise run.evidence
                return run.evidence
            if module_name != "ascend.cluster.training_state":
                return {}
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(answer, Exception):
                raise answer
            return answer

        action = follow_training.ActionModule.__new__(follow_training.ActionModule)
        monkeypatch.setattr(follow_training.ActionBase, "run", lambda self, tmp, task_vars: {})
        action.validate_argument_spec = lambda spec: (None, wanted)
        action._execute_module = execute
        return action.run(None, {"inventory_hostname": "n1"}), asked

    run.note = tmp_path / "first_failure"
    run.evidence = {"evidence": {"ranks": {"8": {}}}}
    return run


GOOD = {"status": "succeeded"}


def test_it_ends_with_the_last_lines_read(follow):
    outcome, _ = follow([state(text=LINE.format(1)), state(False, text=LINE.format(2), result=GOOD), state(False, result=GOOD)])
    assert outcome["outcome"] == "succeeded"
    assert [item["iteration"] for item in outcome["iterations"]] == [1, 2]
    assert outcome["evidence"] == {}
    assert not follow.note.exists()


@pytest.mark.parametrize(("result", "status", "reason"), [
    ({"status": "failed", "reason": "torchrun exited 7"}, 1, "torchrun exited 7"),
    ({}, 0, "without telling a result"),  # a reboot
    ({"status": "succeeded"}, 137, "ended with status 137"),
    ({"status": "stopped", "reason": "stopped by SIGTERM"}, 1, "from outside"),
])
def test_a_failure_is_announced_to_the_others(follow, result, status, reason):
    outcome, _ = follow([state(), state(False, result=result, status=status)])
    assert outcome["outcome"] == "failed"
    assert reason in outcome["reason"]
    assert outcome["evidence"] == {"ranks": {"8": {}}}
    assert follow.note.read_text().startswith("n1: ")


def test_the_first_note_stays(follow):
    follow_training.ActionModule._announce(follow.note, "n0", "first")
    follow_training.ActionModule._announce(follow.note, "n1", "second")
    assert follow.note.read_text() == "n0: first"


def test_a_failure_elsewhere_stops_this_node(follow):
    follow.note.write_text("n0: boom")
    outcome, asked = follow([state(), state(False)])
    assert outcome["outcome"] == "stopped"
    assert "n0: boom" in outcome["reason"]
    assert ["timeout", "61", "systemctl", "stop", "u"] in asked


@pytest.mark.parametrize("active_state", ["active", "deactivating"])
def test_a_node_that_a_stop_leaves_running_is_not_called_stopped(follow, active_state):
    follow.note.write_text("n0: boom")
    outcome, asked = follow([state(), {**state(), "active_state": active_state}])
    assert outcome["outcome"] == "failed"
    assert outcome["reason"] == f"u is still {active_state} after a stop"
    assert outcome["log"] == "/x/train.log"
    assert ["timeout", "61", "systemctl", "stop", "u"] in asked


@pytest.mark.parametrize("answers", [[AnsibleConnectionFailure("gone")], [state(), AnsibleConnectionFailure("gone")],
                                     [state(), {"unreachable": True, "msg": "gone"}], [state(), {"failed": True, "msg": "gone"}],
                                     [state(), {"failed": True, "msg": "gone", "active": False}]])
def test_a_node_that_is_lost_while_it_is_stopped_is_not_called_stopped(follow, answers):
    follow.note.write_text("n0: boom")
    outcome, _ = follow(answers)
    assert outcome["outcome"] == "unreachable"
    assert outcome["reason"] == "could not be stopped after the failure of n0: boom: gone"
    assert follow.note.read_text() == "n0: boom"


def test_a_module_that_prints_nothing_is_a_node_that_is_lost(follow):
    follow.note.write_text("n0: boom")
    outcome, _ = follow([state(), {}])
    assert (outcome["outcome"], outcome["reason"]) == ("unreachable", "could not be stopped after the failure of n0: boom: the node gave no answer")


def test_a_node_that_had_ended_before_the_stop_keeps_its_own_end(follow):
    follow.note.write_text("n0: boom")
    outcome, asked = follow([state(False, result=GOOD)])
    assert (outcome["outcome"], outcome["ended_at"]) == ("succeeded", 1.0)
    outcome, more = follow([state(False, result={"status": "failed", "reason": "torchrun exited 7"}, status=1)])
    assert (outcome["outcome"], outcome["reason"]) == ("failed", "torchrun exited 7")
    assert not any("stop" in str(words) for words in asked + more)


def test_a_stopped_node_tells_why_and_when(follow):
    follow.note.write_text("n0: boom")
    outcome, _ = follow([state(), state(False)])
    assert {key: outcome[key] for key in ("outcome", "reason", "log", "evidence", "ended_at")} == {
        "outcome": "stopped", "reason": "stopped after the failure of n0: boom", "log": "/x/train.log", "evidence": {"ranks": {"8": {}}}, "ended_at": 1.0}


@pytest.mark.parametrize("answer", [AnsibleConnectionFailure("gone"), {"unreachable": True, "msg": "gone"}, {"failed": True, "msg": "gone"}])
def test_logs_that_cannot_be_read_hide_no_failure(follow, answer):
    follow.evidence = answer
    outcome, _ = follow([state(False, result={"status": "failed", "reason": "torchrun exited 7"}, status=1)])
    assert (outcome["outcome"], outcome["reason"], outcome["evidence"]) == ("failed", "torchrun exited 7", {})


def test_a_nodes_clock_is_bounded_by_its_answers(monkeypatch):
    clock = follow_training.Clock()
    # Asked at 100, the node's module ran from 131 to 133 by its clock, the answer came at 104: it is 29 to 31 s ahead.
    clock.answered(100.0, [131.0, 133.0], 104.0)
    assert clock.bounds() == {"low": 29.0, "high": 31.0}
    clock.answered(200.0, [230.5, 231.0], 201.5)
    assert clock.bounds() == {"low": 29.5, "high": 30.5}
    # Set in between: what was known holds no more.
    clock.answered(300.0, [300.0, 301.0], 301.0)
    assert clock.bounds() == {"low": 0.0, "high": 0.0}


def test_the_clock_of_a_node_that_never_answered_is_hardly_known(follow):
    outcome, _ = follow([AnsibleConnectionFailure("gone")], unreachable_timeout=0)
    assert outcome["clock"] == {"low": -60.0, "high": 60.0}


def test_a_node_that_is_lost_for_a_moment_is_asked_again(follow):
    outcome, _ = follow([AnsibleConnectionFailure("gone"), state(), state(False, result=GOOD)])
    assert outcome["outcome"] == "succeeded"


def test_a_node_that_stays_lost_counts_as_failed(follow):
    outcome, _ = follow([AnsibleConnectionFailure("gone")], unreachable_timeout=0)
    assert outcome["outcome"] == "unreachable"
    assert "pretrain_unreachable_timeout" in outcome["reason"]
    assert follow.note.exists()


def test_another_run_on_the_node_is_not_stopped(follow):
    outcome, asked = follow([state(run="other")])
    assert outcome["reason"] == "replaced by run other"
    follow.note.write_text("n0: boom")
    outcome, asked = follow([state(run="other")])
    assert outcome["outcome"] == "failed"
    assert not any("stop" in str(words) for words in asked)


def test_whole_lines_are_read_and_a_shorter_file_starts_anew(tmp_path):
    log = tmp_path / "train.log"
    log.write_bytes(b"one\ntwo\nhal")
    assert training_state.read_from(str(log), 0) == ("one\ntwo\n", 8)
    assert training_state.read_from(str(log), 8) == ("", 8)
    log.write_bytes(b"new\n")
    assert training_state.read_from(str(log), 8) == ("new\n", 4)
    assert training_state.read_from(str(tmp_path / "none"), 5) == ("", 5)


def test_systemds_time_stamp():
    assert training_state.exit_time("Thu 1970-01-01 00:01:00 UTC") == 60.0
    assert training_state.exit_time("") == 0.0
