"""Megatron's indexed format, written document by document as its own builder does, and compared."""
from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any, Sequence

import numpy as np

MAGIC = b"MMIDIDX\x00\x00"
# Codes of megatron.core.datasets.indexed_dataset.DType.
CODES = {"int32": 4, "uint16": 8}
HEADER = struct.Struct("<9sQBQQ")


def dtype_for(vocab_size: int) -> str:
    """Megatron's rule for the type of an id on disk."""
    return "uint16" if vocab_size < 65500 else "int32"


class Builder:
    """Writes PREFIX.bin as documents come, and PREFIX.idx at the end."""

    def __init__(self, prefix: str, dtype: str) -> None:
        self._prefix, self._dtype = prefix, np.dtype(dtype)
        self._stream = open(prefix + ".bin", "wb")  # noqa: SIM115
        self._lengths: list[int] = []

    def add(self, ids: Sequence[int]) -> None:
        """Append one document."""
        self._stream.write(np.array(ids, dtype=self._dtype).tobytes(order="C"))
        self._lengths.append(len(ids))

    def finish(self) -> None:
        """Write the index: header, lengths (int32), byte offsets (int64), document bounds (int64)."""
        self._stream.close()
        count = len(self._lengths)
        offsets, at = [], 0
        for length in self._lengths:
            offsets.append(at)
            at += length * self._dtype.itemsize
        with open(self._prefix + ".idx", "wb") as stream:
            stream.write(HEADER.pack(MAGIC, 1, CODES[self._dtype.name], count, count + 1))
            stream.write(np.array(self._lengths, dtype=np.int32).tobytes(order="C"))
            stream.write(np.array(offsets, dtype=np.int64).tobytes(order="C"))
            stream.write(np.arange(count + 1, dtype=np.int64).tobytes(order="C"))


class Dataset:
    """A dataset on disk, mapped and not read.

    Attributes:
        lengths: ids of each document, int32, shape (documents,).
        ids: all ids, shape (tokens,).

    Raises:
        ValueError: when the files are not what the format says.
    """

    def __init__(self, prefix: Path) -> None:
        index, data = prefix.with_name(prefix.name + ".idx"), prefix.with_name(prefix.name + ".bin")
        head = index.read_bytes()[:HEADER.size]
        if len(head) < HEADER.size:
            raise ValueError(f"{index.name} is {len(head)} bytes long, shorter than a header")
        magic, version, code, count, bounds = HEADER.unpack(head)
        names = {number: name for name, number in CODES.items()}
        if magic != MAGIC or version != 1 or code not in names or bounds != count + 1:
            raise ValueError(f"{index.name} has a header of another format: {head!r}")
        expected = HEADER.size + 4 * count + 8 * count + 8 * bounds
        if index.stat().st_size != expected:
            raise ValueError(f"{index.name} is {index.stat().st_size} bytes long, expected {expected}")
        self.lengths: Any = np.fromfile(index, dtype=np.int32, count=count, offset=HEADER.size)
        self.ids: Any = np.memmap(data, dtype=names[code], mode="r")
        self._starts: Any = np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)])
        pointers = np.fromfile(index, dtype=np.int64, count=count, offset=HEADER.size + 4 * count)
        if not np.array_equal(pointers, self._starts[:-1] * self.ids.itemsize):
            raise ValueError(f"{index.name} has byte offsets that are not the sums of its lengths")
        if not np.array_equal(np.fromfile(index, dtype=np.int64, offset=HEADER.size + 12 * count), np.arange(bounds)):
            raise ValueError(f"{index.name} has bounds of documents that are not one sequence each")
        if self._starts[-1] != len(self.ids):
            raise ValueError(f"{data.name} holds {len(self.ids)} ids, {index.name} promises {self._starts[-1]}")

    def document(self, number: int) -> list[int]:
        """The ids of one document."""
        return [int(each) for each in self.ids[self._starts[number]:self._starts[number + 1]]]


def digest(prefix: Path) -> str:
    """SHA-256 over the bytes of both files, each with its length.

    Raises:
        OSError: when one is missing.
    """
    whole = hashlib.sha256()
    for end in (".bin", ".idx"):
        content = prefix.with_name(prefix.name + end).read_bytes()
        whole.update(f"{end} {len(content)}\n".encode())
        whole.update(content)
    return whole.hexdigest()


def difference(one: Path, other: Path) -> str:
    """Say where two datasets of different bytes differ first."""
    first, second = Dataset(one), Dataset(other)
    if first.ids.dtype != second.ids.dtype:
        return f"ids are stored as {first.ids.dtype} and {second.ids.dtype}"
    if len(first.lengths) != len(second.lengths):
        return f"{len(first.lengths)} and {len(second.lengths)} documents"
    for number in range(len(first.lengths)):
        left, right = first.document(number), second.document(number)
        if left != right:
            at = next((place for place, (mine, theirs) in enumerate(zip(left, right)) if mine != theirs), min(len(left), len(right)))
            return f"document {number} has {left[at:at + 4]} and {right[at:at + 4]} from id {at} on ({len(left)} and {len(right)} ids)"
    return "the ids are equal, other bytes of the index are not"
