"""Importing this makes an NPU out of Megatron-LM's GPU, and Megatron-LM take MindSpeed's options."""
from __future__ import annotations

import sys
from typing import Any, Callable

import torch  # noqa: F401
from torch_npu.contrib import transfer_to_npu  # noqa: F401


def _replace(name: str, decorator: Callable[[Any], Any]) -> None:
    """Decorate a function of Megatron-LM, in every module that has imported it."""
    module, function = name.rsplit(".", 1)
    original = getattr(sys.modules[module], function)
    replacement = decorator(original)
    for loaded in list(sys.modules.values()):
        if getattr(loaded, "__dict__", {}).get(function) is original:
            setattr(loaded, function, replacement)


def _adapt() -> None:
    import megatron.training  # noqa: F401

    from mindspeed.arguments import parse_args_wrapper, validate_args_wrapper
    from mindspeed.tokenizer import build_tokenizer_wrapper

    _replace("megatron.training.arguments.parse_args", parse_args_wrapper)
    _replace("megatron.training.arguments.validate_args", validate_args_wrapper)
    _replace("megatron.training.tokenizer.build_tokenizer", build_tokenizer_wrapper)


_adapt()
