"""The files of checkpoints: what nodes write and read, by recorded folders of the real parallel state."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.ascend.cluster.plugins.filter import expected_shards as shards_filter
from ansible_collections.ascend.cluster.plugins.filter import shard_transfers as transfers_filter
from ansible_collections.ascend.cluster.plugins.module_utils import _shards
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import stacks

# The machine that runs the tests may be busy: no limits on time.
calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

STACK = stacks.read("recipe")
RECIPE: dict[str, Any] = {"tensor-model-parallel-size": 2, "pipeline-model-parallel-size": 4, "expert-model-parallel-size": 2}
RECORDED = yaml.safe_load((Path(__file__).parent / "recorded" / "shards.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: "tp{tp}pp{pp}ep{ep}cp{cp}n{nnodes}".format(**case))
def test_shards_as_the_real_parallel_state_has_them(case: dict[str, Any]) -> None:
    plan = {"tensor-model-parallel-size": case["tp"], "pipeline-model-parallel-size": case["pp"],
            "expert-model-parallel-size": case["ep"], "context-parallel-size": case["cp"]}
    for node, folders in enumerate(case["folders"]):
        found = _shards.expected_shards(plan, STACK, node, case["nproc_per_node"], case["nnodes"], 20)
        assert found == [f"iter_0000020/{folder}/model_optim_rng.pt" for folder in folders]


@calm
@given(tp=st.sampled_from([1, 2, 4]), pp=st.integers(1, 4), ep=st.sampled_from([1, 2, 4]), factor=st.integers(1, 3),
       nproc=st.sampled_from([1, 2, 4, 8]))
def test_every_shard_is_written_exactly_once(tp: int, pp: int, ep: int, factor: int, nproc: int) -> None:
    world = tp * pp * ep * factor
    if world % nproc != 0:
        world *= nproc
    plan = {"tensor_model_parallel_size": tp, "pipeline_model_parallel_size": pp, "expert_model_parallel_size": ep}
    written = [path for node in range(world // nproc)
               for path in _shards.expected_shards(plan, STACK, node, nproc, world // nproc, 7)]
    assert len(written) == len(set(written)) == tp * pp * ep


def ranks_folders(case: dict[str, Any], node: int) -> set[str]:
    """What the ranks of a node read, by Megatron's order of ranks: tensor, context, data (in it expert), pipeline."""
    stage = case["nnodes"] * case["nproc_per_node"] // case["pp"]
    folders = set()
    for rank in range(node * case["nproc_per_node"], (node + 1) * case["nproc_per_node"]):
        data = rank % stage // case["tp"] // case["cp"]
        name = f"mp_rank_{rank % case['tp']:02d}"
        name += f"_{rank // stage:03d}" if case["pp"] > 1 else ""
        folders.add(name + (f"_{data % case['ep']:03d}" if case["ep"] > 1 else ""))
    return folders


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: "tp{tp}pp{pp}ep{ep}cp{cp}n{nnodes}".format(**case))
def test_every_rank_finds_its_own_shard(case: dict[str, Any]) -> None:
    plan = {"tensor-model-parallel-size": case["tp"], "pipeline-model-parallel-size": case["pp"],
            "expert-model-parallel-size": case["ep"], "context-parallel-size": case["cp"]}
    written = {folder for folders in case["folders"] for folder in folders}
    for node, own in enumerate(case["folders"]):
        found = {path.split("/")[1] for path in _shards.required_shards(plan, STACK, node, case["nproc_per_node"], case["nnodes"], 20)}
        assert found == ranks_folders(case, node)
        assert set(own) <= found <= written


def wide(nodes: int = 4) -> tuple[dict[str, Any], list[dict[str, list[str]]]]:
    """TP2 EP2 on nodes of 4 ranks: node 0 alone writes, all read the same four files."""
    plan = {"tensor-model-parallel-size": 2, "expert-model-parallel-size": 2}
    files = {path: ["100", "1.5"] for path in _shards.expected_shards(plan, STACK, 0, 4, nodes, 10)}
    assert len(files) == 4
    return plan, [files, *({} for _ in range(nodes - 1))]


def test_shards_travel_to_the_nodes_that_lack_them() -> None:
    plan, found = wide()
    every = sorted(found[0])
    found[2] = dict(found[0])
    found[3] = {**found[0], every[0]: ["100", "1.4"]}
    moves = _shards.shard_transfers(plan, STACK, found, 4, 10)
    assert moves == {"lost": [], "transfers": [[], [{"source": 0, "files": every}], [], [{"source": 0, "files": every[:1]}]],
                     "given": [every, [], [], []]}


def test_a_shared_folder_needs_no_transfer() -> None:
    plan, found = wide()
    assert _shards.shard_transfers(plan, STACK, [found[0]] * 4, 4, 10) == {"lost": [], "transfers": [[], [], [], []], "given": [[]] * 4}


def test_a_node_with_a_new_disk_is_given_its_shards_back() -> None:
    plan, found = wide(2)
    moves = _shards.shard_transfers(plan, STACK, [{}, found[0]], 4, 10)
    assert moves == {"lost": [], "transfers": [[{"source": 1, "files": sorted(found[0])}], []], "given": [[], sorted(found[0])]}


