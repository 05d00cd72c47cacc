"""Which part of the work a rank has: tensor ranks run fastest, pipeline stages slowest."""
from __future__ import annotations

from typing import Any, NamedTuple

from megatron.core import rules


class Position(NamedTuple):
    """A rank's coordinates. ``expert`` and ``data_modulo_expert`` divide a stage's ranks once more."""

    tensor: int
    context: int
    data: int
    pipeline: int
    expert: int
    data_modulo_expert: int


class Layout(NamedTuple):
    """Sizes of the parallel dimensions; the product of the first four is the world size."""

    tensor: int
    context: int
    data: int
    pipeline: int
    expert: int
    expert_tensor: int

    def position(self, rank: int) -> Position:
        """Coordinates of a global rank."""
        tensor, rest = rank % self.tensor, rank // self.tensor
        context, rest = rest % self.context, rest // self.context
        data, pipeline = rest % self.data, rest // self.data
        among_experts = rank % (self.tensor * self.context * self.data) // self.expert_tensor
        return Position(tensor, context, data, pipeline, among_experts % self.expert, among_experts // self.expert)

    def writers(self) -> list[int]:
        """Global ranks that write the files of a checkpoint, in the order of the shards.

        One for each (tensor, pipeline, expert) rank of which somebody has the first copy of its experts; the file of
        another is written by nobody.
        """
        found: dict[tuple[int, int, int], int] = {}
        for rank in range(self.tensor * self.context * self.data * self.pipeline):
            position = self.position(rank)
            if position.data_modulo_expert == 0:
                found.setdefault((position.pipeline, position.expert, position.tensor), rank)
        return [found[shard] for shard in sorted(found)]

    def model_parallel_ranks(self, data: int) -> list[int]:
        """Global ranks that work on the same samples, in order."""
        world = self.tensor * self.context * self.data * self.pipeline
        return [rank for rank in range(world) if self.position(rank).data == data]


def layout(world_size: int, tensor: int, pipeline: int, context: int = 1, expert: int = 1,
           expert_tensor: int | None = None) -> Layout:
    """Sizes of the dimensions for a world.

    Raises:
        RuntimeError: where upstream refuses the sizes.
    """
    if world_size % (tensor * pipeline * context) != 0:
        raise RuntimeError(f"world_size ({world_size}) is not divisible by tensor_model_parallel_size ({tensor}) x "
                           f"pipeline_model_parallel_size ({pipeline}) x context_parallel_size ({context})")
    data = world_size // (tensor * pipeline * context)
    rules.expert_groups(world_size, tensor, pipeline, context, expert, expert_tensor or tensor)
    return Layout(tensor, context, data, pipeline, expert, expert_tensor or tensor)


_LAYOUT: Layout | None = None
_POSITION: Position | None = None
_MODEL_PARALLEL_GROUP: Any = None


def initialize_model_parallel(tensor_model_parallel_size: int = 1, pipeline_model_parallel_size: int = 1,
                              context_parallel_size: int = 1, expert_model_parallel_size: int = 1,
                              expert_tensor_parallel_size: int | None = None) -> None:
    """Place this rank and make its groups; torch.distributed must be initialized."""
    import torch

    global _LAYOUT, _POSITION, _MODEL_PARALLEL_GROUP
    _LAYOUT = layout(torch.distributed.get_world_size(), tensor_model_parallel_size, pipeline_model_parallel_size,
                     context_parallel_size, expert_model_parallel_size, expert_tensor_parallel_size)
    rank = torch.distributed.get_rank()
    _POSITION = _LAYOUT.position(rank)
    for data in range(_LAYOUT.data):
        ranks = _LAYOUT.model_parallel_ranks(data)
        group = torch.distributed.new_group(ranks)
        if rank in ranks:
            _MODEL_PARALLEL_GROUP = group


def _layout() -> Layout:
    if _LAYOUT is None:
        raise AssertionError("model parallel group is not initialized")
    return _LAYOUT


def _position() -> Position:
    if _POSITION is None:
        raise AssertionError("model parallel group is not initialized")
    return _POSITION


def model_parallel_is_initialized() -> bool:
    """Whether this rank knows its place."""
    return _POSITION is not None


def get_model_parallel_group() -> Any:
    """The ranks that work on the same samples."""
    return _MODEL_PARALLEL_GROUP


def get_model_parallel_ranks() -> list[int]:
    """Their global ranks, in order: the first is tensor rank 0 of the first stage."""
    return _layout().model_parallel_ranks(_position().data)


def get_writers() -> list[int]:
    """Global ranks that write the files of a checkpoint, in the order of the shards."""
    return _layout().writers()


def get_last_stage_source() -> int:
    """Global rank of the tensor rank 0 of the last stage, among those that work on the same samples."""
    last = _layout().pipeline - 1
    for rank in get_model_parallel_ranks():
        position = _layout().position(rank)
        if position.pipeline == last and position.tensor == 0 and position.context == 0:
            return rank
    raise AssertionError("no rank has the last stage")


def get_tensor_model_parallel_world_size() -> int:
    """Number of tensor ranks."""
    return _layout().tensor


def get_pipeline_model_parallel_world_size() -> int:
    """Number of pipeline stages."""
    return _layout().pipeline


def get_expert_model_parallel_world_size() -> int:
    """Number of expert ranks."""
    return _layout().expert


def get_data_parallel_world_size() -> int:
    """Number of ranks that work on different samples."""
    return _layout().data


def get_tensor_model_parallel_rank() -> int:
    """Tensor rank of this rank."""
    return _position().tensor


def get_pipeline_model_parallel_rank() -> int:
    """Pipeline stage of this rank."""
    return _position().pipeline


def get_expert_model_parallel_rank() -> int:
    """Expert rank of this rank."""
    return _position().expert


def get_data_parallel_rank() -> int:
    """Data rank of this rank."""
    return _position().data


def is_pipeline_first_stage() -> bool:
    """Whether this rank has the first stage."""
    return _position().pipeline == 0


def is_pipeline_last_stage() -> bool:
    """Whether this rank has the last stage."""
    return _position().pipeline == _layout().pipeline - 1
