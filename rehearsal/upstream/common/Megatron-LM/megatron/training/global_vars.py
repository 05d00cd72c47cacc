"""What a process has once: its arguments, tokenizer, and the number of micro-batches."""
from __future__ import annotations

import signal
from typing import Any

from . import tokenizer as _tokenizer_module

_GLOBAL_ARGS: Any = None
_GLOBAL_TOKENIZER: Any = None
_GLOBAL_NUM_MICROBATCHES = 0
_SIGNALLED = False


def get_args() -> Any:
    """The arguments."""
    _ensure_var_is_initialized(_GLOBAL_ARGS, "args")
    return _GLOBAL_ARGS


def set_args(args: Any) -> None:
    """Set the arguments."""
    global _GLOBAL_ARGS
    _GLOBAL_ARGS = args


def get_tokenizer() -> Any:
    """The tokenizer."""
    _ensure_var_is_initialized(_GLOBAL_TOKENIZER, "tokenizer")
    return _GLOBAL_TOKENIZER


def get_num_microbatches() -> int:
    """Micro-batches of a rank in an iteration."""
    return _GLOBAL_NUM_MICROBATCHES


def signal_received() -> bool:
    """Whether this rank was asked to save and end (``--exit-signal-handler``)."""
    return _SIGNALLED


def set_global_variables(args: Any, build_tokenizer: bool = True) -> None:
    """Set all of them."""
    if _GLOBAL_ARGS is not None:
        raise AssertionError("args is already initialized.")
    set_args(args)
    _build_num_microbatches_calculator(args)
    if build_tokenizer:
        _build_tokenizer(args)
    if args.exit_signal_handler:
        signal.signal(signal.SIGTERM, _remember_signal)


def _remember_signal(_number: int, _frame: Any) -> None:
    global _SIGNALLED
    _SIGNALLED = True


def _build_num_microbatches_calculator(args: Any) -> None:
    global _GLOBAL_NUM_MICROBATCHES
    if args.global_batch_size % (args.micro_batch_size * args.data_parallel_size) != 0:
        raise AssertionError(f"global batch size ({args.global_batch_size}) is not divisible by micro batch size "
                             f"({args.micro_batch_size}) times data parallel size ({args.data_parallel_size})")
    _GLOBAL_NUM_MICROBATCHES = args.global_batch_size // (args.micro_batch_size * args.data_parallel_size)
    if args.rank == 0:
        print(f"setting number of micro-batches to constant {_GLOBAL_NUM_MICROBATCHES}", flush=True)


def _build_tokenizer(args: Any) -> Any:
    global _GLOBAL_TOKENIZER
    _GLOBAL_TOKENIZER = _tokenizer_module.build_tokenizer(args)
    return _GLOBAL_TOKENIZER


def _ensure_var_is_initialized(var: Any, name: str) -> None:
    if var is None:
        raise AssertionError(f"{name} is not initialized.")
