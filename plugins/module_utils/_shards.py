"""The files of a checkpoint: which ranks write and read them, and which must travel between nodes.

Source: Megatron-LM 9de386d0 (megatron/training/checkpointing.py, megatron/core/parallel_state.py).
"""
from __future__ import annotations

from typing import Any, Iterator, Mapping, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils._plan import data_parallel_size
from ansible_collections.ascend.cluster.plugins.module_utils._plan_values import Plan


def ranks_of_node(node_rank: int, nproc_per_node: int) -> range:
    """Global ranks that torchrun starts on a node."""
    return range(node_rank * nproc_per_node, (node_rank + 1) * nproc_per_node)


def _shards(plan: Mapping[str, Any], world_size: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield rank and (tensor, pipeline, expert) rank of every rank that writes a shard."""
    read = Plan(plan)
    tp, pp, ep = read.tp, read.pp, read.ep
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
    read = Plan(plan)
    name = f"mp_rank_{tensor:02d}"
    if read.pp > 1:
        name += f"_{pipeline:03d}"
    if read.ep > 1:
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
    read = Plan(plan)
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
    read = Plan(plan)
    stage = nproc_per_node * nnodes // read.pp
    for rank in ranks_of_node(node_rank, nproc_per_node):
        # Within a stage: tensor ranks, then data ranks, whose every EP in a row share the experts. Beside experts there are no context ranks.
        folder = shard_folder(plan, rank % read.tp, rank // stage, rank % stage // read.tp % read.ep)
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
