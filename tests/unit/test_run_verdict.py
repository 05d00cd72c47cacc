"""What the supervisors say of a run's end, joined with the evidence of its nodes."""
import json
import os
import sys
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.ascend.cluster.plugins.module_utils import _follow, _live, _run_verdict, _runs, _training_table

ROOT = Path(__file__).parents[2]
NODES = {"n1": "10.0.0.1", "n2": "10.0.0.2", "n3": "10.0.0.3"}
EXPECTED = {"log_interval": 1, "nproc_per_node": 2}
CASCADE = {"role": "cascade", "cause": "", "code": "", "generic": False, "points": None, "line": "Connection closed by peer", "at": None,
           "file": "/x/stderr.log", "context": [], "count": 1}
OOM = {**CASCADE, "role": "cause", "cause": "npu_out_of_memory", "line": "RuntimeError: NPU out of memory. Tried to allocate 2.00 GiB"}


def failure(node, reason, rank=None, generation=0, at=1.0):
    return {"at": at, "generation": generation, "node": node, "rank": rank, "reason": reason, "words": f"{node}: {reason}"}


def status(code=1, order=(), **more):
    return {"version": 1, "run": "abc", "state": "done", "code": code, "verdict": {0: "succeeded", 1: "failed", 3: "stopped: asked for by me"}[code],
            "generation": 0, "restarts": 0, "cause": "", "culprit": order[0] if order else None, "order": list(order), "skew": None,
            "training": {"iteration": 4, "total": 9, "loss": 5.5, "grad_norm": 1.0, "ms": 1000.0, "skipped": 0, "nan": 0, "ranks": 6,
                         "tokens_per_iteration": 600, "first": {"iteration": 1, "loss": 6.5}},
            "checkpoint": {"newest": 4, "lacking": {}}, "nodes": {"count": 3, "phases": {"stopped": 3}}, **more}


def answer(said="stopped", reason="stopped by SIGTERM", ranks=None, journal=(), **more):
    evidence = {"ranks": ranks or {}, "node": [], "journal": list(journal), "first_observed": None, "tail": ["the last line"], "searched": 1, "left_out": 0}
    return {"evidence": evidence, "result": {"status": said, "reason": reason} if said else {}, "error": "", "log": "/x/train.log",
            "clock": {"low": -0.1, "high": 0.1}, **more}


def gone(words="it is not reached: ssh"):
    return {"evidence": {}, "error": words, "clock": {"low": -60.0, "high": 60.0}}


def judge(told, seen=(), **answers):
    return _run_verdict.run_verdict(told, {name: answers.get(name, answer()) for name in NODES}, EXPECTED, NODES, seen)


def test_success_in_the_words_of_always():
    verdict = judge(status(0, skew={"seconds": 0.12, "first": "n1", "last": "n3", "of": "ranks"}, training={
        **status()["training"], "iteration": 9, "loss": 5.0}), seen=[[7, 5.2, 1000.0], [8, 5.1, 3000.0], [9, 5.0, 2000.0]])
    assert verdict["succeeded"] and verdict["culprit"] == verdict["cause"] == ""
    assert verdict["losses"] == [[1, 6.5], [7, 5.2], [8, 5.1], [9, 5.0]]
    assert verdict["message"] == (
        "Trained 9 iterations on 3 nodes; lm loss 6.5 at iteration 1, 5.0 at 9, 2.00 s per iteration (median). Checkpoint shards written on every node that "
        "owns any.\nThe first and the last rank began within 0.12 s of each other (n1, n3).")
    assert (verdict["run"], verdict["code"], verdict["total"], verdict["checkpoint"]) == ("abc", 0, 9, 4)


def test_a_success_after_restarts_says_so():
    verdict = judge(status(0, restarts=2, cause="n2: rank 3 failed", order=[failure("n2", "rank 3 failed", 3)]))
    assert verdict["succeeded"]
    assert verdict["message"].endswith("It was started again 2 times; the last failure: n2: rank 3 failed.")


