"""Rules of a plan: ranks, groups and the model.

Lines are those of Megatron-LM 9de386d0, where a file without a folder is one of megatron/training/, and of AscendSpeed (AS) 9264e3c0; those of
current are of Megatron-LM a845aa7e and MindSpeed 57a33053.
"""
from __future__ import annotations

from typing import Iterator, Mapping, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils._plan_values import Plan, Rule, rule
from ansible_collections.ascend.cluster.plugins.module_utils._shards import ranks


@rule
def somebody_to_train(plan: Plan) -> Iterator[str]:
    """A world of nobody."""
    if plan.world < 1:
        yield f"There is nobody to train: {plan.ranks}, expected at least 1."


@rule
def enough_ranks(plan: Plan, silently: bool = False) -> Iterator[str]:
    """With too few ranks the sizes are lowered (arguments.py:151-152, 158-160)."""
    if 1 <= plan.world < plan.tp * plan.pp * plan.cp:
        end = "would silently lower the parallel sizes and train another plan. Lower them yourself" if silently else "refuses. Lower these variables"
        yield f"Too few ranks: {plan.ranks}, and {plan.replica}. Megatron-LM {end}, or add nodes to the inventory."


@rule
def ranks_divide(plan: Plan) -> Iterator[str]:
    """Replicas of whole size (arguments.py:153-155, 170-174)."""
    if plan.world >= plan.tp * plan.pp * plan.cp and not plan.dp:
        yield (f"The ranks do not divide into model replicas: {plan.ranks}, expected a multiple of {plan.replica}. Change these variables, "
               "plan_nproc_per_node, or the number of nodes.")


@rule
def experts_divide_replicas(plan: Plan) -> Iterator[str]:
    """Expert groups lie across replicas (core/parallel_state.py:225-228)."""
    if plan.dp and plan.dp % plan.ep != 0:
        yield (f"Experts cannot be spread over the replicas: plan_expert_model_parallel_size is {plan.ep}, expected a divisor of the data "
               f"parallel size {plan.dp} ({plan.ranks}, {plan.replica}).")


@rule
def experts_divide_ranks(plan: Plan) -> Iterator[str]:
    """Expert groups lie across all ranks of a stage (current: core/parallel_state.py:696-703)."""
    size = plan.etp * plan.ep * plan.pp
    if plan.dp and plan.world % size != 0:
        yield (f"Experts cannot be spread over the ranks: {plan.ranks}, expected a multiple of {size}: "
               f"{plan.variable('expert_tensor_parallel_size')} {plan.etp} x plan_expert_model_parallel_size {plan.ep} x "
               f"plan_pipeline_model_parallel_size {plan.pp}.")


@rule
def one_tensor_size(plan: Plan) -> Iterator[str]:
    """The dispatcher alltoall_seq knows one tensor parallel size (current: core/transformer/transformer_config.py:966-971)."""
    if plan.text("moe_token_dispatcher_type") == "alltoall_seq" and plan.etp != plan.tp:
        yield (f"{plan.is_('expert_tensor_parallel_size')}, expected plan_tensor_model_parallel_size, {plan.tp}, because "
               f"{plan.is_('moe_token_dispatcher_type')}; with alltoall they may differ.")


@rule
def experts_without_context(plan: Plan) -> Iterator[str]:
    """core/parallel_state.py:230-233."""
    if plan.cp > 1 and plan.ep > 1:
        yield f"{plan.is_('context_parallel_size')}, expected 1, because plan_expert_model_parallel_size is {plan.ep}."


@rule
def experts_exist(plan: Plan) -> Iterator[str]:
    """arguments.py:501-502."""
    if plan.ep > 1 and "num_experts" not in plan.written:
        yield f"plan_expert_model_parallel_size is {plan.ep}, expected 1, because plan_num_experts is not set."


@rule
def experts_per_rank(plan: Plan) -> Iterator[str]:
    """arguments.py:503-504."""
    if plan.has("num_experts") and plan.number("num_experts") % plan.ep != 0:
        yield _multiple(plan, "Experts per expert rank", "num_experts", plan.ep, "expert_model_parallel_size")


