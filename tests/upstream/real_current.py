"""What the current stack's Megatron-LM and MindSpeed say of plans; see real_plans.py.

The real code runs up to the training's first iteration: parse_args and validate_args with MindSpeed's features, the calculator of micro
batches, the group set-up, the seeds, the model and the optimizer of rank 0, the schedule, the numbers of samples and the data set's
configuration. MindSpeed patches by the command line when it is imported; here it is imported once, for the first plan, and patched again
for others: plans that need the same patches are asked in a process of their own. Pretended are torch.distributed, the tokenizer, and that
--reuse-fp32-param is not given once it is validated: its operator is compiled with CANN.
"""
from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections import defaultdict
from types import SimpleNamespace
from typing import Any, Iterator

os.environ.update(CUDA_DEVICE_MAX_CONNECTIONS="1", LOCAL_RANK="0")
logging.disable()  # MindSpeed logs to the standard output

ASKED, sys.argv = sys.argv, sys.argv[:1]

import pretrain_gpt  # imports mindspeed.megatron_adaptor after torch, as the training does
import real_plans
import torch
from megatron.core import mpu
from megatron.core.enums import ModelType
from megatron.training import checkpointing, global_vars, initialize, training
from megatron.training.tokenizer.tokenizer import _vocab_size_with_padding
from mindspeed import args_utils
from mindspeed.features_manager.features_manager import MindSpeedFeaturesManager
from mindspeed.patch_utils import MindSpeedPatchesManager, get_func_name

sys.argv = ASKED


class Recorder:
    """In the place of MindSpeed's manager of patches: what would be patched."""

    def __init__(self) -> None:
        self.patches: list[str] = []

    def register_patch(self, name: str, function: Any = None, *_: Any, **__: Any) -> None:
        self.patches.append(f"{name} {get_func_name(function) if function is not None else ''}")

    def remove_wrappers(self, name: str, *_: Any, **__: Any) -> None:
        self.patches.append(f"{name} -")


def needed_patches(words: list[str]) -> str:
    """What MindSpeed patches for a command line; raises where it refuses to."""
    args_utils._MINDSPEED_ARGS = None
    sys.argv = ["pretrain_gpt.py", *words]
    args, recorder = args_utils.get_mindspeed_args(), Recorder()
    for feature in MindSpeedFeaturesManager.FEATURES_LIST:
        if feature.is_need_apply(args):
            feature.pre_register_patches(recorder, args)
    for feature in MindSpeedFeaturesManager.FEATURES_LIST:
        if feature.is_need_apply(args):
            feature.register_patches(recorder, args)
    return json.dumps(recorder.patches)


def patch(words: list[str]) -> None:
    """Patch for a command line, as mindspeed.megatron_adaptor does and undoes."""
    args_utils._MINDSPEED_ARGS = None
    sys.argv = ["pretrain_gpt.py", *words]
    args = args_utils.get_mindspeed_args()
    MindSpeedFeaturesManager.remove_patches()
    MindSpeedPatchesManager.patches_info.clear()
    MindSpeedFeaturesManager.apply_features_pre_patches(args)
    MindSpeedFeaturesManager.apply_features_patches(args)


def join(world: real_plans.World, rank: int) -> None:
    """Set up the groups, as one of the ranks."""
    world.rank = rank
    mpu.destroy_model_parallel()
    initialize._initialize_distributed(None, None)


def start(words: list[str], world: real_plans.World) -> Iterator[str]:
    """Do what pretrain() does before the first iteration; yield the name of each step before it is done."""
    yield "parse_args"
    sys.argv = ["pretrain_gpt.py", *words]
    global_vars.unset_global_variables()
    args_utils._MINDSPEED_ARGS = None
    args_utils.get_mindspeed_args()
    args = initialize.parse_args()
    yield "validate_args"
    if args.use_checkpoint_args and args.load is None:  # initialize.py:65-66
        raise real_plans.RefusedError("--use-checkpoint-args requires --load argument")
    if args.yaml_cfg is not None:
        raise real_plans.RefusedError("a yaml file holds another plan than the command line")
    asked = argparse.Namespace(**vars(args))
    initialize.validate_args(args, {"tokenizer_type": "GPT2BPETokenizer"})
    real_plans.compare(asked, args)
    yield "micro batches"
    global_vars.set_global_variables(args, build_tokenizer=False)
    global_vars._GLOBAL_TOKENIZER = SimpleNamespace(vocab_size=real_plans.VOCABULARY, eod=0)
    yield "groups"
    world.rank = args.rank = 0
    join(world, 0)
    initialize._set_random_seed(args.seed, args.data_parallel_random_init, args.te_rng_tracker, args.inference_rng_tracker,
                                use_cudagraphable_rng=args.enable_cuda_graph)
    if args.tp_comm_overlap:  # initialize.py:152-154
        initialize._initialize_tp_communicators()
    args.padded_vocab_size = _vocab_size_with_padding(world.vocabulary, args)
    yield "model and optimizer"
    args.load = args.pretrained_checkpoint = None
    args.reuse_fp32_param = False
    training.setup_model_and_optimizer(pretrain_gpt.model_provider, ModelType.encoder_or_decoder)
    yield "data"
    training.get_train_valid_test_num_samples()
    pretrain_gpt.core_gpt_dataset_config_from_args(args)


def folders(world: real_plans.World) -> list[list[Any]]:
    """File that each rank reads, whether it writes it (checkpointing.py:405), and the optimizer's beside it (ChainedOptimizer.save_parameter_state)."""
    found = []
    for rank in range(world.size):
        join(world, rank)
        first = mpu.get_expert_data_parallel_rank() == 0
        found.append([checkpointing.get_checkpoint_name("", real_plans.FOLDERS_OF_ITERATION), first,
                      mpu.get_data_parallel_rank(with_context_parallel=True) == 0 or (first and bool(global_vars.get_args().num_experts))])
    return found


def ask(questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of questions that need the same patches, in a process of their own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        with os.fdopen(reading) as pipe:
            found = json.loads(pipe.read() or "null")
        os.waitpid(child, 0)
        if found is None:
            raise RuntimeError(f"a process that was asked has died: {questions[0]['words']}")
        return list(found)
    try:
        world = real_plans.World()
        try:
            patch(questions[0]["words"])
            found = [real_plans.answer(question, world, start, folders, join, lambda: global_vars.get_args().train_iters) for question in questions]
        except (Exception, SystemExit) as error:
            found = [real_plans.refusal("patches", error)] * len(questions)
        with os.fdopen(writing, "w") as pipe:
            pipe.write(json.dumps(found))
    finally:
        os._exit(0)


def answers(questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each question, in their order."""
    found: dict[int, dict[str, Any]] = {}
    alike: dict[str, list[int]] = defaultdict(list)
    for number, question in enumerate(questions):
        try:
            alike[needed_patches(question["words"])].append(number)
        except ImportError as error:
            raise RuntimeError(f"not to be asked here, {error}: {question['words']}") from error
        except (Exception, SystemExit) as error:
            found[number] = real_plans.refusal("patches", error)
    for numbers in alike.values():
        found.update(zip(numbers, ask([questions[number] for number in numbers])))
    return [found[number] for number in range(len(questions))]


if __name__ == "__main__":
    torch.set_num_threads(1)
    real_plans.main(initialize.parse_args, answers)
