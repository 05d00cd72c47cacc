"""Nothing is lost: no plain rerun begins over a checkpoint, whatever happened before; a resumed run is the uninterrupted one."""
import pytest

FOLDER = "/opt/ascend-cluster/kept-test"
ENVIRONMENT = {"OMP_NUM_THREADS": 1}
BROKEN = {"pretrain_environment_extra": {**ENVIRONMENT, "STANDIN_FAULT": "exception", "STANDIN_RANK": "all", "STANDIN_AT": 12}}

pytestmark = pytest.mark.usefixtures("tidy")


def variables(name, **more):
    return {"cluster_checkpoint_dir": f"{FOLDER}/{name}", "plan_save_interval": 10, **more}


def kept(site, name, **more):
    """A plain run is refused by both words, with status 2, launches nothing and changes nothing."""
    before, runs = site.checkpoints(f"{FOLDER}/{name}"), site.run("node1", "readlink /opt/ascend-cluster/runs/current").stdout
    assert all(before.values())
    status, output = site.play("playbooks/pretrain.yml", **variables(name, **more))
    assert status == 2, output
    assert f"There are checkpoints in cluster_checkpoint_dir {FOLDER}/{name}: node1 has iter_0000010" in output
    assert "-e pretrain_resume=true" in output and "-e pretrain_new_run=true" in output and "Nothing was launched" in output
    assert "Start the training on all nodes at once" not in output
    assert site.checkpoints(f"{FOLDER}/{name}") == before
    assert site.run("node1", "readlink /opt/ascend-cluster/runs/current").stdout == runs


def test_after_a_crash_a_resume_and_a_changed_interval(site):
    site.refused("playbooks/pretrain.yml", **variables("a", **BROKEN))
    kept(site, "a")
    kept(site, "a", plan_log_interval=2)
    # By hand it is the same.
    script = site.run("node1", "readlink -f /opt/ascend-cluster/runs/current").stdout.strip() + "/pretrain_mixtral.sh"
    by_hand = site.run("node1", f"sudo -u ascend bash {script}")
    assert by_hand.returncode == 1
    assert f"there is a checkpoint already, {FOLDER}/a/iter_0000010" in by_hand.stderr
    # After it has come to its end, too.
    status, output = site.play("playbooks/pretrain.yml", **variables("a", pretrain_resume=True))
    assert status == 0, output
    # The oldest log is that of site.yml on bare nodes.
    whole = site.curve("$(ls -tr /opt/ascend-cluster/runs/*/train.log | head -1)")
    assert sorted(whole) == list(range(1, 21))
    assert site.curve() == {iteration: words for iteration, words in whole.items() if iteration > 10}
    kept(site, "a")
