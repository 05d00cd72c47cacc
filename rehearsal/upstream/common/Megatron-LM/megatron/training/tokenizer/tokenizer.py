"""Megatron's own tokenizers, of which the stand-in has two; a stack's parser may know one of them only."""
from __future__ import annotations

from typing import Any

from megatron.core.datasets.megatron_tokenizer import MegatronTokenizer


def build_tokenizer(args: Any) -> MegatronTokenizer:
    """Build the tokenizer that ``--tokenizer-type`` names."""
    if args.rank == 0:
        print(f"> building {args.tokenizer_type} tokenizer ...", flush=True)
    if args.tokenizer_type == "HuggingFaceTokenizer":
        tokenizer: MegatronTokenizer = _HuggingFaceTokenizer(args.tokenizer_model)
    elif args.tokenizer_type == "NullTokenizer":
        if args.vocab_size is None:
            raise AssertionError("--vocab-size is needed by the NullTokenizer")
        tokenizer = _NullTokenizer(args.vocab_size)
    else:
        raise NotImplementedError(f"{args.tokenizer_type} tokenizer is not implemented.")
    if getattr(args, "padded_vocab_size", None) is None:
        args.padded_vocab_size = _vocab_size_with_padding(tokenizer.vocab_size, args)
    return tokenizer


def _vocab_size_with_padding(orig_vocab_size: int, args: Any) -> int:
    multiple = args.make_vocab_size_divisible_by * args.tensor_model_parallel_size
    after = -(-orig_vocab_size // multiple) * multiple
    if args.rank == 0:
        print(f" > padded vocab (size: {orig_vocab_size}) with {after - orig_vocab_size} dummy tokens "
              f"(new size: {after})", flush=True)
    return after


class _NullTokenizer(MegatronTokenizer):
    """Numbers are tokens."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__(None, vocab_size=vocab_size)  # type: ignore[arg-type]
        self.vocab_size = int(vocab_size) + 1
        self.eod = self.vocab_size - 1


class _HuggingFaceTokenizer(MegatronTokenizer):
    """A tokenizer that transformers loads; its class name and path are part of the index cache's name."""

    def __init__(self, pretrained_model_name_or_path: str) -> None:
        super().__init__(pretrained_model_name_or_path)
        from transformers import AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(pretrained_model_name_or_path=pretrained_model_name_or_path)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, added ones too."""
        return len(self._tokenizer)

    @property
    def eod(self) -> int:
        """The token that ends a document."""
        return int(self._tokenizer.eos_token_id)