def test_the_last_failure_of_a_run_that_was_stopped_is_not_the_stop():
    verdict = judge(status(3, restarts=1, cause="stopped: asked for by me", order=[failure("n2", "rank 3 failed", 3)]))
    assert verdict["message"].endswith("It was started again 1 time; the last failure: n2: rank 3 failed.")
    # Stopped before it could begin again.
    verdict = judge(status(3, cause="stopped: asked for by me", order=[failure("n2", "rank 3 failed", 3)]))
    assert verdict["message"].endswith("Before the stop it had failed: n2: rank 3 failed.") and verdict["culprit"] == ""


def test_who_did_not_come_any_more_is_told_besides_the_failure():
    words = "not ready within 20 s (times.form): n2 (silent); this was after: n2: not heard for 8 s (times.lost)"
    verdict = judge({**status(order=[failure("n2", "not heard for 8 s (times.lost)")]), "verdict": words, "cause": words}, n2=gone())
    assert "They ended the run: not ready within 20 s (times.form): n2 (silent).\n" in verdict["message"]
    assert verdict["message"].count("this was after") == 0
    alone = judge({**status(order=[failure("n2", "not heard for 8 s (times.lost)")]), "verdict": "n2: not heard for 8 s (times.lost)"}, n2=gone())
    assert "They ended the run" not in alone["message"]


def test_an_end_is_known_again():
    ends = [judge(status(**how))["end"] for how in ({"epoch": "e1"}, {"epoch": "e1", "time": 7.0}, {"epoch": "e2"}, {"epoch": "e1", "code": 0})]
    assert ends[0] == ends[1] and len(set(ends)) == 3


def ended_generation(told):
    variables = yaml.safe_load((ROOT / "roles/pretrain/vars/main.yml").read_text(encoding="utf-8"))
    return Templar(DataLoader(), variables={"__pretrain_last": {"status": told}}).template(trust_as_template(variables["__pretrain_ended_generation"]))


def test_the_evidence_is_of_the_start_that_ended():
    old = failure("n2", "rank 3 failed", 3, generation=0)
    assert ended_generation(status(1, [old], generation=1)) == 0, "the second one never began"
    assert ended_generation(status(1)) == 0
    assert ended_generation({**status(1, [old]), "generation": 1, "state": "running"}) == 1


def test_where_the_master_is_lost_between_two_starts_the_logs_of_the_one_before_blame_nobody():
    told = {**status(1, [failure("n2", "rank 3 failed", 3)]), "generation": 1, "code": None, "verdict": None}
    ranks = {"3": {"findings": [OOM], "exit": None, "record": None}}
    verdict = judge({**told, "state": "forming"}, n1=gone(), n2=answer("failed", "torchrun exited 1", ranks))
    assert (verdict["culprit"], verdict["cause"]) == ("n1", "machine_lost")
    verdict = judge({**told, "state": "running"}, n1=gone(), n2=answer("failed", "torchrun exited 1", ranks))
    assert (verdict["culprit"], verdict["cause"]) == ("n2", "npu_out_of_memory"), "of this start they tell"


@pytest.mark.parametrize(("last", "cause"), [({"loss": None}, "nan_loss"), ({"loss": float("nan")}, "nan_loss"), ({"grad_norm": float("inf")}, "nan_grad"),
                                             ({"skipped": 1}, "skipped_iterations")])
def test_a_last_line_that_is_no_number_is_no_success(last, cause):
    verdict = judge(status(0, training={**status()["training"], **last}))
    assert (verdict["succeeded"], verdict["cause"]) == (False, cause)


def test_a_stop_is_no_failure_of_anybody():
    verdict = judge(status(3))
    assert (verdict["succeeded"], verdict["cause"], verdict["culprit"]) == (False, "stopped", "")
    assert verdict["message"].startswith("The training was stopped: asked for by me, at iteration 4 of 9.\nWhat to do: To go on")


