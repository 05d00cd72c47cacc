"""Rules of a parallel plan, and the checkpoint files that it makes.

Source of the rules: Megatron-LM 9de386d0 (megatron/training/arguments.py, megatron/core/parallel_state.py,
megatron/training/checkpointing.py, megatron/training/microbatches.py, megatron/legacy/model/transformer.py) and
AscendSpeed 9264e3c0 (ascendspeed/arguments.py, ascendspeed/components/moe/gate.py).

A *plan* is a mapping of arguments to values. Names may be written as an option (``num-layers``), as Python
(``num_layers``) or as a variable (``plan_num_layers``).
"""
from __future__ import annotations

from typing import Any, Iterator, Mapping, Sequence

_TRUE = {"true", "yes", "on", "1", "y", "t"}


class _Plan:
    """Typed access to a plan; notes what cannot be read as the type that is asked for."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self.values = {_plain(name): value for name, value in plan.items()}
        self.errors: list[str] = []

    def number(self, name: str, default: int = 1, least: int = 1) -> int:
        value = self.values.get(name)
        if value is None or value is False or value == "":
            return default
        try:
            number = int(str(value))
            if number < least:
                raise ValueError
        except ValueError:
            self.errors.append(f"{variable(name)} is {value!r}, expected a whole number of at least {least}.")
            return default
        return number

    def flag(self, name: str) -> bool:
        value = self.values.get(name, False)
        return value if isinstance(value, bool) else str(value).strip().lower() in _TRUE


def _plain(name: str) -> str:
    plain = name.replace("-", "_")
    return plain[len("plan_"):] if plain.startswith("plan_") else plain


# Arguments that roles/plan has as variables of their own; all others come through plan_extra_arguments.
_EXTRA = {"context_parallel_size", "num_layers_per_virtual_pipeline_stage", "use_distributed_optimizer",
          "reuse_fp32_param", "no_save_optim"}


def variable(name: str) -> str:
    """Name the variable that sets an argument: ``plan_num_layers`` or ``plan_extra_arguments['…']``."""
    plain = _plain(name)
    if plain in ("bf16", "fp16"):
        return "plan_precision"
    return f"plan_extra_arguments['{plain.replace('_', '-')}']" if plain in _EXTRA else f"plan_{plain}"


def data_parallel_size(plan: Mapping[str, Any], world_size: int) -> int:
    """Data parallel size: ``world_size / (TP x PP x CP)``.

    Raises:
        ValueError: when the world size is not such a multiple.
    """
    read = _Plan(plan)
    model = (read.number("tensor_model_parallel_size") * read.number("pipeline_model_parallel_size")
             * read.number("context_parallel_size"))
    if world_size < 1 or world_size % model != 0:
        raise ValueError(f"world size {world_size} is not a multiple of TP x PP x CP = {model}")
    return world_size // model


def plan_errors(plan: Mapping[str, Any], world_size: int) -> list[str]:
    """List every rule that the plan breaks on ``world_size`` ranks; an empty list means that it can be launched.

    Only arguments that are there are judged, so a part of a plan may be given. Each message names what was found,
    what was expected and the variables to change.
    """
    read = _Plan(plan)
    has = {name for name, value in read.values.items() if value not in (None, False, "")}
    tp = read.number("tensor_model_parallel_size")
    pp = read.number("pipeline_model_parallel_size")
    cp = read.number("context_parallel_size")
    ep = read.number("expert_model_parallel_size")
    experts = read.number("num_experts", default=0)
    layers = read.number("num_layers")
    heads = read.number("num_attention_heads")
    groups = read.number("num_query_groups", default=heads)
    sequence = read.number("seq_length")
    micro = read.number("micro_batch_size")
    batch = read.number("global_batch_size")
    topk = read.number("moe_router_topk", default=2)
    errors: list[str] = []

    def must_divide(whole: str, amount: int, part: str, size: int, what: str) -> None:
        if whole in has and amount % size != 0:
            errors.append(f"{what}: {variable(whole)} is {amount}, expected a multiple of {size}, "
                          f"because {variable(part)} is {size}.")

    sizes = ("plan_tensor_model_parallel_size x plan_pipeline_model_parallel_size"
             + (f" x {variable('context_parallel_size')}" if cp > 1 else ""))
    product = f"{tp} x {pp}" + (f" x {cp}" if cp > 1 else "") + f" = {tp * pp * cp}"
    world = f"the world size is {world_size} (plan_nproc_per_node x number of nodes)"
    dp = 0
    if world_size < 1:
        errors.append(f"There is nobody to train: {world}, expected at least 1.")
    elif world_size < tp * pp * cp:
        errors.append(f"Too few ranks: {world}, and {sizes} is {product}. Megatron-LM would silently lower the "
                      "parallel sizes and train another plan. Lower them yourself, or add nodes to the inventory.")
    elif world_size % (tp * pp * cp) != 0:
        errors.append(f"The ranks do not divide into model replicas: {world}, expected a multiple of {sizes}, "
                      f"{product}. Change these variables, plan_nproc_per_node, or the number of nodes.")
    else:
        dp = world_size // (tp * pp * cp)

    if dp and dp % ep != 0:
        errors.append(f"Experts cannot be spread over the replicas: plan_expert_model_parallel_size is {ep}, expected "
                      f"a divisor of the data parallel size {dp} ({world}, {sizes} is {product}).")
    must_divide("num_layers", layers, "pipeline_model_parallel_size", pp, "Layers per pipeline stage")
    must_divide("num_attention_heads", heads, "tensor_model_parallel_size", tp, "Attention heads per tensor rank")
    if "num_query_groups" in has:
        must_divide("num_query_groups", groups, "tensor_model_parallel_size", tp, "Query groups per tensor rank")
        must_divide("num_attention_heads", heads, "num_query_groups", groups, "Attention heads per query group")
    must_divide("seq_length", sequence, "tensor_model_parallel_size", tp, "Sequence parallelism")
    must_divide("ffn_hidden_size", read.number("ffn_hidden_size"), "tensor_model_parallel_size", tp,
                "Feed-forward columns per tensor rank")
    if "num_attention_heads" in has:
        must_divide("hidden_size", read.number("hidden_size"), "num_attention_heads", heads, "Size of a head")
    if dp and "global_batch_size" in has and batch % (micro * dp) != 0:
        errors.append(f"Micro batches per iteration: plan_global_batch_size is {batch}, expected a multiple of "
                      f"{micro * dp}: plan_micro_batch_size {micro} x data parallel size {dp}.")
    if {"seq_length", "max_position_embeddings"} <= has and read.number("max_position_embeddings") < sequence:
        errors.append(f"plan_max_position_embeddings is {read.values['max_position_embeddings']}, expected at least "
                      f"plan_seq_length, {sequence}.")

    if experts:
        must_divide("num_experts", experts, "expert_model_parallel_size", ep, "Experts per expert rank")
        if tp > 1 and not read.flag("sequence_parallel"):
            errors.append(f"plan_sequence_parallel is false, expected true: with experts (plan_num_experts {experts}) "
                          f"and plan_tensor_model_parallel_size {tp} Megatron-LM demands it.")
        if "moe_router_topk" in has and topk not in (1, 2):
            errors.append(f"plan_moe_router_topk is {topk}, expected 1 or 2: AscendSpeed routes no other way.")
        if "moe_router_topk" in has and topk > experts:
            errors.append(f"plan_moe_router_topk is {topk}, expected at most plan_num_experts, {experts}.")
    elif ep > 1:
        errors.append(f"plan_expert_model_parallel_size is {ep}, expected 1, because plan_num_experts is not set.")

    precision = str(read.values.get("precision", ""))
    if precision not in ("", "bf16", "fp16", "fp32"):
        errors.append(f"plan_precision is {precision!r}, expected bf16, fp16 or fp32.")
    bf16 = read.flag("bf16") or precision == "bf16"
    fp16 = read.flag("fp16") or precision == "fp16"
    if bf16 and fp16:
        errors.append("Both bf16 and fp16 are asked for, expected one: plan_precision and plan_extra_arguments.")
    if fp16 and ep > 1:
        errors.append(f"plan_precision is fp16, expected bf16, because plan_expert_model_parallel_size is {ep}.")
    if cp > 1 and ep > 1:
        errors.append(f"{variable('context_parallel_size')} is {cp}, expected 1, because "
                      f"plan_expert_model_parallel_size is {ep}.")
    if read.flag("reuse_fp32_param"):
        if read.flag("use_distributed_optimizer"):
            errors.append(f"{variable('reuse_fp32_param')} and {variable('use_distributed_optimizer')} exclude each "
                          "other. Remove one of them.")
        if not bf16:
            errors.append(f"{variable('reuse_fp32_param')} needs plan_precision: bf16.")
    per_virtual = read.number("num_layers_per_virtual_pipeline_stage", default=0)
    if per_virtual:
        name = variable("num_layers_per_virtual_pipeline_stage")
        if pp <= 2:
            errors.append(f"{name} is {per_virtual}: the interleaved schedule needs plan_pipeline_model_parallel_size "
                          f"of more than 2, found {pp}.")
        elif layers % pp == 0 and (layers // pp) % per_virtual != 0:
            errors.append(f"{name} is {per_virtual}, expected a divisor of the layers of a stage, {layers // pp} "
                          "(plan_num_layers / plan_pipeline_model_parallel_size).")
    return read.errors + errors


def plan_warnings(plan: Mapping[str, Any]) -> list[str]:
    """List what can be launched but is hardly meant."""
    read = _Plan(plan)
    iterations, interval = read.number("train_iters", default=0), read.number("save_interval", default=0)
    if interval and iterations and iterations % interval != 0:
        # AscendSpeed's pretrain() saves after the last iteration also then (ascendspeed/training.py).
        last = iterations - iterations % interval
        return [f"plan_train_iters is {iterations}, not a multiple of plan_save_interval, {interval}: the last checkpoint "
                f"is saved at iteration {iterations}, the one before at {last if last else 'none'}."]
    return []


def ranks_of_node(node_rank: int, nproc_per_node: int) -> range:
    """Global ranks that torchrun starts on a node."""
    return range(node_rank * nproc_per_node, (node_rank + 1) * nproc_per_node)


def _shards(plan: Mapping[str, Any], world_size: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield rank and (tensor, pipeline, expert) rank of every rank that writes a shard."""
    read = _Plan(plan)
    tp = read.number("tensor_model_parallel_size")
    pp = read.number("pipeline_model_parallel_size")
    ep = read.number("expert_model_parallel_size")
    dp = data_parallel_size(plan, world_size)
    if dp % ep != 0:
        raise ValueError(f"data parallel size {dp} is not a multiple of the expert parallel size {ep}")
    for rank in range(world_size):
        # Tensor ranks are innermost, pipeline stages outermost (parallel_state.py:476-505). Within a
        # tensor-and-data group the first TP x EP ranks have data-modulo-expert-parallel rank 0.
        inner = rank % (tp * dp)
        if inner < tp * ep:
            yield rank, rank % tp, rank // (world_size // pp), inner // tp


