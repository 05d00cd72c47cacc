"""Documents as this program holds them: Arrow arrays of strings, which are offsets (int32) and bytes."""
from __future__ import annotations

from typing import Any, Iterator, NamedTuple

import numpy as np
import pyarrow as arrow


class Chunk(NamedTuple):
    """Documents to be encoded at once."""

    texts: Any
    #: rows that were read for it, empty ones included
    rows: int
    #: of the texts, in bytes
    size: int
    #: files that have been read, with the fraction of the last one
    done: float
    #: documents are left to the tokenizer itself
    whole: bool


def offsets_of(texts: Any) -> Any:
    """The offsets of an Arrow array of strings or binaries, int32, shape (rows + 1,)."""
    if not len(texts):
        return np.zeros(1, dtype=np.int32)
    return np.frombuffer(texts.buffers()[1], dtype=np.int32)[texts.offset:texts.offset + len(texts) + 1]


def letters_of(texts: Any) -> bytes:
    """The bytes of an Arrow array of strings or binaries, one behind the other."""
    offsets, values = offsets_of(texts), texts.buffers()[2]
    return b"" if values is None else memoryview(values)[int(offsets[0]):int(offsets[-1])].tobytes()


def strings_of(offsets: Any, letters: Any, kind: Any) -> Any:
    """The Arrow array of such offsets and bytes."""
    return arrow.Array.from_buffers(kind, len(offsets) - 1, [None, arrow.py_buffer(offsets), arrow.py_buffer(letters)])


def size_of(texts: Any) -> int:
    """The number of these bytes."""
    offsets = offsets_of(texts)
    return int(offsets[-1] - offsets[0])


def parts_of(texts: Any, size: int) -> Iterator[Any]:
    """Cut such an array into slices of about as many bytes; at least one row each."""
    offsets, at = offsets_of(texts), 0
    while at < len(texts):
        end = max(at + 1, int(np.searchsorted(offsets, int(offsets[at]) + size, side="right")) - 1)
        yield texts[at:end]
        at = end
