"""What filter parallel_plan says, as lines to read."""
from __future__ import annotations

from typing import Any, Iterator, Mapping

_GIB = 2.0**30


def _gib(size: float) -> str:
    return f"{size / _GIB:.1f} GiB"


def _gb(size: float) -> str:
    """Disks are counted by 10^9."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.2f} MB"


def _count(number: int) -> str:
    return f"{number / 1e9:.3f} B" if number >= 10**8 else f"{number:,}"


def _row(name: str, text: str) -> str:
    return f"{name:<24}{text}"


def _sizes(said: Mapping[str, Any]) -> Iterator[str]:
    memory, checkpoint = said["memory"], said["checkpoint"]
    yield _row("parameters", f"{_count(said['parameters'])} (vocabulary padded to {said['padded_vocabulary']:,})")
    yield ""
    yield f"{'stage':>5} {'layers':>7} {'parameters a rank':>18} {'of experts':>11} {'static':>11} {'activations':>12}"
    for stage in said["stages"]:
        yield (f"{stage['stage']:>5} {stage['layers']:>7} {_count(stage['rank_parameters']):>18} {_count(stage['expert_parameters']):>11} "
               f"{_gib(stage['static_bytes']):>11} {_gib(stage['activation_bytes']):>12}")
    yield ""
    needed = memory["static_bytes"] + memory["activation_bytes"] + memory["reserve_gib"] * _GIB
    yield _row("memory of an NPU", f"{_gib(needed)} of {memory['npu_memory_gib']:g} GiB on stage {memory['stage']}, {memory['reserve_gib']:g} GiB of it "
               f"reserve for HCCL and runtime: {'fits' if memory['fits'] else 'DOES NOT FIT'}, margin {memory['margin_gib']:.1f} GiB")
    yield _row("checkpoint", f"{_gb(checkpoint['all_bytes'])} in all, at most {_gb(max(checkpoint['node_bytes']))} a node and "
               f"{_gb(checkpoint['rank_bytes'])} a rank; {checkpoint['saves']} in this training, all kept unless pretrain_keep_checkpoints is set")
    yield _row("a save", f"{checkpoint['save_seconds']:g} s at {checkpoint['save_mb_per_second']:g} MB/s a node (plan_save_mb_per_second); "
               f"a rank waits up to {checkpoint['skew_seconds']:g} s for the last one")


def table(said: Mapping[str, Any]) -> list[str]:
    """Lines of a table of what :func:`_parallel_plan.parallel_plan` says."""
    context = f" CP{said['context_parallel_size']}" if said["context_parallel_size"] > 1 else ""
    lines = [
        _row("ranks", f"{said['nnodes']} nodes, {said['world_size']} ranks"),
        _row("parallel sizes", f"TP{said['tensor_model_parallel_size']} PP{said['pipeline_model_parallel_size']}{context} "
             f"EP{said['expert_model_parallel_size']} DP{said['data_parallel_size'] or '?'}"),
    ]
    if said["micro_batches"]:
        lines.append(_row("micro batches", f"{said['micro_batches']} an iteration, of plan_micro_batch_size {said['micro_batch_size']}"))
    if "memory" in said:
        lines += _sizes(said)
    if said["unknown"]:
        lines.append(_row("sizes", f"unknown: {said['unknown']}"))
    lines += [_row("REFUSED", error) for error in said["errors"]]
    lines += [_row("warning", warning) for warning in said["warnings"]]
    if said["errors"]:
        largest = said["largest_nnodes"]
        lines.append(_row("nodes", f"the plan is valid on {largest} of them" if largest else f"the plan is valid on none of 1 to {said['nnodes']} nodes"))
    for near in said["nearest"]:
        margin = f" (margin {near['margin_gib']:.1f} GiB)" if "margin_gib" in near else ""
        lines.append(_row("valid instead", ", ".join(f"{name}: {size}" for name, size in near["changes"].items()) + margin))
    if not said["nearest"] and (said["errors"] or not said.get("memory", {"fits": True})["fits"]):
        lines.append(_row("valid instead", "no other tensor, pipeline, expert parallel size and micro batch is valid and fits on these nodes"))
    return lines
