"""What this Megatron-LM makes of a plan, and refuses, that another one does not: April 2024.

Each function raises AssertionError, ValueError or RuntimeError, as upstream does there.
"""
from __future__ import annotations

import os
from typing import Any


def require(condition: Any, message: str = "") -> None:
    """Assert, also under -O."""
    if not condition:
        raise AssertionError(message)


def parallel_sizes(args: Any) -> None:
    """Complete the sizes: with too few ranks they are lowered without a word."""
    args.tensor_model_parallel_size = min(args.tensor_model_parallel_size, args.world_size)
    tensor = args.tensor_model_parallel_size
    require(args.world_size % tensor == 0,
            f"world size ({args.world_size}) is not divisible by tensor model parallel size ({tensor})")
    args.pipeline_model_parallel_size = min(args.pipeline_model_parallel_size, args.world_size // tensor)
    pipeline, context = args.pipeline_model_parallel_size, args.context_parallel_size
    args.transformer_pipeline_model_parallel_size = pipeline - 1 if args.standalone_embedding_stage else pipeline
    require(args.world_size % (tensor * pipeline * context) == 0,
            f"world size ({args.world_size}) is not divisible by tensor parallel size ({tensor}) times "
            f"pipeline parallel size ({pipeline}) times context parallel size ({context})")
    args.data_parallel_size = args.world_size // (tensor * pipeline * context)
    args.expert_tensor_parallel_size = tensor
    if args.rank == 0:
        print(f"using world size: {args.world_size}, data-parallel size: {args.data_parallel_size}, "
              f"context-parallel size: {context} tensor-model-parallel size: {tensor}, "
              f"pipeline-model-parallel size: {pipeline} ", flush=True)


def stages(args: Any) -> None:
    """Interleaved stages."""
    if args.num_layers_per_virtual_pipeline_stage is not None:
        require(args.pipeline_model_parallel_size > 2,
                "pipeline-model-parallel size should be greater than 2 with interleaved schedule")
        require(args.num_layers % args.transformer_pipeline_model_parallel_size == 0,
                "number of layers should be divisible by the pipeline parallel size")
        stage = args.num_layers // args.transformer_pipeline_model_parallel_size
        require(stage % args.num_layers_per_virtual_pipeline_stage == 0,
                "number of layers per pipeline stage must be divisible number of layers per virtual pipeline stage")


def connections(args: Any) -> None:
    """CUDA_DEVICE_MAX_CONNECTIONS, and sequence parallelism with experts."""
    if args.sequence_parallel:
        args.async_tensor_model_parallel_allreduce = False
    if os.environ.get("CUDA_DEVICE_MAX_CONNECTIONS") != "1":
        if args.sequence_parallel:
            raise RuntimeError("Using sequence parallelism requires setting the environment variable "
                               "CUDA_DEVICE_MAX_CONNECTIONS to 1")
        if args.async_tensor_model_parallel_allreduce:
            raise RuntimeError("Using async gradient all reduce requires setting the environment variable "
                               "CUDA_DEVICE_MAX_CONNECTIONS to 1")
    if args.num_experts is not None and args.tensor_model_parallel_size > 1:
        require(args.sequence_parallel,
                "When using MoE and tensor parallelism, sequence parallelism must be used.")


def expert_groups(world_size: int, tensor: int, pipeline: int, context: int, expert: int, _expert_tensor: int) -> None:
    """Experts and ranks."""
    data = world_size // (tensor * pipeline * context)
    if data % expert != 0:
        raise RuntimeError(f"data_parallel_size ({data}) is not divisible by expert_model_parallel_size ({expert})")
    if expert > 1 and context > 1:
        raise RuntimeError("combination of expert model parallelism and context parallelism is not supported")


def model(args: Any) -> None:
    """What is refused only while the model is built."""
    require(args.num_layers % args.transformer_pipeline_model_parallel_size == 0,
            "num_layers must be divisible by transformer_pipeline_model_parallel_size")
    # AscendSpeed's gate; Megatron's own takes any number of experts for a token.
    if getattr(args, "moe_model_type", None) == "mixtral_moe" and args.moe_router_topk not in (1, 2):
        raise ValueError("Only top-1 and top-2 gatings are supported.")
