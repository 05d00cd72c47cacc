"""Checkpoints: one file for each (tensor, pipeline, expert) rank, and a tracker file that names the newest.

A file holds this rank's slice of the flat parameters and of Adam's moments; loading puts the slices together.
"""
from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from megatron.core import forms, mpu

from . import faults
from .global_vars import get_args
from .utils import print_rank_0


def get_checkpoint_name(checkpoints_path: str, iteration: int, release: bool = False,
                        pipeline_parallel: bool | None = None, tensor_rank: int | None = None,
                        pipeline_rank: int | None = None, expert_parallel: bool | None = None,
                        expert_rank: int | None = None) -> str:
    """Path of a rank's file; what is not given is this rank's own."""
    if pipeline_parallel is None:
        pipeline_parallel = mpu.get_pipeline_model_parallel_world_size() > 1
    if tensor_rank is None:
        tensor_rank = mpu.get_tensor_model_parallel_rank()
    if pipeline_rank is None:
        pipeline_rank = mpu.get_pipeline_model_parallel_rank()
    if expert_parallel is None:
        expert_parallel = mpu.get_expert_model_parallel_world_size() > 1
    if expert_rank is None:
        expert_rank = mpu.get_expert_model_parallel_rank()
    folder = f"mp_rank_{tensor_rank:02d}"
    if pipeline_parallel:
        folder += f"_{pipeline_rank:03d}"
    if expert_parallel:
        folder += f"_{expert_rank:03d}"
    directory = "release" if release else f"iter_{iteration:07d}"
    return str(Path(checkpoints_path) / directory / folder / "model_optim_rng.pt")


def get_checkpoint_tracker_filename(checkpoints_path: str) -> str:
    """Path of the tracker file."""
    return str(Path(checkpoints_path) / "latest_checkpointed_iteration.txt")


def shard_bounds(size: int, shard: int, shards: int) -> tuple[int, int]:
    """Begin and end of one of the slices of ``size`` numbers."""
    return size * shard // shards, size * (shard + 1) // shards


def own_bounds(size: int) -> tuple[int, int] | None:
    """Begin and end of the slice that this rank writes; None where it writes none."""
    import torch

    writers, rank = mpu.get_writers(), torch.distributed.get_rank()
    return shard_bounds(size, writers.index(rank), len(writers)) if rank in writers else None


def _own_place() -> str:
    return forms.place((mpu.get_tensor_model_parallel_rank(), mpu.get_tensor_model_parallel_world_size()),
                       (mpu.get_pipeline_model_parallel_rank(), mpu.get_pipeline_model_parallel_world_size()))


def read_metadata(tracker_filename: str) -> tuple[int, bool]:
    """Iteration in the tracker file (the highest of all ranks), and whether it is a release checkpoint."""
    import torch

    text = Path(tracker_filename).read_text().strip()
    release = text == "release"
    if not release and not text.isdigit():
        print_rank_0(f"ERROR: Invalid metadata file {tracker_filename}. Exiting")
        sys.exit()
    iteration = 0 if release else int(text)
    if not release and iteration <= 0:
        raise AssertionError(f"error parsing metadata file {tracker_filename}")
    highest = torch.tensor([iteration])
    torch.distributed.all_reduce(highest, op=torch.distributed.ReduceOp.MAX)
    if iteration != int(highest):
        print(f"WARNING: on rank {torch.distributed.get_rank()} found iteration {iteration} in the metadata while max "
              f"iteration across the ranks is {int(highest)}, replacing it with max iteration.", flush=True)
    return int(highest), release


def save_checkpoint(iteration: int, model: Any, optimizer: Any, opt_param_scheduler: Any) -> None:
    """Write this rank's file where it is the writer of its slice, then the tracker file on rank 0."""
    import torch

    args = get_args()
    print_rank_0(f"saving checkpoint at iteration {iteration:7d} to {args.save} in torch format")
    faults.before_save(iteration, get_checkpoint_name(args.save, iteration))
    size = model.param_buffer.numel()
    bounds = own_bounds(size)
    if bounds is not None:
        begin, end = bounds
        plain = (type(None), bool, int, float, str, list)
        state: dict[str, Any] = {
            "args": {key: value for key, value in vars(args).items() if isinstance(value, plain)},
            "checkpoint_version": 3.0,
            "iteration": iteration,
            "model": {"size": size, "begin": begin, "shard": model.param_buffer.data[begin:end].clone()},
        }
        if not args.no_save_optim:
            whole = optimizer.state_dict()
            whole = whole[0] if isinstance(whole, list) else whole
            moments = whole["state"][0]
            state["optimizer"] = {"step": float(moments["step"]),
                                  "exp_avg": moments["exp_avg"][begin:end].clone(),
                                  "exp_avg_sq": moments["exp_avg_sq"][begin:end].clone(),
                                  "param_groups": whole["param_groups"]}
            state["opt_param_scheduler"] = opt_param_scheduler.state_dict()
        if not args.no_save_rng:
            state["rng_state"] = torch.get_rng_state()
        name = Path(get_checkpoint_name(args.save, iteration))
        name.parent.mkdir(parents=True, exist_ok=True)
        time.sleep(faults.save_seconds())
        torch.save(state, name)
    torch.distributed.barrier()
    last = [lambda: print_rank_0(forms.saved(iteration, args.save, _own_place())), lambda: _write_tracker(args.save, iteration)]
    for step in reversed(last) if forms.TRACKER_BEFORE_WORD else last:
        step()
    torch.distributed.barrier()


