"""Beginning anew, or from weights: what earlier trainings saved is moved aside as a whole, or not saved into."""
import pytest

FOLDER = "/opt/ascend-cluster/new-run-test"
BROKEN = {"pretrain_environment_extra": {"OMP_NUM_THREADS": 1, "STANDIN_FAULT": "exception", "STANDIN_RANK": "all", "STANDIN_AT": 12}}

pytestmark = pytest.mark.usefixtures("tidy")


def variables(name, **more):
    return {"cluster_checkpoint_dir": f"{FOLDER}/{name}", "plan_save_interval": 10, **more}


def test_a_new_run_moves_the_old_one_aside_as_a_whole(site):
    site.refused("playbooks/pretrain.yml", **variables("b", **BROKEN))
    before = site.checkpoints(f"{FOLDER}/b")
    status, output = site.play("playbooks/pretrain.yml", **variables("b", pretrain_new_run=True, plan_log_interval=3))
    assert status == 0, output
    assert f"The earlier training's checkpoints are in {FOLDER}/b/before_" in output
    assert site.checkpoints(f"{FOLDER}/b/before_*") == before
    for node in site.nodes:
        assert "before_" in site.run(node, f"ls {FOLDER}/b").stdout
        assert site.run(node, f"stat -c %U {FOLDER}/b/before_*").stdout == "ascend\n"
    assert site.run("node1", f"cat {FOLDER}/b/latest_checkpointed_iteration.txt").stdout == "20"
    # Megatron logged iteration 18 last: that is a success, and it is left alone.
    assert "iteration       18/      20" in site.run("node2", "cat /opt/ascend-cluster/runs/current/train.log").stdout
    for words in ((), ("--skip-tags", "verify")):
        status, output = site.play("playbooks/pretrain.yml", *words, **variables("b", plan_log_interval=3))
        assert status == 0, output
        assert "nothing is launched" in output


def test_the_folder_that_is_loaded_is_not_saved_into(site):
    output = site.refused("playbooks/pretrain.yml", **variables("b", plan_load=f"{FOLDER}/b/"))
    assert "plan_load and cluster_checkpoint_dir are both" in output
    assert "Start the training on all nodes at once" not in output
