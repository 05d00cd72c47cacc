"""What a stack's pretrain_gpt.py gives to pretrain(): the model, a forward step, and which ranks read data."""
from __future__ import annotations

from functools import partial
from typing import Any

import torch
from megatron.core import forms, mpu
from megatron.core.models.gpt import GPTModel

from .global_vars import get_args
from .utils import print_rank_0


def model_provider(pre_process: bool = True, post_process: bool = True) -> GPTModel:
    """Build the model; every rank of the stand-in holds all of it."""
    args = get_args()
    print_rank_0("building GPT model ...")
    return GPTModel.from_args(args)


def loss_func(labels: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Sum of the tokens' losses; the trainer divides by the tokens of the whole global batch."""
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
    args = get_args()
    if args.check_for_nan_in_loss_and_grad and loss.isnan():
        forms.refuse_nan(args.rank, args.curr_iteration, forms.NAN_IN_LOSS)
    return loss


def forward_step(batch: dict[str, torch.Tensor], model: GPTModel) -> tuple[torch.Tensor, Any]:
    """Logits of a batch, and the function that turns them into a loss."""
    return model(batch["tokens"]), partial(loss_func, batch["labels"])


def is_dataset_built_on_rank() -> bool:
    """Whether this rank reads the data itself."""
    return (mpu.is_pipeline_first_stage() or mpu.is_pipeline_last_stage()) and mpu.get_tensor_model_parallel_rank() == 0