def shard_folder(plan: Mapping[str, Any], tensor: int, pipeline: int, expert: int) -> str:
    """Name the folder of a shard as Megatron's get_checkpoint_name does: ``mp_rank_TT[_PPP][_EEE]``."""
    read = _Plan(plan)
    name = f"mp_rank_{tensor:02d}"
    if read.number("pipeline_model_parallel_size") > 1:
        name += f"_{pipeline:03d}"
    if read.number("expert_model_parallel_size") > 1:
        name += f"_{expert:03d}"
    return name


def checkpoint_folder(iteration: int | str) -> str:
    """Name the folder of a checkpoint below the checkpoint folder; `iteration` may be ``release`` (converted weights)."""
    return "release" if iteration == "release" else f"iter_{int(iteration):07d}"


def expected_shards(plan: Mapping[str, Any], node_rank: int, nproc_per_node: int, nnodes: int,
                    iteration: int | str) -> list[str]:
    """List the files that the ranks of one node write for the checkpoint of an iteration.

    Args:
        plan: the arguments.
        node_rank: the node, 0 to ``nnodes`` - 1.
        nproc_per_node: ranks on each node.
        nnodes: number of nodes.
        iteration: the iteration saved, or ``release``.

    Returns:
        Paths relative to the checkpoint folder, sorted; with many replicas a node may write none.
        The tracker file is not among them: only global rank 0 writes it.

    Raises:
        ValueError: when the plan does not fit the world size, or the node rank is outside.
    """
    if not 0 <= node_rank < nnodes:
        raise ValueError(f"node rank {node_rank} is outside 0..{nnodes - 1}")
    mine = ranks_of_node(node_rank, nproc_per_node)
    files = ["model_optim_rng.pt"]
    read = _Plan(plan)
    if read.flag("use_distributed_optimizer") and not read.flag("no_save_optim"):
        files.append("distrib_optim.pt")
    return sorted({f"{checkpoint_folder(iteration)}/{shard_folder(plan, tensor, pipeline, expert)}/{name}"
                   for rank, tensor, pipeline, expert in _shards(plan, nproc_per_node * nnodes) if rank in mine
                   for name in files})


