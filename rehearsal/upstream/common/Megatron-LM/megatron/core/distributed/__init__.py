"""Data parallelism."""
from megatron.core.distributed.distributed_data_parallel import DistributedDataParallel

__all__ = ["DistributedDataParallel"]
