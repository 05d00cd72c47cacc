"""Tokens on disk: ``.bin`` holds them end to end, ``.idx`` the lengths, pointers and documents."""
from __future__ import annotations

import struct
from pathlib import Path

import numpy

_INDEX_HEADER = b"MMIDIDX\x00\x00"
_DTYPES = {1: numpy.uint8, 2: numpy.int8, 3: numpy.int16, 4: numpy.int32, 5: numpy.int64,
           6: numpy.float64, 7: numpy.float32, 8: numpy.uint16}


class IndexedDataset:
    """Sequences of tokens by number.

    Raises:
        FileNotFoundError: when a file of the prefix is missing.
        AssertionError: for an index that is not one.
    """

    def __init__(self, path_prefix: str, multimodal: bool = False, mmap: bool = True) -> None:
        self.path_prefix = path_prefix
        index = Path(path_prefix + ".idx")
        raw = index.read_bytes()
        if raw[:9] != _INDEX_HEADER:
            raise AssertionError(f"bad header, cannot read: {index}")
        version, code, sequences, documents = struct.unpack("<QBQQ", raw[9:34])
        if version != 1:
            raise AssertionError(f"bad version, cannot read: {index}")
        self.dtype = numpy.dtype(_DTYPES[code])
        offset = 34
        self.sequence_lengths = numpy.frombuffer(raw, dtype=numpy.int32, count=sequences, offset=offset)
        offset += self.sequence_lengths.nbytes
        self.sequence_pointers = numpy.frombuffer(raw, dtype=numpy.int64, count=sequences, offset=offset)
        offset += self.sequence_pointers.nbytes
        self.document_indices = numpy.frombuffer(raw, dtype=numpy.int64, count=documents, offset=offset)
        if self.document_indices[-1] != sequences:
            raise AssertionError(f"the documents of {index} do not cover its sequences")
        self.tokens = numpy.memmap(path_prefix + ".bin", dtype=self.dtype, mode="r")

    def __len__(self) -> int:
        return len(self.sequence_lengths)

    def get(self, index: int, offset: int = 0, length: int | None = None) -> numpy.ndarray:
        """Tokens of a sequence from ``offset`` on, ``length`` of them (to its end without)."""
        begin = int(self.sequence_pointers[index]) // self.dtype.itemsize + int(offset)
        count = int(self.sequence_lengths[index]) - int(offset) if length is None else int(length)
        return self.tokens[begin:begin + count]