def test_the_rank_with_words_of_its_own_is_named_by_them():
    told = status(order=[failure("n2", "rank 3 (local 1) failed: RuntimeError: NPU out of memory", 3), failure("n1", "torchrun exited 1", at=1.1)])
    verdict = judge(told, n1=answer("failed", "torchrun exited 1", {"0": {"findings": [CASCADE], "exit": None, "record": None}}),
                    n2=answer(ranks={"3": {"findings": [OOM], "exit": None, "record": None}}))
    assert (verdict["culprit"], verdict["ranks"], verdict["cause"]) == ("n2", [3], "npu_out_of_memory")
    assert verdict["message"].startswith("The training failed on n2 (node rank 1), global rank 3 (local rank 1): NPU out of memory.\n")
    assert "Stopped: n3." in verdict["message"]
    assert "The supervisors heard first of n2: rank 3 (local 1) failed: RuntimeError: NPU out of memory." in verdict["message"]


def test_words_decide_against_the_order_in_which_the_failures_were_heard():
    told = status(order=[failure("n1", "torchrun exited 1"), failure("n2", "torchrun exited 1", at=1.01)])
    verdict = judge(told, n1=answer("failed", "torchrun exited 1", {"0": {"findings": [CASCADE], "exit": None, "record": None}}),
                    n2=answer("failed", "torchrun exited 1", {"3": {"findings": [OOM], "exit": None, "record": None}}))
    assert (verdict["culprit"], verdict["ranks"]) == ("n2", [3])


@pytest.mark.parametrize("first", ["n1", "n2"])
def test_where_both_have_the_same_to_say_the_order_decides(first):
    other = {"n1": "n2", "n2": "n1"}[first]
    told = status(order=[failure(first, "torchrun exited 7"), failure(other, "torchrun exited 7", at=1.5)])
    verdict = judge(told, n1=answer("failed", "torchrun exited 7"), n2=answer("failed", "torchrun exited 7"))
    assert (verdict["culprit"], verdict["nodes"]) == (first, [first])
    assert "Words and clocks do not tell who was the first; the supervisors heard of this node first." in verdict["message"]


def test_the_same_cause_on_all_nodes_is_nobodys_whoever_was_heard_first():
    ranks = {name: {str(2 * place + local): {"findings": [OOM], "exit": None, "record": None} for local in range(2)} for place, name in enumerate(NODES)}
    told = status(order=[failure(name, "torchrun exited 1", at=float(place)) for place, name in enumerate(NODES)])
    verdict = judge(told, **{name: answer("failed", "torchrun exited 1", ranks[name]) for name in NODES})
    assert (verdict["culprit"], verdict["nodes"]) == ("", list(NODES))
    assert "on all 3 nodes alike" in verdict["message"]


def test_who_was_heard_first_but_only_lost_its_peers_is_not_blamed():
    told = status(order=[failure("n1", "torchrun exited 1")])
    verdict = judge(told, n1=answer("failed", "torchrun exited 1", {"0": {"findings": [CASCADE], "exit": None, "record": None}}))
    assert (verdict["culprit"], verdict["nodes"]) == ("", [])
    assert "no log tells on which node it began" in verdict["message"]
    assert "The supervisors heard first of n1: torchrun exited 1." in verdict["message"]


@pytest.mark.parametrize(("killed", "said"), [("SIGKILL", "ended by signal 9 (SIGKILL), pid 77"), ("signal 40", "ended by signal 40 (unknown), pid 77")])
def test_a_rank_that_a_signal_killed_is_known_by_its_supervisor_alone(killed, said):
    told = status(order=[failure("n2", f"rank 3 (pid 77) was killed by {killed}", 3)])
    verdict = judge(told)
    assert (verdict["culprit"], verdict["ranks"], verdict["cause"]) == ("n2", [3], "killed")
    assert said in verdict["message"]