@rule
def experts_need_sequence_parallel(plan: Plan) -> Iterator[str]:
    """arguments.py:496-498."""
    if plan.has("num_experts") and plan.tp > 1 and not plan.flag("sequence_parallel"):
        yield (f"plan_sequence_parallel is false, expected true: with experts (plan_num_experts {plan.text('num_experts')}) and "
               f"plan_tensor_model_parallel_size {plan.tp} Megatron-LM demands it.")


@rule
def experts_without_spec(plan: Plan) -> Iterator[str]:
    """arguments.py:494-495."""
    if plan.has("num_experts", "spec"):
        yield f"{plan.is_('spec')}, expected none, because plan_num_experts is {plan.text('num_experts')}. Remove it."


@rule
def routing(plan: Plan, topk_of: Sequence[int] = (), unless: Mapping[str, str] | None = None) -> Iterator[str]:
    """The gate that AscendSpeed puts in (AS components/moe/gate.py:40-42); megatron_moe routes by Megatron's own code (AS model/transformer.py)."""
    if plan.has("num_experts", "moe_router_topk") and not plan.is_any(unless or {}):
        topk, experts = plan.number("moe_router_topk"), plan.number("num_experts")
        if topk_of and topk not in topk_of:
            yield f"plan_moe_router_topk is {topk}, expected {' or '.join(map(str, topk_of))}: this stack routes no other way."
        elif topk > experts:
            yield f"plan_moe_router_topk is {topk}, expected at most plan_num_experts, {experts}."


def _multiple(plan: Plan, what: str, name: str, size: int, because: str) -> str:
    return f"{what}: {plan.is_(name)}, expected a multiple of {size}, because {plan.is_(because)}."


@rule
def layers_per_stage(plan: Plan) -> Iterator[str]:
    """arguments.py:247-248, legacy/model/transformer.py:1342-1343."""
    if plan.has("num_layers") and not plan.uneven and plan.layers % plan.pp != 0:
        counted = "" if plan.layers == plan.number("num_layers") else f" (so {plan.layers} with embedding and loss, which are counted)"
        yield (f"Layers per pipeline stage: {plan.is_('num_layers')}{counted}, expected a multiple of {plan.pp}, because "
               f"{plan.is_('pipeline_model_parallel_size')}.")


@rule
def heads_per_tensor_rank(plan: Plan) -> Iterator[str]:
    """core/transformer/transformer_config.py:266-270."""
    if plan.has("num_attention_heads") and plan.number("num_attention_heads") % plan.tp != 0:
        yield _multiple(plan, "Attention heads per tensor rank", "num_attention_heads", plan.tp, "tensor_model_parallel_size")


@rule
def query_groups(plan: Plan) -> Iterator[str]:
    """core/transformer/transformer_config.py:281-285; the second while the first batch is computed (AS model/transformer.py:437-444)."""
    if plan.has("num_query_groups") and not plan.emptied("group_query_attention"):
        groups = plan.number("num_query_groups")
        if groups % plan.tp != 0:
            yield _multiple(plan, "Query groups per tensor rank", "num_query_groups", plan.tp, "tensor_model_parallel_size")
        if plan.has("num_attention_heads") and plan.number("num_attention_heads") % groups != 0:
            yield _multiple(plan, "Attention heads per query group", "num_attention_heads", groups, "num_query_groups")


@rule
def size_of_a_head(plan: Plan) -> Iterator[str]:
    """arguments.py:369-371."""
    if plan.has("hidden_size", "num_attention_heads") and not plan.has("kv_channels"):
        heads = plan.number("num_attention_heads")
        if plan.number("hidden_size") % heads != 0:
            yield (f"Size of a head: {plan.is_('hidden_size')}, expected a multiple of {heads}, because "
                   f"{plan.is_('num_attention_heads')}; or give the size as {plan.variable('kv_channels')}.")


