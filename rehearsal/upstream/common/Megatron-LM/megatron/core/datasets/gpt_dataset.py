"""Samples of a fixed length from a stream of documents, by an index that is cached on disk."""
from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy
from megatron.core import forms
from megatron.core.datasets.blended_megatron_dataset_config import BlendedMegatronDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDataset
from megatron.core.datasets.utils import Split, log_single_rank

logger = logging.getLogger(__name__)

# A last epoch of which less than this share is needed is shuffled apart, so that its rest is not drawn early.
SEPARATE_BELOW = 0.80


@dataclass
class GPTDatasetConfig(BlendedMegatronDatasetConfig):
    """Settings of a GPT dataset."""

    vocab_size: int = sys.maxsize

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        super().__post_init__()
        if self.tokenizer is None:
            raise AssertionError("a tokenizer is needed")


class GPTDataset:
    """Samples of ``sequence_length`` tokens with the next tokens as labels.

    Raises:
        FileNotFoundError: on ranks above 0, when the index cache is not on this node.
    """

    def __init__(self, dataset: IndexedDataset, dataset_path: str, indices: numpy.ndarray, num_samples: int,
                 index_split: Split, config: GPTDatasetConfig) -> None:
        self.dataset, self.indices, self.num_samples, self.config = dataset, indices, num_samples, config
        self.index_split = index_split
        identifiers: OrderedDict[str, object] = OrderedDict()
        identifiers["class"] = type(self).__name__
        identifiers["dataset_path"] = dataset_path
        identifiers["num_samples"] = num_samples
        identifiers["index_split"] = index_split.name
        for name in ("random_seed", "sequence_length", "split", "split_matrix", "tokenizer"):
            identifiers[name] = getattr(config, name)
        self.unique_description = json.dumps(identifiers, indent=4, default=lambda item: item.unique_identifiers)
        self.unique_description_hash = hashlib.md5(self.unique_description.encode()).hexdigest()  # noqa: S324
        self.document_index, self.sample_index, self.shuffle_index = self._indices()

    def __len__(self) -> int:
        return len(self.sample_index) - 1

    def __getitem__(self, idx: int) -> dict[str, numpy.ndarray]:
        """``tokens`` and ``labels``, int64, each of the sequence length."""
        sample = self.shuffle_index[idx]
        first, first_offset = (int(number) for number in self.sample_index[sample])
        last, last_offset = (int(number) for number in self.sample_index[sample + 1])
        parts = []
        for document in range(first, last + 1):
            offset = first_offset if document == first else 0
            length = last_offset + 1 - offset if document == last else None
            parts.append(self.dataset.get(self.document_index[document], offset, length))
        text = numpy.concatenate(parts).astype(numpy.int64)
        if (text[:-1] >= self.config.vocab_size).any():
            raise AssertionError("An input token is out of bounds of the tokenizer vocabulary")
        return {"tokens": text[:-1], "labels": text[1:]}

    def _cache(self) -> Path:
        if self.config.path_to_cache is not None:
            return Path(self.config.path_to_cache)
        return Path(self.dataset.path_prefix) / "cache" / f"{type(self).__name__}_indices"

    def _indices(self) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
        import torch

        stem = forms.index_stem(self.unique_description_hash, type(self).__name__, self.index_split.name)
        description = self._cache() / f"{stem}description.txt"
        paths = [self._cache() / f"{stem}{kind}_index.npy" for kind in ("document", "sample", "shuffle")]
        complete = all(path.is_file() for path in [description, *paths])
        writer = not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
        if not complete and writer:
            log_single_rank(logger, logging.INFO,
                            f"Build and save the {type(self).__name__} {self.index_split.name} indices")
            self._cache().mkdir(parents=True, exist_ok=True)
            description.write_text(self.unique_description)
            for path, index in zip(paths, self._build()):
                numpy.save(path, index, allow_pickle=True)
        log_single_rank(logger, logging.INFO, f"Load the {type(self).__name__} {self.index_split.name} indices")
        document, sample, shuffle = (numpy.load(path, allow_pickle=True, mmap_mode="r") for path in paths)
        log_single_rank(logger, logging.INFO, f"> total number of samples: {len(sample) - 1}")
        return document, sample, shuffle

    def _build(self) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
        from megatron.core.datasets import helpers

        length = self.config.sequence_length
        per_epoch = int(self.dataset.sequence_lengths[self.indices].sum(dtype=numpy.int64))
        if per_epoch == 0:
            raise AssertionError(f"no tokens in the {self.index_split.name} split of {self.dataset.path_prefix}")
        epochs = -(-(self.num_samples * length + 1) // per_epoch)
        random = numpy.random.RandomState(self.config.random_seed)
        before_last = ((epochs - 1) * per_epoch - 1) // length if epochs > 1 else 0
        apart = epochs > 1 and self.num_samples - before_last < int(SEPARATE_BELOW * ((per_epoch - 1) // length))
        parts = []
        for count in [epochs - 1, 1] if apart else [epochs]:
            part = numpy.tile(self.indices, count)
            random.shuffle(part)
            parts.append(part)
        document = numpy.concatenate(parts).astype(numpy.int32)
        sample = helpers.build_sample_idx(self.dataset.sequence_lengths, document, length, epochs, per_epoch)
        total = len(sample) - 1
        bounds = [0, before_last, total] if apart else [0, total]
        orders = []
        for begin, end in zip(bounds[:-1], bounds[1:]):
            order = numpy.arange(begin, end, dtype=numpy.uint32)
            random.shuffle(order)
            orders.append(order)
        return document, sample, numpy.concatenate(orders)
