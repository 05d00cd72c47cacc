"""Plans of the recipe's stack: valid ones, and what is broken in them; where our rules are stricter, and why."""
from __future__ import annotations

import random
import subprocess
from pathlib import Path

from tests.upstream.plans import ROLE, Change, Settings, off_by, outside, sets, too_small, unreadable

SEED, COUNT = 20240424, 3000

# Rules that are stricter than the real code before its first iteration, each with its reason.
STRICTER = {
    "interleaved_micro_batches": "refused by the schedule at the first iteration (ascendspeed/core/pipeline_parallel/schedules.py:96-100)",
    "sequence_per_rank": "refused in the first forward pass (megatron/core/tensor_parallel/mappings.py:117-121)",
    "recomputation": "a unit past the last layer is an IndexError in the first forward pass (megatron/legacy/model/transformer.py:1618-1640)",
    "query_groups": "heads that groups do not divide do not fit the shapes of the first forward pass (ascendspeed/model/transformer.py:437-444)",
    "heads_per_context_rank": "the heads of a tensor rank are dealt out in the first forward pass (ascendspeed/core/context_parallel/)",
    "ramp_of_the_batch": "each step's size is checked while it trains (megatron/training/microbatches.py:136-142)",
    "routing": "with one expert the second choice is the first again (ascendspeed/components/moe/gate.py)",
    "shared_embedding_bucket": "the real code counts the weights of the finished model, and may be lucky",
    "rotary": "AscendSpeed says it is Megatron Core while arguments with overlap-param-gather are validated (ascendspeed/arguments.py:162-165)",
    "only_in_core": "as rotary",
    "something_logged": "upstream trains without a word; success could not be told from failure",
    "split": "shares of 0 in all become nan, and no split has a sample",
    "bounds:log-interval": "0 divides by zero at the first iteration (megatron/training/training.py:748); less is no interval",
    "bounds:save-interval": "0 divides by zero at the end (ascendspeed/training.py:135); less is no interval",
    "bounds:eval-interval": "0 divides by zero; less is no interval",
    "bounds:expert-interval": "0 divides by zero where there are experts; less is no interval",
    "bounds:manual-gc-interval": "refused in the training loop, with manual-gc (megatron/training/training.py:924)",
    "bounds:make-vocab-size-divisible-by": "0 divides by zero; less pads to nothing",
    "bounds:hidden-size": "a model of size 0 has nothing to train",
    "bounds:ffn-hidden-size": "a model of size 0 has nothing to train",
    "bounds:kv-channels": "a head of size 0 has nothing to attend with",
    "bounds:num-query-groups": "a head of size 0 has nothing to attend with",
    "bounds:max-position-embeddings": "no less than a sequence of as small a length",
    "bounds:train-iters": "below 0 nothing is trained, and with lr-decay-iters nobody notices (ascendspeed/training.py:126)",
    "bounds:seq-length": "a sequence of length 0 has nothing to train on",
}

# Rules that none of these plans breaks.
UNASKED = {
    "known_options": "no other stack's options are asked for",
    "shards": "every rank's file is written where expert groups lie across replicas",
}
BECAUSE: set[str] = set()


def leave_as_roles_do(megatron: Path, accelerator: Path) -> None:
    """The folder made a package, AscendSpeed's patches applied."""
    (megatron / "megatron/__init__.py").touch()
    for patch in sorted((accelerator / "ascendspeed/run").glob("*.patch")):
        subprocess.run(["git", "apply", patch], cwd=megatron, check=True)