@rule
def feed_forward_columns(plan: Plan) -> Iterator[str]:
    """core/tensor_parallel/layers.py:610, 854 (divide). Without a size Megatron-LM makes one (arguments.py:358-367).

    Experts may have a tensor parallel size and a number of columns of their own (current: core/transformer/moe/experts.py).
    """
    own = plan.has("num_experts")
    name = "moe_ffn_hidden_size" if own and plan.has("moe_ffn_hidden_size") else "ffn_hidden_size"
    columns = plan.number(name, plan.feed_forward)
    because, size = ("expert_tensor_parallel_size", plan.etp) if own and plan.has("expert_tensor_parallel_size") else (
        "tensor_model_parallel_size", plan.tp)
    if (plan.has(name) or plan.emptied(name)) and columns % size != 0:
        yield (f"Feed-forward columns per tensor rank: {plan.is_(name)} (so {columns}), expected a multiple of {size}, because "
               f"{plan.is_(because)}.")


@rule
def sequence_per_rank(plan: Plan, always_twice: bool = False) -> Iterator[str]:
    """Cut while the first batch is computed (core/tensor_parallel/mappings.py:117-121, 158; AS utils.py:25-45).

    With `always_twice` by two times the context ranks, whatever the algorithm is (current: arguments.py:676-679).
    """
    parts = 2 * plan.cp if plan.cp > 1 and (always_twice or plan.text("context_parallel_algo") == "megatron_cp_algo") else plan.cp
    size = parts * (plan.tp if plan.flag("sequence_parallel") else 1)
    if plan.has("seq_length") and plan.number("seq_length") % size != 0:
        why = [plan.is_(name) for name, used in (("tensor_model_parallel_size", size > parts), ("context_parallel_size", parts > 1)) if used]
        yield f"Sequence per rank: {plan.is_('seq_length')}, expected a multiple of {size}, because {' and '.join(why)}."


@rule
def heads_per_context_rank(plan: Plan, without: str = "ulysses_cp_algo") -> Iterator[str]:
    """AS arguments.py:191-193, and of what a tensor rank has (AS core/context_parallel/ulysses_context_parallel.py:9-24).

    `without` the option the algorithm is this one (current: mindspeed/features_manager/context_parallel/context_parallel_feature.py:21,
    ulysses_context_parallel.py:25-36).
    """
    if plan.cp > 1 and plan.has("num_attention_heads") and plan.text("context_parallel_algo", without) == "ulysses_cp_algo":
        heads = plan.number("num_attention_heads")
        if heads % (plan.tp * plan.cp) != 0:
            yield (f"Attention heads per context rank: {plan.is_('num_attention_heads')}, expected a multiple of {plan.tp * plan.cp}, because "
                   f"{plan.is_('tensor_model_parallel_size')} and {plan.is_('context_parallel_size')} "
                   f"({plan.variable('context_parallel_algo')}: ulysses_cp_algo).")


@rule
def positions(plan: Plan) -> Iterator[str]:
    """arguments.py:380-383."""
    most = plan.number("max_position_embeddings")
    for name in ("seq_length", "decoder_seq_length"):
        if plan.has("max_position_embeddings", name) and most < plan.number(name):
            yield f"plan_max_position_embeddings is {most}, expected at least {plan.variable(name)}, {plan.number(name)}."


@rule
def split_stage(plan: Plan) -> Iterator[str]:
    """arguments.py:185-190."""
    if 1 < plan.pp <= plan.number("pipeline_model_parallel_split_rank", 0):
        yield f"{plan.is_('pipeline_model_parallel_split_rank')}, expected less than plan_pipeline_model_parallel_size, {plan.pp}."


@rule
def embedding_stage(plan: Plan) -> Iterator[str]:
    """legacy/model/transformer.py:1342-1354, 1570 and 1493: the last stage numbers its layers past the last; core/transformer/transformer_block.py:28-33."""
    if plan.flag("standalone_embedding_stage") and plan.pp > 1:
        end = ("would build fewer layers than plan_num_layers without a word" if plan.flag("use_mcore_models")
               else "would end on the last stage with an IndexError")
        yield (f"{plan.is_('standalone_embedding_stage')}, expected none, because {plan.is_('pipeline_model_parallel_size')}: Megatron-LM {end}. "
               "Remove it.")


