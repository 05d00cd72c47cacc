"""What the recipe's Megatron-LM and AscendSpeed say of plans; see real_plans.py.

The real code runs up to the training's first iteration: parse_args and validate_args with AscendSpeed's decorators, the calculator of
micro batches, the group set-up, the seeds, the model and the optimizer of rank 0, the schedule, the numbers of samples and the data
set's configuration. Pretended are torch.distributed, the tokenizer, apex's SGD, that an NPU has no CUDA capability (torch_npu answers
None), and that --reuse-fp32-param is not given once it is validated: its operator is compiled with CANN.
"""
from __future__ import annotations

import argparse
import os
import sys
from types import SimpleNamespace
from typing import Any, Iterator

os.environ["CUDA_DEVICE_MAX_CONNECTIONS"] = "1"

import pretrain_gpt  # imports ascendspeed.megatron_adaptor after torch, as the training does
import real_plans
import torch
from megatron.core import mpu
from megatron.core.enums import ModelType
from megatron.training import checkpointing, global_vars, initialize, training
from megatron.training.tokenizer.tokenizer import _vocab_size_with_padding


def join(world: real_plans.World, rank: int) -> None:
    """Set up the groups, as one of the ranks."""
    world.rank = rank
    mpu.destroy_model_parallel()
    mpu._PIPELINE_MODEL_PARALLEL_SPLIT_RANK = None  # which the function above forgets
    initialize._initialize_distributed()


def start(words: list[str], world: real_plans.World) -> Iterator[str]:
    """Do what pretrain() does before the first iteration; yield the name of each step before it is done."""
    yield "parse_args"
    sys.argv = ["pretrain_gpt.py", *words]
    args = initialize.parse_args()
    asked = argparse.Namespace(**vars(args))
    yield "validate_args"
    if args.use_checkpoint_args and args.load is None:  # initialize.py:47-49
        raise real_plans.RefusedError("--use-checkpoints-args requires --load argument")
    initialize.validate_args(args, {"tokenizer_type": "GPT2BPETokenizer"})
    real_plans.compare(asked, args)
    yield "micro batches"
    global_vars.set_args(args)
    global_vars._GLOBAL_NUM_MICROBATCHES_CALCULATOR = None
    global_vars._build_num_microbatches_calculator(args)
    yield "groups"
    join(world, 0)
    initialize._set_random_seed(args.seed, args.data_parallel_random_init)
    if args.tp_comm_overlap:  # initialize.py:96-97
        initialize._initialize_tp_communicators()
    args.padded_vocab_size = _vocab_size_with_padding(world.vocabulary, args)
    yield "model and optimizer"
    args.load = None
    args.reuse_fp32_param = False
    global_vars._GLOBAL_TIMERS = None
    global_vars._set_timers(args)
    training.setup_model_and_optimizer(pretrain_gpt.model_provider, ModelType.encoder_or_decoder)
    if args.standalone_embedding_stage:  # whose layers are numbered wrongly on the last one
        yield "model of the last stage"
        join(world, world.size - 1)
        training.setup_model_and_optimizer(pretrain_gpt.model_provider, ModelType.encoder_or_decoder)
        join(world, 0)
    yield "data"
    training.get_train_valid_test_num_samples()
    pretrain_gpt.core_gpt_dataset_config_from_args(args)


def folders(world: real_plans.World) -> list[list[Any]]:
    """File that each rank reads, whether it writes it (checkpointing.py:287-288), and the optimizer's beside it (ChainedOptimizer.save_parameter_state)."""
    found = []
    for rank in range(world.size):
        join(world, rank)
        first = mpu.get_data_modulo_expert_parallel_rank() == 0
        found.append([checkpointing.get_checkpoint_name("", real_plans.FOLDERS_OF_ITERATION), first,
                      mpu.get_data_parallel_rank(with_context_parallel=True) == 0 or (first and bool(global_vars.get_args().num_experts))])
    return found


def answers(questions: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Of each question in turn."""
    world = real_plans.World()
    pretrain_gpt.megatron.core.optimizer.SGD = torch.optim.SGD
    torch.cuda.get_device_capability = lambda device=None: None
    global_vars._GLOBAL_TOKENIZER = SimpleNamespace(vocab_size=real_plans.VOCABULARY)
    for question in questions:
        yield real_plans.answer(question, world, start, folders, join, lambda: global_vars.get_args().train_iters)


if __name__ == "__main__":
    real_plans.main(initialize.parse_args, answers)