def test_the_kernel_says_why_it_killed_that_rank_and_no_other():
    told = status(order=[failure("n2", "rank 3 (pid 77) was killed by SIGKILL", 3)])
    kernel = {**CASCADE, "role": "cause", "cause": "host_out_of_memory", "file": "journal", "line": "Out of memory: Killed process 77 (python)"}
    assert judge(told, n2=answer(journal=[kernel]))["cause"] == "host_out_of_memory"
    assert judge(told, n2=answer(journal=[{**kernel, "line": "Out of memory: Killed process 78 (python)"}]))["cause"] == "killed"


def test_words_in_passing_of_a_rank_that_its_supervisor_stopped_blame_it_not():
    told = status(order=[failure("n2", "rank 3 (local 1) failed: KeyError: 'x'", 3)])
    record = {"kind": "exception", "type": "KeyError", "message": "'x'", "where": "a.py:1 in f", "status": 1, "at": [5.0, 5.0], "file": "/x/rank3.json"}
    passing = {**OOM, "cause": "disk_full", "line": "wandb: No space left on device"}
    verdict = judge(told, n2=answer(ranks={"3": {"findings": [], "exit": None, "record": record}, "2": {"findings": [passing], "exit": None, "record": None}}))
    assert (verdict["ranks"], verdict["cause"]) == ([3], "python_exception")


@pytest.mark.parametrize(("reason", "reached", "cause", "words"), [
    ("not heard for 15 s (times.lost)", False, "machine_lost", "Could not be reached, so a training may still run there: n2"),
    ("not heard for 15 s (times.lost)", True, "machine_lost", "not heard for 15 s"),
    ("the connection of its supervisor closed, and it did not come back", False, "machine_lost", "it did not come back; it is not reached: ssh"),
    ("its supervisor was started anew", True, "unit_killed", "its supervisor was started anew, without telling a result"),
    ("its supervisor was started anew", False, "machine_lost", "n2 could not be read"),
    ("its machine shuts down", True, "stopped", "its machine shuts down (from outside)"),
    ("its script ended with status 137", True, "unit_killed", "without telling a result (killed?)"),
])
def test_a_node_that_was_lost(reason, reached, cause, words):
    verdict = judge(status(order=[failure("n2", reason)]), n2=answer("", "") if reached else gone())
    assert (verdict["culprit"], verdict["cause"]) == ("n2", cause)
    assert words in verdict["message"]
    assert ("Could not be reached" in verdict["message"]) == (verdict["cause"] == "machine_lost" and not reached)


def test_a_node_that_only_this_controller_does_not_reach_is_not_blamed():
    verdict = judge(status(order=[failure("n2", "torchrun exited 7")]), n1=gone(), n2=answer("failed", "torchrun exited 7"))
    assert verdict["culprit"] == "n2"
    assert "The logs of n1 could not be read: it is not reached: ssh" in verdict["message"]


def test_a_hang_is_the_ranks_that_the_others_wait_for():
    told = status(order=[failure("n2", "no iteration after 4 for 600 s. Rank 3 stands elsewhere", 3)])
    verdict = judge(told)
    assert (verdict["culprit"], verdict["ranks"]) == ("n2", [3])
    assert "no iteration after 4 for 600 s. Rank 3 stands elsewhere" in verdict["message"]


def test_only_the_last_generation_that_failed_counts():
    told = status(order=[failure("n2", "torchrun exited 7", generation=1, at=9.0)], generation=1, restarts=1,
                  verdict="n2: torchrun exited 7. Gave up: 2 starts in a row brought no new checkpoint (pretrain_max_restarts is 1)",
                  cause="n2: torchrun exited 7")
    told["order"].insert(0, failure("n1", "torchrun exited 1"))
    verdict = judge(told, n2=answer("failed", "torchrun exited 7"))
    assert verdict["culprit"] == "n2"
    assert "They ended the run: Gave up: 2 starts in a row brought no new checkpoint (pretrain_max_restarts is 1)." in verdict["message"]
    assert [one["node"] for one in verdict["order"]] == ["n2"]


