"""Plans of the current stack: valid ones, and what is broken in them; where our rules are stricter, and why."""
from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tests.upstream.plans import DATA, OPTIONS, ROLE, Change, Settings, off_by, outside, sets, too_small, unreadable
from tests.upstream.plans_recipe import (
    by_samples,
    dealt_heads,
    dense,
    few_ranks,
    half_precision,
    heads_not_per_rank,
    odd_heads,
    odd_micro_batches,
    overlapping,
    selective,
    too_many_expert_ranks,
    uniform,
    warm_up_iterations,
)

SEED, COUNT = 20261126, 2100

# Rules that are stricter than the real code before its first iteration, each with its reason.
STRICTER = {
    "interleaved_micro_batches": "refused by the schedule at the first iteration (megatron/core/pipeline_parallel/schedules.py:777-797)",
    "sequence_per_rank": "refused in the first forward pass (megatron/core/tensor_parallel/mappings.py)",
    "recomputation": "a unit past the last layer is an IndexError in the first forward pass (megatron/core/transformer/transformer_block.py)",
    "experts_need_sequence_parallel": "without expert ranks refused in the first forward pass (megatron/core/transformer/moe/moe_layer.py)",
    "routing": "more choices than experts end in the first forward pass (megatron/core/transformer/moe/moe_utils.py)",
    "shards": "the checkpoint that it saves has gaps, or ranks write over each other, and no rank says so",
    "something_logged": "upstream trains without a word; success could not be told from failure",
    "split": "shares of 0 in all become nan, and no split has a sample",
    "bounds:log-interval": "0 divides by zero at the first iteration; less is no interval",
    "bounds:save-interval": "0 divides by zero at the end; less is no interval",
    "bounds:eval-interval": "0 divides by zero; less is no interval",
    "bounds:manual-gc-interval": "refused in the training loop, with manual-gc",
    "bounds:make-vocab-size-divisible-by": "0 divides by zero; less pads to nothing",
    "normalization": "MindSpeed's RMSNorm takes no notice of apply-layernorm-1p (mindspeed/core/megatron_basic/megatron_basic.py:96-107)",
    "bounds:adam-eps": "no number makes every weight no number",
    "bounds:num-query-groups": "a head of size 0 has nothing to attend with",
    "bounds:hidden-size": "a model of size 0 has nothing to train",
    "loss_scale": "in fp32 there is nothing to scale, and nobody looks at it",
    "combinations:moe-token-dispatcher-type:moe-permute-fusion": "the torch_npu here lacks the operator, so MindSpeed leaves it out; an NPU's has it",
    "combinations:moe-token-dispatcher-type:use-fused-moe-token-permute-and-unpermute": "as moe-permute-fusion, which it is another name of",
    "combinations:moe-router-load-balancing-type:moe-aux-loss-coeff": "refused in the first forward pass (megatron/core/transformer/moe/router.py:160)",
    "bounds:ffn-hidden-size": "a model of size 0 has nothing to train",
    "bounds:seq-length": "a sequence of length 0 has nothing to train on",
    "bounds:attention-dropout": "a part of the attention; not every attention looks at it before its first forward pass",
}

# Options that are patched by what is not here: CANN's Python, packages that the roles do not install, a search of its own.
NOT_HERE = {"auto-settings", "layerzero", "smart-swap", "swap-attention", "use-ascend-coc", "use-torch-fsdp2"}
# Rules that none of these plans breaks.
UNASKED = {f"combinations:{other}:{option}": "patched by what is not here" for combination in DATA["rules"]["combinations"]["of"]
           for option in combination["expect"] for other in (next(iter(combination.get("when", {})), option),) if {option, other} & NOT_HERE}
# Combinations that say themselves why they are refused.
BECAUSE = {f"combinations:{option}:{option}" for combination in DATA["rules"]["combinations"]["of"] if "because" in combination
           for option in combination["expect"]}


def leave_as_roles_do(megatron: Path, accelerator: Path) -> None:
    """MindSpeed is imported after torch."""
    program = megatron / "pretrain_gpt.py"
    program.write_text(program.read_text(encoding="utf-8").replace("import torch\n", "import torch\nimport mindspeed.megatron_adaptor\n", 1),
                       encoding="utf-8")


