"""The tokenizer type PretrainedFromHF."""
from __future__ import annotations

from functools import wraps
from typing import Any, Callable

from megatron.core.datasets.megatron_tokenizer import MegatronTokenizer
from megatron.training.tokenizer.tokenizer import _vocab_size_with_padding


def build_tokenizer_decorator(build_tokenizer: Callable[..., Any]) -> Callable[..., Any]:
    """build_tokenizer that knows PretrainedFromHF too."""
    @wraps(build_tokenizer)
    def wrapper(args: Any, **options: Any) -> Any:
        if args.tokenizer_type != "PretrainedFromHF":
            return build_tokenizer(args, **options)
        if args.rank == 0:
            print(" > building PretrainFromHF tokenizer. Vocab file is un-used, loading tokenizer from pre-trained "
                  "model", flush=True)
        if args.tokenizer_name_or_path is None:
            raise ValueError("Missing tokenizer_name_or_path while building PretrainFromHF tokenizer.")
        tokenizer = _AutoTokenizer(args.tokenizer_name_or_path, args.seq_length)
        if getattr(args, "padded_vocab_size", None) is None:
            args.padded_vocab_size = _vocab_size_with_padding(tokenizer.vocab_size, args)
        return tokenizer

    return wrapper


class _AutoTokenizer(MegatronTokenizer):
    """A tokenizer that transformers loads; its class name and path are part of the index cache's name."""

    def __init__(self, tokenizer_name_or_path: str, model_max_length: int) -> None:
        super().__init__(tokenizer_name_or_path)
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(tokenizer_name_or_path, model_max_length=model_max_length)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, added ones too."""
        return len(self.tokenizer)

    @property
    def eod(self) -> int:
        """The token that ends a document."""
        return int(self.tokenizer.eos_token_id)
