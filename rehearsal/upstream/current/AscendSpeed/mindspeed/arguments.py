"""Options that MindSpeed adds to Megatron-LM's, from a recorded table, and its own refusals."""
from __future__ import annotations

import json
from functools import wraps
from pathlib import Path
from typing import Any, Callable

TABLE = Path(__file__).with_name("arguments.json")


def register_features_args(parser: Any) -> Any:
    """Add the options; those that Megatron-LM has too are replaced."""
    from megatron.training.arguments import add_recorded_options

    parser.conflict_handler = "resolve"
    return add_recorded_options(parser, json.loads(TABLE.read_text())["options"])


def parse_args_wrapper(parse_args: Callable[..., Any]) -> Callable[..., Any]:
    """parse_args with MindSpeed's options."""
    @wraps(parse_args)
    def wrapper(extra_args_provider: Any = None, ignore_unknown_args: bool = False) -> Any:
        def provider(parser: Any) -> Any:
            return register_features_args(parser if extra_args_provider is None else extra_args_provider(parser))

        return parse_args(provider, ignore_unknown_args)

    return wrapper


def validate_args_wrapper(validate_args: Callable[..., Any]) -> Callable[..., Any]:
    """validate_args with MindSpeed's refusals."""
    @wraps(validate_args)
    def wrapper(args: Any, defaults: Any = None) -> Any:
        validate_args(args, defaults)
        stages = args.num_layers_per_virtual_pipeline_stage
        if stages is not None and stages * args.pipeline_model_parallel_size == args.num_layers:
            raise ValueError("num_layers_per_virtual_pipeline_stage * pipeline_model_parallel_size == num_layers, "
                             "please close --num-layers-per-virtual-pipeline-stage")
        if args.gemm_gradient_accumulation_fusion and not args.moe_grouped_gemm:
            raise AssertionError("`--gemm-gradient-accumulation-fusion` only support with `--moe-grouped-gemm`.")
        return args

    return wrapper