def test_a_run_that_did_not_begin_says_why():
    verdict = judge(status(verdict="n2 cannot start: no room"))
    assert verdict["message"].startswith("The training did not begin: n2 cannot start: no room.")
    assert (verdict["succeeded"], verdict["culprit"]) == (False, "")


def test_where_no_supervisor_is_left_the_master_is_the_one_that_was_lost():
    verdict = judge({**status(), "state": "running", "code": None}, n1=gone())
    assert (verdict["culprit"], verdict["cause"]) == ("n1", "machine_lost")
    assert "the supervisors meet there; the last state known is running" in verdict["message"]


# --- what is told while it is followed


def test_restarts_changes_and_warnings_are_told_once():
    follower = _follow.Follower("n3")
    running = {**status(), "state": "running", "code": None, "epoch": "e1", "lines": [], "warnings": ["the disk is slow"]}
    running["training"]["iteration"] = 0
    assert [one.kind for one in follower.take(running)] == ["state", "warning"]
    assert follower.take(running) == []
    stopping = {**running, "state": "stopping", "cause": "n2: rank 3 failed"}
    assert [one.text for one in follower.take(stopping)] == ["Run abc: is being stopped: n2: rank 3 failed"]
    forming = {**running, "state": "forming", "cause": "n2: rank 3 failed", "generation": 1, "restarts": 1}
    assert [one.text for one in follower.take(forming)] == ["Run abc: starts again (generation 1, after: n2: rank 3 failed); 0 of 3 nodes are ready"]
    again = {**running, "generation": 1, "restarts": 1, "training": {**running["training"], "loaded": 4}}
    assert [one.text for one in follower.take(again)] == ["Run abc: runs on 3 nodes from iteration 4 (generation 1, 1 restart so far)"]
    again["training"]["loaded"] = 0
    assert "from its beginning: there was no whole checkpoint" in _follow.Follower("n3").take(again)[0].text
    assert "does not get on: no iteration" in follower.take({**again, "state": "dumping", "cause": "no iteration after 4"})[0].text


def lines(*iterations, generation=0, begin=1):
    return [{"n": begin + place, "generation": generation, "iteration": iteration, "total": 9, "loss": 6.0, "grad_norm": None, "ms": None}
            for place, iteration in enumerate(iterations)]


def test_an_iteration_that_is_trained_again_after_a_restart_is_told_again_and_one_of_another_hub_is_not():
    follower = _follow.Follower("n3")
    base = {**status(), "state": "running", "code": None, "epoch": "e1"}

    def told(epoch, new, generation):
        training = {**base["training"], **(new[-1] if new else {"iteration": 0})}
        found = follower.take({**base, "epoch": epoch, "generation": generation, "lines": new, "training": training})
        return [int(one.text.split("iteration")[1].split("/")[0]) for one in found if one.kind == "iteration"]

    assert told("e1", lines(1, 2, 3), 0) == [1, 2, 3]
    assert told("e1", lines(2, 3, generation=1, begin=4), 1) == [2, 3]
    # The hub was started anew: what was asked for by the old count is not what came.
    assert told("e2", lines(3, generation=1, begin=6), 1) == []
    assert (follower.after, follower.behind) == (0, True)
    assert told("e2", lines(2, 3, 4, generation=1), 1) == [4]
    assert (follower.after, follower.behind) == (3, False)
    assert _follow.Follower("n3", follower.kept()).kept() == follower.kept()


def test_who_answers_in_the_hubs_place_is_named_once_and_its_newest_line_told():
    follower = _follow.Follower("n3")
    other = {**status(), "state": "running", "code": None, "epoch": "e1", "hub": False, "from": "n2", "age": 31.0}
    texts = [one.text for one in follower.take(other)]
    assert texts[1] == "n3: iteration     4/9 | lm loss 5.500000 | grad norm 1.000 | 1.00 s"
    assert texts[2] == "n2 answers in place of the master's supervisor, which it has not heard for 31 s"
    assert follower.take(other) == []
    assert not _follow.Follower("n3").take({**other, "age": 29.0})[2:]


