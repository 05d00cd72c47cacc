"""The real Megatron-LM and AscendSpeed (MindSpeed) in the project's roles, launch script and hooks: of the stack that STACK names."""
import json
import re
import shlex

import pytest

from tests import stacks
from tests.playing import WORKSPACE
from tests.upstream.conftest import STACK

DATA = stacks.read(STACK)
RUN = f"{WORKSPACE}/runs/current"
MEGATRON = f"{WORKSPACE}{DATA['folder']}/Megatron-LM"
LINE = re.compile(r"iteration +(\d+)/ .*learning rate: (\S+) .*lm loss: (\S+) .*grad norm: (\S+)")


def logged(site):
    """Iteration, learning rate, lm loss and grad norm of each line, as printed, by the last node's log."""
    return LINE.findall(site.run("node2", f"cat {RUN}/train.log").stdout)


@pytest.fixture(scope="module")
def whole(site, trained):
    """The lines of a training that nothing disturbed."""
    return logged(site)


def test_the_loss_falls_and_the_checkpoint_is_there(site, trained, whole):
    assert "Trained 8 iterations on 2 nodes" in trained
    losses = [float(loss) for _, _, loss, _ in whole]
    assert len(losses) == 8
    assert losses[-1] < losses[0]
    # TP2 PP2 EP2 on 2 x 4 ranks: pipeline stage 0 is node1, stage 1 node2.
    for node, stage in (("node1", "000"), ("node2", "001")):
        shards = site.run(node, f"cd {MEGATRON}/ckpt/Mixtral-8x7B/iter_0000008 && ls -d *").stdout.split()
        assert shards == [f"mp_rank_{tensor:02d}_{stage}_{expert:03d}" for tensor in (0, 1) for expert in (0, 1)]


def test_the_code_is_the_real_one_and_hooked(site, trained):
    log = site.run("node1", f"cat {RUN}/train.log").stdout
    for hook in DATA["hooks"]:
        assert f"> hook {hook}:" in log
    assert "using world size: 8, data-parallel size: 2" in log
    assert site.run("node1", f"cd {MEGATRON} && sudo -u ascend git rev-parse HEAD").stdout.strip() == DATA["sources"]["megatron"]["commit"]


def test_the_index_cache_was_prepared(site, trained):
    # Megatron says so when it builds one; with the prepared cache no rank does.
    for node in site.nodes:
        assert "Build and save the GPTDataset" not in site.run(node, f"cat {RUN}/train.log").stdout


def test_the_same_seed_gives_the_same_digits(site, whole):
    status, output = site.play("playbooks/pretrain.yml", pretrain_new_run=True)
    assert status == 0, output
    assert logged(site) == whole


