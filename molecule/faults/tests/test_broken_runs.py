"""Runs that break: the verdict names node and reason, and no job is left half dead. They leave failed runs behind."""
import time

import pytest

UNIT = "ascend-pretrain.service"
ENVIRONMENT = {"OMP_NUM_THREADS": 1}


def fault(kinds, ranks, moments="3"):
    """After iteration 3, on these global ranks; each node has two."""
    return {"STANDIN_FAULT": kinds, "STANDIN_RANK": ranks, "STANDIN_AT": moments}


def nothing_runs(site):
    for node in site.nodes:
        assert site.run(node, f"systemctl is-active {UNIT}").stdout.strip() in ("inactive", "failed")
        assert site.run(node, "pgrep -u ascend -a").stdout == ""


def broken(site, **environment):
    """Train anew with a fault; the output of the refusal."""
    return site.refused("playbooks/pretrain.yml", pretrain_new_run=True, pretrain_environment_extra={**ENVIRONMENT, **environment})


def test_exit_status_0_after_iteration_3_is_a_failure(site):
    output = broken(site, **fault("exit_zero", "all"))
    assert "torchrun exited 0, but the last iteration logged is 3 of 20" in output
    nothing_runs(site)


def test_the_rank_that_dies_is_named_with_its_cause_and_nothing_is_left(site):
    output = broken(site, **fault("npu_oom", "3"))
    assert "The training failed on node2 (node rank 1), global rank 3 (local rank 1): NPU out of memory." in output
    assert "RuntimeError: NPU out of memory. Tried to allocate" in output
    assert "What to do: Lower plan_micro_batch_size" in output
    assert "ranks/" in output and "stderr.log on node2." in output
    nothing_runs(site)


def test_a_rank_that_is_killed_without_a_word_is_named(site):
    output = broken(site, **fault("kill", "0"))
    assert "The training failed on node1 (node rank 0), global rank 0 (local rank 0)" in output
    assert "ended by signal 9 (SIGKILL)" in output
    nothing_runs(site)


def test_a_loss_that_is_nan_to_the_end_is_no_success(site):
    output = site.refused("playbooks/pretrain.yml", pretrain_new_run=True, plan_extra_arguments={"no-check-for-nan-in-loss-and-grad": True},
                          pretrain_environment_extra={**ENVIRONMENT, **fault("nan_loss", "all", "18")})
    assert "is no success: the loss of the last iteration logged, 20, is missing (bad since iteration 18)" in output
    # The node's own result says so, for whoever asks later.
    assert "status=failed" in site.run("node2", "cat /opt/ascend-cluster/runs/current/result").stdout
    nothing_runs(site)


def test_when_one_node_dies_the_other_that_hangs_is_stopped(site):
    output = broken(site, **fault("exception hang", "0-1 2-3", "3 3"))
    assert "The training failed on node1 (node rank 0), global ranks 0-1 (local ranks 0-1)" in output
    assert "rehearsed fault after iteration 3" in output
    nothing_runs(site)


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
    nothing_runs(site)


def test_a_node_that_cannot_start_it_stops_the_launch_everywhere(site):
    drop_in = f"/etc/systemd/system/{UNIT}.d"
    site.run("node2", f"mkdir -p {drop_in} && printf '[Service]\\nExecStart=\\n' >{drop_in}/broken.conf")
    try:
        output = broken(site, STANDIN_ITERATION_SECONDS=30)
    finally:
        site.run("node2", f"rm -r {drop_in}; systemctl daemon-reload")
    assert "node2 could not start the training, so it was stopped everywhere" in output
    nothing_runs(site)


def test_a_running_job_is_guarded_followed_and_stopped(site):
    slow = {"pretrain_environment_extra": {**ENVIRONMENT, "STANDIN_ITERATION_SECONDS": 30}}
    follower = site.start("playbooks/pretrain.yml", pretrain_new_run=True, **slow)
    try:
        deadline = time.monotonic() + 300
        while site.run("node1", f"systemctl is-active {UNIT}").stdout.strip() != "active":
            assert follower.poll() is None
            assert time.monotonic() < deadline
            time.sleep(1)
        # Another role does not touch the nodes meanwhile, and another run is refused.
        assert "nothing is changed under it" in site.refused("playbooks/megatron.yml")
        assert "Another run is in progress" in site.refused("playbooks/pretrain.yml")
        # Losing the controller stops nothing; site.yml changes nothing and follows.
        follower.terminate()
        follower.wait(timeout=60)
        assert site.run("node1", f"systemctl is-active {UNIT}").stdout.strip() == "active"
        again = site.start("site.yml", **slow)
        seen = ""
        for line in again.stdout:
            seen += line
            if "Meeting | Make a folder on the controller" in line:
                break
        assert "following it" in " ".join(seen.split()), seen
        assert "changed: [" not in seen
        status, output = site.play("playbooks/stop.yml")
        assert status == 0, output
        rest = " ".join(again.stdout.read().split())
        assert again.wait(timeout=120) != 0
        assert "stopped by SIGTERM" in rest
    finally:
        follower.kill()
        site.play("playbooks/stop.yml")
    nothing_runs(site)


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
