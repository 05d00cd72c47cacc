"""The command line: upstream's options from a recorded table, and upstream's refusals."""
from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any, Callable

from megatron.core import rules
from megatron.core.rules import require

TABLE = Path(__file__).with_name("arguments.json")
_TYPES = {"int": int, "float": float, "str": str, "bool": bool}

ExtraArguments = Callable[[argparse.ArgumentParser], argparse.ArgumentParser]


def add_recorded_options(parser: argparse.ArgumentParser, entries: list[dict[str, Any]]) -> argparse.ArgumentParser:
    """Add the options of a recorded table to a parser, in groups of the same titles."""
    groups: dict[str, Any] = {}
    for entry in entries:
        group = groups.setdefault(entry["group"], None) or parser.add_argument_group(title=entry["group"])
        groups[entry["group"]] = group
        words = {key: entry[key] for key in ("dest", "action", "default", "nargs", "choices", "const", "required")
                 if entry.get(key) is not None or key == "default"}
        if entry.get("type"):
            words["type"] = _TYPES[entry["type"]]
        names = entry["options"]
        if entry["action"] == "boolean_optional":
            words["action"] = argparse.BooleanOptionalAction  # which makes the other names itself
            names = [name for name in names if not name.startswith("--no-")]
        group.add_argument(*names, **words)
    return parser


def parse_args(extra_args_provider: ExtraArguments | None = None, ignore_unknown_args: bool = False) -> Any:
    """Parse the command line; rank and world size come from the environment."""
    parser = argparse.ArgumentParser(description="Megatron-LM Arguments", allow_abbrev=False)
    parser = add_recorded_options(parser, json.loads(TABLE.read_text())["options"])
    if extra_args_provider is not None:
        parser = extra_args_provider(parser)
    args = parser.parse_known_args()[0] if ignore_unknown_args else parser.parse_args()
    args.rank = int(os.getenv("RANK", "0"))
    args.world_size = int(os.getenv("WORLD_SIZE", "1"))
    return args


def validate_args(args: Any, defaults: dict[str, Any] | None = None) -> Any:
    """Complete the arguments and refuse what upstream refuses, in upstream's order.

    Raises:
        AssertionError, RuntimeError: as upstream does.
    """
    rules.parallel_sizes(args)
    for key, value in (defaults or {}).items():
        if getattr(args, key, None) is None:
            setattr(args, key, value)
        elif args.rank == 0:
            print(f"WARNING: overriding default arguments for {key}:{value}                        "
                  f"with {key}:{getattr(args, key)}", flush=True)

    _validate_batch(args)
    _validate_model(args)
    _validate_precision(args)
    _validate_parallel(args)
    _print_args(args)
    return args


def _validate_batch(args: Any) -> None:
    require(args.micro_batch_size is not None)
    require(args.micro_batch_size > 0)
    if args.global_batch_size is None:
        args.global_batch_size = args.micro_batch_size * args.data_parallel_size
    require(args.global_batch_size > 0)
    rules.stages(args)
    args.dataloader_type = args.dataloader_type or "single"
    args.consumed_train_samples = 0
    args.consumed_valid_samples = 0
    if args.train_iters:
        require(args.train_samples is None, "expected iteration-based training")
        require(args.lr_decay_samples is None, "expected iteration-based learning rate decay")
        require(args.lr_warmup_samples == 0, "expected iteration-based learning rate warmup")
        require(args.rampup_batch_size is None, "expected no batch-size rampup for iteration-based training")
        if args.lr_warmup_fraction is not None:
            require(args.lr_warmup_iters == 0, "can only specify one of lr-warmup-fraction and lr-warmup-iters")
    if args.train_samples:
        require(args.train_iters is None, "expected sample-based training")