def required_shards(plan: Mapping[str, Any], node_rank: int, nproc_per_node: int, nnodes: int,
                    iteration: int | str) -> list[str]:
    """List the files that the ranks of one node read when they load the checkpoint of an iteration.

    Every rank reads the file of its own (tensor, pipeline, expert) rank (checkpointing.py:430-468), though only one of
    its data parallel copies wrote it. The distributed optimizer's file is read by those that wrote it alone
    (optimizer.py, ChainedOptimizer.load_parameter_state).

    Arguments, result and errors are those of :func:`expected_shards`.
    """
    own = set(expected_shards(plan, node_rank, nproc_per_node, nnodes, iteration))
    read = _Plan(plan)
    tp = read.number("tensor_model_parallel_size")
    pp = read.number("pipeline_model_parallel_size")
    cp = read.number("context_parallel_size")
    ep = read.number("expert_model_parallel_size")
    stage = nproc_per_node * nnodes // pp
    for rank in ranks_of_node(node_rank, nproc_per_node):
        # Within a stage: tensor ranks, then context ranks, then data ranks, whose every EP in a row share the experts.
        folder = shard_folder(plan, rank % tp, rank // stage, rank % stage // (tp * cp) % ep)
        own.add(f"{checkpoint_folder(iteration)}/{folder}/model_optim_rng.pt")
    return sorted(own)


def shard_transfers(plan: Mapping[str, Any], found: Sequence[Mapping[str, Sequence[Any]]], nproc_per_node: int,
                    iteration: int | str) -> dict[str, Any]:
    """Tell which files must travel between the nodes before a checkpoint can be loaded.

    A file's source is the node that writes it, or the first one that has it where that node lacks it (a new disk,
    weights that were converted on the master). A file that is like the source's in size and time is left alone: on a
    shared folder nothing travels.

    Args:
        plan: the arguments.
        found: of each node in the order of ranks: path below the checkpoint folder to (size, time of change).
        nproc_per_node: ranks on each node.
        iteration: the iteration to load, or ``release``.

    Returns:
        ``transfers``: of each node, a list of {``source``: node rank, ``files``: paths}; and ``lost``: a list of
        {``file``, ``owner``: node rank, ``reader``: node rank} of files that no node has.

    Raises:
        ValueError: when the plan does not fit the world size.
    """
    nnodes = len(found)
    owner = {path: node for node in range(nnodes)
             for path in expected_shards(plan, node, nproc_per_node, nnodes, iteration)}
    transfers: list[list[dict[str, Any]]] = []
    lost: dict[str, dict[str, Any]] = {}
    for node in range(nnodes):
        by_source: dict[int, list[str]] = {}
        for path in required_shards(plan, node, nproc_per_node, nnodes, iteration):
            source = next((other for other in (owner[path], *range(nnodes)) if path in found[other]), None)
            if source is None:
                lost.setdefault(path, {"file": path, "owner": owner[path], "reader": node})
            elif list(found[node].get(path, ())) != list(found[source][path]):
                by_source.setdefault(source, []).append(path)
        transfers.append([{"source": source, "files": files} for source, files in sorted(by_source.items())])
    return {"transfers": transfers, "lost": list(lost.values())}
