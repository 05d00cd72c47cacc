"""Batches of a data set, as the ranks of a model work on them."""
from __future__ import annotations

from typing import Any

from megatron.core import mpu

from .global_vars import get_args, get_num_microbatches


class Batches:
    """Batches of this rank's data-parallel share, read by two ranks and sent to those that work on them too."""

    def __init__(self, dataset: Any, consumed: int, wanted: bool) -> None:
        self.dataset, self.consumed, self.wanted = dataset, consumed, wanted

    def next_batch(self) -> dict[str, Any]:
        """``tokens`` and ``labels`` [sequences, length] of the next global batch: this rank's sequences only."""
        import torch

        args = get_args()
        micro, ranks, count = args.micro_batch_size, mpu.get_model_parallel_ranks(), get_num_microbatches()
        first = self.consumed + mpu.get_data_parallel_rank() * micro
        step = micro * mpu.get_data_parallel_world_size()
        indices = [first + turn * step + offset for turn in range(count) for offset in range(micro)]
        self.consumed += count * step
        samples = None if self.dataset is None else [self.dataset[index] for index in indices]
        batch = {}
        # The first stage needs the tokens, the last one the labels.
        for name, source in (("tokens", ranks[0]), ("labels", mpu.get_last_stage_source())):
            batch[name] = torch.zeros(len(indices), args.seq_length, dtype=torch.int64)
            if torch.distributed.get_rank() == source and samples is not None:
                for row, sample in enumerate(samples):
                    batch[name][row] = torch.from_numpy(sample[name].copy())
            if len(ranks) > 1:
                torch.distributed.broadcast(batch[name], source, group=mpu.get_model_parallel_group())
        place = ranks.index(torch.distributed.get_rank())
        return {name: rows[place::len(ranks)] for name, rows in batch.items()}
