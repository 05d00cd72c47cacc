"""Importing this makes Megatron-LM take AscendSpeed's options and tokenizer."""
from __future__ import annotations

import sys
from typing import Any, Callable

import apex  # noqa: F401
import torch  # noqa: F401
from torch_npu.contrib import transfer_to_npu  # noqa: F401

from ascendspeed.core.context_parallel.utils import ALGORITHMS  # noqa: F401


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

    from ascendspeed.arguments import parse_args_decorator, validate_args_decorator
    from ascendspeed.tokenizer import build_tokenizer_decorator

    _replace("megatron.training.arguments.parse_args", parse_args_decorator)
    _replace("megatron.training.arguments.validate_args", validate_args_decorator)
    _replace("megatron.training.tokenizer.build_tokenizer", build_tokenizer_decorator)


_adapt()