def valid(luck: random.Random) -> tuple[Settings, int]:
    """A plan that keeps all rules, and its world size: 1 to 192 ranks, sizes of tens."""
    plan = dict(ROLE)
    tp, pp = luck.choice([1, 2, 2, 4]), luck.choice([1, 2, 2, 3, 4])
    ep, cp = luck.choice([1, 2, 2, 4]), luck.choice([1, 1, 1, 2])
    dp = max(ep // cp, 1) * luck.randint(1, 3)
    groups, micro, batches = tp * cp * luck.randint(1, 2), luck.choice([1, 1, 2, 3]), pp * luck.randint(1, 3)
    heads, layers = groups * luck.randint(1, 2), pp * luck.choice([1, 2, 4])
    plan.update({
        "tensor-model-parallel-size": tp, "pipeline-model-parallel-size": pp, "expert-model-parallel-size": ep, "sequence-parallel": tp > 1,
        "num-experts": ep * luck.randint(2, 3), "moe-router-topk": luck.choice([1, 2]), "num-layers": layers, "hidden-size": heads * 8,
        "ffn-hidden-size": tp * luck.choice([8, 12]), "num-attention-heads": heads, "num-query-groups": groups,
        "seq-length": tp * cp * 2 * luck.choice([1, 8]), "max-position-embeddings": 4096, "recompute-num-layers": luck.choice([0, 1, layers]),
        "micro-batch-size": micro, "global-batch-size": micro * dp * batches, "train-iters": luck.randint(10, 2000), "lr": luck.choice([1e-3, 1.25e-6]),
        "min-lr": luck.choice([0.0, 1.25e-7, 1.25e-6]), "save-interval": luck.randint(1, 2000), "log-interval": luck.randint(1, 10),
    })
    if plan["moe-router-topk"] == 1:
        plan["moe-router-pre-softmax"] = True
    if cp > 1:
        plan["context-parallel-size"] = cp
    for change in luck.sample(VARIANTS, luck.randint(0, 3)):
        change(plan, luck, 0)
    return plan, tp * pp * cp * dp


def interleaved(plan: Settings, luck: random.Random, world: int) -> None:
    stage = plan["num-layers"] // plan["pipeline-model-parallel-size"]
    if plan["pipeline-model-parallel-size"] > 1 and stage > 1 and plan["recompute-method"] != "uniform":
        plan.update({"num-layers-per-virtual-pipeline-stage": 1} if luck.random() < 0.5 else {"num-virtual-stages-per-pipeline-rank": 2})


def one_tensor_rank_an_expert(plan: Settings, luck: random.Random, world: int) -> None:
    plan.update({"expert-tensor-parallel-size": 1, "moe-token-dispatcher-type": luck.choice(["alltoall", "allgather"])})


def plain_experts(plan: Settings, luck: random.Random, world: int) -> None:
    plan.update({"moe-grouped-gemm": False, "transformer-impl": luck.choice(["local", "transformer_engine"])})


def single_precision(plan: Settings, luck: random.Random, world: int) -> None:
    plan.update({"bf16": False, "fp16": False, "moe-grouped-gemm": False})


def ulysses(plan: Settings, luck: random.Random, world: int) -> None:
    if "context-parallel-size" in plan:
        plan["context-parallel-algo"] = "ulysses_cp_algo"


def half(plan: Settings, luck: random.Random, world: int) -> None:
    half_precision(plan, luck, world)
    if plan.get("fp16"):
        plan["moe-grouped-gemm"] = False


VARIANTS: list[Change] = [
    selective, uniform, interleaved, by_samples, warm_up_iterations, half, dense, odd_heads, overlapping, one_tensor_rank_an_expert,
    one_tensor_rank_an_expert, plain_experts, single_precision, ulysses, sets(moe_token_dispatcher_type="alltoall"),
    sets(moe_token_dispatcher_type="allgather"), sets(reuse_fp32_param=True), sets(lr_decay_iters=20000), sets(group_query_attention=False),
    sets(normalization="LayerNorm", use_fused_rmsnorm=False), sets(weight_decay_incr_style="linear", start_weight_decay=0.0, end_weight_decay=0.1),
    sets(ffn_hidden_size="", swiglu=False), sets(position_embedding_type="learned_absolute"), sets(loss_scale=128),
    sets(swiglu=False, squared_relu=True, moe_grouped_gemm=False), sets(use_flash_attn=False), sets(lr_decay_style="constant"),
    sets(untie_embeddings_and_output_weights=False), sets(swiglu=False), sets(recompute_activations=False), sets(moe_ffn_hidden_size=16),
    sets(account_for_embedding_in_pipeline_split=True, account_for_loss_in_pipeline_split=True), sets(use_fused_rotary_pos_emb=True),
]


def satisfying(wanted: Any, option: str) -> Any:
    """A value of an option that a condition of a combination is met by; None for one that is not there."""
    if isinstance(wanted, bool):
        words = OPTIONS.choices.get(option, ())
        there = True if option in OPTIONS.flag else words[0] if words else 1 if option in OPTIONS.whole | OPTIONS.fraction else "x"
        return there if wanted else None
    return int(wanted.split()[1]) * 2 if isinstance(wanted, str) else wanted[0]


def against(option: str, wanted: Any) -> Any:
    """A value that breaks it."""
    if isinstance(wanted, bool):
        return satisfying(not wanted, option)
    if isinstance(wanted, str):
        return int(wanted.split()[1])
    others = [word for word in OPTIONS.choices.get(option, ()) if word not in map(str, wanted)]
    return others[0] if others else 2


def breaking(combination: dict[str, Any], option: str) -> Change:
    """What a combination of options is broken by, in one of the options that it expects."""
    met = {**combination.get("when", {}), **{other: wanted for other, wanted in combination["expect"].items() if other != option}}
    changed = {other: satisfying(wanted, other) for other, wanted in met.items()}
    return lambda plan, luck, world: plan.update({**changed, option: against(option, combination["expect"][option])})


COMBINED: list[Change] = [breaking(combination, option) for combination in DATA["rules"]["combinations"]["of"]
                          for option in combination["expect"] if not {option, *combination.get("when", {})} & NOT_HERE]

BREAKS: list[Change] = [
    *(off_by(name) for name in (
        "tensor-model-parallel-size", "pipeline-model-parallel-size", "expert-model-parallel-size", "expert-tensor-parallel-size", "num-experts",
        "num-layers", "hidden-size", "ffn-hidden-size", "num-attention-heads", "num-query-groups", "seq-length", "micro-batch-size",
        "global-batch-size", "context-parallel-size", "num-layers-per-virtual-pipeline-stage", "num-virtual-stages-per-pipeline-rank",
        "moe-router-topk", "recompute-num-layers", "log-interval")),
    *too_small(), *outside(), *COMBINED, *(12 * [unreadable]), *(2 * [too_many_expert_ranks, odd_micro_batches, few_ranks]),
    lambda plan, luck, world: plan.update({"seq-length": plan["max-position-embeddings"] * 2}), sets(decoder_seq_length=8192),
    sets(sequence_parallel=False), sets(num_experts=None), sets(fp16=True), sets(bf16=False, fp16=True, moe_grouped_gemm=False), sets(min_lr=0.5),
    sets(lr_warmup_init=0.5), sets(lr=""), sets(recompute_granularity="selective"), sets(recompute_method=""), sets(recompute_num_layers=""),
    sets(recompute_method="uniform", recompute_num_layers=5), sets(recompute_activations=True), sets(distribute_saved_activations=True),
    sets(distribute_saved_activations=True, sequence_parallel=False, num_experts="", tensor_model_parallel_size=2),
    sets(lr_warmup_iters=5), sets(lr_warmup_samples=5), sets(lr_warmup_fraction=1.0), sets(lr_warmup_fraction="", lr_warmup_iters=5000),
    sets(train_samples=4096), sets(train_iters=""), sets(train_iters=False, train_samples=64, lr_decay_iters=5), sets(lr_decay_samples=5),
    sets(train_iters=False, train_samples=64000, lr_warmup_fraction=False, lr_warmup_samples=64000), sets(rampup_batch_size=[8, 8, 100]),
    *(sets(train_iters=False, train_samples=64000, rampup_batch_size=words) for words in ([8, 8], [0, 8, 100], [4096, 8, 100], [1, 7, 100], 8)),
    sets(overlap_param_gather=True), sets(overlap_param_gather=True, overlap_grad_reduce=True), sets(normalization="LayerNorm"),
    sets(apply_layernorm_1p=True), sets(squared_relu=True),
    sets(squared_relu=True, swiglu=False, disable_bias_linear=False, num_experts=None, expert_model_parallel_size=1),
    sets(context_parallel_size=3, expert_model_parallel_size=1), sets(context_parallel_algo="ulysses_cp_algo", num_attention_heads=3, num_query_groups=3),
    sets(batch_size=8), sets(warmup=8), sets(model_parallel_size=2), sets(checkpoint_activations=True), sets(spec=["local"]),
    sets(encoder_num_layers=4), sets(encoder_seq_length=64), sets(train_data_path=["/other"]), sets(use_checkpoint_args=True), sets(save_interval=""),
    sets(fp16_lm_cross_entropy=True), sets(fp32_residual_connection=True, bf16=False, moe_grouped_gemm=False), sets(weight_decay_incr_style="linear"),
    sets(start_weight_decay=0.1), sets(weight_decay_incr_style="cosine", start_weight_decay=0.2, end_weight_decay=0.1),
    lambda plan, luck, world: plan.update({"override-opt_param-scheduler": True, "use-checkpoint-opt_param-scheduler": True}), sets(loss_scale=-1),
    sets(initial_loss_scale=0.5, bf16=False, fp16=True, expert_model_parallel_size=1, moe_grouped_gemm=False),
    sets(min_loss_scale=0, bf16=False, fp16=True, expert_model_parallel_size=1, moe_grouped_gemm=False),
    sets(split="0,0,0"), sets(split="1,1,1,1"), sets(split="1.1.1"), lambda plan, luck, world: plan.update({"context_parallel_size": 1}),
    lambda plan, luck, world: plan.update({"log-interval": plan["train-iters"] + 1 if plan["train-iters"] else 10**6}),
    sets(num_layers_per_virtual_pipeline_stage=1), sets(group_query_attention=False, num_query_groups=3),
    sets(moe_train_capacity_factor=1.1), sets(noisy_gate_policy="RSample"), sets(moe_model_type="mixtral_moe"), sets(an_option_of_nobody=1),
]

# What those hardly ever break alone.
ALONE: list[Change] = 3 * [heads_not_per_rank, dealt_heads, lambda plan, luck, world: 0]