def _validate_model(args: Any) -> None:
    require(args.num_layers is not None or args.encoder_num_layers is not None,
             "either num-layers or encoder-num-layers should be specified")
    require(args.num_layers is None or args.encoder_num_layers is None,
             "cannot have both num-layers and encoder-num-layers specified")
    args.num_layers = args.encoder_num_layers = args.num_layers or args.encoder_num_layers
    for name in ("num_layers", "hidden_size", "num_attention_heads", "max_position_embeddings"):
        require(getattr(args, name) is not None, f"{name} argument is None")
    if args.ffn_hidden_size is None:
        wide = 4 * args.hidden_size
        args.ffn_hidden_size = int(wide * 2 / 3 / 64) * 64 if args.swiglu else wide
    if args.kv_channels is None:
        require(args.hidden_size % args.num_attention_heads == 0)
        args.kv_channels = args.hidden_size // args.num_attention_heads
    if args.seq_length is not None:
        require(args.encoder_seq_length is None)
        args.encoder_seq_length = args.seq_length
    else:
        require(args.encoder_seq_length is not None)
        args.seq_length = args.encoder_seq_length
    require(args.max_position_embeddings >= args.seq_length)
    if args.lr is not None:
        require(args.min_lr <= args.lr)
    if args.save is not None:
        require(args.save_interval is not None)


def _validate_precision(args: Any) -> None:
    require(not (args.fp16 and args.bf16))
    if args.rank == 0:
        kind = "torch.float16" if args.fp16 else "torch.bfloat16" if args.bf16 else "torch.float32"
        print(f"using {kind} for parameters ...", flush=True)
    if args.fp16_lm_cross_entropy:
        require(args.fp16, "lm cross entropy in fp16 only support in fp16 mode.")
    if args.weight_decay_incr_style == "constant":
        require(args.start_weight_decay is None)
        require(args.end_weight_decay is None)
        args.start_weight_decay = args.end_weight_decay = args.weight_decay
    else:
        require(args.start_weight_decay is not None)
        require(args.end_weight_decay is not None)
    if args.recompute_activations:
        args.recompute_granularity = "selective"
    if args.distribute_saved_activations:
        require(args.tensor_model_parallel_size > 1,
                 "can distribute recomputed activations only across tensor model parallel groups")
    if args.recompute_granularity == "selective":
        require(args.recompute_method is None,
                 "recompute method is not yet supported for selective recomputing granularity")


def _validate_parallel(args: Any) -> None:
    if args.tensor_model_parallel_size == 1:
        args.sequence_parallel = False
    rules.connections(args)
    if args.expert_model_parallel_size > 1:
        require(args.num_experts is not None, "num_experts must be non None to use expert model parallelism")
        require(args.num_experts % args.expert_model_parallel_size == 0,
                 "Number of experts should be a multiple of expert model parallel_size.")
        require(not args.fp16, "Expert parallelism is not supported with fp16 training.")


def check_model_args(args: Any) -> None:
    """What upstream refuses only while it builds the model.

    Raises:
        AssertionError, ValueError: as upstream does.
    """
    tensor, heads = args.tensor_model_parallel_size, args.num_attention_heads
    groups = args.num_query_groups if args.group_query_attention else heads
    if heads % tensor != 0:
        raise ValueError(f"num_attention_heads ({heads}) must be a multiple of tensor_model_parallel_size ({tensor}).")
    if groups % tensor != 0:
        raise ValueError(f"num_query_groups ({groups}) must be a multiple of tensor_model_parallel_size ({tensor}).")
    if args.sequence_parallel:
        require(args.seq_length % tensor == 0, f"{args.seq_length} is not divisible by {tensor}")
    rules.model(args)


def _print_args(args: Any) -> None:
    if args.rank != 0:
        return
    print("------------------------ arguments ------------------------", flush=True)
    for name in sorted(vars(args), key=str.lower):
        print(f"  {name} {'.' * (48 - len(name))} {getattr(args, name)}", flush=True)
    print("-------------------- end of arguments ---------------------", flush=True)