@rule
def rotary(plan: Plan) -> Iterator[str]:
    """arguments.py:480-491, AS arguments.py:179-183."""
    rope = plan.flag("use_rotary_position_embeddings")
    if plan.flag("rotary_interleaved") and not (plan.flag("no_rope_fusion") and plan.flag("use_mcore_models")):
        yield f"{plan.variable('rotary_interleaved')} needs {plan.variable('no_rope_fusion')} and {plan.variable('use_mcore_models')}."
    if plan.flag("no_position_embedding") and not rope and plan.text("position_embedding_type") != "rope":
        yield f"{plan.variable('no_position_embedding')} needs plan_position_embedding_type: rope."
    if plan.flag("use_fused_rotary_pos_emb") and not rope:
        yield f"{plan.variable('use_fused_rotary_pos_emb')} needs {plan.variable('use_rotary_position_embeddings')}: true."


@rule
def normalization(plan: Plan) -> Iterator[str]:
    """AS arguments.py:168-173, legacy/model/utils.py:71-73."""
    rms = plan.text("normalization") == "RMSNorm"
    if plan.flag("use_fused_rmsnorm") and not rms:
        yield f"plan_use_fused_rmsnorm is true: {plan.is_('normalization')}, expected RMSNorm."
    if plan.flag("apply_layernorm_1p") and rms:
        yield f"{plan.variable('apply_layernorm_1p')} needs plan_normalization: LayerNorm, found RMSNorm."


@rule
def activation(plan: Plan, fused_alone: bool = False) -> Iterator[str]:
    """AS arguments.py:174-178, arguments.py:561-562, core/transformer/transformer_config.py:355-359; current: arguments.py:1028-1030.

    With `fused_alone` a fused swiglu without swiglu is never called, and let be (current).
    """
    if plan.flag("use_fused_swiglu") and not plan.flag("swiglu") and not fused_alone:
        yield f"{plan.variable('use_fused_swiglu')} needs {plan.variable('swiglu')}: true."
    if plan.flag("squared_relu") and plan.flag("swiglu"):
        yield f"{plan.variable('squared_relu')} and {plan.variable('swiglu')} exclude each other. Set one of them to false."
    elif plan.flag("squared_relu") and not (plan.flag("no_bias_gelu_fusion") or plan.flag("disable_bias_linear")):
        yield f"{plan.variable('squared_relu')} needs {plan.variable('no_bias_gelu_fusion')}: true."


@rule
def shards(plan: Plan, written_where: str) -> Iterator[str]:
    """All that a rank reads was written, with its own weights; _shards.py has the sources."""
    try:
        every = ranks(plan, written_where)
    except ValueError:
        return
    written: dict[str, set[tuple[int, ...]]] = {}
    for rank in every:
        if rank.writes:
            written.setdefault(rank.folder, set()).add(rank.weights)
    bad = next((number for number, rank in enumerate(every) if written.get(rank.folder) != {rank.weights}), None)
    if bad is not None:
        weights = written.get(every[bad].folder, set())
        found = "nobody writes" if not weights else "is another rank's" if len(weights) == 1 else "several ranks write over each other"
        yield (f"A checkpoint could not be loaded: {plan.is_('expert_tensor_parallel_size')}, and rank {bad} reads the file of "
               f"{every[bad].folder}, which {found}. Expected plan_tensor_model_parallel_size, {plan.tp}, or a smaller divisor of it whose product with "
               f"plan_expert_model_parallel_size, {plan.ep}, is a multiple of it.")


RULES: tuple[Rule, ...] = (
    somebody_to_train, enough_ranks, ranks_divide, experts_divide_replicas, experts_divide_ranks, one_tensor_size,
    experts_without_context, experts_exist, experts_per_rank, experts_need_sequence_parallel, experts_without_spec, routing, layers_per_stage,
    heads_per_tensor_rank, query_groups, size_of_a_head, feed_forward_columns, sequence_per_rank, heads_per_context_rank, positions,
    split_stage, embedding_stage, rotary, normalization, activation, shards)
