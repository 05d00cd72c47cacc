"""The tokenizer type PretrainedFromHF, which the stand-in refuses."""
from __future__ import annotations

from functools import wraps
from typing import Any, Callable


def build_tokenizer_wrapper(build_tokenizer: Callable[..., Any]) -> Callable[..., Any]:
    """build_tokenizer that refuses PretrainedFromHF."""
    @wraps(build_tokenizer)
    def wrapper(args: Any, **options: Any) -> Any:
        if args.tokenizer_type == "PretrainedFromHF":
            # Where a tokenizer has no pad token it pads with eos, and Megatron-LM erases its cached loss mask for good:
            # https://github.com/NVIDIA/Megatron-LM/issues/1711
            raise NotImplementedError("--tokenizer-type PretrainedFromHF: the stand-in does not rehearse how upstream's erases "
                                      "the loss mask; use --tokenizer-type HuggingFaceTokenizer --tokenizer-model DIR")
        return build_tokenizer(args, **options)

    return wrapper
