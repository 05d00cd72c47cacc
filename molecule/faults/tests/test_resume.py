"""Going on from a checkpoint: exactly as if nothing had happened, or not at all."""
import pytest

FOLDER = "/opt/ascend-cluster/resume-test"
ENVIRONMENT = {"OMP_NUM_THREADS": 1}
LOST = {**ENVIRONMENT, "STANDIN_FAULT": "exception", "STANDIN_RANK": "all"}
LOST_AT_12 = {"pretrain_environment_extra": {**LOST, "STANDIN_AT": 12}}
# Data parallel 4, expert parallel 2: the second node writes no shard, but reads two.
WIDE = {"plan_tensor_model_parallel_size": 1}

pytestmark = pytest.mark.usefixtures("tidy")


def variables(name, **more):
    return {"cluster_checkpoint_dir": f"{FOLDER}/{name}", "plan_save_interval": 10, **more}


def train(site, name, **more):
    """Run the training; returns of each iteration logged the words of loss, grad norm and learning rate."""
    status, output = site.play("playbooks/pretrain.yml", **variables(name, pretrain_new_run=True, **more))
    assert status == 0, output
    return site.curve()


def last(curve, first):
    return {iteration: words for iteration, words in curve.items() if iteration >= first}


def break_after_12(site, name, **more):
    """A training that dies after its iteration 12, its checkpoint at 10 saved."""
    output = site.refused("playbooks/pretrain.yml", **variables(name, **LOST_AT_12, **more))
    assert "STANDIN_FAULT" in output
    assert site.run("node1", f"cat {FOLDER}/{name}/latest_checkpointed_iteration.txt").stdout == "10"


@pytest.fixture(scope="module")
def whole(site, tidy):
    found = train(site, "whole")
    assert sorted(found) == list(range(1, 21))
    return found


@pytest.fixture(scope="module")
def broken(site, tidy):
    """A broken training's checkpoint, for tests to copy."""
    break_after_12(site, "broken")

    def copy(name):
        for node in site.nodes:
            assert site.run(node, f"cp -a {FOLDER}/broken {FOLDER}/{name}").returncode == 0
        return name

    return copy


def test_a_resumed_run_is_the_uninterrupted_one(site, whole, broken):
    name = broken("exact")
    # A tracker file is on the master alone.
    assert site.run("node2", f"ls {FOLDER}/{name}").stdout.split() == ["iter_0000010"]
    resumed = train(site, name, pretrain_resume=True)
    assert resumed == last(whole, 11)
    # The run is done: it is not repeated, and nothing is left to go on with.
    status, output = site.play("playbooks/pretrain.yml", **variables(name, pretrain_resume=True))
    assert status == 0, output
    assert "nothing is launched" in output
    output = site.refused("playbooks/pretrain.yml", **variables(name, pretrain_resume=True, pretrain_new_run=True))
    assert "Iteration 20 of 20 is already saved" in output
    assert "plan_train_iters" in output


def test_a_resumed_run_that_breaks_goes_on_from_its_newest_checkpoint(site, whole, broken):
    name = broken("twice")
    more = variables(name, pretrain_resume=True, plan_save_interval=5)
    breaking = {**LOST, "STANDIN_AT": 17}
    output = site.refused("playbooks/pretrain.yml", **more, pretrain_environment_extra=breaking)
    assert "STANDIN_FAULT" in output
    run = site.run("node1", "readlink /opt/ascend-cluster/runs/current").stdout
    # The very same run again, under its own name: it starts at 15 and dies in the same place.
    output = site.refused("playbooks/pretrain.yml", **more, pretrain_environment_extra=breaking)
    assert "Loading the checkpoint of iteration 15" in output
    assert site.run("node1", "readlink /opt/ascend-cluster/runs/current").stdout == run
    assert site.curve() == {iteration: whole[iteration] for iteration in (16, 17)}


