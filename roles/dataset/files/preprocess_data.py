#!/usr/bin/env python3
"""Turn a parquet file of texts into Megatron's indexed dataset.

Megatron's own tool reads JSON lines only and knows neither ``PretrainedFromHF`` nor
``--tokenizer-name-or-path``; this one has that command line. It writes for each key K

* ``PREFIX_K_document.bin``: the token ids of all documents, one after another;
* ``PREFIX_K_document.idx``: lengths, byte offsets and document bounds, in the format of
  ``megatron/core/datasets/indexed_dataset.py``;
* ``PREFIX_K_document.manifest.json``: what they were made from, and their SHA-256.

A document is a row; empty and null rows are skipped and counted. The ids are what the tokenizer itself
gives for the document, its special tokens included. A run whose manifest agrees with input, tokenizer,
options and output does nothing. Output appears under its name only when it is whole.

Needs Python 3.8, numpy, pyarrow, and tokenizers (or transformers, see `load_encoder`).
"""
from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import importlib
import json
import os
import signal
import struct
import sys
import time
from pathlib import Path
from typing import Any, Iterator, Sequence

MANIFEST_FORMAT = 1
IDX_MAGIC = b"MMIDIDX\x00\x00"
IDX_VERSION = 1
# Codes of indexed_dataset.DType.
DTYPE_CODES = {"int32": 4, "uint16": 8}
# Files of a tokenizer that its encoding may depend on.
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
                   "added_tokens.json", "vocab.json", "merges.txt", "vocab.txt")
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
BATCH_ROWS = 1000


class PreprocessError(Exception):
    """A cause that the user can mend; its text says what was found, what was expected and how to go on."""


def say(message: str) -> None:
    """Print one line at once, so that progress is seen as it happens."""
    print(f"preprocess_data: {message}", flush=True)


def need(module: str) -> Any:
    """Import a module, with a clear message when the environment lacks it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise PreprocessError(f"Python module {module} cannot be imported by {sys.executable}: {error}. "
                              "Run this program in the training environment (playbooks/conda_env.yml makes it).") from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


# -- tokenizer ---------------------------------------------------------------------------------------------------


def tokenizer_sha256(folder: Path) -> str:
    """One SHA-256 over the names and contents of the files that make a tokenizer.

    Raises:
        PreprocessError: when the folder holds no vocabulary.
    """
    if not any((folder / name).is_file() for name in VOCABULARIES):
        found = ", ".join(sorted(item.name for item in folder.iterdir())) if folder.is_dir() else "no such folder"
        raise PreprocessError(f"{folder} holds no tokenizer: expected one of {', '.join(VOCABULARIES)}, found: "
                              f"{found or 'nothing'}. Put the tokenizer there (playbooks/tokenizer.yml; tokenizer_src).")
    digest = hashlib.sha256()
    for name in TOKENIZER_FILES:
        if (folder / name).is_file():
            digest.update(f"{name} {sha256_of(folder / name)}\n".encode())
    return digest.hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; an empty one when there is no such file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PreprocessError(f"{path} is not valid JSON: {error}. Bring the file again.") from error
    return content if isinstance(content, dict) else {}


def token_text(token: Any) -> str | None:
    """The text of a token as tokenizer_config.json writes it: a string, or a mapping with `content`."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) and token else None


def special_tokens(folder: Path) -> dict[str, str]:
    """Special tokens by role (eos_token and so on), from tokenizer_config.json and special_tokens_map.json."""
    tokens: dict[str, str] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        for role, value in read_json(folder / name).items():
            if role == "additional_special_tokens" and isinstance(value, list):
                listed = [token_text(item) for item in value]
                tokens.update({f"{role}[{number}]": text for number, text in enumerate(listed) if text})
            elif role.endswith("_token"):
                text = token_text(value)
                if text:
                    tokens[role] = text
    return tokens


def why_not_plain(folder: Path, tokenizer: Any) -> str | None:
    """Say why tokenizer.json alone may encode differently from the whole tokenizer; None when it cannot.

    transformers adds tokens of tokenizer_config.json to the vocabulary, makes special ones of them, and puts
    bos and eos where add_bos_token and add_eos_token ask for them.
    """
    config = read_json(folder / "tokenizer_config.json")
    listed = read_json(folder / "tokenizer.json").get("added_tokens", [])
    added = {item["content"]: item["id"] for item in listed}
    tokens = special_tokens(folder)
    for role, text in tokens.items():
        if text not in added:
            return f"{role} {text!r} is no added token of tokenizer.json"
    for number, token in (config.get("added_tokens_decoder") or {}).items():
        if added.get(token_text(token)) != int(number):
            return f"added token {number} of tokenizer_config.json is not in tokenizer.json"
    ids = tokenizer.encode("a").ids
    for option, role, place in (("add_bos_token", "bos_token", 0), ("add_eos_token", "eos_token", -1)):
        if option in config and bool(config[option]) != (role in tokens and ids[place] == added[tokens[role]]):
            return f"{option} is {config[option]}, and tokenizer.json does otherwise"
    return None


