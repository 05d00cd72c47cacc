"""Memory of activations: an estimate, by what each layer keeps for its backward pass.

After Korthikanti et al. (https://arxiv.org/pdf/2205.05198, table 2), which upstream's own report uses, and extended by what it leaves out: query groups,
gates, flash attention, experts, full recomputation and the micro batches in flight of each stage. Tokens are taken to be spread evenly over the experts.
"""
from __future__ import annotations

from typing import NamedTuple

from ansible_collections.ascend.cluster.plugins.module_utils._plan_sizes import (
    Stage,
    attention_sizes,
    expert_columns,
    in_core,
    mixtral_block,
    padded_vocabulary,
    static_bytes,
    weight_bytes,
)
from ansible_collections.ascend.cluster.plugins.module_utils._plan_values import Plan

# What others hold of an NPU: 2.8 GiB are in use on an idle one (npu-smi of a 910B4), a communicator of HCCL has two buffers of
# HCCL_BUFFSIZE, 200 MB, of which a rank makes about eight.
RESERVE_GIB = 6.0


class Layer(NamedTuple):
    """Bytes that a rank keeps of a layer and micro batch."""

    kept: float  # what selective recomputation keeps
    scores: float  # of the attention, which it computes anew; none with flash attention
    input: float  # all that full recomputation keeps


def _tokens(plan: Plan) -> tuple[float, float]:
    """Tokens of a micro batch on a rank: within matrix products, and between them, where sequence parallelism shares them out."""
    tokens = plan.number("micro_batch_size") * plan.number("seq_length") / plan.cp
    return tokens, tokens / (plan.tp if plan.flag("sequence_parallel") else 1)


def _attention(plan: Plan) -> tuple[float, float]:
    """Bytes of the attention that are kept, and of its scores."""
    each, (tokens, shared) = weight_bytes(plan), _tokens(plan)
    queries, keys = attention_sizes(plan)
    heads = plan.number("num_attention_heads") / plan.tp
    # Megatron-LM's older models copy keys and values for each query head (AS model/transformer.py:474-483); the newer attention does so without flash.
    flash = plan.flag("use_flash_attn")
    keys = keys if in_core(plan) and flash else queries
    kept = 2 * each * plan.number("hidden_size") * shared + each * (2 * queries + 2 * keys) / plan.tp * tokens
    if flash:
        # Maximum and sum of the softmax: eight times single precision each (npu_fusion_attention).
        return kept + 64 * heads * tokens, 0.0
    single = 4 if plan.flag("attention_softmax_in_fp32") else 0
    return kept, (2 * each + 1 + single) * heads * tokens * plan.number("seq_length")


def _feed_forward(plan: Plan) -> float:
    """Bytes of the feed-forward part: of one block, or of the experts that a token goes to."""
    each, (tokens, shared) = weight_bytes(plan), _tokens(plan)
    hidden, gated = plan.number("hidden_size"), plan.flag("swiglu")
    kept = 2 * each * hidden * shared
    if not plan.has("num_experts"):
        return kept + each * (4 if gated else 2) * plan.feed_forward / plan.tp * tokens
    experts = plan.number("num_experts")
    # A gate in single precision: its input, and some values of each expert.
    kept += (4 * hidden + 24 * experts) * shared
    if mixtral_block(plan):
        # Of each token and expert a line of all places that an expert has, twice (AS components/moe/moe_layer.py:53-75); as many
        # rows as there are places, filled or not.
        rows = plan.number("moe_router_topk", 2) * plan.fraction("moe_train_capacity_factor", 1.0)
        return kept + 2 * each * rows * shared * shared + rows * (2 * each * hidden * shared + 4 * each * expert_columns(plan) / plan.tp * tokens)
    # Each tensor rank has the tokens of all, unless the experts are whole.
    rows = plan.number("moe_router_topk", 2) * (tokens if plan.etp > 1 else shared)
    shared_expert = plan.number("moe_shared_expert_intermediate_size", 0) / plan.tp * tokens
    return kept + each * (hidden * rows + (4 if gated else 2) * (expert_columns(plan) / plan.etp * rows + shared_expert))


def layer_bytes(plan: Plan) -> Layer:
    """Bytes of a layer and micro batch on a rank."""
    attention, scores = _attention(plan)
    dropout = 2 * plan.number("hidden_size") * _tokens(plan)[1]
    saved = weight_bytes(plan) * plan.number("hidden_size") * _tokens(plan)[1]
    if plan.flag("distribute_saved_activations"):
        saved /= plan.tp
    return Layer(attention + _feed_forward(plan) + dropout, scores, saved)


def layers_in_flight(plan: Plan, stage: int, layers: int) -> float:
    """Layers of a stage times micro batches whose backward pass is still to come (core/pipeline_parallel/schedules.py: 1F1B, or interleaved)."""
    each = plan.number("num_layers_per_virtual_pipeline_stage", 0)
    chunks = layers // each if each else plan.number("num_virtual_stages_per_pipeline_rank", 1)
    if chunks <= 1:
        return min(plan.pp - stage, plan.micro_batches) * layers
    warm_up = 2 * (plan.pp - stage - 1) + (chunks - 1) * plan.pp
    return min(warm_up + 1, plan.micro_batches * chunks) * layers / chunks


def _recomputed(plan: Plan, layers: int) -> tuple[float, float]:
    """Of a stage's layers: what part is recomputed whole, and how many at once."""
    if plan.granularity != "full" or not layers:
        return 0.0, 0.0
    number = plan.number("recompute_num_layers")
    if plan.text("recompute_method") == "block":
        return min(number, layers) / layers, 1.0 if number else 0.0
    return 1.0, float(min(number, layers))


def activation_bytes(plan: Plan, found: list[Stage], stage: int, vocabulary: int) -> float:
    """Bytes of activations on a rank of a stage, at their most.

    Kept of the layers in flight; of the layers that are just computed anew all, and the gradients beside them; on the last stage the logits, in half
    and twice in single precision, and their gradients (core/tensor_parallel/cross_entropy.py).
    """
    layers, layer = found[stage].layers, layer_bytes(plan)
    flying, (part, at_once) = layers_in_flight(plan, stage, layers), _recomputed(plan, layers)
    scores = 0.0 if plan.granularity == "selective" else layer.scores
    inputs = layer.input / (at_once if plan.text("recompute_method") == "uniform" and at_once else 1)
    total = flying * (part * inputs + (1 - part) * (layer.kept + scores))
    # The gradients of one layer are about as large as what it keeps.
    total += at_once * (layer.kept + layer.scores) + (layer.kept + layer.scores if layers else 0.0)
    if stage == plan.pp - 1:
        total += _tokens(plan)[0] * padded_vocabulary(plan, vocabulary) / plan.tp * (2 * weight_bytes(plan) + 8)
    return total


class Memory(NamedTuple):
    """Bytes on a rank of the stage that needs most."""

    stage: int
    static: int
    activations: int

    @property
    def all(self) -> int:
        """Both."""
        return self.static + self.activations


def memory(plan: Plan, found: list[Stage], vocabulary: int) -> Memory:
    """What the fullest stage needs."""
    each = [Memory(number, static_bytes(plan, stage), int(activation_bytes(plan, found, number, vocabulary))) for number, stage in enumerate(found)]
    return max(each, key=lambda memory: memory.all)