def test_killed_every_few_iterations_it_reaches_its_end_by_itself(site, whole):
    case = {"cluster_checkpoint_dir": f"{MEGATRON}/ckpt/restarted", "plan_save_interval": 2, "pretrain_max_restarts": 1}
    # On the node: who follows may hear of an iteration when the next ones are over.
    kills = (f'for n in 3 5 7; do until grep -q "iteration *$n/" {RUN}/train.log 2>/dev/null; do sleep 0.1; done; '
             'pkill -KILL -u ascend -o -f "python[0-9.]* -u pretrain_gpt.py" && echo $n; done')
    with site.start("playbooks/pretrain.yml", **case) as follower:
        for line in follower.stdout:
            if "runs on 2 nodes (generation 0)" in line:
                site.run("node2", f"setsid timeout 1500 bash -c {shlex.quote(kills)} >/tmp/kills 2>&1 </dev/null &")
    assert (follower.returncode, site.run("node2", "cat /tmp/kills").stdout.split()) == (0, ["3", "5", "7"])
    # Every line of all four starts has the digits of the undisturbed run, and each start goes on from the newest checkpoint.
    starts = site.run("node2", f"cd {RUN}; for log in $(ls -tr train.*log); do echo == $log; cat $log; done").stdout.split("\n== ")
    lines = [LINE.findall(start) for start in starts]
    assert len(lines) == 4
    ends = [(int(start[0][0]), int(start[-1][0])) for start in lines]
    for (_, last), (first, _) in zip(ends, ends[1:]):
        # One that was being saved when the rank was killed may be none.
        assert first in (last // 2 * 2 + 1, (last - 1) // 2 * 2 + 1), ends
    assert all(line in whole for start in lines for line in start) and lines[-1][-1] == whole[-1]
    journal = [json.loads(line) for line in site.run("node1", f"cat {RUN}/supervise/journal.jsonl").stdout.splitlines()]
    begun = {one["generation"]: one["at"] for one in journal if one["event"] == "running"}
    took = {one["generation"]: one["at"] - begun[one["generation"]] for one in journal if one["event"] == "trains"}
    assert sorted(took) == [0, 1, 2, 3]
    print("seconds to the first new iteration, cold and after each restart:", [round(took[generation], 1) for generation in sorted(took)])
    # No limit of time, a ratio within one run: a restart is not another cold start on top.
    assert max(took.values()) < 3 * took[0]


def test_killed_and_resumed_on_separate_disks_it_prints_the_same_digits(site, whole):
    case = {"cluster_checkpoint_dir": f"{MEGATRON}/ckpt/killed", "plan_save_interval": 2}
    with site.start("playbooks/pretrain.yml", **case) as follower:
        for line in follower.stdout:
            if "iteration     3/8" in line:
                for node in site.nodes:
                    site.run(node, "systemctl kill --signal=KILL ascend-pretrain.service")
                break
        rest = follower.stdout.read()
    assert follower.returncode != 0
    assert "was started anew, without telling a result" in " ".join(rest.split())
    status, output = site.play("playbooks/pretrain.yml", pretrain_resume=True, **case)
    assert status == 0, output
    resumed = logged(site)
    assert 2 <= len(resumed) <= 6
    assert resumed == whole[-len(resumed):]


def test_with_more_replicas_than_expert_ranks_the_shards_are_brought(site, trained):
    # TP2 PP1 EP2 on 2 x 4 ranks: DP 4 > EP 2, and node2 owns no shard of its own.
    folder = f"{MEGATRON}/ckpt/wide"
    case = {"cluster_checkpoint_dir": folder, "plan_pipeline_model_parallel_size": 1, "plan_save_interval": 4}
    status, output = site.play("playbooks/pretrain.yml", **case)
    assert status == 0, output
    whole = logged(site)
    assert len(whole) == 8
    assert site.run("node2", f"find {folder} -name '*.pt'").stdout == ""
    site.run("node1", f"echo 4 >{folder}/latest_checkpointed_iteration.txt")
    status, output = site.play("playbooks/pretrain.yml", pretrain_resume=True, **case)
    assert status == 0, output
    assert len(site.run("node2", f"find {folder}/iter_0000004 -name '*.pt'").stdout.split()) == 4
    assert logged(site) == whole[4:]


if "expert-tensor-parallel-size" in DATA["options"]["whole"].split():
    def test_experts_may_be_whole_on_each_tensor_rank(site, trained):
        # TP2 PP1 EP2 with whole experts: the four ranks that hold different ones write, and each node loads what it needs of them.
        folder = f"{MEGATRON}/ckpt/whole_experts"
        case = {"cluster_checkpoint_dir": folder, "plan_pipeline_model_parallel_size": 1, "plan_expert_tensor_parallel_size": 1, "plan_save_interval": 4,
                "plan_moe_token_dispatcher_type": "alltoall"}  # alltoall_seq knows no other size than that of the layers
        status, output = site.play("playbooks/pretrain.yml", **case)
        assert status == 0, output
        whole = logged(site)
        assert len(whole) == 8 and float(whole[-1][2]) < float(whole[0][2])
        site.run("node1", f"echo 4 >{folder}/latest_checkpointed_iteration.txt")
        status, output = site.play("playbooks/pretrain.yml", pretrain_resume=True, **case)
        assert status == 0, output
        assert logged(site) == whole[4:]