class Encoder:
    """A tokenizer as this program needs it.

    Attributes:
        name: which implementation encodes, for the log and the manifest.
        vocab_size: entries of the vocabulary, added tokens included.
        eod: id of the end of a document, or None.
        dtype: numpy name of the type of an id on disk, as upstream's ``optimal_dtype`` chooses it.
    """

    def __init__(self, name: str, vocab_size: int, eod: int | None, batch: Any) -> None:
        self.name = name
        self.vocab_size = vocab_size
        self.eod = eod
        self.dtype = "uint16" if vocab_size < 65500 else "int32"
        self._batch = batch

    def encode_documents(self, texts: Sequence[str]) -> tuple[Any, Any]:
        """Encode documents.

        Args:
            texts: the documents.

        Returns:
            The ids of all of them in one array of `dtype`, shape (tokens,), and the number of ids
            of each, int32, shape (documents,).
        """
        np = need("numpy")
        encoded: list[list[int]] = self._batch(list(texts))
        lengths = np.fromiter((len(ids) for ids in encoded), dtype=np.int32, count=len(encoded))
        flat = np.fromiter((number for ids in encoded for number in ids), dtype=np.int64, count=int(lengths.sum()))
        if flat.size and int(flat.max()) > np.iinfo(self.dtype).max:
            raise PreprocessError(f"The tokenizer gave id {int(flat.max())}, which {self.dtype} cannot hold: its vocabulary "
                                  f"has {self.vocab_size} entries but its ids have gaps. Use a tokenizer without gaps.")
        return flat.astype(self.dtype), lengths


def load_encoder(folder: Path) -> Encoder:
    """The tokenizer of a folder: by the tokenizers library where tokenizer.json says all, else by transformers."""
    tokens = special_tokens(folder)
    if (folder / "tokenizer.json").is_file():
        library = need("tokenizers")
        try:
            plain = library.Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises bare Exception
            raise PreprocessError(f"{folder / 'tokenizer.json'} cannot be loaded by tokenizers {library.__version__}: {error}. "
                                  "Bring the file again, or use a newer tokenizers.") from error
        plain.no_truncation()
        plain.no_padding()
        reason = why_not_plain(folder, plain)
        if reason is None:
            encode = getattr(plain, "encode_batch_fast", plain.encode_batch)
            eod = plain.token_to_id(tokens["eos_token"]) if "eos_token" in tokens else None
            return Encoder(f"tokenizers {library.__version__}", plain.get_vocab_size(with_added_tokens=True), eod,
                           lambda texts: [encoding.ids for encoding in encode(texts)])
        say(f"encoding by transformers, which is slower: {reason}")
    library = need("transformers")
    try:
        whole = library.AutoTokenizer.from_pretrained(str(folder), local_files_only=True, model_max_length=10**12)
    except Exception as error:  # whatever its many backends raise
        raise PreprocessError(f"{folder} cannot be loaded by transformers {library.__version__}: {error}. "
                              "Bring tokenizer.json as well, or the packages that this tokenizer needs.") from error
    return Encoder(f"transformers {library.__version__}", len(whole), whole.eos_token_id, lambda texts: whole(texts)["input_ids"])


# -- input -------------------------------------------------------------------------------------------------------


class Table:
    """One text column of a parquet file, read in batches."""

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key
        self._arrow = need("pyarrow")
        with self._reading():
            self._file = need("pyarrow.parquet").ParquetFile(str(path))
            self.rows: int = self._file.metadata.num_rows
            schema = self._file.schema_arrow
        if key not in schema.names:
            raise PreprocessError(f"{path} has no column {key!r}: expected a column of texts of that name, found: "
                                  f"{', '.join(schema.names)}. Set --json-keys (dataset_json_key).")
        kind = schema.field(key).type
        if str(kind) not in ("string", "large_string"):
            raise PreprocessError(f"Column {key!r} of {path} holds {kind}, expected string. Set --json-keys (dataset_json_key).")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (self._arrow.ArrowException, OSError) as error:
            raise PreprocessError(f"{self.path} cannot be read as parquet: {error}. The file is missing, truncated or "
                                  "corrupt: bring it again and compare its SHA-256 (dataset_src, dataset_sha256).") from error

    def batches(self) -> Iterator[list[str | None]]:
        """The texts of the rows, in order; None for a null."""
        iterator = self._file.iter_batches(batch_size=BATCH_ROWS, columns=[self.key])
        while True:
            with self._reading():
                try:
                    batch = next(iterator)
                except StopIteration:
                    return
            yield batch.column(0).to_pylist()


