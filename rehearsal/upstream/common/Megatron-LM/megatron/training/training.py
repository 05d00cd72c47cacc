"""Pretraining: set up, train, log and save."""
from __future__ import annotations

import logging
import math
import sys
import time
from datetime import datetime
from typing import Any, Callable

from megatron.core import forms, mpu

from . import faults
from .batches import Batches
from .checkpointing import load_checkpoint, save_checkpoint
from .global_vars import get_args, signal_received
from .initialize import initialize_megatron
from .optimizer_param_scheduler import OptimizerParamScheduler
from .utils import print_rank_0, print_rank_last

faults.at_import()
logging.basicConfig(format="%(levelname)s:%(name)s:%(message)s", level=logging.INFO)

# The earliest that the start can be measured.
_TRAIN_START_TIME = time.time()

# Sequences in one pass; a rank's share of a global batch may be larger.
_SEQUENCES_IN_ONE_PASS = 8


def print_datetime(string: str) -> None:
    """Print the time on rank 0, once all ranks are here."""
    import torch

    torch.distributed.barrier()
    print_rank_0(f"[{string}] datetime: {datetime.now().strftime('%Y-%m-%d %H:%M:%S')} ")


def _print_times(name: str, seconds: float) -> None:
    """Print the shortest and the longest time of all ranks, on the last one."""
    import torch

    low, high = torch.tensor([seconds]), torch.tensor([seconds])
    torch.distributed.all_reduce(low, op=torch.distributed.ReduceOp.MIN)
    torch.distributed.all_reduce(high, op=torch.distributed.ReduceOp.MAX)
    print_rank_last("(min, max) time across ranks (ms):\n"
                    f"    {(name + ' ').ljust(48, '.')}: ({float(low) * 1000:.2f}, {float(high) * 1000:.2f})")


def pretrain(train_valid_test_dataset_provider: Any, model_provider: Callable[..., Any], model_type: Any,
             forward_step_func: Callable[..., Any], process_non_loss_data_func: Any = None,
             extra_args_provider: Any = None, args_defaults: dict[str, Any] | None = None) -> None:
    """Train from the command line's arguments."""
    initialize_megatron(extra_args_provider=extra_args_provider, args_defaults=args_defaults)
    args = get_args()
    print_rank_0(f"time to initialize megatron (seconds): {time.time() - _TRAIN_START_TIME:.3f}")
    print_datetime("after megatron is initialized")
    model, optimizer, scheduler = setup_model_and_optimizer(model_provider)
    print_datetime("after model, optimizer, and learning rate scheduler are built")
    train_data, valid_data, _ = build_train_valid_test_data(train_valid_test_dataset_provider)
    print_datetime("after dataloaders are built")
    print_rank_0("done with setup ...")
    iteration = args.iteration
    if args.skip_train:
        print_rank_0("skipping training (--skip-train is on) ...")
    else:
        print_rank_0("training ...")
        iteration = train(forward_step_func, model, optimizer, scheduler, train_data, valid_data)
        print_datetime("after training is done")
        if args.save and iteration != 0 and iteration % args.save_interval != 0:
            save_checkpoint(iteration, model, optimizer, scheduler)
    if valid_data.wanted and args.eval_iters > 0:
        evaluate_and_print_results(f"iteration {iteration} on validation set", forward_step_func, valid_data, model)


def setup_model_and_optimizer(model_provider: Callable[..., Any]) -> tuple[Any, Any, OptimizerParamScheduler]:
    """The model behind flat buffers, Adam on them, and the learning rate's schedule; loaded where asked."""
    import torch
    from megatron.core.distributed import DistributedDataParallel
    from megatron.core.optimizer import get_megatron_optimizer

    args = get_args()
    model = DistributedDataParallel(model_provider())
    if mpu.get_data_parallel_rank() == 0:
        shards = (mpu.get_tensor_model_parallel_world_size() * mpu.get_pipeline_model_parallel_world_size()
                  * mpu.get_expert_model_parallel_world_size())
        print(f" > number of parameters on (tensor, pipeline) model parallel rank "
              f"({mpu.get_tensor_model_parallel_rank()}, {mpu.get_pipeline_model_parallel_rank()}): "
              f"{model.param_buffer.numel() // shards}", flush=True)
    optimizer = get_megatron_optimizer(args, model)
    if args.train_samples:
        args.train_iters = args.train_samples // args.global_batch_size
    scheduler = OptimizerParamScheduler(optimizer, args)
    print_rank_0(f"> learning rate decay style: {args.lr_decay_style}")
    args.iteration = 0
    if args.load is not None:
        start = time.time()
        args.iteration = load_checkpoint([model], optimizer, scheduler)
        seconds = time.time() - start
        torch.distributed.barrier()
        _print_times("load-checkpoint", seconds)
    return model, optimizer, scheduler


