"""Rules of a plan: batches, schedules, what is logged and saved, and the data.

Lines are those of Megatron-LM 9de386d0, where a file without a folder is one of megatron/training/, and of AscendSpeed (AS) 9264e3c0; those of
current are of Megatron-LM a845aa7e and MindSpeed 57a33053.
"""
from __future__ import annotations

import re
from typing import Iterator

from ansible_collections.ascend.cluster.plugins.module_utils._plan_values import Plan, Rule, rule


@rule
def whole_micro_batches(plan: Plan) -> Iterator[str]:
    """microbatches.py:61-71; current: core/num_microbatches_calculator.py:325-351, where an option would silently train another batch size."""
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
def interleaved_stages(plan: Plan, overlapping_more_than: int = 2, whole: bool = True) -> Iterator[str]:
    """arguments.py:243-253; current: 430-466, which needs fewer stages where their communication overlaps.

    Without `whole` one part a stage is no schedule of its own, and refused (current: mindspeed/features_manager/megatron_basic/megatron_basic.py:22-30).
    """
    for option in ("num_layers_per_virtual_pipeline_stage", "num_virtual_stages_per_pipeline_rank"):
        if not plan.has(option):
            continue
        name, each, layers = plan.is_(option), plan.number(option), plan.layers
        least = 2 if plan.flag("no_overlap_p2p_communication") else overlapping_more_than
        if plan.pp <= least:
            yield f"{name}: the interleaved schedule needs plan_pipeline_model_parallel_size of more than {least}, found {plan.pp}."
        elif not plan.uneven and layers % plan.pp == 0 and (layers // plan.pp) % each != 0:
            yield (f"{name}, expected a divisor of the layers of a stage, {layers // plan.pp} (plan_num_layers / "
                   "plan_pipeline_model_parallel_size).")
        elif not whole and option.startswith("num_layers") and each * plan.pp == plan.number("num_layers"):
            yield f"{name}, expected less than the layers of a stage, {each}: they are one part. Remove it, or lower it."


@rule
def interleaved_micro_batches(plan: Plan) -> Iterator[str]:
    """Refused at the first iteration (AS core/pipeline_parallel/schedules.py:96-100; current: core/pipeline_parallel/schedules.py:777-797)."""
    # A single virtual stage is none (current: mindspeed/features_manager/megatron_basic/megatron_basic.py:14-21).
    option = ("num_layers_per_virtual_pipeline_stage" if plan.number("num_virtual_stages_per_pipeline_rank") == 1
              else "num_virtual_stages_per_pipeline_rank")
    if plan.has(option) and plan.micro_batches % plan.pp != 0:
        yield (f"{plan.is_(option)}: the interleaved schedule needs a number of micro batches that is a multiple "
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
    learning_rate, weight_decay, one_schedule, something_logged, saving, split)
