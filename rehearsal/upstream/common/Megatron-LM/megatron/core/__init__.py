"""Core of the stand-in trainer."""
from megatron.core import parallel_state

mpu = parallel_state

__all__ = ["mpu", "parallel_state"]