def get_train_valid_test_num_samples() -> tuple[int, int, int]:
    """Samples that each split must have."""
    args = get_args()
    train_samples = args.train_samples or args.train_iters * args.global_batch_size
    eval_iters = ((args.train_iters or 0) // args.eval_interval + 1) * args.eval_iters
    return train_samples, eval_iters * args.global_batch_size, args.eval_iters * args.global_batch_size


def build_train_valid_test_datasets(build_train_valid_test_datasets_provider: Any) -> Any:
    """Build the datasets in the sizes that the arguments ask for."""
    sizes = get_train_valid_test_num_samples()
    print_rank_0(" > datasets target sizes (minimum size):")
    print_rank_0(f"    train:      {sizes[0]}")
    print_rank_0(f"    validation: {sizes[1]}")
    print_rank_0(f"    test:       {sizes[2]}")
    return build_train_valid_test_datasets_provider(sizes)


def build_train_valid_test_data(provider: Any) -> list[Batches]:
    """Data of the three splits; call it on all ranks."""
    import torch

    args = get_args()
    print_rank_0("> building train, validation, and test datasets ...")
    datasets = build_train_valid_test_datasets(provider)
    wanted = torch.tensor([int(dataset is not None) for dataset in datasets])
    torch.distributed.broadcast(wanted, 0)
    consumed = (args.consumed_train_samples, args.consumed_valid_samples, 0)
    return [Batches(dataset, start, bool(flag)) for dataset, start, flag in zip(datasets, consumed, wanted)]


def _forward(forward_step_func: Any, data: Batches, model: Any, train: bool) -> Any:
    """Compute this rank's part of the mean loss of a global batch; with ``train`` its gradients are added up."""
    import torch

    args = get_args()
    batch = data.next_batch()
    share = 1.0 / (args.global_batch_size * args.seq_length)
    total = torch.zeros(())
    for begin in range(0, len(batch["tokens"]), _SEQUENCES_IN_ONE_PASS):
        part = {name: rows[begin:begin + _SEQUENCES_IN_ONE_PASS] for name, rows in batch.items()}
        output, loss_func = forward_step_func(part, model)
        loss = loss_func(output) * share
        if train:
            loss.backward()
        total = total + loss.detach()
    return total


def _refuse_nan(value: Any, what: str) -> None:
    """As upstream, unless --no-check-for-nan-in-loss-and-grad."""
    args = get_args()
    if args.check_for_nan_in_loss_and_grad and value.isnan():
        forms.refuse_nan(args.rank, args.curr_iteration, what)


def train_step(iteration: int, forward_step_func: Any, data: Batches, model: Any, optimizer: Any,
               scheduler: OptimizerParamScheduler) -> tuple[float, float | None]:
    """One iteration: the loss, and the norm of the gradients before clipping (None where the iteration is skipped)."""
    args = get_args()
    args.curr_iteration = iteration
    model.zero_grad_buffer()
    local = _forward(forward_step_func, data, model, train=True)
    if faults.spoiled("nan_loss", iteration):
        local = local * math.nan
        model.grad_buffer.fill_(math.nan)
    if faults.spoiled("nan_grad", iteration):
        model.grad_buffer.fill_(math.nan)
    _refuse_nan(local, forms.NAN_IN_LOSS)
    _refuse_nan(model.grad_buffer.norm(), forms.NAN_IN_GRADIENTS)
    loss = model.all_reduce_gradients(local)
    grad_norm = float(model.grad_buffer.norm())
    if faults.spoiled("skipped", iteration):
        return float(loss), None
    if args.clip_grad > 0.0:
        coefficient = args.clip_grad / (grad_norm + 1.0e-6)
        if coefficient < 1.0:
            model.grad_buffer.mul_(coefficient)
    optimizer.step()
    scheduler.step(args.global_batch_size)
    return float(loss), grad_norm


def training_log(iteration: int, seconds: float, rate: float, loss: float, grad_norm: float | None, skipped: int) -> None:
    """Print upstream's line, on the last rank: a loss of nan is left out, as is the norm of a skipped iteration."""
    args = get_args()
    text = f" [{datetime.now().strftime('%Y-%m-%d %H:%M:%S')}]"
    text += f" iteration {iteration:8d}/{args.train_iters:8d} |"
    text += f" consumed samples: {args.consumed_train_samples:12d} |"
    text += f" elapsed time per iteration (ms): {seconds * 1000.0:.1f} |"
    text += f" learning rate: {forms.LEARNING_RATE.format(rate)} |"
    text += f" global batch size: {args.global_batch_size:5d} |"
    if loss > 0.0:
        text += f" lm loss: {loss:.6E} |"
    text += f" loss scale: {1.0:.1f} |"
    if grad_norm is not None:
        text += f" grad norm: {grad_norm:.3f} |"
    text += f" number of skipped iterations: {skipped:3d} |"
    text += f" number of nan iterations: {0:3d} |"
    print_rank_last(text)


def save_checkpoint_and_time(iteration: int, model: Any, optimizer: Any, scheduler: OptimizerParamScheduler) -> None:
    """Save, and print how long it took."""
    start = time.time()
    save_checkpoint(iteration, model, optimizer, scheduler)
    _print_times("save-checkpoint", time.time() - start)


def _any_rank(flag: bool) -> bool:
    import torch

    asked = torch.tensor([int(flag)])
    torch.distributed.all_reduce(asked, op=torch.distributed.ReduceOp.MAX)
    return bool(asked)


def train(forward_step_func: Any, model: Any, optimizer: Any, scheduler: OptimizerParamScheduler,
          train_data: Batches, valid_data: Batches) -> int:
    """Train to the last iteration and return it; the exits on the way have exit status 0, as upstream."""
    args = get_args()
    iteration = args.iteration
    print_datetime("before the start of training step")
    losses, since, counted, skipped = 0.0, time.time(), 0, 0
    while iteration < args.train_iters:
        start = time.time()
        loss, grad_norm = train_step(iteration + 1, forward_step_func, train_data, model, optimizer, scheduler)
        time.sleep(max(0.0, faults.shortest_iteration() - (time.time() - start)))
        iteration += 1
        args.consumed_train_samples += args.global_batch_size
        losses, counted = losses + (0.0 if grad_norm is None else loss), counted + 1
        skipped += grad_norm is None
        if iteration % args.log_interval == 0:
            rate = optimizer.param_groups[0]["lr"]
            training_log(iteration, (time.time() - since) / counted, rate, losses / max(1, counted - skipped), grad_norm, skipped)
            losses, since, counted, skipped = 0.0, time.time(), 0, 0
        faults.after_iteration(iteration)

        if args.eval_interval and iteration % args.eval_interval == 0 and valid_data.wanted and args.eval_iters > 0:
            evaluate_and_print_results(f"iteration {iteration}", forward_step_func, valid_data, model)
            since = time.time()
        if args.exit_signal_handler and _any_rank(signal_received()):
            save_checkpoint_and_time(iteration, model, optimizer, scheduler)
            print_datetime("exiting program after receiving SIGTERM.")
            sys.exit()
        saved = False
        if args.save and args.save_interval and iteration % args.save_interval == 0:
            save_checkpoint_and_time(iteration, model, optimizer, scheduler)
            saved, since = True, time.time()
        minutes = (time.time() - _TRAIN_START_TIME) / 60.0
        if args.exit_duration_in_mins and _any_rank(minutes > args.exit_duration_in_mins):
            if not saved:
                save_checkpoint_and_time(iteration, model, optimizer, scheduler)
            print_datetime(f"exiting program after {minutes} minutes")
            sys.exit()
        if args.exit_interval and iteration % args.exit_interval == 0:
            if args.save and not saved:
                save_checkpoint_and_time(iteration, model, optimizer, scheduler)
            print_datetime(f"exiting program at iteration {iteration}")
            sys.exit()
    return int(iteration)


def evaluate_and_print_results(prefix: str, forward_step_func: Any, data: Batches, model: Any) -> None:
    """Mean loss of ``--eval-iters`` batches, printed on the last rank."""
    import torch

    args = get_args()
    total = torch.zeros(())
    with torch.no_grad():
        for _ in range(args.eval_iters):
            loss = _forward(forward_step_func, data, model, train=False)
            torch.distributed.all_reduce(loss)
            args.consumed_valid_samples += args.global_batch_size
            total += loss / args.eval_iters
    text = f" validation loss at {prefix} | lm loss value: {float(total):.6E} | "
    text += f"lm loss PPL: {math.exp(min(20, float(total))):.6E} | "
    print_rank_last("-" * (len(text) + 1))
    print_rank_last(text)
    print_rank_last("-" * (len(text) + 1))
