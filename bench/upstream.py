"""Upstream's way, the first baseline: INPUT TOKENIZER PREFIX WORKERS CACHE.

What AscendSpeed's tests_extend/tools/preprocess_data.py (commit ff251f67) does for a pretraining set, step by step:
Hugging Face datasets loads the file with as many processes as ``--workers``, ``map`` calls the tokenizer once a row,
ids and masks and labels are made and the ids kept, and the mapped set is read row by row into Megatron's builder.
Left out to its advantage: importing torch, Megatron and the adaptor, and the detour of each document over a torch
tensor. Nothing is taken from a cache of an earlier run: CACHE is a folder that the caller makes anew.
"""
from __future__ import annotations

import sys
from typing import Any

from datasets import load_dataset
from transformers import AutoTokenizer

from bench.indexed import Builder, dtype_for


class Handler:
    """Loads, maps and writes one column of a file."""

    def __init__(self, source: str, tokenizer: str, key: str, workers: int, cache: str) -> None:
        self.key, self.workers = key, workers
        self.tokenizer: Any = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True)
        kind = "parquet" if source.endswith(".parquet") else "json"
        self.rows: Any = load_dataset(kind, split="train", data_files=[source], num_proc=workers, cache_dir=cache)

    def encode(self, row: dict[str, Any]) -> dict[str, Any]:
        """Encode one row; a list of sentences, of which there is one unless the text is empty."""
        sentences = []
        if row[self.key]:
            made = self.tokenizer(text=row[self.key])
            made["labels"] = made["input_ids"].copy()
            sentences.append(made)
        row[self.key] = [made["input_ids"] for made in sentences]
        return row

    def write(self, prefix: str) -> None:
        """Encode all rows and write both files."""
        others = [name for name in next(iter(self.rows)) if name != self.key]
        mapped = self.rows.map(self.encode, remove_columns=others, num_proc=self.workers)
        builder = Builder(prefix, dtype_for(len(self.tokenizer)))
        for row in mapped:
            for sentence in row[self.key]:
                builder.add(sentence)
        builder.finish()


if __name__ == "__main__":
    Handler(sys.argv[1], sys.argv[2], "text", int(sys.argv[4]), sys.argv[5]).write(sys.argv[3])
