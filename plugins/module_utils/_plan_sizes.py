"""Sizes of a plan: parameters of each rank, the bytes that they take while it trains, and the files of a checkpoint.

Parameters are those of the modules that the real code builds, and `make test-upstream` compares them with what it prints. Sources: Megatron-LM
9de386d0 (megatron/legacy/model, AscendSpeed's ascendspeed/components/moe and ascendspeed/model/transformer.py) and a845aa7e (megatron/core/models/gpt,
megatron/core/transformer); which of them is built follows from the plan's options.
"""
from __future__ import annotations

from typing import Any, Mapping, NamedTuple

from ansible_collections.ascend.cluster.plugins.module_utils._plan_options import words
from ansible_collections.ascend.cluster.plugins.module_utils._plan_values import Plan, Stack
from ansible_collections.ascend.cluster.plugins.module_utils._shards import ranks

# Options with which another model is built, or its memory is another, than is counted here; beside those of a stack that nobody judges.
UNCOUNTED = words("""
    adaptive-recompute-device-swap encoder-num-layers encoder-seq-length moe-tp-extend-ep moe-zero-memory mtp-num-layers optimizer-cpu-offload
    pipeline-model-parallel-split-rank retro-add-retriever reuse-fp32-param spec swap-attention swap-optimizer unaligned-linear
""")
# Bytes of the checkpoint of a parameter: two for the weight in half precision, four each for the optimizer's weight and its two moments.
OPTIMIZER_BYTES = 12


class Stage(NamedTuple):
    """Parameters on each rank of a pipeline stage: every tensor rank and every expert rank of it has as many."""

    layers: int
    sharded: int  # a part for each tensor rank
    replicated: int  # the same on every tensor rank: norms, router, biases of what is added up
    experts: int  # a part for each expert rank and each tensor rank of the experts
    copied: int  # of `sharded`, the embedding on the last stage, where it is the output layer too

    @property
    def all(self) -> int:
        """All of a rank."""
        return self.sharded + self.replicated + self.experts


def uncounted(plan: Plan, stack: Stack) -> list[str]:
    """The options of a plan with which its sizes are not known here; empty where they are."""
    known = stack["rules"]["known_options"]
    names = UNCOUNTED | (words(known.get("unjudged", "")) if isinstance(known, Mapping) else frozenset())
    found = [plan.is_(name) for name, value in plan.given.items() if plan.options.name(name) in names and (value is not True or plan.flag(name))]
    if plan.text("optimizer", "adam") != "adam":
        found.append(plan.is_("optimizer"))
    return found


