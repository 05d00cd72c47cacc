"""Rules of a plan: batches, schedules, precision, recomputation, the optimizer.

Lines are those of Megatron-LM 9de386d0, where a file without a folder is one of megatron/training/, and of AscendSpeed (AS) 9264e3c0.
"""
from __future__ import annotations

import functools
import math
import re
from typing import Iterator

from ansible_collections.ascend.cluster.plugins.module_utils._plan_values import Plan, Rule, rule


@rule
def whole_micro_batches(plan: Plan) -> Iterator[str]:
    """microbatches.py:61-71."""
    size = plan.number("micro_batch_size") * plan.dp
    if plan.has("global_batch_size") and size and not plan.has("rampup_batch_size") and plan.number("global_batch_size") % size != 0:
        yield (f"Micro batches per iteration: {plan.is_('global_batch_size')}, expected a multiple of {size}: plan_micro_batch_size "
               f"{plan.number('micro_batch_size')} x data parallel size {plan.dp}.")


@rule
def ramp_of_the_batch(plan: Plan) -> Iterator[str]:
    """microbatches.py:20-26, 102-120, and at each of its steps while it trains (136-142)."""
    if not plan.has("rampup_batch_size"):
        return
    name, batch, size = plan.variable("rampup_batch_size"), plan.number("global_batch_size"), plan.number("micro_batch_size") * plan.dp
    steps = plan.ramp
    if steps is None:
        yield f"{plan.is_('rampup_batch_size')}, expected a list of three whole numbers of at least 1: start, increment, samples."
    elif steps[0] >= batch or (batch - steps[0]) % steps[1] != 0:
        yield f"{name} starts with {steps[0]} and adds {steps[1]}, expected to come out at plan_global_batch_size, {batch}, from below."
    elif size and (steps[0] % size != 0 or steps[1] % size != 0):
        yield (f"{name} starts with {steps[0]} and adds {steps[1]}, expected multiples of {size}: plan_micro_batch_size "
               f"{plan.number('micro_batch_size')} x data parallel size {plan.dp}.")


