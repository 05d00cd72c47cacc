"""The dataset of one column: from files to Megatron's indexed format, whole or not at all."""
from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import hashlib
import json
import os
import struct
import time
from pathlib import Path
from typing import Any, Iterable, Iterator, Sequence

import numpy as np
import pyarrow as arrow

from preprocess_data.files import kind_of, sha256_of
from preprocess_data.messages import PreprocessError, heed, say
from preprocess_data.processes import Pool, in_turn, result_of
from preprocess_data.sources import SOURCES, Chunk, Source, parts_of, size_of
from preprocess_data.tokenizer import Encoder

MANIFEST_FORMAT = 2
IDX_MAGIC, IDX_VERSION = b"MMIDIDX\x00\x00", 1
# Codes of indexed_dataset.DType.
DTYPE_CODES = {"int32": 4, "uint16": 8}


def state_of(path: Path) -> tuple[int, int, int]:
    """Size, time and inode of a file: what tells whether it has changed."""
    state = path.stat()
    return state.st_size, state.st_mtime_ns, state.st_ino


class Hashes:
    """SHA-256 of the source files, computed by a thread of its own while others work (hashing lets go of Python's lock)."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files, self._before, self._closed = files, [state_of(path) for path in files], False
        self._thread, self._made = concurrent.futures.ThreadPoolExecutor(1), None  # type: Any, Any
        self.sizes = [size for size, *_ in self._before]

    def start(self) -> None:
        """Begin, if not begun yet."""
        self._made = self._made or self._thread.submit(lambda: [sha256_of(path, self._heed) for path in self._files])

    def close(self) -> None:
        """End: nobody waits for it any more."""
        self._closed = True

    def _heed(self) -> None:
        heed()
        if self._closed:
            raise InterruptedError

    def sources(self) -> list[dict[str, Any]]:
        """Name, size and hash of each file, in order; an error when one has changed since this object was made."""
        self.start()
        found = result_of(self._made)
        for path, before in zip(self._files, self._before):
            if state_of(path) != before:
                raise PreprocessError(f"{path} has changed while it was read. Let nothing write to it, and run again.")
        return [{"name": path.name, "size": size, "sha256": sha256} for path, size, sha256 in zip(self._files, self.sizes, found)]


class Progress:
    """Counts what is done, and tells every so many rows how far a run is."""

    def __init__(self, rows: int | None, log_interval: int) -> None:
        self._of, self._interval, self._start = "" if rows is None else f" of {rows}", log_interval, time.monotonic()
        self.rows = self.documents = self.tokens = self.bytes = 0

    def add(self, chunk: Chunk, documents: int, tokens: int) -> None:
        """Count a chunk that is done."""
        before = self.rows // self._interval
        self.rows, self.documents, self.tokens = self.rows + chunk.rows, self.documents + documents, self.tokens + tokens
        self.bytes += chunk.size
        if self.rows // self._interval > before:
            seconds = self.seconds()
            say(f"{self.rows}{self._of} rows, {self.documents} documents, {self.tokens} tokens, "
                f"{self.bytes / 1e6 / seconds:.1f} MB/s, {self.tokens / seconds:.0f} tokens/s")

    def seconds(self) -> float:
        """Time since the start."""
        return max(time.monotonic() - self._start, 1e-9)


class Output:
    """The files of one dataset: written under temporary names, then renamed, the .idx after the .bin, the manifest last."""

    def __init__(self, stem: str) -> None:
        self.bin, self.idx, self.manifest = (Path(stem + end) for end in (".bin", ".idx", ".manifest.json"))
        self._lengths: list[Any] = []
        self._written: dict[str, dict[str, Any]] = {}

    @staticmethod
    def _temporary(path: Path) -> Path:
        return path.with_name(f".{path.name}.partial")

    def discard_partial(self) -> None:
        """Remove what an interrupted run left."""
        for path in (self.bin, self.idx, self.manifest):
            with contextlib.suppress(FileNotFoundError):
                self._temporary(path).unlink()

    def is_made_from(self, inputs: dict[str, Any], hashes: Hashes) -> bool:
        """True when the files are whole and were made from these inputs; the sources are hashed only where all else agrees."""
        try:
            manifest = json.loads(self.manifest.read_text(encoding="utf-8"))
            outputs, noted = manifest["outputs"], manifest["inputs"]
            sizes = [source["size"] for source in noted["sources"]]
            whole = all(path.is_file() and outputs[path.name]["size"] == path.stat().st_size for path in (self.bin, self.idx))
        except (OSError, ValueError, KeyError, TypeError):
            return False
        if manifest.get("format") != MANIFEST_FORMAT or not whole or sizes != hashes.sizes or {**noted, "sources": 0} != {**inputs, "sources": 0}:
            return False
        hashes.start()
        same = all(outputs[path.name].get("sha256") == sha256_of(path, heed) for path in (self.bin, self.idx))
        return bool(noted["sources"] == hashes.sources() and same)  # in this order: no thread is left at work

    def write(self, encoded: Iterable[tuple[Chunk, Any, Any]], progress: Progress) -> None:
        """Write the ids of all documents, as they come."""
        def ids_of_all() -> Iterator[Any]:
            for chunk, ids, lengths in encoded:
                yield ids
                self._lengths.append(lengths)
                progress.add(chunk, len(lengths), len(ids))

        self._put(self.bin, ids_of_all())

    def statistics(self) -> dict[str, int]:
        """Tokens of the shortest, the median and the longest document."""
        lengths = np.sort(np.concatenate(self._lengths))
        return {f"{name}_document": int(lengths[at]) for name, at in (("shortest", 0), ("median", (len(lengths) - 1) // 2), ("longest", -1))}

    def finish(self, dtype: str, about: dict[str, Any]) -> None:
        """Write index and manifest, and put the three files in place."""
        self._put(self.idx, self._index(dtype))
        manifest = {"format": MANIFEST_FORMAT, "dtype": dtype, **about, "outputs": dict(self._written)}
        self._put(self.manifest, [(json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode()])
        # An old index must never lie beside new data: without .idx there is no dataset.
        for path in (self.manifest, self.idx):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        for path in (self.bin, self.idx, self.manifest):
            self._temporary(path).replace(path)
        folder = os.open(str(self.bin.parent), os.O_RDONLY)
        with contextlib.suppress(OSError):  # not every file system can
            os.fsync(folder)
        os.close(folder)

    def _index(self, dtype: str) -> Iterator[Any]:
        """The index in parts: header, lengths (int32), byte offsets (int64), document bounds (int64)."""
        count, at = sum(map(len, self._lengths)), 0
        yield IDX_MAGIC + struct.pack("<QBQQ", IDX_VERSION, DTYPE_CODES[dtype], count, count + 1)
        yield from self._lengths
        for lengths in self._lengths:
            ends = at + np.cumsum(lengths, dtype=np.int64)
            yield (ends - lengths) * np.dtype(dtype).itemsize
            at = int(ends[-1]) if len(ends) else at
        for first in range(0, count + 1, 1 << 20):
            yield np.arange(first, min(first + (1 << 20), count + 1), dtype=np.int64)

    def _put(self, path: Path, parts: Iterable[Any]) -> None:
        """Write bytes and arrays to the temporary name of a file, and note its hash and size."""
        digest = hashlib.sha256()
        with self._temporary(path).open("wb") as stream:
            for part in parts:
                stream.write(part)
                digest.update(part)
            stream.flush()
            os.fsync(stream.fileno())
            self._written[path.name] = {"sha256": digest.hexdigest(), "size": stream.tell()}


def chunks_of(source: Source, size: int, encoder: Encoder) -> Iterator[Chunk]:
    """The documents of a file in chunks of about as many bytes; the first ones are encoded both ways and compared."""
    held: list[Any] = []
    rows = held_bytes = 0
    first = True

    def make() -> Chunk:
        nonlocal first
        texts = arrow.concat_arrays(held) if held else arrow.array([], arrow.string())
        difference = encoder.disagreement(texts) if first and held and encoder.pieces is not None else None
        first = first and not held
        if difference is not None:
            encoder.pieces, encoder.why_whole = None, f"{difference} ({source.path})"
            say(f"documents are encoded whole from {source.path} on: {difference}. Please report this")
        return Chunk(texts, rows, held_bytes, encoder.pieces is None)

    for count, texts in source.texts():
        heed()
        for part in parts_of(texts, size):
            # A small first one, since all wait for it.
            if held and held_bytes + size_of(part) > (size // 4 if first and encoder.pieces is not None else size):
                yield make()
                held, held_bytes, rows = [], 0, 0
            held.append(part)
            held_bytes += size_of(part)
        rows += count
    if rows or held:
        yield make()


def make(key: str, files: Sequence[Path], encoder: Encoder, pool: Pool | None, output: Output,
         inputs: dict[str, Any], hashes: Hashes, args: argparse.Namespace) -> None:
    """Make the dataset of one key."""
    size = int(args.chunk_mib * (1 << 20))
    sources = [SOURCES[str(kind_of(path))](path, key, size) for path in files]
    known = [source.rows for source in sources if source.rows is not None]
    rows = sum(known) if len(known) == len(sources) else None
    say(f"{'' if rows is None else f'{rows} rows of '}{files[0] if len(files) == 1 else f'{len(files)} files'}, column {key!r}; "
        f"encoding by {encoder.name}, {encoder.vocab_size} entries, ids stored as {encoder.dtype}")
    say(f"documents are encoded whole: {encoder.why_whole}" if encoder.pieces is None
        else "each distinct piece is encoded once: no merge of this vocabulary reaches across the cuts")
    progress = Progress(rows, args.log_interval)
    chunks = (chunk for source in sources for chunk in chunks_of(source, size, encoder))
    with contextlib.closing(in_turn(chunks, encoder.encode) if pool is None else pool.encode(chunks)) as encoded:
        output.write(encoded, progress)
    if progress.documents == 0:
        raise PreprocessError(f"{', '.join(str(path) for path in files[:3])}{' …' if len(files) > 3 else ''} has no text: all {progress.rows} rows "
                              f"of column {key!r} are empty. Set --json-keys (dataset_json_key) or bring another file (dataset_src).")
    seconds, lengths = progress.seconds(), output.statistics()
    counts = {"rows": progress.rows, "documents": progress.documents, "skipped": progress.rows - progress.documents, "tokens": progress.tokens}
    output.finish(encoder.dtype, {
        "encoder": encoder.name, "encoding": "pieces" if encoder.pieces is not None else "whole documents", "why_whole": encoder.why_whole,
        "vocab_size": encoder.vocab_size, **counts, "text_bytes": progress.bytes, **lengths, "inputs": {**inputs, "sources": hashes.sources()}})
    say(f"{progress.rows} rows, {progress.documents} documents, {progress.tokens} tokens; a document has {lengths['shortest_document']} to "
        f"{lengths['longest_document']} tokens, median {lengths['median_document']}; {seconds:.1f} s, "
        f"{progress.tokens / seconds:.0f} tokens/s, {progress.bytes / 1e6 / seconds:.1f} MB/s, {args.used} at work")
    say(f"wrote {output.bin}: {progress.documents} documents, {counts['skipped']} empty rows skipped, {progress.tokens} tokens")
