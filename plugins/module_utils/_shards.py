"""The files of a checkpoint: which ranks write and read them, and which must travel between nodes.

Sources: megatron/training/checkpointing.py and megatron/core/parallel_state.py of Megatron-LM 9de386d0 (recipe) and a845aa7e (current).
"""
from __future__ import annotations

import itertools
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils._plan_values import Plan, Stack


class Rank(NamedTuple):
    """What a rank has to do with a checkpoint."""

    folder: str  # mp_rank_TT[_PPP][_EEE] (get_checkpoint_name), of which it reads, and may write
    writes: bool
    writes_optimizer: bool  # the distributed optimizer's file beside it
    weights: tuple[int, ...]  # its tensor rank, its tensor rank among the experts, its expert rank, and its stage


class Sizes(NamedTuple):
    """Parallel sizes, and the ranks of a pipeline stage."""

    tensor: int
    data: int
    expert: int
    expert_tensor: int
    stage: int


def _by_data_modulo_expert(rank: int, sizes: Sizes) -> tuple[int, int, bool]:
    """Of recipe (checkpointing.py:287-288, parallel_state.py:476-505): tensor ranks, then data ranks, whose every EP in a row share the experts.

    Beside experts there are no context ranks.
    """
    return rank % sizes.tensor, rank % sizes.stage // sizes.tensor % sizes.expert, rank % (sizes.tensor * sizes.data) < sizes.tensor * sizes.expert


def _by_expert_data(rank: int, sizes: Sizes) -> tuple[int, int, bool]:
    """Of current (checkpointing.py:405): within a stage the experts have an order of their own (parallel_state.py:696-715)."""
    inner = rank % sizes.stage
    return inner % sizes.expert_tensor, inner // sizes.expert_tensor % sizes.expert, inner < sizes.expert_tensor * sizes.expert


# Upstream's number that is 0 on the ranks that write: of a rank, its tensor rank among the experts, its expert rank, and whether it writes.
WRITTEN_WHERE: Mapping[str, Callable[[int, Sizes], tuple[int, int, bool]]] = {
    "data_modulo_expert_parallel_rank": _by_data_modulo_expert,
    "expert_data_parallel_rank": _by_expert_data,
}


