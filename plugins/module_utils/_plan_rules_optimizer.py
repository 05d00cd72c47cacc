"""Rules of a plan: precision, the optimizer, recomputation, and what an NPU has.

Lines are those of Megatron-LM 9de386d0, where a file without a folder is one of megatron/training/, and of AscendSpeed (AS) 9264e3c0; those of
current are of Megatron-LM a845aa7e and MindSpeed 57a33053.
"""
from __future__ import annotations

import functools
import math
from typing import Iterator

from ansible_collections.ascend.cluster.plugins.module_utils._plan_values import Plan, Rule, rule


@rule
def precision(plan: Plan, fp32: bool = False) -> Iterator[str]:
    """arguments.py:272-283, 389-393; without any, FP32Optimizer is abstract (core/optimizer/optimizer.py:606), the distributed one is not.

    With `fp32` it is no more (current: core/optimizer/optimizer.py:752-874).
    """
    word = plan.text("precision")
    if word not in ("", "bf16", "fp16", *(["fp32"] if fp32 else [])):
        yield f"plan_precision is {word!r}, expected bf16 or fp16{' or fp32' if fp32 else ''}."
    elif plan.bf16 and plan.fp16:
        yield "Both bf16 and fp16 are asked for, expected one: plan_precision and plan_extra_arguments."
    elif plan.emptied("bf16", "fp16") and not fp32 and not plan.flag("use_distributed_optimizer"):
        yield ("plan_precision is neither bf16 nor fp16, expected one of them: Megatron-LM at this commit has no optimizer for fp32 but "
               f"{plan.variable('use_distributed_optimizer')}.")
    if plan.flag("fp16_lm_cross_entropy") and not plan.fp16:
        yield f"{plan.variable('fp16_lm_cross_entropy')} needs plan_precision: fp16."
    if plan.flag("fp32_residual_connection") and not (plan.fp16 or plan.bf16):
        yield f"{plan.variable('fp32_residual_connection')} needs plan_precision: bf16 or fp16."


@rule
def experts_without_fp16(plan: Plan) -> Iterator[str]:
    """arguments.py:505-506."""
    if plan.fp16 and plan.ep > 1:
        yield f"plan_precision is fp16, expected bf16, because plan_expert_model_parallel_size is {plan.ep}."


@rule
def loss_scale(plan: Plan) -> Iterator[str]:
    """core/optimizer/grad_scaler.py:14, 86-101, of core/optimizer/__init__.py:161-176."""
    if plan.fraction("loss_scale", 0.0):
        if not plan.fraction("loss_scale", 0.0) > 0.0:
            yield f"{plan.is_('loss_scale')}, expected a number of more than 0."
    elif plan.fp16:
        least = plan.fraction("min_loss_scale", 1.0)
        if not least > 0.0:
            yield f"{plan.is_('min_loss_scale')}, expected a number of more than 0."
        if not plan.fraction("initial_loss_scale", 2.0**32) >= least:
            yield f"{plan.is_('initial_loss_scale')}, expected at least {plan.variable('min_loss_scale')}, {least}, because plan_precision is fp16."
        for name in ("loss_scale_window", "hysteresis"):
            if not plan.fraction(name, 1.0) > 0.0:
                yield f"{plan.is_(name)}, expected a number of more than 0."


@rule
def freed_parameters(plan: Plan) -> Iterator[str]:
    """AS arguments.py:184-187."""
    if plan.flag("reuse_fp32_param"):
        if plan.flag("use_distributed_optimizer"):
            yield f"{plan.variable('reuse_fp32_param')} and {plan.variable('use_distributed_optimizer')} exclude each other. Remove one of them."
        if not plan.bf16:
            yield f"{plan.variable('reuse_fp32_param')} needs plan_precision: bf16."


@rule
def overlapping_gather(plan: Plan) -> Iterator[str]:
    """arguments.py:262-268; AscendSpeed lets it be without Megatron Core (AS arguments.py:162-165)."""
    for needed in ("use_distributed_optimizer", "overlap_grad_reduce"):
        if plan.flag("overlap_param_gather") and not plan.flag(needed):
            yield f"{plan.variable('overlap_param_gather')} needs {plan.variable(needed)}: true."


@rule
def distributed_adam(plan: Plan) -> Iterator[str]:
    """core/optimizer/distrib_optimizer.py:396-398."""
    if plan.flag("use_distributed_optimizer") and plan.text("optimizer", "adam") != "adam":
        yield f"{plan.is_('optimizer')}, expected adam, because {plan.variable('use_distributed_optimizer')} is true."


