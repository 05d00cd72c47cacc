"""Runs that break, or are guarded, followed and stopped: a sample. More ways to break are in scenario `faults`."""
import time

from tests.playing import ENVIRONMENT, UNIT, fault


def test_the_rank_that_dies_is_named_with_its_cause_and_nothing_is_left(site):
    output = site.broken(**fault("npu_oom", "3"))
    assert "The training failed on node2 (node rank 1), global rank 3 (local rank 1): NPU out of memory." in output
    assert "RuntimeError: NPU out of memory. Tried to allocate" in output
    assert "What to do: Lower plan_micro_batch_size" in output
    assert "ranks/" in output and "stderr.log on node2." in output
    site.nothing_runs()


def test_when_one_node_dies_the_other_that_hangs_is_stopped(site):
    output = site.broken(**fault("exception hang", "0-1 2-3", "3 3"))
    assert "The training failed on node1 (node rank 0), global ranks 0-1 (local ranks 0-1)" in output
    assert "rehearsed fault after iteration 3" in output
    site.nothing_runs()


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
            # The name of the task that follows comes with its end.
            if "Follow | Say how to follow again" in line:
                break
        assert "following it" in " ".join(seen.split()), seen
        assert "changed: [" not in seen
        status, output = site.play("playbooks/stop.yml")
        assert status == 0, output
        rest = " ".join(again.stdout.read().split())
        assert again.wait(timeout=120) != 0
        assert "The training was stopped: asked for by" in rest and "by playbooks/stop.yml" in rest
        assert "Stopped on node1, node2: stopped: asked for by" in output and "playbooks/stop.yml" in output
        assert "Nothing of a training is left on 2 nodes" in output
    finally:
        follower.kill()
        status, output = site.play("playbooks/stop.yml")
    assert status == 0, output
    assert "Nothing was running. Nothing of a training is left on 2 nodes" in output
    assert all(part == "changed=0" for part in output.split() if part.startswith("changed="))
    site.nothing_runs()
