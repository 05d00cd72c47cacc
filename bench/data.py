"""What is encoded: made on the spot, kept for the next time."""
from __future__ import annotations

import hashlib
import os
import random
import shutil
from pathlib import Path
from typing import Any

from rehearsal import synthetic

ROWS = 52002
WORDS = 40000
VOCABULARY = 32000
TRAINED_ON = 20000
_CONSONANTS = "bcdfghjklmnprstvw"


def prepared(folder: Path, rows: int) -> tuple[Path, Path]:
    """Make an alpaca-like parquet file and a tokenizer of Mixtral's shape below `folder`, unless they are there.

    Returns:
        The file and the tokenizer's folder.
    """
    import pyarrow
    import tokenizers

    about = (Path(synthetic.__file__).read_bytes(), rows, WORDS, VOCABULARY, TRAINED_ON, pyarrow.__version__, tokenizers.__version__)
    kept = folder / f"data-{rows}-{hashlib.sha256(repr(about).encode()).hexdigest()[:12]}"
    if not kept.is_dir():
        print(f"making {rows:,} rows and a tokenizer of {VOCABULARY:,} entries", flush=True)
        making = folder / f".data.{os.getpid()}"
        try:
            synthetic.make_parquet(making / "alpaca.parquet", rows, words=WORDS, shuffled=True)
            synthetic.make_tokenizer(making / "tokenizer", VOCABULARY, min(rows, TRAINED_ON), words=WORDS, shuffled=True)
            making.rename(kept)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return kept / "alpaca.parquet", kept / "tokenizer"


def alphabet(copy: int) -> bytes:
    """A table for bytes.translate that exchanges consonants: another permutation for each copy, none for copy 0."""
    letters = list(_CONSONANTS)
    if copy:
        random.Random(copy).shuffle(letters)  # noqa: S311
    there = "".join(letters)
    return bytes.maketrans((_CONSONANTS + _CONSONANTS.upper()).encode(), (there + there.upper()).encode())


def make_big(source: Path, path: Path, text_bytes: int, rows: int = 0) -> tuple[int, int]:
    """Write the texts of `source` again and again, with other words in each copy.

    So new words never cease to come, as in a real corpus.

    Args:
        source: file to repeat.
        path: file to write: one column, a row group a copy, not compressed (as many bytes as the text).
        text_bytes: stop when so many bytes of text are written,
        rows: and not before so many rows.

    Returns:
        Rows and bytes of text.
    """
    import pyarrow
    import pyarrow.parquet

    column = pyarrow.parquet.read_table(source, columns=["text"]).column("text").combine_chunks()
    _, offsets, letters = column.buffers()
    plain: Any = letters.to_pybytes()
    written = copies = 0
    schema = pyarrow.schema([("text", pyarrow.string())])
    with pyarrow.parquet.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        while written < text_bytes or copies * len(column) < rows:
            texts = pyarrow.Array.from_buffers(pyarrow.string(), len(column),
                                               [None, offsets, pyarrow.py_buffer(plain.translate(alphabet(copies)))])
            writer.write_table(pyarrow.table([texts], schema=schema), row_group_size=len(column))
            copies += 1
            written += len(plain)
    return copies * len(column), written