def _sizes(plan: Plan) -> Sizes:
    if not plan.dp:
        raise ValueError(f"world size {plan.world} is not a multiple of TP x PP x CP = {plan.tp * plan.pp * plan.cp}")
    sizes = Sizes(plan.tp, plan.dp, plan.ep, plan.etp, plan.world // plan.pp)
    if sizes.expert_tensor == sizes.tensor and plan.cp == 1 and sizes.data % sizes.expert != 0:
        raise ValueError(f"data parallel size {sizes.data} is not a multiple of the expert parallel size {sizes.expert}")
    if sizes.stage % (sizes.expert_tensor * sizes.expert) != 0:
        raise ValueError(f"the {sizes.stage} ranks of a stage are no multiple of expert tensor size x expert parallel size, "
                         f"{sizes.expert_tensor} x {sizes.expert}")
    return sizes


def ranks(plan: Plan, written_where: str, of: Iterable[int] | None = None) -> list[Rank]:
    """What ranks have to do with a checkpoint; tensor ranks are innermost, pipeline stages outermost in both stacks.

    Args:
        plan: the plan.
        written_where: key of `WRITTEN_WHERE`.
        of: the ranks asked for, without which it is every rank of the world.

    Raises:
        ValueError: when the ranks do not divide into replicas and groups of experts.
    """
    sizes, stages = _sizes(plan), plan.pp
    experts = plan.has("num_experts") or sizes.expert > 1
    found = []
    for rank in range(plan.world) if of is None else of:
        among_experts, expert, writes = WRITTEN_WHERE[written_where](rank, sizes)
        tensor, pipeline = rank % sizes.tensor, rank // sizes.stage
        folder = f"mp_rank_{tensor:02d}{f'_{pipeline:03d}' if stages > 1 else ''}{f'_{expert:03d}' if sizes.expert > 1 else ''}"
        # One that is first in a group of an optimizer writes it: that of all else, and that of the experts (ChainedOptimizer.save_parameter_state).
        optimizer = rank % sizes.stage < sizes.tensor or (writes and experts)
        found.append(Rank(folder, writes, optimizer, (tensor, among_experts, expert, pipeline)))
    return found


def checkpoint_folder(iteration: int | str) -> str:
    """Name the folder of a checkpoint below the checkpoint folder; `iteration` may be ``release`` (converted weights)."""
    return "release" if iteration == "release" else f"iter_{int(iteration):07d}"


class _Checkpoint:
    """The files of a plan's checkpoint of an iteration, by node."""

    def __init__(self, plan: Mapping[str, Any], stack: Stack, nproc_per_node: int, nnodes: int, iteration: int | str) -> None:
        self._plan, self._each, self._nodes = Plan(plan, stack, nproc_per_node * nnodes), nproc_per_node, nnodes
        self._written_where, self._folder = stack["rules"]["shards"]["written_where"], checkpoint_folder(iteration)
        self._optimizer = self._plan.flag("use_distributed_optimizer") and not self._plan.flag("no_save_optim")

    def _of(self, node: int) -> list[Rank]:
        if not 0 <= node < self._nodes:
            raise ValueError(f"node rank {node} is outside 0..{self._nodes - 1}")
        return ranks(self._plan, self._written_where, range(node * self._each, (node + 1) * self._each))

    def written(self, node: int) -> set[str]:
        """What the ranks of a node write."""
        files = {f"{self._folder}/{rank.folder}/model_optim_rng.pt" for rank in self._of(node) if rank.writes}
        if self._optimizer:
            files |= {f"{self._folder}/{rank.folder}/distrib_optim.pt" for rank in self._of(node) if rank.writes_optimizer}
        return files

    def read(self, node: int) -> set[str]:
        """What the ranks of a node read."""
        return self.written(node) | {f"{self._folder}/{rank.folder}/model_optim_rng.pt" for rank in self._of(node)}


def expected_shards(plan: Mapping[str, Any], stack: Stack, node_rank: int, nproc_per_node: int, nnodes: int,
                    iteration: int | str) -> list[str]:
    """List the files that the ranks of one node write for the checkpoint of an iteration.

    Args:
        plan: the arguments.
        stack: the stack.
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
    return sorted(_Checkpoint(plan, stack, nproc_per_node, nnodes, iteration).written(node_rank))


def required_shards(plan: Mapping[str, Any], stack: Stack, node_rank: int, nproc_per_node: int, nnodes: int,
                    iteration: int | str) -> list[str]:
    """List the files that the ranks of one node read when they load the checkpoint of an iteration.

    Every rank reads the file of its own (tensor, pipeline, expert) rank (checkpointing.py:430-468), though only one of
    its data parallel copies wrote it. The distributed optimizer's file is read by those that wrote it alone
    (optimizer.py, ChainedOptimizer.load_parameter_state).

    Arguments, result and errors are those of :func:`expected_shards`.
    """
    return sorted(_Checkpoint(plan, stack, nproc_per_node, nnodes, iteration).read(node_rank))


def shard_transfers(plan: Mapping[str, Any], stack: Stack, found: Sequence[Mapping[str, Sequence[Any]]], nproc_per_node: int,
                    iteration: int | str) -> dict[str, Any]:
    """Tell which files must travel between the nodes before a checkpoint can be loaded.

    A file's source is the node that writes it, or the first one that has it where that node lacks it (a new disk,
    weights that were converted on the master). A file that is like the source's in size and time is left alone: on a
    shared folder nothing travels.

    Args:
        plan: the arguments.
        stack: the stack.
        found: of each node in the order of ranks: path below the checkpoint folder to (size, time of change).
        nproc_per_node: ranks on each node.
        iteration: the iteration to load, or ``release``.

    Returns:
        ``transfers``: of each node, a list of {``source``: node rank, ``files``: paths}; ``given``: of each node, the paths that others
        get from it; and ``lost``: a list of {``file``, ``owner``: node rank, ``reader``: node rank} of files that no node has.

    Raises:
        ValueError: when the plan does not fit the world size.
    """
    nnodes = len(found)
    checkpoint = _Checkpoint(plan, stack, nproc_per_node, nnodes, iteration)
    owner = {path: node for node in range(nnodes) for path in checkpoint.written(node)}
    transfers: list[list[dict[str, Any]]] = []
    lost: dict[str, dict[str, Any]] = {}
    for node in range(nnodes):
        by_source: dict[int, list[str]] = {}
        for path in sorted(checkpoint.read(node)):
            source = next((other for other in (owner[path], *range(nnodes)) if path in found[other]), None)
            if source is None:
                lost.setdefault(path, {"file": path, "owner": owner[path], "reader": node})
            elif list(found[node].get(path, ())) != list(found[source][path]):
                by_source.setdefault(source, []).append(path)
        transfers.append([{"source": source, "files": files} for source, files in sorted(by_source.items())])
    given: list[set[str]] = [set() for _ in range(nnodes)]
    for item in itertools.chain.from_iterable(transfers):
        given[item["source"]].update(item["files"])
    return {"transfers": transfers, "given": [sorted(files) for files in given], "lost": list(lost.values())}
