"""Asks the real Megatron-LM and AscendSpeed what they say of plans, without a process group.

Run in a Python that has torch, with the stand-ins and a checkout of each, patched as `ascendspeed -P` does, on PYTHONPATH. Without a
word, it answers lines of questions, ``{"words": [command line], "world_size": n, "folders": bool}``, by lines
``{"accepted": bool, "stage": …, "message": …, "iterations": n, "folders": [[checkpoint file, whether it is written] of every rank]}``. With the word
``options`` it lists the real parser's.

The real code runs up to the training's first iteration: parse_args and validate_args with AscendSpeed's decorators, the calculator of
micro batches, the group set-up, the seeds, the model and the optimizer of rank 0, the schedule, the numbers of samples and the data
set's configuration. Pretended are torch.distributed, where a group is its list of ranks, the tokenizer, apex's SGD, that an NPU has no
CUDA capability (torch_npu answers None), and that --reuse-fp32-param is not given once it is validated: its operator is compiled with CANN.
"""
from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import sys
import traceback
from types import SimpleNamespace
from typing import Any, Callable, Iterator

os.environ["CUDA_DEVICE_MAX_CONNECTIONS"] = "1"

import pretrain_gpt  # imports ascendspeed.megatron_adaptor after torch, as the training does
import torch
from megatron.core import mpu
from megatron.core.enums import ModelType
from megatron.training import checkpointing, global_vars, initialize, training
from megatron.training.tokenizer.tokenizer import _vocab_size_with_padding

VOCABULARY = 320
FOLDERS_OF_ITERATION = 20


class RefusedError(Exception):
    """The real code goes on, with another plan than was asked."""


class Group:
    """What stands for a process group."""

    def __init__(self, ranks: Any) -> None:
        self.ranks = list(ranks)

    def size(self) -> int:
        return len(self.ranks)


class World:
    """torch.distributed as one rank sees it, in a world that is not there."""

    def __init__(self) -> None:
        self.rank, self.size = 0, 1
        pretended: dict[str, Callable[..., Any]] = {
            "is_available": lambda: True,
            "is_initialized": lambda: True,
            "new_group": lambda ranks=None, **_: Group(range(self.size) if ranks is None else ranks),
            "get_world_size": lambda group=None: len(group.ranks) if group else self.size,
            "get_rank": lambda group=None: group.ranks.index(self.rank) if group else self.rank,
            "barrier": lambda *_, **__: None,
            "all_reduce": lambda *_, **__: None,
        }
        for name, function in pretended.items():
            setattr(torch.distributed, name, function)

    def join(self, rank: int) -> None:
        """Set up the groups, as one of the ranks."""
        self.rank = rank
        mpu.destroy_model_parallel()
        mpu._PIPELINE_MODEL_PARALLEL_SPLIT_RANK = None  # which the function above forgets
        initialize._initialize_distributed()


def compare(asked: argparse.Namespace, args: argparse.Namespace) -> None:
    """Raise RefusedError where validate_args has silently made other parallel sizes."""
    for name in ("tensor_model_parallel_size", "pipeline_model_parallel_size"):
        if getattr(asked, name) != getattr(args, name):
            raise RefusedError(f"{name} was made {getattr(args, name)}, asked {getattr(asked, name)}")


def start(words: list[str], world: World) -> Iterator[str]:
    """Do what pretrain() does before the first iteration; yield the name of each step before it is done."""
    yield "parse_args"
    sys.argv = ["pretrain_gpt.py", *words]
    args = initialize.parse_args()
    asked = argparse.Namespace(**vars(args))
    yield "validate_args"
    if args.use_checkpoint_args and args.load is None:  # initialize.py:47-49
        raise RefusedError("--use-checkpoints-args requires --load argument")
    initialize.validate_args(args, {"tokenizer_type": "GPT2BPETokenizer"})
    compare(asked, args)
    yield "micro batches"
    global_vars.set_args(args)
    global_vars._GLOBAL_NUM_MICROBATCHES_CALCULATOR = None
    global_vars._build_num_microbatches_calculator(args)
    yield "groups"
    world.join(0)
    initialize._set_random_seed(args.seed, args.data_parallel_random_init)
    if args.tp_comm_overlap:  # initialize.py:96-97
        initialize._initialize_tp_communicators()
    yield "model and optimizer"
    args.padded_vocab_size = _vocab_size_with_padding(VOCABULARY, args)
    args.load = None
    args.reuse_fp32_param = False
    global_vars._GLOBAL_TIMERS = None
    global_vars._set_timers(args)
    training.setup_model_and_optimizer(pretrain_gpt.model_provider, ModelType.encoder_or_decoder)
    yield "data"
    training.get_train_valid_test_num_samples()
    pretrain_gpt.core_gpt_dataset_config_from_args(args)


def folders(world: World) -> list[list[Any]]:
    """File that each rank reads, and whether it writes it (checkpointing.py:287-288)."""
    found = []
    for rank in range(world.size):
        world.join(rank)
        found.append([checkpointing.get_checkpoint_name("", FOLDERS_OF_ITERATION), mpu.get_data_modulo_expert_parallel_rank() == 0])
    return found


def answer(question: dict[str, Any], world: World) -> dict[str, Any]:
    """Whether the real code starts with these words, or where and why not."""
    world.size = question["world_size"]
    os.environ.update(RANK="0", WORLD_SIZE=str(world.size))
    stage, said = "", io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            for name in start(question["words"], world):
                stage = name
            return {"accepted": True, "iterations": global_vars.get_args().train_iters, "folders": folders(world) if question.get("folders") else []}
    except (Exception, SystemExit) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return {"accepted": False, "stage": stage, "message": f"{type(error).__name__}: {error} {said.getvalue()[-200:]} "
                f"({frame.filename}:{frame.lineno})"}


def real_options() -> dict[str, Any]:
    """Option to the kind of its value, of the real parser."""
    found: dict[str, Any] = {}

    def look(parser: argparse.ArgumentParser) -> argparse.Namespace:
        for action in parser._actions:
            flag = action.nargs == 0
            kind = action.type.__name__ if isinstance(action.type, type) else "str"
            for option in action.option_strings:
                found[option.lstrip("-")] = "flag" if flag else [str(choice) for choice in action.choices] if action.choices else (
                    "words" if action.nargs in ("*", "+") else kind)
        return argparse.Namespace(yaml_cfg=None)

    argparse.ArgumentParser.parse_args = look  # type: ignore[assignment, method-assign]
    initialize.parse_args()
    return found


def main() -> None:
    """Answer until there are no more questions."""
    logging.disable()
    if sys.argv[1:] == ["options"]:
        print(json.dumps(real_options()))
        return
    # Megatron calls exit(), which closes sys.stdin.
    questions, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    world = World()
    pretrain_gpt.megatron.core.optimizer.SGD = torch.optim.SGD
    torch.cuda.get_device_capability = lambda device=None: None
    global_vars._GLOBAL_TOKENIZER = SimpleNamespace(vocab_size=VOCABULARY)
    for line in questions:
        print(json.dumps(answer(json.loads(line), world)), file=answers, flush=True)


if __name__ == "__main__":
    main()
