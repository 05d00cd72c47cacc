"""Tokenizers."""
from .tokenizer import build_tokenizer_decorator

__all__ = ["build_tokenizer_decorator"]
