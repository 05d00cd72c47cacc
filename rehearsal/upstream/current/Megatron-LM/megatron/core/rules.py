"""What this Megatron-LM makes of a plan, and refuses, that another one does not: core_v0.12.1.

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
    """Complete the sizes: too few ranks are refused."""
    if args.ckpt_format != "torch" and (args.save or args.load):
        raise NotImplementedError(f"--ckpt-format {args.ckpt_format}: the stand-in writes and loads torch only")
    for name in ("encoder_tensor_model_parallel_size", "encoder_pipeline_model_parallel_size"):
        if getattr(args, name):
            raise NotImplementedError(f"--{name.replace('_', '-')}: the stand-in has no encoder")
    tensor, pipeline, context = args.tensor_model_parallel_size, args.pipeline_model_parallel_size, args.context_parallel_size
    ranks = tensor * pipeline * context
    require(args.world_size % ranks == 0, f"world size ({args.world_size}) is not divisible by total_model_size "
                                          f"(encoder_model_size=0 + decoder_model_size={ranks})")
    args.transformer_pipeline_model_parallel_size = pipeline
    args.data_parallel_size = args.world_size // ranks
    if args.expert_tensor_parallel_size is None:
        args.expert_tensor_parallel_size = tensor
    if args.rank == 0:
        print(f"using world size: {args.world_size}, data-parallel size: {args.data_parallel_size}, context-parallel size: {context}, "
              f"tensor-model-parallel size: {tensor}, pipeline-model-parallel size: {pipeline}", flush=True)


def stages(args: Any) -> None:
    """Layers and stages, interleaved ones too."""
    if args.num_virtual_stages_per_pipeline_rank is not None:
        raise NotImplementedError("--num-virtual-stages-per-pipeline-rank: the stand-in knows --num-layers-per-virtual-pipeline-stage only")
    layers, pipeline = args.num_layers or args.encoder_num_layers, args.pipeline_model_parallel_size
    if args.num_layers_per_virtual_pipeline_stage is not None:
        if args.overlap_p2p_comm:
            require(pipeline > 1, "When interleaved schedule is used, pipeline-model-parallel size should be greater than 1")
        else:
            require(pipeline > 2, "When interleaved schedule is used and p2p communication overlap is disabled, "
                                  "pipeline-model-parallel size should be greater than 2 to avoid having multiple "
                                  "p2p sends and recvs between same 2 ranks per communication batch")
        require(layers % pipeline == 0, "number of layers of the model must be divisible pipeline model parallel size")
        require(layers // pipeline % args.num_layers_per_virtual_pipeline_stage == 0,
                "number of layers per pipeline stage must be divisible number of layers per virtual pipeline stage")
    require(layers is None or layers % pipeline == 0, "Number of layers should be divisible by the pipeline-model-parallel size")


def connections(args: Any) -> None:
    """CUDA_DEVICE_MAX_CONNECTIONS, and what grouped experts need."""
    if args.tensor_model_parallel_size > 1 or args.context_parallel_size > 1:
        require(os.environ.get("CUDA_DEVICE_MAX_CONNECTIONS") == "1",
                "Using tensor model parallelism or context parallelism require setting the environment variable "
                "CUDA_DEVICE_MAX_CONNECTIONS to 1")
    if args.moe_grouped_gemm:
        require(args.bf16, "Currently GroupedGEMM for MoE only supports bf16 dtype.")
    if args.num_experts is not None:
        require(args.spec is None, "Model Spec must be None when using MoEs")


def expert_groups(world_size: int, _tensor: int, pipeline: int, _context: int, expert: int, expert_tensor: int) -> None:
    """Experts and ranks."""
    ranks = expert_tensor * expert * pipeline
    if world_size % ranks != 0:
        raise RuntimeError(f"decoder world_size ({world_size}) is not divisible by "
                           f"expert_tensor_model_pipeline_parallel size ({ranks})")


def model(args: Any) -> None:
    """What is refused only while the model is built or first used."""
    if args.num_experts is not None and args.tensor_model_parallel_size > 1 and not args.sequence_parallel:
        raise ValueError("During training, performance may degrade if MoE and tensor parallelism"
                         "are enabled without also enabling sequence parallelism.")