def test_figures():
    follower = _follow.Follower("n3")
    running = {**status(), "state": "running", "code": None, "epoch": "e1", "since": 60.0, "max_restarts": 1}
    running["lines"] = [{**one, "ms": ms} for one, ms in zip(lines(1, 2, 3, 4), (9000.0, 1000.0, 2000.0, 2000.0))]
    follower.take(running)
    figures = follower.figures(running, "n1", 1000.0)
    assert (figures["tokens"], figures["tokens_npu"]) == (600.0, 100.0)
    assert figures["left"] == 5 * 2.0
    first, second = _live.words(figures, 1004.0)
    assert first == "run abc · running for 1:04 · 3 nodes · restarts 0 · asking n1"
    assert second == "iteration 4/9 · loss 5.5000 · grad norm 1.000 · 1000 ms · 600 tokens/s · 100 per NPU · 0:06 left"
    assert _live.words(figures, 1031.0)[0].endswith("asking n1, no answer for 0:31")
    assert "0:00 left" in _live.words(figures, 1031.0)[1]
    bare = follower.figures({"run": "abc", "state": "forming"}, "n1", 0.0)
    assert _live.words(bare, 0.0)[1] == "iteration 0/None"
    assert _follow.speed({"ms": 0.0, "tokens_per_iteration": 5, "ranks": 1}) == {"tokens": None, "tokens_npu": None}


@pytest.mark.parametrize(("seconds", "words"), [(0, "0:00"), (59.6, "1:00"),
                                                (61, "1:01"), (3600, "1:00:00"), (3723, "1:02:03"), (90061, "1 d 1:01:01"), (-3, "0:00")])
def test_durations(seconds, words):
    assert _follow.duration(seconds) == words


# --- tables


def node(name, phase="running", **more):
    return {"name": name, "phase": phase, "generation": 0, "silent": 0.4, "lost": False, "iteration": None, "rc": None, "rank": None, "reason": "",
            "checkpoint": 4, "free": 9e11, **more}


def shown(all_nodes, **more):
    phases = {}
    for one in all_nodes:
        phases[one["phase"]] = phases.get(one["phase"], 0) + 1
    told = {**status(), "state": "running", "since": 65.0, "hub": True, "age": 0.0, "strikes": 0, "max_restarts": 1,
            "nodes": {"count": len(all_nodes), "phases": phases, "all": all_nodes}, **more}
    told["training"].update(moved=3.0, hang=600.0)
    return _training_table.training_table(told)


def test_a_table_of_two_nodes():
    text = shown([node("n1"), node("n2", lost=True, silent=40.0, reason="no room")], warnings=["slow disk"])
    assert text.splitlines() == [
        "Run          abc: running for 1:05",
        "Starts       generation 0, 0 restarts, 0 in a row without a new checkpoint (at most 1)",
        "Iteration    4 of 9, last news 3 s ago (a hang after 600 s)",
        "Loss         5.500000, grad norm 1.000",
        "Speed        1000 ms an iteration, 600 tokens/s, 100 per NPU",
        "Checkpoint   iteration 4 is whole on all nodes",
        "Nodes        2: 2 running; 1 not heard",
        "",
        "node  phase    start  silent     iteration  checkpoint  free    rc  why",
        "n2    running  0      40 s LOST  -          4           900 GB  -   no room",
        "n1    running  0      0 s        -          4           900 GB  -",
        "Warning: slow disk"]


def test_a_table_of_many_nodes_shows_the_worst_first_and_counts_the_rest():
    many = [node(f"n{number}", free=8e11 if number == 100 else 9e11) for number in range(128)]
    many[77] = node("n77", "stopped", rc=1, rank=620, reason="failed")
    many[5] = node("n5", "unable", reason="no room")
    many[99] = node("n99", "unheard", lost=True, silent=99.0, free=None)
    text = shown(many).splitlines()
    rows = text[text.index("") + 2:]
    assert [row.split()[0] for row in rows[:4]] == ["n99", "n77", "n5", "n0"]
    assert "rank 620: failed" in rows[1]
    assert len(rows) == 41
    assert rows[-1] == "and 88 more, none of them worse than these: silent for at most 0 s, at least 800 GB free"
    assert "Nodes        128: 125 running, 1 unable, 1 stopped, 1 unheard; 1 not heard" in text
    assert max(map(len, text)) < 120