def _write_tracker(folder: str, iteration: int) -> None:
    import torch

    if torch.distributed.get_rank() == 0:
        Path(get_checkpoint_tracker_filename(folder)).write_text(str(iteration))


def _check_args(saved: dict[str, Any]) -> None:
    args = get_args()
    for name in ("num_layers", "hidden_size", "num_attention_heads", "add_position_embedding",
                 "tensor_model_parallel_size", "pipeline_model_parallel_size"):
        if saved[name] != getattr(args, name):
            raise AssertionError(f"{name} value from checkpoint ({saved[name]}) is not equal to the input argument "
                                 f"value ({getattr(args, name)}).")


def _whole(shard: Any, begin: int, size: int) -> Any:
    """Put the slices of all writers together, on every rank."""
    import torch

    flat = torch.zeros(size)
    if torch.distributed.get_rank() in mpu.get_writers():
        flat[begin:begin + shard.numel()] = shard
    torch.distributed.all_reduce(flat)
    return flat


def load_checkpoint(model: Any, optimizer: Any, opt_param_scheduler: Any) -> int:
    """Load the newest checkpoint of ``--load`` and return its iteration; 0 where there is none.

    As upstream it takes the parts of the model as a list; the stand-in's is in one part.
    A file that is missing or unreadable ends this rank with exit status 0, as upstream.
    """
    import torch

    args = get_args()
    tracker = get_checkpoint_tracker_filename(args.load)
    if not Path(tracker).is_file():
        print_rank_0(f"WARNING: could not find the metadata file {tracker} ")
        print_rank_0("    will not load any checkpoints and will start from random")
        forms.no_tracker(args)
        return 0
    iteration, release = read_metadata(tracker)
    print_rank_0(f" loading {'release ' if release else ''}checkpoint from {args.load}"
                 + ("" if release else f" at iteration {iteration}"))
    name = get_checkpoint_name(args.load, iteration, release)
    try:
        state = torch.load(name, map_location="cpu")
    except BaseException as error:
        say = print if forms.EVERY_RANK_SAYS_WHY else print_rank_0
        say("could not load the checkpoint")
        say(error)
        sys.exit()
    if args.finetune or release:
        iteration = 0
    else:
        iteration = state["iteration"]
        _check_args(state["args"])
        args.consumed_train_samples = state["args"]["consumed_train_samples"]
        args.consumed_valid_samples = state["args"]["consumed_valid_samples"]
    (model,) = model
    part = state["model"]
    if part["size"] != model.param_buffer.numel():
        raise RuntimeError(f"the checkpoint has {part['size']} parameters, the model {model.param_buffer.numel()}")
    model.param_buffer.data.copy_(_whole(part["shard"], part["begin"], part["size"]))
    print_rank_0(f" checkpoint version {state['checkpoint_version']}")
    fresh = release or args.finetune
    if not fresh and not args.no_load_optim:
        if "optimizer" not in state:
            forms.no_optimizer(f"Unable to load optimizer from checkpoint {name}. Specify --no-load-optim or --finetune to "
                               "prevent attempting to load the optimizer state, exiting ...", print_rank_0)
        _load_optimizer(optimizer, state["optimizer"], part)
        opt_param_scheduler.load_state_dict(state["opt_param_scheduler"])
    if not fresh and not args.no_load_rng:
        if "rng_state" not in state:
            print_rank_0(f"Unable to load rng state from checkpoint {name}. Specify --no-load-rng or --finetune to "
                         "prevent attempting to load the rng state, exiting ...")
            sys.exit()
        torch.set_rng_state(state["rng_state"])
    torch.distributed.barrier()
    print_rank_0(f"  successfully loaded checkpoint from {args.load} {_own_place()} at iteration {iteration}")
    return int(iteration)


def _load_optimizer(optimizer: Any, saved: dict[str, Any], part: dict[str, Any]) -> None:
    """Give Adam its step, moments and groups back."""
    import torch

    whole = {"param_groups": saved["param_groups"],
             "state": {0: {"step": torch.tensor(saved["step"]),
                           "exp_avg": _whole(saved["exp_avg"], part["begin"], part["size"]),
                           "exp_avg_sq": _whole(saved["exp_avg_sq"], part["begin"], part["size"])}}}
    optimizer.load_state_dict([whole] if hasattr(optimizer, "chained_optimizers") else whole)
