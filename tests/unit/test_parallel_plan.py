"""What is said of a plan before anything is installed: by filter parallel_plan, and by playbooks/plan.yml without a node."""
from __future__ import annotations

import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.ascend.cluster.plugins.filter import parallel_plan as entry
from ansible_collections.ascend.cluster.plugins.module_utils import _parallel_plan, _plan

from tests import stacks
from tests.unit.test_plan_sizes import BARE, MIXTRAL, OWN, STACKS

ROOT = Path(__file__).parents[2]
RECIPE = {**MIXTRAL, **OWN["recipe"]}
SITE = {"nproc_per_node": 8, "nnodes": 2, "vocabulary": 32000, "npu_memory_gib": 64, "save_mb_per_second": 1000, "exec_timeout": 1836}


def said(changes: dict[str, Any], stack: str = "recipe", **site: Any) -> dict[str, Any]:
    return entry.parallel_plan({**MIXTRAL, **OWN[stack], **changes}, STACKS[stack], **{**SITE, **site})


@pytest.mark.parametrize("stack", OWN)
def test_a_plan_that_fits(stack: str) -> None:
    plan = said({}, stack)
    assert (plan["errors"], plan["warnings"], plan["unknown"], plan["nearest"]) == ([], [], "", [])
    assert (plan["world_size"], plan["data_parallel_size"], plan["micro_batches"], plan["largest_nnodes"]) == (16, 2, 64, 2)
    assert plan["parameters"] == 46_702_792_704
    assert [stage["rank_parameters"] for stage in plan["stages"]] == [3_052_208_128, 2_986_672_128, 2_986_672_128, 3_052_212_224]
    memory = plan["memory"]
    assert memory["fits"]
    assert memory["margin_gib"] == round(64 - 6 - (memory["static_bytes"] + memory["activation_bytes"]) / 2**30, 1)
    assert plan["checkpoint"]["saves"] == 1
    # 338 GB a node at 1000 MB/s; the first rank of a node may be done after its own 42 GB.
    assert (plan["checkpoint"]["save_seconds"], plan["checkpoint"]["skew_seconds"]) == (338.2, 296.4)


def test_a_chip_of_half_the_memory() -> None:
    plan = said({}, npu_memory_gib=32)
    assert not plan["memory"]["fits"]
    assert plan["memory"]["margin_gib"] < -25
    assert plan["nearest"] == []
    assert "DOES NOT FIT, margin -2" in plan["table"]
    assert "no other tensor, pipeline, expert parallel size and micro batch is valid and fits on these nodes" in plan["table"]


def test_where_it_does_not_fit_others_do() -> None:
    plan = said(BARE)
    assert not plan["memory"]["fits"]
    assert plan["nearest"]
    for near in plan["nearest"]:
        changed = said({**BARE, **options(near["changes"])})
        assert changed["errors"] == []
        assert changed["memory"]["fits"]
        assert changed["memory"]["margin_gib"] == near["margin_gib"]


def options(changes: dict[str, int]) -> dict[str, int]:
    return {name.removeprefix("plan_").replace("_", "-"): size for name, size in changes.items()}


@pytest.mark.parametrize(("changes", "nearest"), [
    ({"tensor-model-parallel-size": 3}, {"plan_tensor_model_parallel_size": 2}),
    ({"expert-model-parallel-size": 4}, {"plan_pipeline_model_parallel_size": 2}),
    ({"pipeline-model-parallel-size": 3}, {"plan_pipeline_model_parallel_size": 4}),
    ({"micro-batch-size": 3}, {"plan_micro_batch_size": 2}),
])
def test_a_broken_plan_has_valid_ones_nearby(changes: dict[str, int], nearest: dict[str, int]) -> None:
    plan = said(changes)
    assert plan["errors"] == _plan.plan_errors({**RECIPE, **changes}, STACKS["recipe"], 16) != []
    assert "memory" not in plan
    assert plan["nearest"][0]["changes"] == nearest
    assert 1 <= len(plan["nearest"]) <= 5
    now = {name: {**RECIPE, **changes}[name] for name in _parallel_plan.CHANGED}
    distances = []
    for near in plan["nearest"]:
        assert _plan.plan_errors({**RECIPE, **changes, **options(near["changes"])}, STACKS["recipe"], 16) == []
        distances.append((len(near["changes"]), sum(abs(math.log2(size / now[name])) for name, size in options(near["changes"]).items())))
    assert distances == sorted(distances)
    assert all(f"valid instead           {', '.join(f'{name}: {size}' for name, size in near['changes'].items())}" in plan["table"]
               for near in plan["nearest"])


def test_neighbours_are_named_as_the_plan_names_its_options() -> None:
    plan = {"plan_" + name.replace("-", "_"): value for name, value in RECIPE.items() if name != "bf16"} | {
        "plan_precision": "bf16", "plan_tensor_model_parallel_size": 3}
    assert entry.parallel_plan(plan, STACKS["recipe"], **SITE)["nearest"][0]["changes"] == {"plan_tensor_model_parallel_size": 2}


@pytest.mark.parametrize(("changes", "nnodes", "largest"), [
    ({}, 3, 2), ({}, 5, 4), ({}, 7, 4), ({"global-batch-size": 40}, 6, 4), ({"num-layers": 30}, 3, 0), ({}, 1, 0)])
def test_the_largest_number_of_nodes(changes: dict[str, int], nnodes: int, largest: int) -> None:
    plan = said(changes, nnodes=nnodes)
    assert plan["errors"]
    assert plan["largest_nnodes"] == largest
    assert f"the plan is valid on {largest or f'none of 1 to {nnodes} nodes'}" in plan["table"]


