"""What a plan needs, before anything is installed: its sizes, whether it fits, what else would be valid; filter parallel_plan."""
from __future__ import annotations

import itertools
import math
from typing import Any, Iterator, Mapping, NamedTuple, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils import _plan, _plan_memory, _plan_sizes
from ansible_collections.ascend.cluster.plugins.module_utils._plan_options import plain
from ansible_collections.ascend.cluster.plugins.module_utils._plan_values import Plan, Stack

GIB = 2.0**30
# The sizes that a neighbour of a plan may have otherwise.
CHANGED = ("tensor-model-parallel-size", "pipeline-model-parallel-size", "expert-model-parallel-size", "micro-batch-size")
NEIGHBOURS = 5


class Site(NamedTuple):
    """What is known of the cluster."""

    nproc_per_node: int
    nnodes: int
    vocabulary: int  # entries of the tokenizer
    npu_memory_gib: float
    save_mb_per_second: float  # MB (10^6 bytes) a second that a node writes
    exec_timeout: float  # HCCL_EXEC_TIMEOUT in seconds

    @property
    def world(self) -> int:
        """Number of ranks."""
        return self.nproc_per_node * self.nnodes


def _memory(plan: Plan, found: list[_plan_sizes.Stage], site: Site) -> dict[str, Any]:
    """Bytes of the fullest rank, and whether they fit."""
    most = _plan_memory.memory(plan, found, site.vocabulary)
    margin = site.npu_memory_gib - _plan_memory.RESERVE_GIB - most.all / GIB
    return {"stage": most.stage, "static_bytes": most.static, "activation_bytes": most.activations, "npu_memory_gib": site.npu_memory_gib,
            "reserve_gib": _plan_memory.RESERVE_GIB, "margin_gib": round(margin, 1), "fits": margin >= 0}


