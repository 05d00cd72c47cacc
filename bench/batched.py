"""The tokenizers library's batched encode, the second baseline: INPUT TOKENIZER PREFIX.

One process, batches of 1000 documents, as many threads as the library takes.
"""
from __future__ import annotations

import itertools
import json
import sys
from typing import Iterator

import pyarrow.parquet
from tokenizers import Tokenizer

from bench.indexed import Builder, dtype_for

BATCH = 1000


def batches(source: str) -> Iterator[list[str]]:
    """The texts of a parquet file or of JSON lines."""
    if source.endswith(".parquet"):
        for batch in pyarrow.parquet.ParquetFile(source).iter_batches(batch_size=BATCH, columns=["text"]):
            yield batch.column(0).to_pylist()
        return
    with open(source, encoding="utf-8") as lines:
        yield from iter(lambda: [json.loads(line)["text"] for line in itertools.islice(lines, BATCH)], [])


def main(source: str, tokenizer: str, prefix: str) -> None:
    """Encode the column `text` of a file and write both files."""
    encoder = Tokenizer.from_file(f"{tokenizer}/tokenizer.json")
    builder = Builder(prefix, dtype_for(encoder.get_vocab_size(with_added_tokens=True)))
    for texts in batches(source):
        for encoded in encoder.encode_batch_fast([text for text in texts if text]):
            builder.add(encoded.ids)
    builder.finish()


if __name__ == "__main__":
    main(*sys.argv[1:4])