def test_without_the_hook_the_learning_rate_is_frozen(site, whole, broken):
    name = broken("frozen")
    try:
        status, output = site.play("playbooks/ascendspeed.yml", __ascendspeed_hooks=["deterministic"])
        assert status == 0, output
        frozen = train(site, name, pretrain_resume=True)
    finally:
        status, output = site.play("playbooks/ascendspeed.yml")
        assert status == 0, output
    losses, rates = ({iteration: words[part] for iteration, words in frozen.items()} for part in (0, 2))
    assert losses[11] == whole[11][0]
    assert all(losses[iteration] != whole[iteration][0] for iteration in range(14, 21))
    assert rates == {iteration: words[2] for iteration, words in last(whole, 11).items()}, "the log shows nothing of it"


def test_nodes_are_given_the_shards_that_others_wrote(site):
    whole = train(site, "wide-whole", **WIDE)
    break_after_12(site, "wide", **WIDE)
    assert site.run("node2", f"find {FOLDER}/wide -name '*.pt'").stdout == ""
    # A file of another training in its place does not pass for the shard, whatever its size.
    shard = "iter_0000010/mp_rank_00_001/model_optim_rng.pt"
    size = site.run("node1", f"stat -c %s {FOLDER}/wide/{shard}").stdout.strip()
    site.run("node2", f"cd {FOLDER}/wide && mkdir -p {shard.rsplit('/', 1)[0]} && truncate -s {size} {shard} && chown -R ascend: .")
    status, output = site.play("playbooks/pretrain.yml", **variables("wide", pretrain_resume=True, pretrain_new_run=True, **WIDE))
    assert status == 0, output
    assert "2 of its files are brought from one node to another" in output
    assert site.curve() == last(whole, 11)
    hashes = [site.run(node, f"cd {FOLDER}/wide/iter_0000010 && sha256sum */*.pt").stdout for node in site.nodes]
    assert len(hashes[0].splitlines()) == 2
    assert hashes[0] == hashes[1]
    for node in site.nodes:
        assert "ascend-checkpoint" not in site.run(node, "cat ~ascend/.ssh/authorized_keys").stdout


def test_restarts_that_could_load_nothing_are_refused(site):
    output = site.refused("playbooks/pretrain.yml", **variables("wide-restarts", pretrain_max_restarts=1, **WIDE))
    assert "pretrain_max_restarts is 1 and pretrain_keep_checkpoints is 0, and node2 needs mp_rank_00_000/model_optim_rng.pt" in output
    assert "which other nodes write to disks of their own" in output
    assert "Start the training on all nodes at once" not in output


class TestWhatCannotBeLoaded:
    def refused(self, site, name, **more):
        output = site.refused("playbooks/pretrain.yml", **variables(name, pretrain_resume=True, **more))
        assert "Start the training on all nodes at once" not in output
        return output

    def test_a_folder_without_a_checkpoint(self, site):
        output = self.refused(site, "nothing")
        assert f"There is no checkpoint to load in {FOLDER}/nothing" in output
        assert "cluster_checkpoint_dir" in output
        output = site.refused("playbooks/pretrain.yml", **variables("new", plan_load=f"{FOLDER}/nothing"))
        assert "plan_load" in output

    def test_a_tracker_file_that_names_no_iteration(self, site, broken):
        name = broken("strange")
        site.run("node1", f"echo latest >{FOLDER}/{name}/latest_checkpointed_iteration.txt")
        assert 'says "latest", expected an iteration' in self.refused(site, name)

    def test_an_iteration_that_was_never_saved(self, site, broken):
        name = broken("other")
        site.run("node1", f"echo 15 >{FOLDER}/{name}/latest_checkpointed_iteration.txt")
        output = self.refused(site, name)
        assert "The checkpoint of iteration 15" in output
        assert "not complete" in output

    def test_a_shard_that_is_gone(self, site, broken):
        name = broken("hole")
        site.run("node2", f"rm {FOLDER}/{name}/iter_0000010/mp_rank_01_001/model_optim_rng.pt")
        output = self.refused(site, name)
        assert "iter_0000010/mp_rank_01_001/model_optim_rng.pt (written by node2, needed on node2)" in output
