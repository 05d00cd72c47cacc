"""Runs that break: the verdict names node and reason, and no job is left half dead. They leave failed runs behind."""
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


def test_a_node_that_cannot_start_it_stops_the_launch_everywhere(site):
    drop_in = f"/etc/systemd/system/{UNIT}.d"
    site.run("node2", f"mkdir -p {drop_in} && printf '[Service]\\nExecStart=\\n' >{drop_in}/broken.conf")
    try:
        output = site.broken(STANDIN_ITERATION_SECONDS=30)
    finally:
        site.run("node2", f"rm -r {drop_in}; systemctl daemon-reload")
    assert "node2 could not start the training, so it was stopped everywhere" in output
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