def test_a_table_by_another_node_says_that_it_is():
    text = shown([node("n1")], hub=False, age=40.0, **{"from": "n2"})
    assert "By n2: the master's supervisor was last heard 40 s ago." in text
    text = shown([node("n1")], hub=True, age=None, state="done", verdict="succeeded: all", nodes={"count": 3, "phases": {}, "worst": [node("n1")]},
                 **{"from": "n2"})
    assert "abc: succeeded: all" in text and "The supervisors have ended" in text and "n2 knows no more of the others" in text


def test_the_list_of_runs(tmp_path):
    def run(name, result=None, script="", token=None):
        folder = tmp_path / name
        (folder / "supervise").mkdir(parents=True)
        (folder / "pretrain_mixtral.sh").touch()
        if result:
            (folder / "supervise/result.json").write_text(json.dumps(result))
        if script:
            (folder / "result").write_text(script)
        if token:
            (folder / "supervise/token").touch()
            os.utime(folder / "supervise/token", (token, token))

    run("aaa", {**status(0), "time": 1100.0}, token=1000.0)
    run("bbb", {**status(1, [failure("n2", "rank 3 failed", 3)]), "time": 2065.0}, token=2000.0)
    run("ccc", script="status=stopped\nlast_iteration=7\n")
    run("ddd", token=3000.0)
    run("eee", {**status(3, [failure("n2", "rank 3 failed", 3)]), "generation": 1, "time": 510.0}, token=500.0)
    (tmp_path / "current").symlink_to("ddd")
    (tmp_path / "stray").mkdir()
    program = tmp_path / "ask"
    running = {**status(), "state": "running", "code": None}
    program.write_text(f"import json\nprint(json.dumps({running!r}))\n")
    found = _runs.runs(sys.executable, str(program), str(tmp_path))
    text = _training_table.training_list(found, 3010.0, "n1").splitlines()
    assert text[0].split() == ["run", "state", "iteration", "first", "loss", "last", "loss", "lasted", "restarts", "began", "with"]
    rows = {row.strip("* ").split()[0]: row for row in text[1:-1]}
    assert rows["aaa"].split() == ["aaa", "succeeded", "4/9", "6.5000", "5.5000", "1:40", "0"]
    assert rows["bbb"].split()[:7] == ["bbb", "failed", "4/9", "6.5000", "5.5000", "1:05", "0"] and rows["bbb"].endswith("n2: rank 3 failed")
    assert rows["ccc"].split()[:3] == ["ccc", "stopped", "7/-"]
    assert rows["eee"].split() == ["eee", "stopped", "4/9", "6.5000", "5.5000", "0:10", "0"], "it was started again after that failure"
    assert rows["ddd"].startswith("* ddd") and rows["ddd"].split()[2] == "running" and "0:10" in rows["ddd"]
    assert text[-1] == "* the one that `current` names on n1, whose files these are"
    assert text[1].startswith("* ddd") and "stray" not in "".join(text)
    assert _training_table.training_list([], 0.0, "n2") == "There is no run on n2: site.yml launches one."


def test_where_the_hub_heard_most_no_more_nobody_is_blamed():
    words = "2 of the 2 nodes beside n1, where the supervisors meet, are not heard for 15 s (times.lost): the link of n1, or what joins it with n2, n3"
    verdict = judge(status(order=[failure("", words)]))
    assert (verdict["succeeded"], verdict["culprit"], verdict["ranks"], verdict["nodes"]) == (False, "", [], [])
    assert words in verdict["message"] and "the failure of :" not in verdict["message"]