def valid(luck: random.Random) -> tuple[Settings, int]:
    """A plan that keeps all rules, and its world size: 1 to 192 ranks, sizes of tens."""
    plan = dict(ROLE)
    tp, pp = luck.choice([1, 2, 2, 4, 8]), luck.choice([1, 2, 3, 4, 4, 6])
    ep = luck.choice([1, 2, 2, 4])
    cp = luck.choice([2, 3]) if ep == 1 and luck.random() < 0.4 else 1
    while tp * pp * ep * cp > 128:
        tp, ep = max(tp // 2, 1), max(ep // 2, 1)
    dp = ep * luck.randint(1, max(1, min(4, 192 // (tp * pp * ep * cp))))
    groups, micro, batches = tp * cp * luck.randint(1, 2), luck.choice([1, 1, 2, 3]), pp * luck.randint(1, 3)
    heads, layers = groups * luck.randint(1, 2), pp * luck.choice([1, 2, 4])
    iterations = luck.randint(10, 2000)
    plan.update({
        "tensor-model-parallel-size": tp, "pipeline-model-parallel-size": pp, "expert-model-parallel-size": ep,
        "num-experts": ep * luck.randint(2, 3), "moe-router-topk": luck.choice([1, 2]), "num-layers": layers, "hidden-size": heads * 8,
        "ffn-hidden-size": tp * luck.choice([8, 12]), "num-attention-heads": heads, "num-query-groups": groups,
        "seq-length": tp * cp * 2 * luck.choice([1, 8]), "max-position-embeddings": 4096, "recompute-num-layers": luck.choice([0, 1, layers]),
        "micro-batch-size": micro, "global-batch-size": micro * dp * batches, "train-iters": iterations, "lr": luck.choice([1e-3, 1.25e-6]),
        "min-lr": luck.choice([0.0, 1.25e-7, 1.25e-6]), "save-interval": luck.randint(1, 2000), "log-interval": luck.randint(1, 10),
    })
    if cp > 1:
        plan["context-parallel-size"] = cp
    for change in luck.sample(VARIANTS, luck.randint(0, 3)):
        change(plan, luck, 0)
    return plan, tp * pp * cp * dp


def selective(plan: Settings, luck: random.Random, world: int) -> None:
    plan.update({"recompute-granularity": "selective", "recompute-method": "", "recompute-num-layers": False})


def uniform(plan: Settings, luck: random.Random, world: int) -> None:
    if plan["recompute-granularity"] == "full":
        stage = plan["num-layers"] // plan["pipeline-model-parallel-size"]
        if "num-layers-per-virtual-pipeline-stage" in plan:
            stage = plan["num-layers-per-virtual-pipeline-stage"]
        plan.update({"recompute-method": "uniform", "recompute-num-layers": luck.choice([n for n in range(1, stage + 1) if stage % n == 0])})


def interleaved(plan: Settings, luck: random.Random, world: int) -> None:
    if plan["pipeline-model-parallel-size"] > 2 and plan["recompute-method"] != "uniform":
        plan["num-layers-per-virtual-pipeline-stage"] = 1


def by_samples(plan: Settings, luck: random.Random, world: int) -> None:
    plan["train-samples"] = plan["train-iters"] * plan["global-batch-size"]
    plan["train-iters"] = False
    if luck.random() < 0.5:
        batch = plan["global-batch-size"]
        unit = batch // plan["pipeline-model-parallel-size"]  # micro x DP x 1..3, for `batches` above
        if plan.get("num-layers-per-virtual-pipeline-stage") is None and batch > unit:
            plan["rampup-batch-size"] = [unit, unit, batch * luck.randint(1, 3)]


def warm_up_iterations(plan: Settings, luck: random.Random, world: int) -> None:
    if plan["train-iters"]:
        plan.update({"lr-warmup-fraction": "", "lr-warmup-iters": luck.randint(0, plan["train-iters"] - 1)})


def half_precision(plan: Settings, luck: random.Random, world: int) -> None:
    if plan["expert-model-parallel-size"] == 1 and not plan.get("reuse-fp32-param"):
        plan.update({"bf16": False, "fp16": True})


def dense(plan: Settings, luck: random.Random, world: int) -> None:
    if plan["expert-model-parallel-size"] == 1:
        plan["num-experts"] = None
        plan["sequence-parallel"] = luck.choice([True, False])


def odd_heads(plan: Settings, luck: random.Random, world: int) -> None:
    plan.update({"hidden-size": plan["hidden-size"] + 2, "kv-channels": luck.choice([4, 16])})


def ring(plan: Settings, luck: random.Random, world: int) -> None:
    if "context-parallel-size" in plan:
        plan["context-parallel-algo"] = "megatron_cp_algo"


def free_parameters(plan: Settings, luck: random.Random, world: int) -> None:
    if not plan.get("use-distributed-optimizer") and plan["bf16"]:
        plan["reuse-fp32-param"] = True


def overlapping(plan: Settings, luck: random.Random, world: int) -> None:
    if not plan.get("reuse-fp32-param"):
        plan.update({"use-distributed-optimizer": True, "overlap-grad-reduce": True, "overlap-param-gather": luck.choice([True, False])})


VARIANTS: list[Change] = [
    selective, uniform, interleaved, by_samples, warm_up_iterations, half_precision, dense, odd_heads, ring, free_parameters,
    overlapping, sets(lr_decay_iters=20000), sets(group_query_attention=False), sets(normalization="LayerNorm", use_fused_rmsnorm=False),
    sets(weight_decay_incr_style="linear", start_weight_decay=0.0, end_weight_decay=0.1), sets(ffn_hidden_size="", swiglu=False),
    sets(moe_model_type="megatron_moe", moe_router_topk=4), sets(position_embedding_type="learned_absolute"), sets(loss_scale=128),
    sets(swiglu=False, squared_relu=True), sets(use_flash_attn=False), sets(lr_decay_style="constant"), sets(split="969, 30, 1"),
    sets(untie_embeddings_and_output_weights=False), sets(swiglu=False),
    sets(override_opt_param_scheduler=True, min_loss_scale=2.0), sets(recompute_activations=False),
]


def experts_and_context(plan: Settings, luck: random.Random, world: int) -> int:
    """Both at once, in a world that has room for them."""
    if plan["expert-model-parallel-size"] == 1 or "context-parallel-size" in plan:
        return world
    plan.update({"context-parallel-size": 2, **{name: plan[name] * 2 for name in ("num-attention-heads", "num-query-groups", "hidden-size", "seq-length")}})
    return world * 2


def too_many_expert_ranks(plan: Settings, luck: random.Random, world: int) -> None:
    ranks = world // plan["tensor-model-parallel-size"] // plan["pipeline-model-parallel-size"] + 1
    if "context-parallel-size" not in plan and plan["bf16"] and plan["num-experts"]:
        plan.update({"expert-model-parallel-size": ranks, "num-experts": ranks})


def heads_not_per_rank(plan: Settings, luck: random.Random, world: int) -> None:
    plan.update({"group-query-attention": False, "num-attention-heads": 16 + 1, "kv-channels": 8, "context-parallel-algo": "megatron_cp_algo"})


def few_ranks(plan: Settings, luck: random.Random, world: int) -> int:
    """Fewer than a replica has."""
    replica = plan["tensor-model-parallel-size"] * plan["pipeline-model-parallel-size"] * plan.get("context-parallel-size", 1)
    return max(luck.choice([1, replica // 2, replica - 1]), 1)


def odd_micro_batches(plan: Settings, luck: random.Random, world: int) -> None:
    """Interleaved, with one micro batch more than the pipeline wants."""
    replica = plan["tensor-model-parallel-size"] * plan["pipeline-model-parallel-size"] * plan.get("context-parallel-size", 1)
    if plan["recompute-method"] != "uniform":
        plan.update({"num-layers-per-virtual-pipeline-stage": 1,
                     "global-batch-size": plan["micro-batch-size"] * (world // replica) * (plan["pipeline-model-parallel-size"] + 1)})


def dealt_heads(plan: Settings, luck: random.Random, world: int) -> int:
    """As many heads as tensor ranks, for two context ranks besides."""
    plan.update({"tensor-model-parallel-size": 2, "context-parallel-size": 2, "expert-model-parallel-size": 1, "num-attention-heads": 2,
                 "num-query-groups": 2, "hidden-size": 16, "seq-length": 64, "ffn-hidden-size": 16, "context-parallel-algo": "ulysses_cp_algo"})
    return 4 * plan["pipeline-model-parallel-size"]


BREAKS: list[Change] = [
    *(off_by(name) for name in (
        "tensor-model-parallel-size", "pipeline-model-parallel-size", "expert-model-parallel-size", "num-experts", "num-layers", "hidden-size",
        "ffn-hidden-size", "num-attention-heads", "num-query-groups", "seq-length", "micro-batch-size", "global-batch-size",
        "context-parallel-size", "num-layers-per-virtual-pipeline-stage", "moe-router-topk", "recompute-num-layers", "log-interval")),
    *too_small(), *outside(),
    *(2 * [experts_and_context, too_many_expert_ranks, heads_not_per_rank, odd_micro_batches, dealt_heads, few_ranks]),
    *(3 * [sets(untie_embeddings_and_output_weights=False, use_distributed_optimizer=True)]),
    sets(num_experts=1, moe_router_topk=2, expert_model_parallel_size=1, moe_model_type="mixtral_moe"),
    *(12 * [unreadable]),
    lambda plan, luck, world: plan.update({"seq-length": plan["max-position-embeddings"] * 2}), sets(decoder_seq_length=8192),
    sets(sequence_parallel=False), sets(sequence_parallel=False, num_experts=""), sets(num_experts=None), sets(bf16=False), sets(fp16=True),
    sets(bf16=False, fp16=True), sets(min_lr=0.5), sets(lr_warmup_init=0.5), sets(lr=""), sets(recompute_granularity="selective"),
    sets(recompute_granularity="selective", recompute_method=""), sets(recompute_method=""), sets(recompute_num_layers=""),
    sets(recompute_method="uniform", recompute_num_layers=5), sets(recompute_activations=True), sets(distribute_saved_activations=True),
    sets(distribute_saved_activations=True, sequence_parallel=False, num_experts="", tensor_model_parallel_size=2),
    sets(distribute_saved_activations=True, sequence_parallel=False, num_experts="", recompute_granularity="", expert_model_parallel_size=1),
    sets(lr_warmup_iters=5), sets(lr_warmup_samples=5), sets(lr_warmup_fraction=1.0), sets(lr_warmup_fraction="", lr_warmup_iters=5000),
    sets(train_samples=4096), sets(train_iters=""), sets(train_iters=False, train_samples=64, lr_decay_iters=5), sets(lr_decay_samples=5),
    sets(train_iters=False, train_samples=64000, lr_warmup_fraction=False, lr_warmup_samples=64000),
    sets(train_iters=False, train_samples=64000, lr_warmup_fraction=False, lr_warmup_iters=3), sets(rampup_batch_size=[8, 8, 100]),
    *(sets(train_iters=False, train_samples=64000, rampup_batch_size=words) for words in (
        [8, 8], [0, 8, 100], [8, 8, 0], [4096, 8, 100], [1, 7, 100], ["a", 8, 100], 8)),
    sets(use_distributed_optimizer=True, reuse_fp32_param=True), sets(reuse_fp32_param=True, bf16=False, fp16=True),
    sets(overlap_param_gather=True), sets(overlap_param_gather=True, overlap_grad_reduce=True), sets(use_distributed_optimizer=True, optimizer="sgd"),
    sets(overlap_param_gather=True, use_distributed_optimizer=True, overlap_grad_reduce=False),
    sets(normalization="LayerNorm"), sets(apply_layernorm_1p=True), sets(use_fused_swiglu=True, swiglu=False), sets(squared_relu=True),
    sets(squared_relu=True, swiglu=False, disable_bias_linear=False), sets(use_fused_rotary_pos_emb=True), sets(rotary_interleaved=True),
    sets(rotary_interleaved=True, no_rope_fusion=True), sets(max_position_embeddings=-1, seq_length=-1),
    sets(train_iters=-1, lr_decay_iters=20000),
    *(sets(**{name: True}, no_rope_fusion=True, overlap_param_gather=True, overlap_grad_reduce=True, use_distributed_optimizer=True)
      for name in ("rotary_interleaved", "use_dist_ckpt")), sets(no_position_embedding=True, position_embedding_type="learned_absolute"),
    sets(batch_size=8), sets(warmup=8), sets(model_parallel_size=2), sets(checkpoint_activations=True), sets(spec=["local"]),
    sets(encoder_num_layers=4), sets(encoder_seq_length=64), sets(train_data_path=["/other"]), sets(pipeline_model_parallel_split_rank=9),
    sets(use_dist_ckpt=True), sets(use_checkpoint_args=True), sets(yaml_cfg="/nothing.yml"), sets(save_interval=""),
    sets(fp16_lm_cross_entropy=True), sets(fp32_residual_connection=True, bf16=False), sets(tp_comm_overlap=True), sets(fp8_format="e4m3"),
    sets(transformer_impl="transformer_engine"), sets(moe_grouped_gemm=True), sets(weight_decay_incr_style="linear"),
    sets(start_weight_decay=0.1), sets(weight_decay_incr_style="cosine", start_weight_decay=0.2, end_weight_decay=0.1),
    sets(weight_decay_incr_style="cosine", start_weight_decay=-0.2, end_weight_decay=0.1),
    lambda plan, luck, world: plan.update({"override-opt_param-scheduler": True, "use-checkpoint-opt_param-scheduler": True}),
    sets(loss_scale=-1), sets(initial_loss_scale=0.5, bf16=False, fp16=True, expert_model_parallel_size=1),
    sets(min_loss_scale=0, bf16=False, fp16=True, expert_model_parallel_size=1), sets(loss_scale_window=0, bf16=False, fp16=True, expert_model_parallel_size=1),
    sets(split="0,0,0"), sets(split="1,1,1,1"), sets(split="1.1.1"), lambda plan, luck, world: plan.update({"context_parallel_size": 1}),
    lambda plan, luck, world: plan.update({"log-interval": plan["train-iters"] + 1 if plan["train-iters"] else 10**6}),
    sets(num_layers=["12"]), sets(standalone_embedding_stage=True), sets(num_layers_per_virtual_pipeline_stage=1),
    sets(group_query_attention=False, num_query_groups=3), sets(hysteresis=0, bf16=False, fp16=True, expert_model_parallel_size=1),
]

# What those hardly ever break alone: nothing.
ALONE: list[Change] = []
