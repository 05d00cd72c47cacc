"""Builds the splits: on global rank 0 first, then on the others that need them."""
from __future__ import annotations

from typing import Any, Callable

import numpy
from megatron.core.datasets.blended_megatron_dataset_config import BlendedMegatronDatasetConfig
from megatron.core.datasets.gpt_dataset import GPTDataset
from megatron.core.datasets.indexed_dataset import IndexedDataset
from megatron.core.datasets.utils import Split


class BlendedMegatronDatasetBuilder:
    """Builder of the three splits of one data prefix; call build() on all ranks."""

    def __init__(self, cls: type[GPTDataset], sizes: list[int], is_built_on_rank: Callable[[], bool],
                 config: BlendedMegatronDatasetConfig) -> None:
        self.cls, self.sizes, self.is_built_on_rank, self.config = cls, sizes, is_built_on_rank, config

    def build(self) -> list[GPTDataset | None]:
        """Training, validation and test data; None where a split is empty or this rank reads none."""
        prefix = (self.config.blend or [""])[0]
        tokens = IndexedDataset(prefix, mmap=self.config.mmap_bin_files)
        built: list[GPTDataset | None] = []
        for split in Split:
            share = self.config.split_matrix[split.value]
            if share is None:
                built.append(None)
                continue
            begin, end = (round(bound * float(len(tokens))) for bound in share)
            indices = numpy.arange(begin, end, dtype=numpy.int32)
            built.append(self._build_one(tokens, prefix, indices, self.sizes[split.value], split, self.config))
        return built

    def _build_one(self, *arguments: Any) -> GPTDataset | None:
        import torch

        if not torch.distributed.is_initialized():
            return self.cls(*arguments)
        dataset = None
        rank = torch.distributed.get_rank()
        if rank == 0 and self.is_built_on_rank():
            try:
                dataset = self.cls(*arguments)
            except OSError as error:
                raise Exception("Failed to write dataset materials to the data cache directory. Please supply a "
                                "directory to which you have write access via --data-cache-path.") from error
        torch.distributed.barrier()
        if rank != 0 and self.is_built_on_rank():
            dataset = self.cls(*arguments)
        return dataset
