"""The input: columns of texts in parquet, JSON lines or CSV files, as Arrow arrays of strings: 32-bit offsets and bytes."""
from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import zlib
from pathlib import Path
from typing import Any, Iterable, Iterator, NamedTuple

import numpy as np
import pyarrow as arrow
import pyarrow.compute as compute
import pyarrow.json as arrow_json
import pyarrow.parquet as arrow_parquet

from preprocess_data.messages import PreprocessError

# An Arrow array of strings has 32-bit offsets.
LARGEST_DOCUMENT = (1 << 31) - (1 << 20)
# What reading a file gives, compressed or not, that is cut off or damaged.
UNREADABLE = (OSError, EOFError, zlib.error)


class Chunk(NamedTuple):
    """Documents to be encoded at once: an Arrow array of strings, the rows that it was made of, empty ones included, and its size in bytes."""

    texts: Any
    rows: int
    size: int
    #: they are left to the tokenizer itself
    whole: bool


def offsets_of(texts: Any) -> Any:
    """The offsets of an Arrow array of strings or binaries, int32, shape (rows + 1,)."""
    if not len(texts):
        return np.zeros(1, dtype=np.int32)
    return np.frombuffer(texts.buffers()[1], dtype=np.int32)[texts.offset:texts.offset + len(texts) + 1]


def letters_of(texts: Any) -> bytes:
    """The bytes of such an array, one behind the other."""
    offsets, values = offsets_of(texts), texts.buffers()[2]
    return b"" if values is None else memoryview(values)[int(offsets[0]):int(offsets[-1])].tobytes()


def strings_of(offsets: Any, letters: Any, kind: Any) -> Any:
    """The array of such offsets and bytes."""
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


class Source:
    """One column of a file, read piece by piece."""

    #: in all, where the file tells beforehand
    rows: int | None = None

    def __init__(self, path: Path, key: str, chunk: int) -> None:
        self.path, self.key, self.chunk = path, key, chunk

    def arrays(self) -> Iterator[Any]:
        """Arrow arrays of the column, in order: strings, possibly large or dictionary-encoded, nulls included."""
        raise NotImplementedError

    def place(self, row: int) -> str:
        """Where a row is found, counted from 0."""
        return f"{self.path}, row {row + 1}"

    def texts(self) -> Iterator[tuple[int, Any]]:
        """Numbers of rows, and their documents: Arrow arrays of valid strings, none null or empty."""
        row = 0
        for column in self.arrays():
            for part in self._narrow(column, row):
                try:
                    part.validate(full=True)
                except arrow.ArrowInvalid as error:
                    texts = enumerate(part.cast(arrow.binary()).to_pylist(), row)
                    wrong = next((number for number, text in texts if text and text.decode(errors="ignore").encode() != text), row)
                    raise PreprocessError(f"{self.place(wrong)}: the text is not valid UTF-8. Convert the file to UTF-8.") from error
                filled = compute.greater(compute.binary_length(part), 0)
                yield len(part), (part if part.null_count == 0 and compute.all(filled).as_py() is not False else part.filter(filled))
                row += len(part)

    def _narrow(self, column: Any, row: int) -> Iterator[Any]:
        """A column that begins at a row, as arrays with 32-bit offsets."""
        if arrow.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if not arrow.types.is_large_string(column.type):
            yield column
        elif column.nbytes <= LARGEST_DOCUMENT:
            yield column.cast(arrow.string())
        elif len(column) == 1:
            raise PreprocessError(f"{self.place(row)}: a document of {column.nbytes} bytes, expected less than 2 GiB. Cut it into several.")
        else:
            for at in range(len(column)):
                yield from self._narrow(column[at:at + 1], row + at)

    def wrong_key(self, found: Iterable[str]) -> PreprocessError:
        """The error for a file without the column."""
        return PreprocessError(f"{self.path} has no column {self.key!r}: expected a column of texts of that name, found: "
                               f"{', '.join(found)}. Set --json-keys (dataset_json_key).")

    @contextlib.contextmanager
    def reading(self, kind: str, *errors: type[Exception]) -> Iterator[None]:
        """Say what such errors mean: the file is not what its name says."""
        try:
            yield
        except errors as error:
            raise PreprocessError(f"{self.path} cannot be read as {kind}: {error}. The file is missing, truncated or corrupt: bring it again "
                                  "and compare its SHA-256 (dataset_src, dataset_sha256).") from error

    def _stream(self) -> Any:
        return gzip.open(self.path, "rb") if self.path.name.lower().endswith(".gz") else self.path.open("rb")