# -- output ------------------------------------------------------------------------------------------------------


class Output:
    """The files of one dataset: written under temporary names, then renamed, the .idx after the .bin, the manifest last."""

    def __init__(self, stem: str) -> None:
        self.bin, self.idx, self.manifest = (Path(stem + end) for end in (".bin", ".idx", ".manifest.json"))

    @staticmethod
    def _temporary(path: Path) -> Path:
        return path.with_name(f".{path.name}.partial")

    def discard_partial(self) -> None:
        """Remove what an interrupted run left."""
        for path in (self.bin, self.idx, self.manifest):
            with contextlib.suppress(FileNotFoundError):
                self._temporary(path).unlink()

    def is_made_from(self, inputs: dict[str, Any]) -> bool:
        """True when the files are whole and were made from these inputs."""
        try:
            manifest = json.loads(self.manifest.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        if not isinstance(manifest, dict) or manifest.get("inputs") != inputs:
            return False
        outputs = manifest.get("outputs", {})
        return all(path.is_file() and outputs.get(path.name, {}).get("size") == path.stat().st_size
                   and outputs[path.name].get("sha256") == sha256_of(path) for path in (self.bin, self.idx))

    def write(self, table: Table, encoder: Encoder, inputs: dict[str, Any], append_eod: bool, log_interval: int) -> dict[str, Any]:
        """Encode all rows and put the three files in place. Returns the manifest."""
        np = need("numpy")
        if append_eod and encoder.eod is None:
            raise PreprocessError("--append-eod needs the tokenizer's eos_token, and tokenizer_config.json names none. "
                                  "Bring tokenizer_config.json, or leave --append-eod out (dataset_append_eod: false).")
        all_lengths = []
        documents = tokens = rows = 0
        start = time.monotonic()
        with self._temporary(self.bin).open("wb") as stream:
            for batch in table.batches():
                texts = [text for text in batch if text]
                ids, lengths = encoder.encode_documents(texts)
                if append_eod:
                    ids = np.insert(ids, np.cumsum(lengths), encoder.eod)
                    lengths = lengths + np.int32(1)
                stream.write(ids.tobytes(order="C"))
                all_lengths.append(lengths.astype(np.int32))
                before, rows = rows, rows + len(batch)
                documents, tokens = documents + len(texts), tokens + int(ids.size)
                if rows // log_interval > before // log_interval or rows == table.rows:
                    say(f"{rows} of {table.rows} rows, {documents} documents, {tokens} tokens, "
                        f"{rows / max(time.monotonic() - start, 1e-9):.0f} rows/s")
            self._flush(stream)
        if rows != table.rows:
            raise PreprocessError(f"{table.path} gave {rows} rows, its footer promises {table.rows}: the file is corrupt. "
                                  "Bring it again (dataset_src).")
        if documents == 0:
            raise PreprocessError(f"{table.path} has no text: all {rows} rows of column {table.key!r} are empty. "
                                  "Set --json-keys (dataset_json_key) or bring another file (dataset_src).")
        lengths = np.concatenate(all_lengths)
        self._write_idx(lengths, encoder.dtype)
        manifest = {
            "format": MANIFEST_FORMAT,
            "inputs": inputs,
            "outputs": {path.name: {"sha256": sha256_of(temporary), "size": temporary.stat().st_size}
                        for path, temporary in ((path, self._temporary(path)) for path in (self.bin, self.idx))},
            "encoder": encoder.name, "vocab_size": encoder.vocab_size, "dtype": encoder.dtype,
            "rows": rows, "documents": documents, "skipped": rows - documents, "tokens": tokens,
            "longest_document": int(lengths.max()), "shortest_document": int(lengths.min()),
        }
        with self._temporary(self.manifest).open("wb") as stream:
            stream.write((json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode())
            self._flush(stream)
        # An old index must never lie beside new data: without .idx there is no dataset.
        for path in (self.manifest, self.idx):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        for path in (self.bin, self.idx, self.manifest):
            self._temporary(path).replace(path)
        return manifest

    def _write_idx(self, lengths: Any, dtype: str) -> None:
        """Write the index: header, lengths (int32), byte offsets (int64), document bounds (int64)."""
        np = need("numpy")
        offsets = np.zeros(len(lengths), dtype=np.int64)
        np.cumsum(lengths[:-1], dtype=np.int64, out=offsets[1:])
        offsets *= np.dtype(dtype).itemsize
        with self._temporary(self.idx).open("wb") as stream:
            stream.write(IDX_MAGIC + struct.pack("<QB", IDX_VERSION, DTYPE_CODES[dtype]))
            stream.write(struct.pack("<QQ", len(lengths), len(lengths) + 1))
            stream.write(lengths.astype(np.int32).tobytes(order="C"))
            stream.write(offsets.tobytes(order="C"))
            stream.write(np.arange(len(lengths) + 1, dtype=np.int64).tobytes(order="C"))
            self._flush(stream)

    @staticmethod
    def _flush(stream: Any) -> None:
        stream.flush()
        os.fsync(stream.fileno())


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder, so that two runs never write the same files."""
    descriptor = os.open(str(folder), os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PreprocessError(f"Another preprocessing is at work in {folder}. Wait for it to end.") from error
        except OSError as error:  # some network file systems have no locks
            say(f"{folder} cannot be locked ({error}); going on without")
        yield
    finally:
        os.close(descriptor)


def prepare(args: argparse.Namespace) -> None:
    """Make the dataset of every key that is not made yet."""
    source, folder, prefix = Path(args.input), Path(args.tokenizer_name_or_path), Path(args.output_prefix)
    if not source.is_file():
        raise PreprocessError(f"There is no file {source}. Set --input to the parquet file (dataset_src).")
    tokenizer_hash = tokenizer_sha256(folder)
    prefix.parent.mkdir(parents=True, exist_ok=True)
    with alone_in(prefix.parent):
        source_hash = sha256_of(source)
        encoder = None
        for key in args.json_keys:
            output = Output(f"{prefix}_{key}_document")
            inputs = {"source_sha256": source_hash, "tokenizer_sha256": tokenizer_hash, "tokenizer_type": args.tokenizer_type,
                      "json_key": key, "append_eod": args.append_eod}
            output.discard_partial()
            if output.is_made_from(inputs):
                say(f"{output.bin} is up to date")
                continue
            try:
                encoder = encoder or load_encoder(folder)
                table = Table(source, key)
                say(f"{table.rows} rows of {source}, column {key!r}; encoding by {encoder.name}, "
                    f"{encoder.vocab_size} entries, ids stored as {encoder.dtype}")
                made = output.write(table, encoder, inputs, args.append_eod, args.log_interval)
            except BaseException:
                output.discard_partial()
                raise
            say(f"wrote {output.bin}: {made['documents']} documents, {made['skipped']} empty rows skipped, {made['tokens']} tokens")


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line: upstream's names."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n", 1)[0], allow_abbrev=False)
    parser.add_argument("--input", required=True, help="parquet file, a document a row")
    parser.add_argument("--json-keys", nargs="+", default=["text"], help="columns to encode, each into files of its own")
    parser.add_argument("--tokenizer-type", choices=["PretrainedFromHF"], default="PretrainedFromHF")
    parser.add_argument("--tokenizer-name-or-path", required=True, help="folder of the tokenizer")
    parser.add_argument("--output-prefix", required=True, help="files are PREFIX_<key>_document.bin and .idx")
    parser.add_argument("--append-eod", action="store_true", help="end each document with the tokenizer's eos token")
    parser.add_argument("--workers", type=int, default=4, help="threads that encode; the output does not depend on it")
    parser.add_argument("--log-interval", type=int, default=1000, help="rows between two lines of progress")
    args = parser.parse_args(argv)
    for name in ("workers", "log_interval"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    return args


def stop(number: int, _frame: Any) -> None:
    """End by a signal as by an exception, so that temporary files go."""
    raise SystemExit(128 + number)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program. Returns its exit status."""
    args = arguments(argv)
    # Read by the tokenizers library when it first encodes.
    os.environ["RAYON_NUM_THREADS"] = str(args.workers)
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    signal.signal(signal.SIGTERM, stop)
    try:
        prepare(args)
    except PreprocessError as error:
        print(f"preprocess_data: error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"preprocess_data: error: {error}. Nothing was left behind; make room or mend the path, and run again.",
              file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