def _checkpoint(plan: Plan, stack: Stack, found: list[_plan_sizes.Stage], site: Site) -> dict[str, Any]:
    """Bytes of a checkpoint, seconds of a save, and how long a rank may wait for the last one."""
    made = _plan_sizes.checkpoint(plan, stack, found)
    nodes = made.by_node(site.nproc_per_node)
    speed = site.save_mb_per_second * 1e6
    return {"all_bytes": sum(nodes), "node_bytes": list(nodes), "rank_bytes": max(made.by_rank), "save_seconds": round(max(nodes) / speed, 1),
            # Ranks of a node may finish one after the other; one without a file of its own waits from the beginning.
            "skew_seconds": round((max(nodes) - min(made.by_rank)) / speed, 1),
            "saves": -(-plan.iterations // plan.number("save_interval")) if plan.iterations else 0, "save_mb_per_second": site.save_mb_per_second}


def save_warnings(checkpoint: Mapping[str, Any], site: Site) -> list[str]:
    """A save whose skew may end the run: save_checkpoint ends in a barrier (checkpointing.py:308, 322; current: 571)."""
    if checkpoint["skew_seconds"] <= site.exec_timeout:
        return []
    needed = math.ceil(checkpoint["skew_seconds"] * site.save_mb_per_second / site.exec_timeout)
    return [f"A save may end the run: a node writes {max(checkpoint['node_bytes']) / 1e9:.1f} GB, and at {site.save_mb_per_second:g} MB/s "
            f"(plan_save_mb_per_second) a rank that is done waits up to {checkpoint['skew_seconds']:g} s for the last one, expected at most HCCL_EXEC_TIMEOUT, "
            f"{site.exec_timeout:g} s. Set HCCL_EXEC_TIMEOUT in pretrain_environment_extra (or pretrain_profile: performance), "
            f"or save to a disk that takes {needed} MB/s from each node."]


def short_disks(checkpoint: Mapping[str, Any], free_bytes: Sequence[int | None], shared: bool = False) -> list[tuple[int, int, int]]:
    """Disks without room for two checkpoints: while one is written the one before is still there, and nobody deletes older ones.

    Args:
        checkpoint: what :func:`parallel_plan` says of it.
        free_bytes: of each node in the order of ranks; None where it is not known.
        shared: whether all nodes write to the same disk.

    Returns:
        Node rank, bytes that are free, and bytes of two checkpoints, of each that is too small.
    """
    needed = [checkpoint["all_bytes"]] * len(free_bytes) if shared else checkpoint["node_bytes"]
    return [(rank, free, 2 * each) for rank, (free, each) in enumerate(zip(free_bytes, needed)) if free is not None and free < 2 * each]


def _sizes(plan: Mapping[str, Any], stack: Stack, site: Site) -> dict[str, Any]:
    """Parameters, memory and checkpoint of a plan that breaks no rule.

    Raises:
        ValueError: where they are not known here.
    """
    typed, found = _plan_sizes.read(plan, stack, site.world, site.vocabulary)
    stages = [{"stage": number, "layers": stage.layers, "rank_parameters": stage.all, "expert_parameters": stage.experts,
               "static_bytes": _plan_sizes.static_bytes(typed, stage),
               "activation_bytes": int(_plan_memory.activation_bytes(typed, found, number, site.vocabulary))} for number, stage in enumerate(found)]
    return {"parameters": _plan_sizes.model_parameters(typed, found), "padded_vocabulary": _plan_sizes.padded_vocabulary(typed, site.vocabulary),
            "stages": stages, "memory": _memory(typed, found, site), "checkpoint": _checkpoint(typed, stack, found, site)}


def _steps(plan: Plan, site: Site) -> list[tuple[int, ...]]:
    """Values to try of each of CHANGED: what divides, and the present one."""
    def divisors(number: int, most: int) -> list[int]:
        return [size for size in range(1, min(number, most) + 1) if number % size == 0]
    heads, experts = plan.number("num_attention_heads"), plan.number("num_experts", 1)
    batch = plan.number("global_batch_size")
    tried = (divisors(heads, min(site.nproc_per_node, 16)), divisors(plan.number("num_layers"), site.world), divisors(experts, site.world),
             divisors(batch, 2 * plan.number("micro_batch_size")))
    now = (plan.tp, plan.pp, plan.ep, plan.number("micro_batch_size"))
    return [tuple({*sizes, present}) for sizes, present in zip(tried, now)]


def neighbours(plan: Mapping[str, Any], stack: Stack, site: Site) -> Iterator[dict[str, Any]]:
    """Valid plans with other tensor, pipeline, expert parallel sizes or micro batch: fewest changes first, then the smallest.

    They fit, too, where their sizes are known.
    """
    typed = Plan(plan, stack, site.world)
    now = (typed.tp, typed.pp, typed.ep, typed.number("micro_batch_size"))

    def distance(sizes: tuple[int, ...]) -> tuple[float, ...]:
        moved = [abs(math.log2(size / present)) for size, present in zip(sizes, now)]
        return (sum(size != present for size, present in zip(sizes, now)), sum(moved), *sizes)
    names = {plain(name): name for name in plan}
    for sizes in sorted(itertools.product(*_steps(typed, site)), key=distance):
        changes = {name: size for name, size, present in zip(CHANGED, sizes, now) if size != present}
        changed = {**plan, **{names.get(plain(name), name): size for name, size in changes.items()}}
        # Ranks that do not divide into replicas are quickly seen.
        if not changes or site.world % (sizes[0] * sizes[1] * typed.cp) != 0 or not _plan.keeps_rules(changed, stack, site.world):
            continue
        entry: dict[str, Any] = {"changes": {typed.variable(name): size for name, size in changes.items()}}
        try:
            memory = _memory(*_plan_sizes.read(changed, stack, site.world, site.vocabulary), site)
        except ValueError:
            yield entry
            continue
        if memory["fits"]:
            yield {**entry, "margin_gib": memory["margin_gib"]}


def parallel_plan(plan: Mapping[str, Any], stack: Stack, site: Site) -> dict[str, Any]:
    """All that is told of a plan; see filter parallel_plan."""
    typed = Plan(plan, stack, site.world)
    said: dict[str, Any] = {
        "nnodes": site.nnodes, "world_size": site.world, "errors": _plan.plan_errors(plan, stack, site.world), "warnings": [], "unknown": "",
        "tensor_model_parallel_size": typed.tp, "pipeline_model_parallel_size": typed.pp, "expert_model_parallel_size": typed.ep,
        "context_parallel_size": typed.cp, "data_parallel_size": typed.dp, "micro_batch_size": typed.number("micro_batch_size"),
        "micro_batches": typed.micro_batches, "nearest": [], "largest_nnodes": site.nnodes}
    if said["errors"]:
        said["largest_nnodes"] = next((nodes for nodes in range(site.nnodes, 0, -1) if _plan.keeps_rules(plan, stack, site.nproc_per_node * nodes)), 0)
    else:
        said["warnings"] = _plan.plan_warnings(plan, stack)
        try:
            said.update(_sizes(plan, stack, site))
            said["warnings"] += save_warnings(said["checkpoint"], site)
        except ValueError as error:
            said["unknown"] = str(error)
    if said["errors"] or not said.get("memory", {"fits": True})["fits"]:
        said["nearest"] = list(itertools.islice(neighbours(plan, stack, site), NEIGHBOURS))
    return said