@rule
def interleaved_stages(plan: Plan) -> Iterator[str]:
    """arguments.py:243-253."""
    if plan.has("num_layers_per_virtual_pipeline_stage"):
        name, each = plan.is_("num_layers_per_virtual_pipeline_stage"), plan.number("num_layers_per_virtual_pipeline_stage")
        layers = plan.number("num_layers")
        if plan.pp <= 2:
            yield f"{name}: the interleaved schedule needs plan_pipeline_model_parallel_size of more than 2, found {plan.pp}."
        elif layers % plan.stages == 0 and (layers // plan.stages) % each != 0:
            yield (f"{name}, expected a divisor of the layers of a stage, {layers // plan.stages} (plan_num_layers / "
                   "plan_pipeline_model_parallel_size).")


@rule
def interleaved_micro_batches(plan: Plan) -> Iterator[str]:
    """Refused at the first iteration (AS core/pipeline_parallel/schedules.py:96-100)."""
    if plan.has("num_layers_per_virtual_pipeline_stage") and plan.micro_batches % plan.pp != 0:
        yield (f"{plan.is_('num_layers_per_virtual_pipeline_stage')}: the interleaved schedule needs a number of micro batches that is a multiple "
               f"of plan_pipeline_model_parallel_size, {plan.pp}, found {plan.micro_batches} (plan_global_batch_size / plan_micro_batch_size / "
               f"data parallel size {plan.dp}).")


@rule
def length_of_training(plan: Plan) -> Iterator[str]:
    """Iterations or samples, and all else counted alike (arguments.py:312-340, training.py:461-463)."""
    if plan.emptied("train_iters") and not plan.has("train_samples"):
        yield f"Neither plan_train_iters nor {plan.variable('train_samples')} is set, expected one of them."
    if plan.has("train_iters", "train_samples"):
        yield (f"{plan.is_('train_iters')} and {plan.is_('train_samples')}, expected one of them: to train by samples set "
               "plan_train_iters to false.")
    for by, others in (("train_iters", ("lr_decay_samples", "lr_warmup_samples", "rampup_batch_size")),
                       ("train_samples", ("lr_decay_iters", "lr_warmup_iters"))):
        for other in others:
            if plan.has(by, other) and plan.given[other] not in (0, "0"):
                yield f"{plan.is_(other)}, expected none, because {plan.is_(by)}: count both by iterations, or both by samples."


@rule
def one_warm_up(plan: Plan) -> Iterator[str]:
    """arguments.py:323-325, 337-340."""
    for other in ("lr_warmup_iters", "lr_warmup_samples"):
        if plan.has("lr_warmup_fraction", other) and plan.given[other] not in (0, "0"):
            yield (f"{plan.is_('lr_warmup_fraction')} and {plan.is_(other)}, expected one of them: to warm up by the latter set "
                   "plan_lr_warmup_fraction to false.")


@rule
def warm_up_ends(plan: Plan) -> Iterator[str]:
    """optimizer_param_scheduler.py:31-32, of the steps of training.py:438-460."""
    if not plan.fraction("lr_warmup_fraction", 0.0) < 1.0:
        yield f"{plan.is_('lr_warmup_fraction')}, expected less than 1."
    for warm, decay, whole in (("lr_warmup_iters", "lr_decay_iters", "train_iters"), ("lr_warmup_samples", "lr_decay_samples", "train_samples")):
        end = decay if plan.has(decay) else whole
        if plan.has(warm, end) and plan.number(warm, 0) >= plan.number(end):
            yield f"{plan.is_(warm)}, expected less than {plan.variable(end)}, {plan.number(end)}."


@rule
def learning_rate(plan: Plan) -> Iterator[str]:
    """arguments.py:384-385, optimizer_param_scheduler.py:22-26."""
    if plan.emptied("lr"):
        yield "plan_lr is not set, expected a number."
    elif plan.has("lr"):
        rate = plan.fraction("lr", 0.0)
        for name in ("min_lr", "lr_warmup_init"):
            if not plan.fraction(name, 0.0) <= rate:
                yield f"{plan.is_(name)}, expected at most plan_lr, {plan.text('lr')}."


@rule
def weight_decay(plan: Plan) -> Iterator[str]:
    """arguments.py:400-407, optimizer_param_scheduler.py:38-39."""
    ends = ("start_weight_decay", "end_weight_decay")
    style = plan.text("weight_decay_incr_style", "constant")
    if style == "constant":
        for name in ends:
            if plan.has(name):
                yield (f"{plan.is_(name)}, expected none, because {plan.is_('weight_decay_incr_style')}: set plan_weight_decay, or "
                       f"{plan.variable('weight_decay_incr_style')} to linear or cosine.")
    elif not plan.has(*ends):
        yield f"{plan.is_('weight_decay_incr_style')}, so {plan.variable(ends[0])} and {plan.variable(ends[1])} are needed."
    elif not 0.0 <= plan.fraction(ends[0], 0.0) <= plan.fraction(ends[1], 0.0):
        yield f"{plan.is_(ends[0])}, expected from 0 to {plan.variable(ends[1])}, {plan.text(ends[1])}."


@rule
def one_schedule(plan: Plan) -> Iterator[str]:
    """optimizer_param_scheduler.py:45-47."""
    if plan.flag("override_opt_param_scheduler") and plan.flag("use_checkpoint_opt_param_scheduler"):
        yield (f"{plan.variable('override_opt_param_scheduler')} and {plan.variable('use_checkpoint_opt_param_scheduler')} exclude each other. Remove one "
               "of them.")


@rule
def something_logged(plan: Plan) -> Iterator[str]:
    """An iteration is logged where its number is a multiple (training.py:748): with none there is no loss to judge the training by."""
    # Without the option the interval is upstream's own (arguments.py:992).
    interval, iterations = plan.number("log_interval", 100), plan.iterations
    if "log_interval" in plan.named and 0 < iterations < interval:
        yield f"{plan.is_('log_interval')}, expected at most the {iterations} iterations of the training: nothing would be logged."


@rule
def saving(plan: Plan) -> Iterator[str]:
    """arguments.py:386-387; initialize.py:47-49."""
    if plan.has("save") and plan.emptied("save_interval"):
        yield "plan_save_interval is not set, expected a whole number, because checkpoints are saved (save)."
    if plan.flag("use_checkpoint_args") and not plan.has("load"):
        yield f"{plan.variable('use_checkpoint_args')} needs plan_load."


@rule
def precision(plan: Plan) -> Iterator[str]:
    """arguments.py:272-283, 389-393; without any, FP32Optimizer is abstract (core/optimizer/optimizer.py:606), the distributed one is not."""
    word = plan.text("precision")
    if word not in ("", "bf16", "fp16"):
        yield f"plan_precision is {word!r}, expected bf16 or fp16."
    elif plan.bf16 and plan.fp16:
        yield "Both bf16 and fp16 are asked for, expected one: plan_precision and plan_extra_arguments."
    elif plan.emptied("bf16", "fp16") and not plan.flag("use_distributed_optimizer"):
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
        chunk = plan.number("num_layers") // plan.stages
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


@rule
def split(plan: Plan) -> Iterator[str]:
    """core/datasets/blended_megatron_dataset_config.py:79-102."""
    shares = re.findall(r"[.0-9]+", plan.text("split"))
    if plan.has("split"):
        try:
            total = sum(float(share) for share in shares)
        except ValueError:
            total = 0.0
        if len(shares) > 3 or not total > 0.0:
            yield f"plan_split is {plan.text('split')!r}, expected up to three shares (training, validation, test) of more than 0 in all."


RULES: tuple[Rule, ...] = (
    whole_micro_batches, ramp_of_the_batch, interleaved_stages, interleaved_micro_batches, length_of_training, one_warm_up, warm_up_ends,
    learning_rate, weight_decay, one_schedule, something_logged, saving, precision, experts_without_fp16, loss_scale, freed_parameters,
    overlapping_gather, distributed_adam, shared_embedding_bucket, recomputation, distributed_activations, only_in_core, not_on_an_npu, split)