def test_a_shard_that_no_node_has_is_lost() -> None:
    plan, found = wide(2)
    gone = sorted(found[0])[3]
    del found[0][gone]
    moves = _shards.shard_transfers(plan, STACK, found, 4, 10)
    assert moves["lost"] == [{"file": gone, "owner": 0, "reader": 0}]


def test_the_owner_of_a_shard_is_its_source_before_others_that_have_it() -> None:
    # PP2 on four nodes of a rank: stage 1 is nodes 2 and 3, node 2 writes its shard. An old copy lies on node 0.
    plan = {"pipeline-model-parallel-size": 2}
    first, second = (f"iter_0000010/mp_rank_00_{stage:03d}/model_optim_rng.pt" for stage in (0, 1))
    found = [{first: ["100", "2.0"], second: ["100", "1.0"]}, {first: ["100", "2.0"]}, {second: ["100", "2.0"]}, {}]
    moves = _shards.shard_transfers(plan, STACK, found, 1, 10)
    assert moves == {"lost": [], "transfers": [[], [], [], [{"source": 2, "files": [second]}]], "given": [[], [], [second], []]}
    del found[2][second]
    # Without its own it is given the copy that is left.
    assert _shards.shard_transfers(plan, STACK, found, 1, 10)["transfers"][2:] == [[{"source": 0, "files": [second]}]] * 2
    del found[0][second]
    assert _shards.shard_transfers(plan, STACK, found, 1, 10)["lost"] == [{"file": second, "owner": 2, "reader": 2}]


def test_expert_ranks_that_do_not_divide_the_replicas_are_refused() -> None:
    with pytest.raises(ValueError, match="data parallel size 3 is not a multiple of the expert parallel size 2"):
        _shards.expected_shards({"expert-model-parallel-size": 2}, STACK, 0, 3, 1, 10)


def test_converted_weights_lie_in_a_folder_of_their_own() -> None:
    plan, _ = wide(2)
    assert _shards.required_shards(plan, STACK, 1, 4, 2, "release")[0] == "release/mp_rank_00_000/model_optim_rng.pt"


def test_the_distributed_optimizers_file_is_read_where_it_was_written() -> None:
    plan = {**wide()[0], "use-distributed-optimizer": True}
    assert len(_shards.required_shards(plan, STACK, 0, 4, 2, 10)) == 8
    assert not [path for path in _shards.required_shards(plan, STACK, 1, 4, 2, 10) if "distrib" in path]


def test_distributed_optimizer_has_a_file_of_its_own() -> None:
    plan = {**RECIPE, "use-distributed-optimizer": True}
    assert len(_shards.expected_shards(plan, STACK, 0, 8, 2, 1000)) == 16
    assert len(_shards.expected_shards({**plan, "no-save-optim": True}, STACK, 0, 8, 2, 1000)) == 8


def test_without_experts_context_ranks_share_the_distributed_optimizers_file() -> None:
    # Each of two context ranks writes the weights of their stage; the optimizer's file the first of their group alone.
    plan = {"context-parallel-size": 2, "use-distributed-optimizer": True}
    files = [[path.split("/")[2] for path in _shards.expected_shards(plan, STACK, node, 1, 2, 10)] for node in (0, 1)]
    assert files == [["distrib_optim.pt", "model_optim_rng.pt"], ["model_optim_rng.pt"]]
    both = [_shards.expected_shards({**plan, "num-experts": 2}, STACK, node, 1, 2, 10) for node in (0, 1)]
    assert both[0] == both[1]


def test_filters() -> None:
    assert len(_shards.required_shards(RECIPE, STACK, 1, 8, 2, 1000)) == 8
    with pytest.raises(ValueError, match=r"node rank 2 is outside 0..1"):
        _shards.required_shards(RECIPE, STACK, 2, 8, 2, 1000)
    transfers = transfers_filter.FilterModule().filters()["shard_transfers"]
    plan, found = wide(2)
    lines = [["\t".join([path, *rest]) for path, rest in files.items()] for files in found]
    assert transfers(plan, STACK, lines, "4", "10") == _shards.shard_transfers(plan, STACK, found, 4, 10)
    with pytest.raises(AnsibleFilterError, match="world size 2"):
        transfers(RECIPE, STACK, [[], []], 1, 10)
    shards = shards_filter.FilterModule().filters()["expected_shards"]
    assert len(shards(RECIPE, STACK, node_rank="1", nproc_per_node="8", nnodes="2", iteration="1000")) == 8
    with pytest.raises(AnsibleFilterError, match=r"node rank 2 is outside 0..1"):
        shards(RECIPE, STACK, 2, 8, 2, 1000)
    with pytest.raises(AnsibleFilterError, match="world size 4"):
        shards(RECIPE, STACK, 0, 4, 1, 1000)
    with pytest.raises(AnsibleFilterError, match="expert parallel size 4"):
        shards({**RECIPE, "expert-model-parallel-size": 4}, STACK, 0, 8, 2, 1000)