def padded_vocabulary(plan: Plan, vocabulary: int) -> int:
    """Entries of the tokenizer and of what fills them up for the tensor ranks (_vocab_size_with_padding, training/tokenizer/tokenizer.py)."""
    multiple = plan.number("make_vocab_size_divisible_by", 128) * plan.tp
    return -(-vocabulary // multiple) * multiple


def head_size(plan: Plan) -> int:
    """Size of an attention head (arguments.py:369-371)."""
    return plan.number("kv_channels", plan.number("hidden_size") // plan.number("num_attention_heads"))


def attention_sizes(plan: Plan) -> tuple[int, int]:
    """Columns of all queries, and of all keys: as many as of all values."""
    heads = plan.number("num_attention_heads")
    groups = plan.number("num_query_groups") if plan.flag("group_query_attention") else heads
    return heads * head_size(plan), groups * head_size(plan)


def mixtral_block(plan: Plan) -> bool:
    """Whether AscendSpeed's own block routes (--moe-model-type mixtral_moe): three matrices an expert, whatever swiglu and the biases say."""
    return plan.text("moe_model_type", "megatron_moe") not in ("megatron_moe", "")


def expert_columns(plan: Plan) -> int:
    """Feed-forward columns of an expert."""
    return plan.number("moe_ffn_hidden_size", plan.feed_forward)


def in_core(plan: Plan) -> bool:
    """Whether the model is one of megatron/core: it has no switch for that any more where the older one has to be asked for."""
    return plan.flag("use_mcore_models") or "use-mcore-models" not in plan.options.known or "use-legacy-models" in plan.options.known


def _layer(plan: Plan) -> tuple[int, int, int]:
    """A layer's parameters on a rank: sharded, replicated, of experts."""
    hidden, biased = plan.number("hidden_size"), not plan.flag("disable_bias_linear")
    queries, keys = attention_sizes(plan)
    columns, gate = plan.feed_forward, 2 if plan.flag("swiglu") else 1
    sharded = 2 * hidden * (queries + keys) // plan.tp
    replicated = 2 * norm(plan)
    if biased or plan.flag("add_qkv_bias"):
        sharded += (queries + 2 * keys) // plan.tp
    if biased or plan.flag("add_dense_bias"):
        replicated += hidden
    if plan.flag("qk_layernorm") and in_core(plan):
        replicated += 2 * norm(plan) * head_size(plan) // hidden
    if not plan.has("num_experts"):
        sharded += (gate + 1) * hidden * columns // plan.tp + (gate * columns // plan.tp if biased else 0)
        return sharded, replicated + (hidden if biased else 0), 0
    if mixtral_block(plan):
        gate, biased = 2, False
    columns, each = expert_columns(plan), plan.number("num_experts") // plan.ep
    experts = (gate + 1) * hidden * columns // plan.etp + (gate * columns // plan.etp + hidden if biased else 0)
    sharded += (gate + 1) * hidden * plan.number("moe_shared_expert_intermediate_size", 0) // plan.tp
    return sharded, replicated + hidden * plan.number("num_experts"), each * experts


def norm(plan: Plan) -> int:
    """Parameters of a norm over the hidden size: LayerNorm has a bias, too."""
    return plan.number("hidden_size") * (1 if plan.text("normalization") == "RMSNorm" else 2)


def stages(plan: Plan, vocabulary: int) -> list[Stage]:
    """Parameters by pipeline stage (_get_num_layers, legacy/model/transformer.py:1308-1360; get_num_layers_to_build, transformer_block.py:52-160)."""
    found, last = [], plan.pp - 1
    table = padded_vocabulary(plan, vocabulary) * plan.number("hidden_size") // plan.tp
    tied = not plan.flag("untie_embeddings_and_output_weights")
    for stage in range(plan.pp):
        layers = plan.layers // plan.stages
        if plan.stages < plan.pp and stage == 0:
            layers = 0
        layers -= plan.flag("account_for_embedding_in_pipeline_split") and stage == 0
        layers -= plan.flag("account_for_loss_in_pipeline_split") and stage == last
        sharded, replicated, experts = (layers * count for count in _layer(plan))
        copied = 0
        if stage == 0:
            sharded += table
            replicated += plan.number("max_position_embeddings") * plan.number("hidden_size") if learned_positions(plan) else 0
        if stage == last:
            copied = table if tied and plan.pp > 1 else 0
            sharded += copied if tied else table
            replicated += norm(plan)
        found.append(Stage(layers, sharded, replicated, experts, copied))
    return found


def learned_positions(plan: Plan) -> bool:
    """Whether the positions have an embedding of their own, which is upstream's default."""
    return plan.text("position_embedding_type", "learned_absolute") == "learned_absolute" and not plan.flag("use_rotary_position_embeddings")


def model_parameters(plan: Plan, found: list[Stage]) -> int:
    """Parameters of the whole model, each counted once."""
    return sum((stage.sharded - stage.copied) * plan.tp + stage.replicated + stage.experts * plan.ep * plan.etp for stage in found)


def weight_bytes(plan: Plan) -> int:
    """Bytes of a weight as it computes."""
    return 2 if plan.bf16 or plan.fp16 else 4


def _optimizer_bytes(plan: Plan) -> int:
    """Of a parameter: the two moments of Adam, and the weight in single precision where it computes in half."""
    return OPTIMIZER_BYTES if weight_bytes(plan) == 2 else 8


def _gradient_bytes(plan: Plan) -> int:
    """Of a parameter: in bf16 gradients are added up in single precision, unless that is switched off (arguments.py:285-291).

    In half precision the optimizer makes a copy in single (_copy_model_grads_to_main_grads, core/optimizer/optimizer.py:495-503).
    """
    single = (plan.bf16 and not plan.flag("grad_reduce_in_bf16")) or plan.flag("accumulate_allreduce_grads_in_fp32") or weight_bytes(plan) == 4
    return 4 if single else 2 + 4


def static_bytes(plan: Plan, stage: Stage) -> int:
    """Weights, gradients and optimizer of a rank, without the padding of buffers (some KB).

    The distributed optimizer keeps a part for each data parallel rank, of experts for each rank that has the same ones
    (core/optimizer/__init__.py:263).
    """
    dense, shared, sharing = stage.sharded + stage.replicated, 1, 1
    if plan.flag("use_distributed_optimizer"):
        shared, sharing = plan.dp * plan.cp, plan.world // (plan.etp * plan.ep * plan.pp)
    optimizer = _optimizer_bytes(plan) * dense / shared + _optimizer_bytes(plan) * stage.experts / sharing
    return int((weight_bytes(plan) + _gradient_bytes(plan)) * stage.all + optimizer)


class Checkpoint(NamedTuple):
    """Bytes of a checkpoint, by the rank that writes them; without random states and arguments (some KB)."""

    by_rank: tuple[int, ...]

    def by_node(self, nproc_per_node: int) -> tuple[int, ...]:
        """By node."""
        return tuple(sum(self.by_rank[first:first + nproc_per_node]) for first in range(0, len(self.by_rank), nproc_per_node))


def checkpoint(plan: Plan, stack: Stack, found: list[Stage]) -> Checkpoint:
    """What each rank writes: weights, and the optimizer unless no-save-optim; what is not of experts is stored once for each expert rank.

    The distributed optimizer's file is gathered by the first rank of a group that shares it (DistributedOptimizer.save_parameter_state).
    """
    written = []
    each = 0 if plan.flag("no_save_optim") else _optimizer_bytes(plan)
    for number, rank in enumerate(ranks(plan, stack["rules"]["shards"]["written_where"])):
        stage = found[rank.weights[3]]
        own = stage.all * weight_bytes(plan) if rank.writes else 0
        if not plan.flag("use_distributed_optimizer"):
            own += stage.all * each if rank.writes else 0
        elif rank.writes_optimizer:
            first = number % (plan.world // plan.pp) < plan.tp
            own += each * ((stage.sharded + stage.replicated if first else 0) + (stage.experts if rank.writes else 0))
        written.append(own)
    return Checkpoint(tuple(written))


def read(plan: Mapping[str, Any], stack: Stack, world_size: int, vocabulary: int) -> tuple[Plan, list[Stage]]:
    """A plan that breaks no rule, and its stages.

    Raises:
        ValueError: where its sizes are not known here.
    """
    typed = Plan(plan, stack, world_size)
    unknown = uncounted(typed, stack)
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: its sizes are not counted here")
    return typed, stages(typed, vocabulary)