@rule
def shared_embedding_bucket(plan: Plan) -> Iterator[str]:
    """All weights before the shared embedding fill whole shards (core/distributed/param_and_grad_buffer.py:300-307).

    They are counted one by one when the model is there; here each of them has to come out even.
    """
    if plan.flag("use_distributed_optimizer") and plan.pp > 1 and plan.dp and plan.emptied("untie_embeddings_and_output_weights"):
        sizes, heads = [plan.number("hidden_size", 0)], plan.number("num_attention_heads")
        if not plan.flag("disable_bias_linear"):
            groups = plan.number("num_query_groups") if plan.flag("group_query_attention") else heads
            sizes += [plan.number("kv_channels", sizes[0] // heads) * (heads + 2 * groups) // plan.tp, plan.feed_forward // plan.tp]
        if functools.reduce(math.gcd, sizes) % (plan.dp * plan.cp) != 0:
            yield (f"Weights per shard of the optimizer: {plan.is_('hidden_size')}, expected a multiple of {plan.dp * plan.cp}, the ranks that "
                   f"share it{' (so the attention and feed-forward biases of a rank)' if len(sizes) > 1 else ''}, because "
                   f"{plan.is_('use_distributed_optimizer')} and {plan.is_('untie_embeddings_and_output_weights')}.")


@rule
def recomputation(plan: Plan) -> Iterator[str]:
    """arguments.py:435-438, core/transformer/transformer_config.py:313-339; a unit past the last layer: legacy/model/transformer.py:1618-1640."""
    if plan.granularity == "selective":
        for name in ("recompute_method", "recompute_num_layers"):
            if plan.has(name):
                yield f"{plan.is_(name)}, expected false, because selective recomputation has none (plan_recompute_granularity)."
    elif plan.granularity == "full":
        if plan.emptied("recompute_method"):
            yield "plan_recompute_method is not set, expected block or uniform, because plan_recompute_granularity is full."
        if plan.emptied("recompute_num_layers"):
            yield "plan_recompute_num_layers is not set, expected a whole number, because plan_recompute_granularity is full."
        chunk = plan.number("num_layers") // plan.pp // max(plan.number("num_virtual_stages_per_pipeline_rank"), 1)
        each = plan.number("num_layers_per_virtual_pipeline_stage", chunk)
        count = plan.number("recompute_num_layers")
        if plan.text("recompute_method") == "uniform" and plan.has("num_layers") and (count < 1 or each % count != 0):
            yield f"{plan.is_('recompute_num_layers')}, expected a divisor of {each}, the layers of a stage, because plan_recompute_method is uniform."


@rule
def distributed_activations(plan: Plan) -> Iterator[str]:
    """arguments.py:420-429, core/transformer/transformer_config.py:341-344."""
    if plan.flag("distribute_saved_activations"):
        name = plan.variable("distribute_saved_activations")
        if plan.tp == 1:
            yield f"{name} needs plan_tensor_model_parallel_size of more than 1."
        elif plan.flag("sequence_parallel"):
            yield f"{name} and plan_sequence_parallel exclude each other. Set one of them to false."
        if plan.granularity != "full" or not plan.has("recompute_method"):
            yield f"{name} needs plan_recompute_granularity: full, with a plan_recompute_method."


@rule
def only_in_core(plan: Plan) -> Iterator[str]:
    """arguments.py:57-60, 508-510."""
    for name in ("use_dist_ckpt", "yaml_cfg"):
        if plan.has(name) and not plan.flag("use_mcore_models"):
            yield f"{plan.is_(name)}: it needs {plan.variable('use_mcore_models')}: true."


@rule
def not_on_an_npu(plan: Plan) -> Iterator[str]:
    """Transformer Engine (initialize.py:179-187, legacy/model/transformer.py:1417-1440) and CUDA's grouped GEMM (arguments.py:395-398)."""
    for name in ("tp_comm_overlap", "fp8_format", "moe_grouped_gemm"):
        if plan.has(name):
            yield f"{plan.is_(name)}, expected none: an NPU has neither Transformer Engine nor CUDA's grouped GEMM. Remove it."
    if plan.text("transformer_impl") == "transformer_engine" and not plan.flag("use_mcore_models"):
        yield f"{plan.is_('transformer_impl')}, expected local: there is no Transformer Engine for an NPU."


RULES: tuple[Rule, ...] = (
    precision, experts_without_fp16, loss_scale, freed_parameters, overlapping_gather, distributed_adam, shared_embedding_bucket, recomputation,
    distributed_activations, only_in_core, not_on_an_npu)