class ParquetSource(Source):
    """A column of a parquet file. Pages are read as they are needed, so the size of a row group does not matter."""

    def __init__(self, path: Path, key: str, chunk: int) -> None:
        super().__init__(path, key, chunk)
        with self.reading("parquet", arrow.ArrowException, OSError):
            # Otherwise Arrow reads the column of a whole row group at once.
            self._file = arrow_parquet.ParquetFile(str(path), buffer_size=1 << 20, pre_buffer=False)
            metadata, schema = self._file.metadata, self._file.schema_arrow
        self.rows = metadata.num_rows
        if key not in schema.names:
            raise self.wrong_key(schema.names)
        kind = schema.field(key).type
        if str(kind.value_type if arrow.types.is_dictionary(kind) else kind) not in ("string", "large_string"):
            raise PreprocessError(f"Column {key!r} of {path} holds {kind}, expected string. Set --json-keys (dataset_json_key).")
        column = next((at for at in range(metadata.num_columns) if metadata.schema.column(at).path == key), 0)
        size = sum(metadata.row_group(at).column(column).total_uncompressed_size for at in range(metadata.num_row_groups))
        # Half a chunk by the mean row; few enough that repeated texts, which parquet stores once, stay small as well.
        self._batch = max(1, min(2048, chunk * max(self.rows, 1) // (2 * max(size, 1))))

    def arrays(self) -> Iterator[Any]:
        """See `Source.arrays`."""
        batches = self._file.iter_batches(batch_size=self._batch, columns=[self.key], use_threads=False)
        read, rows = 0, self.rows or 0
        with self.reading("parquet", arrow.ArrowException, OSError):
            for batch in batches:
                read += batch.num_rows
                yield batch.column(0)
        if read != rows:
            raise PreprocessError(f"{self.path} gave {read} rows, its footer promises {rows}: the file is corrupt. Bring it again (dataset_src).")


class JsonSource(Source):
    """A key of the objects of a file of JSON lines. Lines without the key count as empty rows."""

    _first_line = 1  # of the block at hand

    def place(self, row: int) -> str:
        """Where a row is found; blank lines are not counted among the rows."""
        return f"{self.path}, document {row + 1}"

    def arrays(self) -> Iterator[Any]:
        """See `Source.arrays`."""
        parse = arrow_json.ParseOptions(explicit_schema=arrow.schema([(self.key, arrow.string())]), unexpected_field_behavior="ignore")
        for number, block in enumerate(self._blocks()):
            try:
                table = arrow_json.read_json(arrow.BufferReader(block), parse_options=parse,
                                             read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(block) + 1))
                array = arrow.concat_arrays(table.column(0).chunks) if table.num_rows else arrow.array([], arrow.string())
                if len(array) != block.count(b"\n") and len(array) != sum(1 for line in block.splitlines() if line.strip()):
                    array = self._by_line(block)
            except arrow.ArrowException:
                array = self._by_line(block)
            if number == 0 and array.null_count == len(array):
                self._look_for_key(block)
            yield array
            self._first_line += block.count(b"\n")

    def _blocks(self) -> Iterator[bytes]:
        """The file in blocks of whole lines, about a chunk each."""
        held: list[bytes] = []
        with self.reading("JSON lines", *UNREADABLE), self._stream() as stream:
            if stream.peek(3)[:3] == b"\xef\xbb\xbf":  # a byte order mark
                stream.read(3)
            for data in iter(lambda: stream.read(self.chunk), b""):
                end = data.rfind(b"\n") + 1
                if end:
                    yield b"".join([*held, data[:end]])
                    held = []
                held.append(data[end:])
        if any(held):
            yield b"".join([*held, b"\n"])

    def _by_line(self, block: bytes) -> Any:
        """Read a block that Arrow does not like line by line: slower, and able to tell which line is wrong."""
        found: list[str | None] = []
        for number, line in enumerate(block.split(b"\n"), self._first_line):
            if not line.strip():
                continue
            where = f"{self.path}, line {number}"
            try:
                item = json.loads(line.decode())
                text = item.get(self.key) if isinstance(item, dict) else item
                if not isinstance(item, dict) or not isinstance(text, (str, type(None))):
                    raise PreprocessError(f"{where}: expected an object whose {self.key!r} is a string, found {line[:80]!r}. "
                                          "Mend or remove the line, or set --json-keys (dataset_json_key).")
                (text or "").encode()
            except UnicodeDecodeError as error:
                raise PreprocessError(f"{where}: the text is not valid UTF-8 ({error}). Convert the file to UTF-8.") from error
            except UnicodeEncodeError as error:
                raise PreprocessError(f"{where}: {self.key!r} holds half of a surrogate pair, which is no character ({error}). "
                                      "Mend or remove the line.") from error
            except (ValueError, RecursionError) as error:
                raise PreprocessError(f"{where}: not valid JSON: {error}. Expected a JSON object a line; mend or remove the line.") from error
            found.append(text)
        return arrow.array(found, arrow.string())

    def _look_for_key(self, block: bytes) -> None:
        with contextlib.suppress(ValueError):
            for line in block.split(b"\n")[:100]:
                item = json.loads(line or b"{}")
                if isinstance(item, dict) and item and self.key not in item:
                    raise self.wrong_key(item)


class CsvSource(Source):
    """A column of a CSV file with a header; quoted fields may hold newlines."""

    def arrays(self) -> Iterator[Any]:
        """See `Source.arrays`."""
        csv.field_size_limit((1 << 31) - 1)
        with self.reading("CSV", *UNREADABLE), self._stream() as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(stream, strict=True)
            try:
                for held in self._held(rows):
                    yield arrow.array(held, arrow.string())
            except csv.Error as error:
                raise PreprocessError(f"{self.path}, line {rows.line_num}: not valid CSV: {error}. Mend the line.") from error
            except UnicodeDecodeError as error:
                raise PreprocessError(f"{self.path}, after line {rows.line_num}: the text is not valid UTF-8 ({error}). "
                                      "Convert the file to UTF-8.") from error

    def _held(self, rows: Any) -> Iterator[list[str]]:
        """The column, about half a chunk at a time."""
        header: list[str] = next(rows, [])
        if self.key not in header:
            raise self.wrong_key(header)
        column, held, size = header.index(self.key), [], 0  # type: int, list[str], int
        for row in filter(None, rows):
            if len(row) != len(header):
                raise PreprocessError(f"{self.path}, line {rows.line_num}: {len(row)} fields, expected {len(header)} as in the header. "
                                      "Mend the line; quote fields that hold commas, quotes or newlines.")
            held.append(row[column])
            size += len(row[column])
            if size >= self.chunk // 2:
                yield held
                held, size = [], 0
        yield held


SOURCES: dict[str, type[Source]] = {"parquet": ParquetSource, "json": JsonSource, "csv": CsvSource}
