"""Options that AscendSpeed adds to Megatron-LM's, from a recorded table, and its own refusals."""
from __future__ import annotations

import json
from functools import wraps
from pathlib import Path
from typing import Any, Callable

TABLE = Path(__file__).with_name("arguments.json")


def process_args(parser: Any) -> Any:
    """Add the options; those that Megatron-LM has too are replaced."""
    from megatron.training.arguments import add_recorded_options

    parser.conflict_handler = "resolve"
    entries = json.loads(TABLE.read_text())["options"]
    parser = add_recorded_options(parser, [entry for entry in entries if entry["dest"] != "moe_model_type"])
    return _add_moe_args(parser)


def _add_moe_args(parser: Any) -> Any:
    group = parser.add_argument_group(title='moe')
    group.add_argument('--moe-model-type', type=str, default='megatron_moe',
                       choices=['mixtral_moe', 'megatron_moe'], help='moe model type default megatron moe')
    return parser


def parse_args_decorator(parse_args: Callable[..., Any]) -> Callable[..., Any]:
    """parse_args with AscendSpeed's options."""
    @wraps(parse_args)
    def wrapper(extra_args_provider: Any = None, ignore_unknown_args: bool = False) -> Any:
        def provider(parser: Any) -> Any:
            return process_args(parser if extra_args_provider is None else extra_args_provider(parser))

        return parse_args(provider, ignore_unknown_args)

    return wrapper


def validate_args_decorator(validate_args: Callable[..., Any]) -> Callable[..., Any]:
    """validate_args with AscendSpeed's refusals."""
    @wraps(validate_args)
    def wrapper(args: Any, defaults: Any = None) -> Any:
        validate_args(args, defaults)
        if args.use_fused_rmsnorm and args.normalization != "RMSNorm":
            raise AssertionError("--use-fused-rmsnorm must enable with --normalization=RMSNorm, "
                                 f"but got normalization={args.normalization}.")
        if args.use_fused_swiglu and not args.swiglu:
            raise AssertionError(f"--use-fused-swiglu must enable with --swiglu, but --swiglu={args.swiglu}.")
        if args.reuse_fp32_param and not args.bf16:
            raise AssertionError("--reuse-fp32-param only support for `bf16`")
        if args.reuse_fp32_param and args.use_distributed_optimizer:
            raise AssertionError("--reuse-fp32-param not support for distributed optimizer now.")
        return args

    return wrapper
