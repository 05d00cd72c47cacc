"""Training programs of the stand-in."""
from .global_vars import get_args, get_tokenizer
from .initialize import initialize_megatron
from .training import pretrain
from .utils import is_last_rank, print_rank_0, print_rank_last

__all__ = ["get_args", "get_tokenizer", "initialize_megatron", "is_last_rank", "pretrain", "print_rank_0",
           "print_rank_last"]