def test_sizes_that_are_not_counted_are_unknown_and_not_wrong() -> None:
    plan = said({"reuse-fp32-param": True})
    assert plan["errors"] == []
    assert "memory" not in plan and "parameters" not in plan
    assert "unknown: plan_extra_arguments['reuse-fp32-param'] is True: its sizes are not counted here" in plan["table"]
    # Valid plans nearby are told all the same, without a margin.
    near = said({"reuse-fp32-param": True, "tensor-model-parallel-size": 3})["nearest"]
    assert near[0] == {"changes": {"plan_tensor_model_parallel_size": 2}}


# Warnings

def test_a_save_that_may_outlast_the_timeout() -> None:
    assert said({}, exec_timeout=296.4)["warnings"] == []
    [warning] = said({}, exec_timeout=120)["warnings"]
    assert warning == ("A save may end the run: a node writes 338.2 GB, and at 1000 MB/s (plan_save_mb_per_second) a rank that is done waits up to 296.4 s for "
                       "the last one, expected at most HCCL_EXEC_TIMEOUT, 120 s. Set HCCL_EXEC_TIMEOUT in pretrain_environment_extra (or "
                       "pretrain_profile: performance), or save to a disk that takes 2470 MB/s from each node.")
    assert said({}, exec_timeout=120, save_mb_per_second=2470)["warnings"] == []


def test_a_rank_without_a_file_waits_from_the_beginning() -> None:
    checkpoint = said({}, nnodes=4)["checkpoint"]
    assert checkpoint["skew_seconds"] == checkpoint["save_seconds"]


def test_warnings_of_the_plan_are_there_too() -> None:
    assert any("not a multiple of plan_save_interval" in warning for warning in said({"save-interval": 300})["warnings"])
    assert said({"save-interval": 300})["checkpoint"]["saves"] == 4


def test_a_disk_without_room_for_two_checkpoints() -> None:
    checkpoint = said({})["checkpoint"]
    two = [2 * size for size in checkpoint["node_bytes"]]
    assert _parallel_plan.short_disks(checkpoint, two) == []
    assert _parallel_plan.short_disks(checkpoint, [None, None]) == []
    assert _parallel_plan.short_disks(checkpoint, [two[0], two[1] - 1]) == [(1, two[1] - 1, two[1])]
    # All nodes on one disk: what all of them write.
    assert len(_parallel_plan.short_disks(checkpoint, two, shared=True)) == 2
    assert _parallel_plan.short_disks(checkpoint, [2 * checkpoint["all_bytes"]] * 2, shared=True) == []


@pytest.mark.parametrize(("site", "message"), [
    ({"npu_memory_gib": 0}, "plan_npu_memory_gib is 0, expected a number above 0"), ({"vocabulary": "many"}, "plan_tokenizer_entries is 'many'"),
    ({"save_mb_per_second": -1}, "plan_save_mb_per_second is -1"), ({"exec_timeout": "nan"}, "HCCL_EXEC_TIMEOUT in pretrain_environment_extra is 'nan'"),
    ({"nproc_per_node": 0}, "plan_nproc_per_node is 0")])
def test_numbers_that_are_none(site: dict[str, Any], message: str) -> None:
    with pytest.raises(AnsibleFilterError, match="parallel_plan: ") as raised:
        said({}, **site)
    assert message in str(raised.value)


# The playbook

def play(folder: Path, *arguments: str) -> tuple[int, str]:
    """On nodes that nobody can reach: a login would take a minute, and fail."""
    hosts = {f"node{number}": {"ansible_host": f"192.0.2.{number}"} for number in (1, 2)}
    (folder / "hosts.yml").write_text(json.dumps({"ascend_nodes": {"hosts": hosts, "vars": {"plan_seed": 1}}}), encoding="utf-8")
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
    done = subprocess.run(["ansible-playbook", "playbooks/plan.yml", "-i", str(folder / "hosts.yml"), *arguments], cwd=ROOT, env=environment,
                          capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_playbook_prints_the_table_without_a_node(tmp_path: Path) -> None:
    status, output = play(tmp_path)
    assert status == 0, output
    assert "unreachable=0" in output and "UNREACHABLE" not in output
    table = (ROOT / "docs/plan.md").read_text(encoding="utf-8").split("```text\n")[1].split("```")[0]
    assert table.strip() in "\n".join(line.strip() if not line.strip() else line.removeprefix("        ") for line in output.splitlines())


def test_the_playbook_refuses_what_is_broken_or_does_not_fit(tmp_path: Path) -> None:
    status, output = play(tmp_path, "-e", "plan_tensor_model_parallel_size=3")
    assert status == 2, output
    assert "valid instead           plan_tensor_model_parallel_size: 2 (margin" in output
    assert "The ranks do not divide into model replicas" in output
    status, output = play(tmp_path, "-e", '{"cluster_stack": "current", "plan_npu_memory_gib": 32}')
    assert status == 2, output
    assert "The plan does not fit into the memory of an NPU, by 2" in " ".join(output.split())
    assert "The memory is plan_npu_memory_gib, 32" in " ".join(output.split())


def test_the_table_of_every_stack_of_the_project(tmp_path: Path) -> None:
    for name in OWN:
        assert stacks.read(name)["rules"]["shards"]["written_where"]
        status, output = play(tmp_path, "-e", f"cluster_stack={name}", "-e", "pretrain_profile=performance")
        assert status == 0, output
        assert "46.703 B" in output and "A save may end the run" not in output
