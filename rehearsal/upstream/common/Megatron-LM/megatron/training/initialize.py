"""Start of a rank: arguments, torch.distributed, its place among the ranks, and the C++ helper."""
from __future__ import annotations

import os
import random
import time
from datetime import timedelta
from typing import Any

import numpy
from megatron.core import mpu

from .arguments import check_model_args, parse_args, validate_args
from .global_vars import get_args, set_global_variables


def initialize_megatron(extra_args_provider: Any = None, args_defaults: dict[str, Any] | None = None,
                        ignore_unknown_args: bool = False) -> None:
    """Parse, validate, join the other ranks and compile the helper (on rank 0).

    Raises:
        AssertionError: without a GPU, or an NPU that the adaptor has made one of.
    """
    import torch

    if not torch.cuda.is_available():
        raise AssertionError("Megatron requires CUDA.")
    args = parse_args(extra_args_provider, ignore_unknown_args)
    validate_args(args, args_defaults or {})
    set_global_variables(args)
    _initialize_distributed()
    check_model_args(args)
    if args.rank == 0:
        print(f"> setting random seeds to {args.seed} ...")
    _set_random_seed(args.seed)
    _compile_dependencies()


def _initialize_distributed() -> None:
    import torch

    args = get_args()
    if args.rank == 0:
        print("> initializing torch distributed ...", flush=True)
    torch.cuda.set_device(args.rank % torch.cuda.device_count())
    # torch_npu's import maps nccl to what it has.
    torch.distributed.init_process_group(backend=args.distributed_backend, world_size=args.world_size, rank=args.rank,
                                         timeout=timedelta(minutes=args.distributed_timeout_minutes))
    mpu.initialize_model_parallel(args.tensor_model_parallel_size, args.pipeline_model_parallel_size,
                                  context_parallel_size=args.context_parallel_size,
                                  expert_model_parallel_size=args.expert_model_parallel_size,
                                  expert_tensor_parallel_size=args.expert_tensor_parallel_size)
    if args.rank == 0:
        print(f"> initialized tensor model parallel with size {mpu.get_tensor_model_parallel_world_size()}")
        print(f"> initialized pipeline model parallel with size {mpu.get_pipeline_model_parallel_world_size()}")


def _set_random_seed(seed: int | None) -> None:
    import torch

    if not seed or seed < 0:
        raise ValueError(f"Seed ({seed}) should be a positive integer.")
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)


def _compile_dependencies() -> None:
    import torch

    if int(os.getenv("RANK", "0")) == 0:
        start = time.time()
        print("> compiling dataset index builder ...")
        from megatron.core.datasets.utils import compile_helpers

        compile_helpers()
        print(f">>> done with dataset index builder. Compilation time: {time.time() - start:.3f} seconds", flush=True)
    torch.distributed.barrier()
