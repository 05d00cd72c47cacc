"""Runs that break: the verdict names node and reason, and no job is left half dead. They come last, for they leave failed runs behind."""
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


def test_exit_status_0_after_iteration_3_is_a_failure(site):
    output = site.refused("playbooks/pretrain.yml", pretrain_environment_extra={**ENVIRONMENT, **fault("exit_zero", "all")})
    assert "torchrun exited 0, but" in output
    assert "the last iteration logged is 3 of 20" in output or "was not written" in output
    nothing_runs(site)


def test_a_trainer_that_dies_on_one_node_is_named_and_nothing_is_left(site):
    output = site.refused("playbooks/pretrain.yml", pretrain_environment_extra={**ENVIRONMENT, **fault("exception", "2-3")})
    assert "The training failed on node2 (node rank 1)" in output
    assert "RuntimeError" in output
    nothing_runs(site)


def test_when_one_node_dies_the_other_that_hangs_is_stopped(site):
    output = site.refused("playbooks/pretrain.yml", pretrain_environment_extra={
        **ENVIRONMENT, **fault("exception hang", "0-1 2-3", "3 3")})
    assert "The training failed on node1 (node rank 0)" in output
    nothing_runs(site)


def test_a_node_that_cannot_start_it_stops_the_launch_everywhere(site):
    drop_in = f"/etc/systemd/system/{UNIT}.d"
    site.run("node2", f"mkdir -p {drop_in} && printf '[Service]\\nExecStart=\\n' >{drop_in}/broken.conf")
    try:
        output = site.refused("playbooks/pretrain.yml", pretrain_environment_extra={**ENVIRONMENT, "STANDIN_ITERATION_SECONDS": 30})
    finally:
        site.run("node2", f"rm -r {drop_in}; systemctl daemon-reload")
    assert "node2 could not start the training, so it was stopped everywhere" in output
    nothing_runs(site)


def test_a_running_job_is_guarded_followed_and_stopped(site):
    slow = {"pretrain_environment_extra": {**ENVIRONMENT, "STANDIN_ITERATION_SECONDS": 30}}
    follower = site.start("playbooks/pretrain.yml", **slow)
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


@pytest.mark.parametrize("tag", ["cann_toolkit", "dataset", "pretrain"])
def test_single_tags_run_alone_and_change_nothing(site, tag):
    status, output = site.play("site.yml", "--tags", tag)
    assert status == 0, output
    assert f"ascend.cluster.{tag}" in output
    assert all(part.startswith("changed=0") for part in output.split() if part.startswith("changed="))
