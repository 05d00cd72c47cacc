# ruff: noqa: I001, F401 (as upstream: who adds a line after `import torch` looks for it)
"""Pretrain GPT."""

import torch
from functools import partial
from contextlib import nullcontext
import inspect

from typing import Any, List
from megatron.training import get_args
from megatron.training import print_rank_0
from megatron.training import get_tokenizer
from megatron.core.enums import ModelType
from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
from megatron.core.datasets.gpt_dataset import GPTDatasetConfig
from megatron.core.datasets.gpt_dataset import GPTDataset
from megatron.training import pretrain
from megatron.training.steps import forward_step, is_dataset_built_on_rank, model_provider


def core_gpt_dataset_config_from_args(args: Any) -> GPTDatasetConfig:
    """What the dataset depends on."""
    return GPTDatasetConfig(
        random_seed=args.seed,
        sequence_length=args.seq_length,
        blend=args.data_path,
        split=args.split,
        path_to_cache=args.data_cache_path,
        mmap_bin_files=args.mmap_bin_files,
        tokenizer=get_tokenizer(),
    )


def train_valid_test_datasets_provider(train_val_test_num_samples: List[int]) -> Any:
    """Build the training, validation and test datasets."""
    args = get_args()
    config = core_gpt_dataset_config_from_args(args)
    print_rank_0("> building train, validation, and test datasets for GPT ...")
    train_ds, valid_ds, test_ds = BlendedMegatronDatasetBuilder(
        GPTDataset, train_val_test_num_samples, is_dataset_built_on_rank, config
    ).build()
    print_rank_0("> finished creating GPT datasets ...")
    return train_ds, valid_ds, test_ds


if __name__ == "__main__":

    # Temporary for transition to core datasets
    train_valid_test_datasets_provider.is_distributed = True

    pretrain(
        train_valid_test_datasets_provider,
        model_provider,
        ModelType.encoder_or_decoder,
        forward_step,
        args_defaults={'tokenizer_type': 'GPT2BPETokenizer'},
    )
