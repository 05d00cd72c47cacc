"""Runs that break: the verdict names node and reason, and no job is left half dead. They leave failed runs behind."""
import json
import time

import pytest

from tests.playing import ENVIRONMENT, UNIT, fault


def test_exit_status_0_after_iteration_3_is_a_failure(site):
    output = site.broken(**fault("exit_zero", "all"))
    assert "torchrun exited 0, but the last iteration logged is 3 of 20" in output
    site.nothing_runs()


def test_a_rank_that_is_killed_without_a_word_is_named(site):
    output = site.broken(**fault("kill", "0"))
    assert "The training failed on node1 (node rank 0), global rank 0 (local rank 0)" in output
    assert "ended by signal 9 (SIGKILL)" in output
    site.nothing_runs()


def test_a_loss_that_is_nan_to_the_end_is_no_success(site):
    output = site.refused("playbooks/pretrain.yml", pretrain_new_run=True, plan_extra_arguments={"no-check-for-nan-in-loss-and-grad": True},
                          pretrain_environment_extra={**ENVIRONMENT, **fault("nan_loss", "all", "18")})
    assert "is no success: the loss of the last iteration logged, 20, is missing (bad since iteration 18)" in output
    # The node's own result says so, for whoever asks later.
    assert "status=failed" in site.run("node2", "cat /opt/ascend-cluster/runs/current/result").stdout
    site.nothing_runs()


def test_who_hangs_is_named_by_the_stacks_and_the_training_goes_on(site):
    follower = site.start("playbooks/pretrain.yml", pretrain_new_run=True, pretrain_environment_extra={**ENVIRONMENT, **fault("hang", "2")})
    try:
        deadline = time.monotonic() + 300
        # An earlier run's log is put aside before the ranks begin.
        while "iteration        3/" not in site.run("node2", "pgrep -u ascend -f pretrain_gpt.py && cat /opt/ascend-cluster/runs/current/train.log").stdout:
            assert follower.poll() is None
            assert time.monotonic() < deadline
            time.sleep(1)
        time.sleep(5)
        status, output = site.play("playbooks/stacks.yml")
        assert status == 0, output
        assert "global rank 2 on node2 (local rank 0) stands elsewhere than the 3 that wait for others: in _hang (faults.py:" in output
        assert follower.poll() is None
    finally:
        status, output = site.play("playbooks/stop.yml")
        assert status == 0, output
        follower.communicate(timeout=120)
    site.nothing_runs()


@pytest.mark.parametrize(("command", "why"), [("", "bad unit file setting"), ("/bin/sh -c 'echo its words: no; exit 2'", "its words: no")])
def test_a_node_that_cannot_start_it_stops_the_launch_everywhere(site, command, why):
    drop_in = f"/etc/systemd/system/{UNIT}.d"
    site.run("node2", f'mkdir -p {drop_in} && printf "[Service]\\nExecStart=\\nExecStart={command}\\n" >{drop_in}/broken.conf')
    try:
        output = site.broken(STANDIN_ITERATION_SECONDS=30)
    finally:
        site.run("node2", f"rm -r {drop_in}; systemctl daemon-reload")
    assert "node2 could not start the training, so it was stopped everywhere" in output
    assert why in output
    site.nothing_runs()


def test_a_node_that_is_not_ready_ends_the_launch_by_its_name_before_any_rank_starts(site):
    lost = "/opt/ascend-cluster/hidden"
    # After the look at the nodes: what holds the launch back is found by the node itself.
    drop_in = f"/etc/systemd/system/{UNIT}.d"
    site.run("node2", f"mkdir -p {drop_in} && printf '[Service]\\nExecStartPre=+/bin/mv /opt/ascend-cluster/env.sh {lost}\\n' >{drop_in}/late.conf")
    try:
        output = site.broken(STANDIN_ITERATION_SECONDS=30)
        told = site.run("node1", "cat /opt/ascend-cluster/runs/current/supervise/result.json").stdout
    finally:
        site.run("node2", f"rm -r {drop_in}; systemctl daemon-reload; mv {lost} /opt/ascend-cluster/env.sh")
    assert "env.sh cannot be read: is its storage mounted?" in told
    assert "node2" in json.loads(told)["verdict"]
    for node in site.nodes:
        assert "ranks" not in site.run(node, "ls /opt/ascend-cluster/runs/current").stdout.split(), output
    site.nothing_runs()


def test_a_good_run_is_launched_again_and_then_left_alone(site):
    status, output = site.play("playbooks/pretrain.yml", pretrain_new_run=True)
    assert status == 0, output
    assert "Trained 20 iterations on 2 nodes" in output
    status, output = site.play("site.yml")
    assert status == 0, output
    assert "nothing is launched" in output


@pytest.mark.parametrize(("tag", "role"), [("cann_toolkit", "cann_toolkit"), ("dataset", "dataset"), ("pretrain", "pretrain"), ("preflight", "preflight"),
                                           ("data_share_verify", "data_share"), ("install", "conda_env")])
def test_single_tags_run_alone_and_change_nothing(site, tag, role):
    status, output = site.play("site.yml", "--tags", tag)
    assert status == 0, output
    assert f"ascend.cluster.{role}" in output
    assert all(part.startswith("changed=0") for part in output.split() if part.startswith("changed="))
