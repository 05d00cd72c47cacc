"""What is compiled from helpers.cpp, under another name."""
from megatron.core.datasets.helpers_cpp import build_sample_idx

__all__ = ["build_sample_idx"]
