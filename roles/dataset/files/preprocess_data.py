#!/usr/bin/env python3
"""Turn parquet, JSON lines or CSV files of texts into Megatron's indexed dataset.

Megatron's own tool reads JSON lines only and knows neither ``PretrainedFromHF`` nor
``--tokenizer-name-or-path``; this one has that command line. It writes for each key K

* ``PREFIX_K_document.bin``: the token ids of all documents, one after another;
* ``PREFIX_K_document.idx``: lengths, byte offsets and document bounds, in the format of
  ``megatron/core/datasets/indexed_dataset.py``;
* ``PREFIX_K_document.manifest.json``: what they were made from, and their SHA-256.

A document is a row; empty and null rows are skipped and counted. The ids are what the tokenizer itself
gives for the document, its special tokens included. A run whose manifest agrees with input, tokenizer,
options and output does nothing. Output appears under its name only when it is whole, and its bytes depend
neither on the number of workers nor on the size of a chunk.

Speed: a text is cut wherever no merge of the vocabulary can reach across; each distinct piece is encoded once
and the document is gathered from its pieces (class `Pieces` says why this is exact). Tokenizers of another kind,
and documents in which a special token is written out, are encoded whole. What ran is printed and noted.

Order: the words of --input as given; the files of a folder or glob sorted by path; the rows of a file as they lie.

Memory: the program reads and writes, the workers encode: threads where they encode pieces (one process more holds the
tokenizer and is asked for pieces that are new), processes where they encode whole documents; at most 2 x workers chunks
are under way. Expect at most

    250 MiB + workers x (150 MiB + 32 x chunk) + 12 bytes a document

of resident memory, shared pages counted once, however large the files and their row groups are. A document larger
than a chunk is a chunk of its own; the largest adds up to 20 times its size (encoded whole, or with a word of megabytes:
what the tokenizer needs for that).

Needs Python 3.8, numpy, pyarrow, and tokenizers (or transformers, see `load_encoder`).
"""
from __future__ import annotations

import argparse
import array
import collections
import contextlib
import csv
import ctypes
import fcntl
import functools
import gc
import glob
import gzip
import hashlib
import importlib
import importlib.machinery
import io
import itertools
import json
import marshal
import os
import re
import signal
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Generator, Iterable, Iterator, Sequence

MANIFEST_FORMAT = 2
IDX_MAGIC = b"MMIDIDX\x00\x00"
IDX_VERSION = 1
# Codes of indexed_dataset.DType.
DTYPE_CODES = {"int32": 4, "uint16": 8}
# Files of a tokenizer that its encoding may depend on.
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
                   "added_tokens.json", "vocab.json", "merges.txt", "vocab.txt")
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
# Kinds of input by the end of the name.
KINDS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".jsonl.gz": "json", ".json.gz": "json",
         ".csv": "csv", ".csv.gz": "csv"}
# Pieces that a worker remembers: their number, and the sum of their lengths in bytes.
CACHE_PIECES, CACHE_BYTES = 200_000, 32 << 20
# Pieces asked for at a time, characters of them encoded as one text; texts encoded and bytes cut at a time. It bounds the temporary memory.
LEARN_STEP, PIECES_LENGTH = 1 << 16, 640
ENCODE_STEP, CUT_STEP = 256, 1 << 16
# The encodings that the tokenizers library returns are large: documents encoded whole go by as many bytes.
WHOLE_BYTES = 1 << 19
# The first documents of each file, as many and as many bytes, are encoded both ways and compared.
CHECK_DOCUMENTS, CHECK_BYTES = 16, 1 << 15
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]
# No UTF-8 text contains these bytes: they mark where a document begins and ends.
BEGIN, END = 0xFF, 0xFE
# An Arrow array of strings has 32-bit offsets.
LARGEST_DOCUMENT = (1 << 31) - (1 << 20)


class PreprocessError(Exception):
    """A cause that the user can mend; its text says what was found, what was expected and how to go on."""


# Besides standard output; see --log-file.
LOGS: list[Any] = []
# Signals that ask to end, with the time of each; how long nobody may look whether one has come, and after how long
# one more ends the program at once (`timeout` sends two together), in seconds.
STOPPED: list[tuple[int, float]] = []
LOOK, HURRY = 0.2, 2.0


def say(message: str, stream: Any = None) -> None:
    """Print one line at once, so that progress is seen as it happens."""
    for each in [stream or sys.stdout, *LOGS]:
        print(f"preprocess_data: {message}", file=each, flush=True)


def need(module: str) -> Any:
    """Import a module, with a clear message when the environment lacks it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise PreprocessError(f"Python module {module} cannot be imported by {sys.executable}: {error}. "
                              "Run this program in the training environment (playbooks/conda_env.yml makes it).") from error


def stop(number: int, _frame: Any) -> None:
    """Handle a signal that asks to end: `heed` does. What an exception would meet here, the libraries' import of a module say, may swallow it."""
    STOPPED.append((number, time.monotonic()))
    if STOPPED[-1][1] - STOPPED[0][1] > HURRY:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def heed() -> None:
    """End as the signal that has come demands, if one has."""
    if STOPPED:
        number = STOPPED[0][0]
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


class NoPandas:
    """A finder of modules, and a loader, by which pandas cannot be imported: Arrow would import it, which takes longer than its own import."""

    @classmethod
    def find_spec(cls, name: str, *_: Any) -> importlib.machinery.ModuleSpec | None:
        """Answer for pandas, and leave other modules to the finders behind this one."""
        finder: Any = cls()
        return importlib.machinery.ModuleSpec(name, finder) if name == "pandas" else None

    def create_module(self, spec: Any) -> None:
        """Leave it to Python."""

    def exec_module(self, module: Any) -> None:
        """Refuse. Who only asks whether there is a module, as transformers does, is not disturbed."""
        raise ModuleNotFoundError("not needed here", name=module.__name__)


@contextlib.contextmanager
def without_pandas() -> Iterator[None]:
    """Let Arrow believe that there is no pandas. It looks with its first array, and release 17 wherever it infers a type."""
    finder: Any = NoPandas
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class Task(threading.Thread):
    """A call in a thread of its own, for what lets go of Python's lock."""

    def __init__(self, call: Callable[[], Any]) -> None:
        """Begin."""
        super().__init__(daemon=True)
        self._call = call
        self._result: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """See `threading.Thread.run`."""
        try:
            self._result = self._call()
        except BaseException as error:
            self._error = error

    def result(self) -> Any:
        """What the call returned, as soon as it has; what it raised is raised here."""
        while self.is_alive():
            self.join(LOOK)
            heed()
        if self._error is not None:
            raise self._error
        return self._result


def attempt(call: Callable[[], Any]) -> tuple[str, Any]:
    """In a worker: what went wrong in a call, in words ("" for nothing), and what it returned."""
    try:
        return "", call()
    except PreprocessError as error:
        return str(error), None
    except MemoryError:
        return "A worker has no memory left. Use fewer --workers (dataset_workers) or a smaller --chunk-mib.", None
    except BaseException as error:  # a panic of a library in Rust is no Exception
        return f"A worker failed: {type(error).__name__}: {error}.", None


def has_died(process: int, status: int) -> PreprocessError:
    """The error for a worker that is no more.

    Args:
        process: its number.
        status: with which it ended; of a signal its negative number.
    """
    how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    hint = " (signal 9 comes from the kernel when memory runs out, see dmesg, or from somebody)" if status == -9 else ""
    return PreprocessError(f"A worker, process {process}, {how}{hint}. Nothing was written; run again, with fewer --workers "
                           "(dataset_workers) or a smaller --chunk-mib if memory was short.")


def no_process(error: OSError) -> PreprocessError:
    """The error for a worker that cannot be started."""
    return PreprocessError(f"No process can be started: {error}. Make room in memory, or raise the limit of this user's processes (ulimit -u).")


def live_under(parent: int) -> None:
    """In a forked process: end with the parent, however it ends, and not before it."""
    for number in (signal.SIGTERM, signal.SIGINT):  # sent to all of a group: the parent ends this process
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG; without it the end of the pipe has to do
    if os.getppid() != parent:
        os._exit(1)


class Companion:
    """An object in a process of its own. Its methods are called as if it were here, with plain data to and fro, one at a time.

    For what keeps Python's lock to itself, and can be made while this process is busy. To be begun while there are no
    threads: those and a fork do not go together. Not by multiprocessing, as `Pool` is: its import would delay every start.
    """

    def __init__(self, make: Callable[[], Any], close: Sequence[int] = ()) -> None:
        """Begin.

        Args:
            make: makes the object; what it raises is raised by every call.
            close: file descriptors that the process shall not keep open.
        """
        requests, ours = os.pipe()
        theirs, answers = os.pipe()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        parent = os.getpid()
        try:
            self._process = os.fork()
        except OSError as error:
            raise no_process(error) from error
        if self._process == 0:
            try:
                live_under(parent)
                for descriptor in (ours, theirs, *close):
                    os.close(descriptor)
                self._serve(make, os.fdopen(requests, "rb"), os.fdopen(answers, "wb"))
            finally:
                os._exit(1)
        os.close(requests)
        os.close(answers)
        self._status: int | None = None
        self._requests, self._answers = os.fdopen(ours, "wb"), os.fdopen(theirs, "rb")
        self._turn = threading.Lock()

    @staticmethod
    def _serve(make: Callable[[], Any], requests: Any, answers: Any) -> None:
        """Make the object and answer calls until they end."""
        failure, made = attempt(make)
        for size in iter(lambda: requests.read(8), b""):
            name, given = marshal.loads(requests.read(*struct.unpack("<Q", size)))  # noqa: S302
            answer = marshal.dumps((failure, None) if failure else attempt(functools.partial(getattr(made, name), *given)))
            answers.write(struct.pack("<Q", len(answer)) + answer)
            answers.flush()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """A method of the object.

        Raises:
            PreprocessError: when it is called, and that or the making of the object fails.
        """
        return functools.partial(self._call, name)

    def _call(self, name: str, *given: Any) -> Any:
        request = marshal.dumps((name, given))
        with self._turn:
            try:
                self._requests.write(struct.pack("<Q", len(request)) + request)
                self._requests.flush()
                size, = struct.unpack("<Q", self._answers.read(8))
                answer = self._answers.read(size)
                if len(answer) < size:
                    raise EOFError
            except (OSError, EOFError, struct.error) as error:
                raise self._died() from error
        failure, result = marshal.loads(answer)  # noqa: S302
        if failure:
            raise PreprocessError(failure)
        return result

    def _died(self) -> PreprocessError:
        status = self._end()
        return has_died(self._process, -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))

    def _end(self) -> int:
        """Wait for the end of the process, once: then its number may be another's."""
        if self._status is None:
            self._status = os.waitpid(self._process, 0)[1]
        return self._status

    def close(self) -> None:
        """End the process. No call may be under way."""
        if self._status is None:
            os.kill(self._process, signal.SIGKILL)
            self._end()
        for stream in (self._requests, self._answers):
            with contextlib.suppress(OSError):  # a request that nobody will read
                stream.close()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            heed()
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


def why_not_alone(folder: Path, tokenizer: Any, spec: dict[str, Any]) -> str | None:
    """Say why tokenizer.json alone may encode differently from the whole tokenizer; None when it cannot.

    transformers adds tokens of tokenizer_config.json to the vocabulary, makes special ones of them, and puts
    bos and eos where add_bos_token and add_eos_token ask for them.

    Args:
        folder: of the tokenizer.
        tokenizer: its tokenizer.json, loaded by the tokenizers library.
        spec: with the added_tokens of its tokenizer.json.
    """
    config = read_json(folder / "tokenizer_config.json")
    added = {item["content"]: item["id"] for item in spec.get("added_tokens", [])}
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


class NoPieces(Exception):
    """Why documents of this tokenizer cannot be encoded piece by piece."""


def merges_of(model: dict[str, Any]) -> list[Sequence[str]]:
    """The merges of a BPE model: pairs of tokens, which older files write as one text with a space between them."""
    return [item.split(" ") if isinstance(item, str) else item for item in model["merges"]]


def cuts_of(pairs: Iterable[Sequence[str]], split_spaces: bool) -> bytes:
    """Where a text may be cut: 65536 bytes, 1 for yes and 0 for no, by 256 x the byte before + the byte after.

    Args:
        pairs: the merges; no token of them stands for a single byte.
        split_spaces: the tokenizer itself splits at each space.
    """
    table = bytearray(b"\1" * 65536)
    for before, after in {(left[-1], right[0]) for left, right in pairs}:
        table[256 * before.replace("▁", " ").encode()[-1] + after.replace("▁", " ").encode()[0]] = 0
    for row in range(0, 65536, 256):
        if split_spaces:
            table[row + ord(" ")] = 1
        table[row + 0x80:row + 0xC0] = bytes(0x40)  # never within a character
        table[row + BEGIN] = table[row + END] = 1
    table[256 * BEGIN:256 * BEGIN + 256] = b"\1" * 256
    return bytes(table)


def space_rules(spec: dict[str, Any]) -> tuple[str, bool]:
    """How a tokenizer turns spaces into ▁: when it puts one before a document, and whether it splits at each.

    Returns:
        "always", "unless there is one" or "never"; and True where runs of ▁ are split.

    Raises:
        NoPieces: when it is none of the forms that are understood.
    """
    normalizer, splitter = spec.get("normalizer"), spec.get("pre_tokenizer")
    if splitter is None and normalizer is not None:
        steps = normalizer.get("normalizers", []) if normalizer.get("type") == "Sequence" else [normalizer]
        replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
        prepend = {"type": "Prepend", "prepend": "▁"}
        if steps in ([prepend, replace], [replace, prepend]):
            return "always", False
        if steps == [replace]:
            return "never", False
        raise NoPieces("its normalizer is not Prepend ▁ and Replace ' ' by ▁")
    if splitter is not None and normalizer is None:
        scheme, split = splitter.get("prepend_scheme"), splitter.get("split")
        if (splitter.get("type") != "Metaspace" or splitter.get("replacement") != "▁" or not isinstance(split, bool)
                or scheme not in ("first", "always", "never")):
            raise NoPieces(f"its pre-tokenizer is {splitter.get('type')}, not a Metaspace whose settings are all written down")
        return ("never" if scheme == "never" else "unless there is one"), split
    raise NoPieces("it has both a normalizer and a pre-tokenizer, or neither")


def template_ids(spec: dict[str, Any]) -> tuple[list[int], list[int]]:
    """The ids that the post-processor puts before and after each document.

    Raises:
        NoPieces: when it may do more than that.
    """
    processor = spec.get("post_processor")
    if processor is None:
        return [], []
    around: list[list[int]] = [[]]
    try:
        if processor["type"] != "TemplateProcessing":
            raise NoPieces(f"its post-processor is {processor['type']}, not a template")
        for item in processor["single"]:
            if "SpecialToken" in item:
                around[-1] += processor["special_tokens"][item["SpecialToken"]["id"]]["ids"]
            else:
                around.append([])
    except (KeyError, TypeError) as error:
        raise NoPieces("its post-processor is not understood") from error
    if len(around) != 2:
        raise NoPieces("the template of its post-processor does not hold the document once")
    return around[0], around[1]


def require_byte_fallback(spec: dict[str, Any]) -> dict[str, Any]:
    """The model of a tokenizer, when it is a BPE whose result for a text is decided by its merges alone.

    Raises:
        NoPieces: when it is not.
    """
    model = spec.get("model") or {}
    vocabulary = model.get("vocab")
    for holds, reason in (
        (model.get("type") == "BPE", f"its model is {model.get('type')}, not BPE"),
        (not model.get("dropout"), "its merges are dropped at random"),
        (not model.get("ignore_merges"), "it looks up whole texts before it merges"),
        (not model.get("continuing_subword_prefix") and not model.get("end_of_word_suffix"), "its words have a prefix or suffix"),
        (isinstance(vocabulary, dict) and "▁" in vocabulary, "its vocabulary has no ▁"),
        (bool(model.get("byte_fallback")), "it has no byte fallback"),
    ):
        if not holds:
            raise NoPieces(reason)
    missing = [token for token in BYTE_TOKENS if token not in (vocabulary or {})]
    if missing:
        raise NoPieces(f"its byte fallback lacks {len(missing)} of 256 bytes, {missing[0]} among them")
    return dict(model)


def piece_rules(spec: dict[str, Any]) -> dict[str, Any]:
    """What `Pieces` needs to know of a tokenizer, as plain data.

    Args:
        spec: tokenizer.json, parsed.

    Raises:
        NoPieces: when the tokenizer does not meet the conditions.
    """
    model = require_byte_fallback(spec)
    lead, split = space_rules(spec)
    written = [item["content"].replace("▁", " ").strip(" ") for item in spec.get("added_tokens", [])]
    if not all(written):
        raise NoPieces("one of its added tokens is made of spaces")
    pairs = merges_of(model)
    between = next((code for code in range(1, 32) if chr(code) not in model["vocab"]), None)
    if between is None or not set(BYTE_TOKENS).isdisjoint(itertools.chain.from_iterable(pairs)):
        raise NoPieces("its merges join single bytes")
    return {"lead": lead, "around": template_ids(spec), "written": sorted(set(written)), "between": between,
            "between_id": model["vocab"][BYTE_TOKENS[between]], "cuts": cuts_of(pairs, split)}


class TokenizerJson:
    """The tokenizer.json of a folder, loaded by the tokenizers library."""

    def __init__(self, folder: Path) -> None:
        """Load.

        Raises:
            PreprocessError: when the library cannot.
        """
        library, path = need("tokenizers"), folder / "tokenizer.json"
        try:
            self._whole = library.Tokenizer.from_file(str(path))
        except BaseException as error:  # the library raises bare Exception, and where it panics not even that
            raise PreprocessError(f"{path} cannot be loaded by tokenizers {library.__version__}: {error}. "
                                  "Bring the file again, or use a newer tokenizers.") from error
        self._whole.no_truncation()
        self._whole.no_padding()
        # The same model without normalizer, pre-tokenizer, post-processor and added tokens.
        self._bare = library.Tokenizer(self._whole.model)
        spec = read_json(path)
        rules, why_whole = None, ""
        try:
            rules = piece_rules(spec)
        except NoPieces as error:
            why_whole = str(error)
        self._described = {
            "version": library.__version__, "vocab_size": self._whole.get_vocab_size(with_added_tokens=True),
            # Not as written there: the library gives numbers of its own where those have gaps.
            "added": {item["content"]: self._whole.token_to_id(item["content"]) for item in spec.get("added_tokens", [])},
            "not_alone": why_not_alone(folder, self._whole, spec), "rules": rules, "why_whole": why_whole}

    def described(self) -> dict[str, Any]:
        """What is to be known of it: plain data.

        Returns:
            `version` of the library; `vocab_size`; `added`, the ids of added tokens by their texts; `not_alone`, see
            `why_not_alone`; `rules` of `piece_rules`, or None, and then `why_whole`.
        """
        return self._described

    def encode(self, texts: list[str]) -> list[list[int]]:
        """The ids of texts, special tokens around them included."""
        return [one.ids for one in self._batch(self._whole, texts)]

    def encode_pieces(self, pieces: bytes, between: int) -> bytes:
        """The ids of pieces by the model alone, int32 one behind the other, that of the character behind each piece included.

        Many are encoded as one text: a text has its price.

        Args:
            pieces: in UTF-8, with a character behind each that takes part in no merge.
            between: the code of this character.
        """
        text, mark = pieces.decode().replace(" ", "▁"), chr(between)
        ids, at = array.array("i"), 0
        while at < len(text):
            texts: list[str] = []
            while at < len(text) and len(texts) < ENCODE_STEP:
                end = text.index(mark, min(at + PIECES_LENGTH, len(text) - 1)) + 1
                texts.append(text[at:end])
                at = end
            for one in self._batch(self._bare, texts):
                ids.extend(one.ids)
        return ids.tobytes()

    @staticmethod
    def _batch(tokenizer: Any, texts: list[str]) -> Any:
        return getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)(texts)


class Pieces:
    """Encodes documents by their distinct pieces; exactly, for tokenizers that `piece_rules` accepts.

    Such a tokenizer writes ▁ for spaces, splits the text into characters (bytes, where the vocabulary lacks the
    character) and joins neighbours by its merges, the one of lowest rank first. Where no merge has a left part that
    ends in the byte before a place and a right part that begins with the byte after it, no merge ever reaches across
    that place, so what lies before and what lies behind are encoded independently of each other. For vocabularies like
    Llama's and Mixtral's such places are, among others, the starts of runs of spaces.

    Added tokens are looked for in the text before anything else is done: a document that contains the text of one
    (apart from spaces around it) is left to the tokenizer itself.

    A document becomes BEGIN, its text with spaces for ▁, END; so the special tokens around it are pieces as well.
    """

    def __init__(self, encode: Callable[[bytes, int], bytes], rules: dict[str, Any], end: Sequence[int]) -> None:
        """Prepare.

        Args:
            encode: see `TokenizerJson.encode_pieces`.
            rules: of `piece_rules`.
            end: ids to add after each document.

        Raises:
            NoPieces: when one of these ids stands for a byte.
        """
        self._encode = encode
        self._lead = rules["lead"]
        before, after = rules["around"]
        self._between, self._between_id = bytes([rules["between"]]), rules["between_id"]
        special = [self._between, *(text.encode() for text in rules["written"])]
        self._special = re.compile(b"|".join(map(re.escape, special)))
        self._special_starts = {text[:1] for text in special}
        self._cuts = as_arrow(need("numpy").frombuffer(rules["cuts"], dtype="uint8"))
        self._around = before, [*after, *end]
        self._learning, self._forgotten = threading.Lock(), 0
        if self._between_id in [*before, *after, *end]:
            raise NoPieces("a byte token is among its special tokens")
        self._forget()

    def _forget(self) -> None:
        np, arrow = need("numpy"), need("pyarrow")
        self._forgotten += 1
        # Pieces, and the bytes of their ids (int32), in the same order.
        self._known, self._ids = arrow.array([], arrow.binary()), arrow.array([], arrow.large_binary())
        before, after = ([*ids, self._between_id] for ids in self._around)
        self._learn(arrow.array([bytes([BEGIN]), bytes([END])]), np.array(before + after, dtype=np.int32))

    def _learn(self, pieces: Any, flat: Any) -> None:
        """Remember pieces by their ids: int32, one behind the other, with the id of `_between` behind each piece."""
        np, arrow = need("numpy"), need("pyarrow")
        ends = np.flatnonzero(flat == self._between_id)
        if len(ends) != len(pieces):
            raise PreprocessError(f"{len(pieces)} pieces were encoded as {len(ends)}: tokenizers does not do what its tokenizer.json says. "
                                  "Please report this, with the versions of both.")
        offsets = 4 * np.concatenate([[0], ends - np.arange(len(ends))])
        buffers = [None, arrow.py_buffer(offsets), arrow.py_buffer(flat[flat != self._between_id])]
        self._ids = arrow.concat_arrays([self._ids, arrow.Array.from_buffers(arrow.large_binary(), len(pieces), buffers)])
        self._known = arrow.concat_arrays([self._known, pieces])

    def _ids_of(self, pieces: Any) -> Any:
        """The ids of pieces, an Arrow array of different binaries; those not known yet are encoded."""
        np, arrow, compute = need("numpy"), need("pyarrow"), need("pyarrow.compute")

        def numbers_in(known: Any, wanted: Any) -> Any:
            numbers = np.full(len(wanted), -1)
            at = compute.index_in(known, value_set=wanted).fill_null(-1).to_numpy()  # so the smaller set is made a table
            there = np.flatnonzero(at >= 0)
            numbers[at[there]] = there
            return numbers

        with self._learning:
            known, forgotten = self._known, self._forgotten
        numbers = numbers_in(known, pieces)  # what takes long is done while others learn
        with self._learning:
            if len(self._known) > CACHE_PIECES or self._known.nbytes > CACHE_BYTES:
                self._forget()
            if self._forgotten != forgotten:
                numbers = numbers_in(self._known, pieces)
            elif len(self._known) > len(known):
                rows = np.flatnonzero(numbers < 0)
                since = numbers_in(self._known[len(known):], pieces.take(as_arrow(rows)))
                numbers[rows] = np.where(since < 0, -1, since + len(known))
            new, first_new = pieces.take(as_arrow(np.flatnonzero(numbers < 0))), len(self._known)
            if len(new):
                steps = (new[at:at + LEARN_STEP] for at in range(0, len(new), LEARN_STEP))
                marked = (compute.binary_join_element_wise(step, arrow.scalar(self._between), arrow.scalar(b"")) for step in steps)
                self._learn(new, np.concatenate([np.frombuffer(self._encode(letters_of(each), self._between[0]), dtype=np.int32) for each in marked]))
            numbers[numbers < 0] = np.arange(first_new, len(self._known))
            ids = self._ids
        return ids.take(as_arrow(numbers))

    def canonical(self, texts: Any) -> tuple[Any, Any]:
        """Texts with a space for each ▁, since the tokenizer cannot tell them apart; and which of them are not for `encode`.

        Those are the texts that contain an added token, or `_between`. Array of bool, shape (documents,).
        """
        np = need("numpy")
        special = np.zeros(len(texts), dtype=bool)
        letters = letters_of(texts)  # to copy and search bytes is faster than an expression is, a search for one byte much faster
        if "▁".encode()[0] in letters and "▁".encode() in letters:
            texts = need("pyarrow.compute").replace_substring(texts, pattern="▁", replacement=" ")
            letters = letters_of(texts)
        if any(start in letters for start in self._special_starts):
            places = [match.span() for match in self._special.finditer(letters)]
            if places:  # a match across the border of two documents marks both, which does no harm
                offsets = offsets_of(texts)
                rows = np.searchsorted(offsets - offsets[0], np.array(places) - [0, 1], side="right") - 1
                for first, last in rows.tolist():
                    special[first:last + 1] = True
        return texts, special

    def encode(self, texts: Any) -> tuple[Any, Any]:
        """Encode documents none of which contains an added token.

        Args:
            texts: an Arrow array of strings that are not empty, as `canonical` gives them.

        Returns:
            Ids, int32, shape (tokens,), and their number in each document, int64, shape (documents,).
        """
        np, arrow, compute = need("numpy"), need("pyarrow"), need("pyarrow.compute")
        lead = arrow.scalar(bytes([BEGIN, ord(" ")]))
        if self._lead != "always":
            plain = arrow.scalar(bytes([BEGIN]))
            lead = plain if self._lead == "never" else compute.if_else(compute.starts_with(texts, pattern=" "), plain, lead)
        marked = compute.binary_join_element_wise(lead, texts.cast(arrow.binary()), arrow.scalar(bytes([END])), arrow.scalar(b""))
        offsets, values = offsets_of(marked), marked.buffers()[2]
        data = np.frombuffer(values, dtype=np.uint8)[:int(offsets[-1])]
        bounds = [np.zeros(1, dtype=np.int32)]
        for at in range(0, len(data) - 1, CUT_STEP):
            step = data[at:at + CUT_STEP + 1]
            pair = step[:-1].astype(np.uint16)
            pair <<= 8
            pair |= step[1:]
            may_cut = self._cuts.take(as_arrow(pair)).to_numpy().view(bool)
            bounds.append((np.flatnonzero(may_cut) + (at + 1)).astype(np.int32))
        cut = np.concatenate([*bounds, np.array([len(data)], dtype=np.int32)])
        del bounds
        # Pieces lie one behind the other without gaps, so their array is a view of the text.
        pieces = arrow.Array.from_buffers(arrow.binary(), len(cut) - 1, [None, arrow.py_buffer(cut), values]).dictionary_encode()
        bounds_of_documents = np.searchsorted(cut, offsets)
        del marked, values, data, cut
        encoded = self._ids_of(pieces.dictionary).take(pieces.indices)
        at_piece = np.frombuffer(encoded.buffers()[1], dtype=np.int64)
        ids = np.frombuffer(encoded.buffers()[2], dtype=np.int32)[:int(at_piece[len(encoded)]) // 4]
        return ids, np.diff(at_piece[bounds_of_documents]) // 4


def as_arrow(numbers: Any) -> Any:
    """An Arrow array of the memory of a numpy array; `pyarrow.array` would import numpy.ma, and takes longer."""
    arrow = need("pyarrow")
    return arrow.Array.from_buffers(arrow.from_numpy_dtype(numbers.dtype), len(numbers), [None, arrow.py_buffer(numbers)])


def offsets_of(texts: Any) -> Any:
    """The offsets of an Arrow array of strings or binaries, int32, shape (rows + 1,)."""
    np = need("numpy")
    return np.frombuffer(texts.buffers()[1], dtype=np.int32)[texts.offset:texts.offset + len(texts) + 1]


def letters_of(texts: Any) -> bytes:
    """The bytes of an Arrow array of strings or binaries, one behind the other."""
    offsets, values = offsets_of(texts), texts.buffers()[2]
    return b"" if values is None else memoryview(values)[int(offsets[0]):int(offsets[-1])].tobytes()


class Encoder:
    """A tokenizer as this program needs it.

    Attributes:
        name: which implementation encodes, for the log and the manifest.
        vocab_size: entries of the vocabulary, added tokens included.
        dtype: numpy name of the type of an id on disk, as upstream's ``optimal_dtype`` chooses it.
        pieces: encodes by pieces, or None.
        why_whole: why documents are encoded whole; empty where they are not.
    """

    def __init__(self, name: str, vocab_size: int, batch: Callable[[list[str]], list[list[int]]], end: Sequence[int] = (),
                 pieces: Pieces | None = None, why_whole: str = "") -> None:
        self.name = name
        self.vocab_size = vocab_size
        self.dtype = "uint16" if vocab_size < 65500 else "int32"
        self.pieces = pieces
        self.why_whole = why_whole
        self._batch = batch
        self._end = list(end)

    def encode_whole(self, texts: Any) -> tuple[Any, Any]:
        """Encode documents by the tokenizer itself, see `encode`."""
        np = need("numpy")
        ids, lengths = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        for part in parts_of(texts, WHOLE_BYTES):
            encoded = [[*one, *self._end] for one in self._batch(part.to_pylist())]
            lengths.append(np.fromiter((len(one) for one in encoded), dtype=np.int64, count=len(encoded)))
            flat = np.fromiter(itertools.chain.from_iterable(encoded), dtype=np.int64, count=int(lengths[-1].sum()))
            ids.append(self._stored(flat))
        return np.concatenate(ids[1:] or ids), np.concatenate(lengths)

    def _stored(self, ids: Any) -> Any:
        np = need("numpy")
        if ids.size and int(ids.max()) > np.iinfo(self.dtype).max:
            raise PreprocessError(f"The tokenizer gave id {int(ids.max())}, which {self.dtype} cannot hold: its vocabulary "
                                  f"has {self.vocab_size} entries but its ids have gaps. Use a tokenizer without gaps.")
        return ids.astype(self.dtype)

    def encode(self, texts: Any, whole: bool = False) -> tuple[Any, Any]:
        """Encode documents.

        Args:
            texts: an Arrow array of strings that are not empty.
            whole: leave every document to the tokenizer itself.

        Returns:
            The ids of all of them in one array of `dtype`, shape (tokens,), and the number of ids
            of each, int32, shape (documents,).
        """
        np = need("numpy")
        if not len(texts):
            return np.zeros(0, dtype=self.dtype), np.zeros(0, dtype=np.int32)
        if whole or self.pieces is None:
            ids, lengths = self.encode_whole(texts)
            return ids, lengths.astype(np.int32)
        canonical, special = self.pieces.canonical(texts)
        if not special.any():
            ids, lengths = self.pieces.encode(canonical)
            return self._stored(ids), lengths.astype(np.int32)
        arrow = need("pyarrow")
        lengths = np.zeros(len(texts), dtype=np.int64)
        by_tokenizer, lengths[special] = self.encode_whole(texts.filter(arrow.array(special)))
        by_pieces = np.zeros(0, dtype=self.dtype)
        if not special.all():
            by_pieces, lengths[~special] = self.pieces.encode(canonical.filter(arrow.array(~special)))
        chosen = np.repeat(special, lengths)
        ids = np.empty(len(chosen), dtype=self.dtype)
        ids[chosen], ids[~chosen] = by_tokenizer, self._stored(by_pieces)
        return ids, lengths.astype(np.int32)

    def disagreement(self, texts: Any) -> str | None:
        """Compare both ways of encoding for the first documents; None where they agree."""
        np = need("numpy")
        first = next(parts_of(texts[:CHECK_DOCUMENTS], CHECK_BYTES))
        if int(offsets_of(first)[-1] - offsets_of(first)[0]) > 2 * CHECK_BYTES:
            return None  # a single document, too large to be encoded twice
        ours, theirs = self.encode(first), self.encode(first, whole=True)
        if all(np.array_equal(one, other) for one, other in zip(ours, theirs)):
            return None
        return f"its own encoding of the first {len(first)} documents differs from that of their pieces"


def load_apart(folder: Path) -> TokenizerJson:
    """Load tokenizer.json in a forked process."""
    if "tokenizers" in sys.modules:  # by a program that uses this one: its threads, which would be waited for, are not here
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
    return TokenizerJson(folder)


def load_encoder(folder: Path, append_eod: bool, companion: Companion | None = None) -> Encoder:
    """The tokenizer of a folder: by the tokenizers library where tokenizer.json says all, else by transformers.

    Args:
        folder: of the tokenizer.
        append_eod: add the eos token's id to each document.
        companion: a `TokenizerJson` of the folder that is being loaded in another process already. What is returned
            encodes by it where it encodes pieces, and else needs it no more.
    """
    tokens = special_tokens(folder)
    if append_eod and "eos_token" not in tokens:
        raise PreprocessError("--append-eod needs the tokenizer's eos_token, and tokenizer_config.json names none. "
                              "Bring tokenizer_config.json, or leave --append-eod out (dataset_append_eod: false).")
    if (folder / "tokenizer.json").is_file():
        library: Any = companion if companion is not None else TokenizerJson(folder)
        about = library.described()
        if about["not_alone"] is None:
            end = [about["added"][tokens["eos_token"]]] if append_eod else []
            pieces, why_whole = None, about["why_whole"]
            try:
                pieces = Pieces(library.encode_pieces, about["rules"], end) if about["rules"] is not None else None
            except NoPieces as error:
                why_whole = str(error)
            if pieces is None and library is companion:
                library = TokenizerJson(folder)
            return Encoder(f"tokenizers {about['version']}", about["vocab_size"], library.encode, end, pieces, why_whole)
        say(f"encoding by transformers, which is slower: {about['not_alone']}")
    library = need("transformers")
    try:
        whole = library.AutoTokenizer.from_pretrained(str(folder), local_files_only=True, model_max_length=10**12)
    except Exception as error:  # whatever its many backends raise
        raise PreprocessError(f"{folder} cannot be loaded by transformers {library.__version__}: {error}. "
                              "Bring tokenizer.json as well, or the packages that this tokenizer needs.") from error
    return Encoder(f"transformers {library.__version__}", len(whole), lambda texts: list(whole(texts)["input_ids"]),
                   [whole.eos_token_id] if append_eod else [], None, "transformers encodes")


# -- input -------------------------------------------------------------------------------------------------------


def kind_of(path: Path) -> str | None:
    """How a file is read, by the end of its name: parquet, json or csv; None for others."""
    return next((kind for end, kind in KINDS.items() if path.name.lower().endswith(end)), None)


def source_files(words: Sequence[str]) -> list[Path]:
    """The files that the words of --input stand for: files, globs and folders; each once, in their order.

    Raises:
        PreprocessError: when a word stands for nothing that can be read.
    """
    known = ", ".join(KINDS)
    files: list[Path] = []
    for word in words:
        path = Path(word)
        if path.is_dir():
            found = sorted(item for item in path.rglob("*") if item.is_file() and kind_of(item)
                           and not any(part.startswith(".") for part in item.relative_to(path).parts))
            if not found:
                raise PreprocessError(f"Folder {path} holds no file whose name ends in {known}. Set --input (dataset_input).")
        elif path.is_file():
            found = [path]
        else:
            found = sorted(Path(item) for item in glob.glob(word, recursive=True) if os.path.isfile(item))
            if not found:
                raise PreprocessError(f"There is no file {word}. Set --input to files, globs or folders (dataset_src, dataset_input).")
        files += [item for item in found if item not in files]
    for path in files:
        if kind_of(path) is None:
            raise PreprocessError(f"{path} is of no known kind: expected a name that ends in {known}. Rename it, or set --input.")
    return files


def parts_of(texts: Any, size: int) -> Iterator[Any]:
    """Cut an Arrow array of strings into slices of about as many bytes; at least one row each."""
    np = need("numpy")
    offsets, at = offsets_of(texts), 0
    while at < len(texts):
        end = max(at + 1, int(np.searchsorted(offsets, int(offsets[at]) + size, side="right")) - 1)
        yield texts[at:end]
        at = end


class Source:
    """One column of a file, read piece by piece.

    Attributes:
        path: of the file.
        rows: in all, where the file tells beforehand, else None.
        fraction: of the file that has been read.
    """

    def __init__(self, path: Path, key: str, chunk: int) -> None:
        self.path, self.key, self.chunk = path, key, chunk
        self.rows: int | None = None
        self.fraction = 0.0
        self._size = max(path.stat().st_size, 1)

    def arrays(self) -> Iterator[Any]:
        """Arrow arrays of the column, in order: strings, possibly large or dictionary-encoded, nulls included."""
        raise NotImplementedError

    def place(self, row: int) -> str:
        """Where a row is found, counted from 0; for messages."""
        return f"{self.path}, row {row + 1}"

    def texts(self) -> Iterator[tuple[int, Any]]:
        """Numbers of rows, and their documents: Arrow arrays of valid strings, none null or empty."""
        arrow, compute = need("pyarrow"), need("pyarrow.compute")
        row = 0
        for column in self.arrays():
            if arrow.types.is_dictionary(column.type):
                column = column.dictionary_decode()
            if arrow.types.is_large_string(column.type):
                if column.nbytes > LARGEST_DOCUMENT and len(column) == 1:
                    raise PreprocessError(f"{self.place(row)}: a document of {column.nbytes} bytes, expected less than 2 GiB. "
                                          "Cut it into several.")
                narrow = [column[at:at + 1].cast(arrow.string()) for at in range(len(column))] if column.nbytes > LARGEST_DOCUMENT \
                    else [column.cast(arrow.string())]
            else:
                narrow = [column]
            for part in narrow:
                try:
                    part.validate(full=True)
                except arrow.ArrowInvalid as error:
                    raise PreprocessError(f"{self.place(row + invalid_row(part))}: the text is not valid UTF-8. "
                                          "Convert the file to UTF-8.") from error
                filled = compute.greater(compute.binary_length(part), 0)
                count = len(part)
                yield count, (part if part.null_count == 0 and compute.all(filled).as_py() is not False else part.filter(filled))
                row += count

    def wrong_key(self, found: Iterable[str]) -> PreprocessError:
        """The error for a file without the column."""
        return PreprocessError(f"{self.path} has no column {self.key!r}: expected a column of texts of that name, found: "
                               f"{', '.join(found)}. Set --json-keys (dataset_json_key).")

    def unreadable(self, kind: str, error: Exception) -> PreprocessError:
        """The error for a file that is not what its name says."""
        return PreprocessError(f"{self.path} cannot be read as {kind}: {error}. The file is missing, truncated or "
                               "corrupt: bring it again and compare its SHA-256 (dataset_src, dataset_sha256).")

    def _stream(self) -> Any:
        return gzip.open(self.path, "rb") if self.path.name.lower().endswith(".gz") else self.path.open("rb")

    def _read_so_far(self, stream: Any) -> None:
        """Note how far a stream of `_stream` has come."""
        with contextlib.suppress(OSError, ValueError):
            below: Any = stream.fileobj if isinstance(stream, gzip.GzipFile) else stream
            self.fraction = min(1.0, below.tell() / self._size)


def invalid_row(texts: Any) -> int:
    """The first row of an Arrow array of strings that is no UTF-8."""
    for number, text in enumerate(texts.cast(need("pyarrow").binary()).to_pylist()):
        try:
            (text or b"").decode()
        except UnicodeDecodeError:
            return number
    return 0


class ParquetSource(Source):
    """A column of a parquet file. Pages are read as they are needed, so the size of a row group does not matter."""

    def __init__(self, path: Path, key: str, chunk: int) -> None:
        super().__init__(path, key, chunk)
        self._arrow = need("pyarrow")
        with self._reading():
            # Otherwise Arrow reads the column of a whole row group at once.
            self._file = need("pyarrow.parquet").ParquetFile(str(path), buffer_size=1 << 20, pre_buffer=False)
            metadata = self._file.metadata
            self.rows = metadata.num_rows
            schema = self._file.schema_arrow
        if key not in schema.names:
            raise self.wrong_key(schema.names)
        kind = schema.field(key).type
        value = kind.value_type if self._arrow.types.is_dictionary(kind) else kind
        if str(value) not in ("string", "large_string"):
            raise PreprocessError(f"Column {key!r} of {path} holds {kind}, expected string. Set --json-keys (dataset_json_key).")
        column = next((at for at in range(metadata.num_columns) if metadata.schema.column(at).path == key), 0)
        size = sum(metadata.row_group(at).column(column).total_uncompressed_size for at in range(metadata.num_row_groups))
        # Half a chunk by the mean row; few enough that repeated texts, which parquet stores once, stay small as well.
        self._batch = max(1, min(2048, chunk * max(self.rows, 1) // (2 * max(size, 1))))

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (self._arrow.ArrowException, OSError) as error:
            raise self.unreadable("parquet", error) from error

    def arrays(self) -> Iterator[Any]:
        """See `Source.arrays`."""
        batches = self._file.iter_batches(batch_size=self._batch, columns=[self.key], use_threads=False)
        read = 0
        while True:
            with self._reading():
                batch = next(batches, None)
            if batch is None:
                break
            read += batch.num_rows
            self.fraction = read / max(self.rows or 0, 1)
            yield batch.column(0)
        if read != self.rows:
            raise PreprocessError(f"{self.path} gave {read} rows, its footer promises {self.rows}: the file is corrupt. "
                                  "Bring it again (dataset_src).")


class JsonSource(Source):
    """A key of the objects of a file of JSON lines. Lines without the key count as empty rows."""

    _first_line = 1  # of the block at hand

    def place(self, row: int) -> str:
        """Where a row is found; blank lines are not counted among the rows."""
        return f"{self.path}, document {row + 1}"

    def arrays(self) -> Iterator[Any]:
        """See `Source.arrays`."""
        arrow, reader = need("pyarrow"), need("pyarrow.json")
        schema = arrow.schema([(self.key, arrow.string())])
        parse = reader.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
        for number, block in enumerate(self._blocks()):
            try:
                table = reader.read_json(arrow.BufferReader(block), parse_options=parse,
                                         read_options=reader.ReadOptions(use_threads=False, block_size=len(block) + 1))
                array = table.column(0).combine_chunks() if table.num_rows else arrow.array([], arrow.string())
                array = array.chunk(0) if isinstance(array, arrow.ChunkedArray) and array.num_chunks else array
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
        try:
            with self._stream() as stream:
                first = True
                for data in iter(lambda: stream.read(self.chunk), b""):
                    data = data[3:] if first and data.startswith(b"\xef\xbb\xbf") else data
                    first = False
                    self._read_so_far(stream)
                    end = data.rfind(b"\n") + 1
                    if end == 0:
                        held.append(data)
                        continue
                    yield b"".join([*held, data[:end]])
                    held = [data[end:]]
        except (OSError, EOFError) as error:
            raise self.unreadable("JSON lines", error) from error
        last = b"".join(held)
        if last:
            yield last + b"\n"

    def _by_line(self, block: bytes) -> Any:
        """Read a block that Arrow does not like line by line: slower, and able to tell which line is wrong."""
        found: list[str | None] = []
        for number, line in enumerate(block.split(b"\n"), self._first_line):
            if not line.strip():
                continue
            where = f"{self.path}, line {number}"
            try:
                item = json.loads(line.decode())
            except UnicodeDecodeError as error:
                raise PreprocessError(f"{where}: the text is not valid UTF-8 ({error}). Convert the file to UTF-8.") from error
            except (ValueError, RecursionError) as error:
                raise PreprocessError(f"{where}: not valid JSON: {error}. Expected a JSON object a line; mend or remove the line.") from error
            text = item.get(self.key) if isinstance(item, dict) else item
            if not isinstance(item, dict) or not isinstance(text, (str, type(None))):
                raise PreprocessError(f"{where}: expected an object whose {self.key!r} is a string, found {line[:80]!r}. "
                                      "Mend or remove the line, or set --json-keys (dataset_json_key).")
            try:
                (text or "").encode()
            except UnicodeEncodeError as error:
                raise PreprocessError(f"{where}: {self.key!r} holds half of a surrogate pair, which is no character ({error}). "
                                      "Mend or remove the line.") from error
            found.append(text)
        return need("pyarrow").array(found, need("pyarrow").string())

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
        arrow = need("pyarrow")
        csv.field_size_limit((1 << 31) - 1)
        held: list[str] = []
        size = 0
        try:
            with self._stream() as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as stream:
                rows = csv.reader(stream, strict=True)
                try:
                    header = next(rows, [])
                    if self.key not in header:
                        raise self.wrong_key(header)
                    column = header.index(self.key)
                    for row in rows:
                        if not row:
                            continue
                        if len(row) != len(header):
                            raise PreprocessError(f"{self.path}, line {rows.line_num}: {len(row)} fields, expected {len(header)} as in "
                                                  "the header. Mend the line; quote fields that hold commas, quotes or newlines.")
                        held.append(row[column])
                        size += len(row[column])
                        if size >= self.chunk // 2:
                            self._read_so_far(raw)
                            yield arrow.array(held, arrow.string())
                            held, size = [], 0
                except csv.Error as error:
                    raise PreprocessError(f"{self.path}, line {rows.line_num}: not valid CSV: {error}. Mend the line.") from error
                except UnicodeDecodeError as error:
                    raise PreprocessError(f"{self.path}, after line {rows.line_num}: the text is not valid UTF-8 ({error}). "
                                          "Convert the file to UTF-8.") from error
        except (OSError, EOFError) as error:
            raise self.unreadable("CSV", error) from error
        yield arrow.array(held, arrow.string())


SOURCES: dict[str, type[Source]] = {"parquet": ParquetSource, "json": JsonSource, "csv": CsvSource}


class Chunk:
    """Documents to be encoded at once.

    Attributes:
        texts: Arrow array of strings.
        rows: that were read for it, empty ones included.
        size: of the texts in bytes.
        done: files that have been read, with the fraction of the last one.
        whole: documents are left to the tokenizer itself.
    """

    def __init__(self, texts: Any, rows: int, done: float, whole: bool) -> None:
        self.texts, self.rows, self.done, self.whole = texts, rows, done, whole
        offsets = offsets_of(texts)
        self.size = int(offsets[-1] - offsets[0]) if len(texts) else 0


def chunks_of(source: Source, number: int, size: int, encoder: Encoder) -> Iterator[Chunk]:
    """The documents of a file in chunks of about as many bytes; the first ones are encoded both ways and compared."""
    arrow = need("pyarrow")
    held: list[Any] = []
    rows = held_bytes = 0
    first = True

    def make() -> Chunk:
        nonlocal first
        texts = arrow.concat_arrays(held) if held else arrow.array([], arrow.string())
        if first and len(texts) and encoder.pieces is not None:
            first = False
            difference = encoder.disagreement(texts)
            if difference is not None:
                encoder.pieces, encoder.why_whole = None, f"{difference} ({source.path})"
                say(f"documents are encoded whole from {source.path} on: {difference}. Please report this")
        return Chunk(texts, rows, number + source.fraction, encoder.pieces is None)

    for count, texts in source.texts():
        heed()
        for part in parts_of(texts, size):
            offsets = offsets_of(part)
            part_bytes = int(offsets[-1] - offsets[0])
            # A small first one, since all wait for it.
            if held and held_bytes + part_bytes > (size // 4 if first and encoder.pieces is not None else size):
                yield make()
                held, held_bytes, rows = [], 0, 0
            held.append(part)
            held_bytes += part_bytes
        rows += count
    if rows or held:
        yield make()


# -- workers -----------------------------------------------------------------------------------------------------


def encode_by_threads(chunks: Iterator[Chunk], encoder: Encoder, workers: int) -> Generator[tuple[Chunk, Any, Any], None, None]:
    """Encode chunks by threads, at most 2 x workers are held. They come back in their order, with ids and lengths.

    For pieces: what takes time lets go of Python's lock, and what one thread has learnt the others know.
    """
    order: collections.deque[tuple[Chunk, Task]] = collections.deque()
    at_work = threading.Semaphore(workers)  # the others wait for their turn, so that none is idle while the first is not done

    def encode(chunk: Chunk) -> tuple[Any, Any]:
        with at_work:
            heed()
            return encoder.encode(chunk.texts, chunk.whole)

    try:
        for chunk in chunks:
            order.append((chunk, Task(functools.partial(encode, chunk))))
            if len(order) == 2 * workers:
                first, task = order.popleft()
                yield (first, *task.result())
        while order:
            chunk, task = order.popleft()
            yield (chunk, *task.result())
    finally:
        for _, task in order:  # Python must not end while they are at work
            task.join()


class Pool:
    """Processes that encode chunks of whole documents: their ids are made into Python's lists, which threads would do by turns.

    They are forked, so that the tokenizer is loaded once, and end with this process, however it ends: Linux sends
    them SIGKILL then, and without that they end at the end of their pipe.
    """

    def __init__(self, encoder: Encoder, workers: int, close: Sequence[int] = ()) -> None:
        """Start them.

        Args:
            encoder: what they encode with.
            workers: how many.
            close: file descriptors that they shall not keep open.
        """
        context = importlib.import_module("multiprocessing").get_context("fork")
        self._processes: dict[Any, Any] = {}
        for name in ("stdout", "stderr"):
            getattr(sys, name).flush()
        for _ in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=self._work, args=(encoder, theirs, [ours, *self._processes], close, os.getpid()), daemon=True)
            try:
                process.start()
            except OSError as error:
                self.close()
                raise no_process(error) from error
            theirs.close()
            self._processes[ours] = process

    @staticmethod
    def _work(encoder: Encoder, pipe: Any, others: Sequence[Any], close: Sequence[int], parent: int) -> None:
        """Encode what comes through a pipe until it ends."""
        live_under(parent)
        for other in others:
            other.close()
        for descriptor in close:
            os.close(descriptor)
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        arrow = need("pyarrow")
        with contextlib.suppress(EOFError, OSError):
            while True:
                count, whole = pipe.recv()
                buffers = [None, arrow.py_buffer(pipe.recv_bytes()), arrow.py_buffer(pipe.recv_bytes())]
                failure, encoded = attempt(functools.partial(encoder.encode, arrow.Array.from_buffers(arrow.string(), count, buffers), whole))
                pipe.send(failure)
                if failure:
                    continue
                ids, lengths = encoded
                pipe.send_bytes(memoryview(lengths).cast("B") if len(lengths) else b"")
                pipe.send_bytes(memoryview(ids).cast("B") if len(ids) else b"")
                del buffers, encoded, ids, lengths

    def encode(self, chunks: Iterator[Chunk], dtype: str) -> Generator[tuple[Chunk, Any, Any], None, None]:
        """Encode chunks. They come back in their order, with ids and lengths; at most 2 x workers are held.

        Raises:
            PreprocessError: when a worker fails or dies.
        """
        idle = list(self._processes)
        busy: dict[Any, list[Any]] = {}
        order: collections.deque[list[Any]] = collections.deque()
        for chunk in chunks:
            while not idle or len(order) >= 2 * len(self._processes):
                self._collect(idle, busy, dtype)
                while order and order[0][1] is not None:
                    done = order.popleft()
                    yield done[0], done[1], done[2]
            entry: list[Any] = [chunk, None, None]
            pipe = idle.pop()
            self._send(pipe, chunk)
            order.append(entry)
            busy[pipe] = entry
        while order:
            while order[0][1] is None:
                self._collect(idle, busy, dtype)
            done = order.popleft()
            yield done[0], done[1], done[2]

    def _send(self, pipe: Any, chunk: Chunk) -> None:
        np = need("numpy")
        offsets = offsets_of(chunk.texts)
        values = chunk.texts.buffers()[2]
        try:
            pipe.send((len(chunk.texts), chunk.whole))
            if len(chunk.texts):
                pipe.send_bytes(memoryview(np.ascontiguousarray(offsets - offsets[0])).cast("B"))
                pipe.send_bytes(memoryview(values)[int(offsets[0]):int(offsets[-1])])
            else:
                pipe.send_bytes(bytes(4))
                pipe.send_bytes(b"")
        except OSError as error:
            raise self._died(pipe) from error
        chunk.texts = None  # the worker has it

    def _collect(self, idle: list[Any], busy: dict[Any, list[Any]], dtype: str) -> None:
        """Wait for workers that are done and take their results."""
        np = need("numpy")
        ready: list[Any] = []
        while not ready:
            heed()
            ready = importlib.import_module("multiprocessing.connection").wait(list(busy), LOOK)
        for pipe in ready:
            try:
                failure = pipe.recv()
                if failure:
                    raise PreprocessError(failure)
                lengths, ids = pipe.recv_bytes(), pipe.recv_bytes()
            except (EOFError, OSError) as error:
                raise self._died(pipe) from error
            entry = busy.pop(pipe)
            entry[1:] = np.frombuffer(ids, dtype=dtype), np.frombuffer(lengths, dtype=np.int32)
            idle.append(pipe)

    def _died(self, pipe: Any) -> PreprocessError:
        process = self._processes[pipe]
        process.join(5)
        return has_died(process.pid, process.exitcode or 0)

    def close(self) -> None:
        """End the processes."""
        for process in self._processes.values():
            process.kill()
        for pipe, process in self._processes.items():
            process.join()
            pipe.close()


# -- output ------------------------------------------------------------------------------------------------------


class Hashes:
    """SHA-256 of the source files, computed by a thread of its own while others work (hashing lets go of Python's lock)."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = list(files)
        self._before = [self._state(path) for path in files]
        self._task: Task | None = None

    @staticmethod
    def _state(path: Path) -> tuple[int, int, int]:
        state = path.stat()
        return state.st_size, state.st_mtime_ns, state.st_ino

    def start(self) -> None:
        """Begin, if not begun yet."""
        if self._task is None:
            self._task = Task(lambda: [sha256_of(path) for path in self._files])

    def sources(self) -> list[dict[str, Any]]:
        """Name, size and hash of each file, in order.

        Raises:
            PreprocessError: when a file has changed since this object was made.
        """
        self.start()
        assert self._task is not None  # noqa: S101
        hashes = self._task.result()
        for path, before in zip(self._files, self._before):
            if self._state(path) != before:
                raise PreprocessError(f"{path} has changed while it was read. Let nothing write to it, and run again.")
        return [{"name": path.name, "size": before[0], "sha256": found}
                for path, before, found in zip(self._files, self._before, hashes)]

    def sizes(self) -> list[int]:
        """Bytes of each file, in order."""
        return [before[0] for before in self._before]


class Progress:
    """Tells how far a run is: a bar on a terminal, else a line every so many rows."""

    def __init__(self, files: int, rows: int | None, log_interval: int) -> None:
        self._files, self._of, self._interval = files, "" if rows is None else f" of {rows}", log_interval
        self._bar = sys.stdout.isatty() and not LOGS
        self._start, self._shown = time.monotonic(), 0.0
        self.rows = self.documents = self.tokens = self.bytes = 0

    def seconds(self) -> float:
        """Time since the start."""
        return max(time.monotonic() - self._start, 1e-9)

    def add(self, chunk: Chunk, documents: int, tokens: int) -> None:
        """Count a chunk that is done."""
        before = self.rows
        self.rows += chunk.rows
        self.documents += documents
        self.tokens += tokens
        self.bytes += chunk.size
        speed = f"{self.bytes / 1e6 / self.seconds():.1f} MB/s, {self.tokens / self.seconds():.0f} tokens/s"
        if self._bar:
            if self.seconds() - self._shown > 0.1:
                self._shown = self.seconds()
                part = chunk.done / self._files
                print(f"\r[{'#' * round(30 * part):<30}] {100 * part:3.0f} % {speed}\033[K", end="", flush=True)
        elif self.rows // self._interval > before // self._interval:
            say(f"{self.rows}{self._of} rows, {self.documents} documents, {self.tokens} tokens, {speed}")

    def end(self) -> None:
        """Clear the bar."""
        if self._bar:
            print("\r\033[K", end="", flush=True)


class Output:
    """The files of one dataset: written under temporary names, then renamed, the .idx after the .bin, the manifest last."""

    def __init__(self, stem: str) -> None:
        self.bin, self.idx, self.manifest = (Path(stem + end) for end in (".bin", ".idx", ".manifest.json"))
        self._lengths: list[Any] = []
        self._hashes: dict[Path, str] = {}

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
        if (manifest.get("format") != MANIFEST_FORMAT or not whole or sizes != hashes.sizes()
                or {**noted, "sources": None} != {**inputs, "sources": None}):
            return False
        hashes.start()
        same = all(outputs[path.name].get("sha256") == sha256_of(path) for path in (self.bin, self.idx))
        return bool(noted["sources"] == hashes.sources() and same)  # in this order: no thread is left at work

    def write(self, encoded: Iterable[tuple[Chunk, Any, Any]], progress: Progress) -> None:
        """Write the ids of all documents, as they come."""
        digest = hashlib.sha256()
        with self._temporary(self.bin).open("wb") as stream:
            for chunk, ids, lengths in encoded:
                data = memoryview(ids).cast("B") if len(ids) else b""
                stream.write(data)
                digest.update(data)
                self._lengths.append(lengths)
                progress.add(chunk, len(lengths), len(ids))
            self._flush(stream)
        self._hashes[self.bin] = digest.hexdigest()

    def statistics(self) -> dict[str, int]:
        """Tokens of the shortest, the median and the longest document."""
        np = need("numpy")
        lengths = np.sort(np.concatenate(self._lengths))
        return {"shortest_document": int(lengths[0]), "median_document": int(lengths[(len(lengths) - 1) // 2]),
                "longest_document": int(lengths[-1])}

    def finish(self, dtype: str, about: dict[str, Any]) -> None:
        """Write index and manifest, and put the three files in place."""
        self._write_idx(dtype)
        manifest = {"format": MANIFEST_FORMAT, "dtype": dtype, **about,
                    "outputs": {path.name: {"sha256": self._hashes[path], "size": self._temporary(path).stat().st_size}
                                for path in (self.bin, self.idx)}}
        with self._temporary(self.manifest).open("wb") as stream:
            stream.write((json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode())
            self._flush(stream)
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

    def _index(self, dtype: str) -> Iterator[bytes]:
        """The index in parts: header, lengths (int32), byte offsets (int64), document bounds (int64)."""
        np = need("numpy")
        count = sum(len(lengths) for lengths in self._lengths)
        yield IDX_MAGIC + struct.pack("<QB", IDX_VERSION, DTYPE_CODES[dtype]) + struct.pack("<QQ", count, count + 1)
        for lengths in self._lengths:
            yield lengths.astype(np.int32).tobytes(order="C")
        at = 0
        for lengths in self._lengths:
            ends = np.cumsum(lengths, dtype=np.int64)
            yield ((at + ends - lengths) * np.dtype(dtype).itemsize).astype(np.int64).tobytes(order="C")
            at += int(ends[-1]) if len(ends) else 0
        for first in range(0, count + 1, 1 << 20):
            yield np.arange(first, min(first + (1 << 20), count + 1), dtype=np.int64).tobytes(order="C")

    def _write_idx(self, dtype: str) -> None:
        digest = hashlib.sha256()
        with self._temporary(self.idx).open("wb") as stream:
            for part in self._index(dtype):
                stream.write(part)
                digest.update(part)
            self._flush(stream)
        self._hashes[self.idx] = digest.hexdigest()

    @staticmethod
    def _flush(stream: Any) -> None:
        stream.flush()
        os.fsync(stream.fileno())


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[int]:
    """Hold the folder, so that two runs never write the same files. Gives the descriptor that holds it."""
    descriptor = os.open(str(folder), os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PreprocessError(f"Another preprocessing is at work in {folder}. Wait for it to end.") from error
        except OSError as error:  # some network file systems have no locks
            say(f"{folder} cannot be locked ({error}); going on without")
        yield descriptor
    finally:
        os.close(descriptor)


# -- program -----------------------------------------------------------------------------------------------------


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
    progress = Progress(len(files), rows, args.log_interval)
    chunks = (chunk for number, source in enumerate(sources) for chunk in chunks_of(source, number, size, encoder))
    encoding = encode_by_threads(chunks, encoder, max(args.used, 1)) if pool is None else pool.encode(chunks, encoder.dtype)
    with contextlib.closing(encoding) as encoded:  # no thread is left at work when the disk is full
        output.write(encoded, progress)
    progress.end()
    if progress.documents == 0:
        raise PreprocessError(f"{', '.join(str(path) for path in files[:3])}{' …' if len(files) > 3 else ''} has no text: all "
                              f"{progress.rows} rows of column {key!r} are empty. Set --json-keys (dataset_json_key) or bring "
                              "another file (dataset_src).")
    seconds = progress.seconds()
    lengths = output.statistics()
    about = {"encoder": encoder.name, "encoding": "pieces" if encoder.pieces is not None else "whole documents",
             "why_whole": encoder.why_whole, "vocab_size": encoder.vocab_size, "rows": progress.rows, "documents": progress.documents,
             "skipped": progress.rows - progress.documents, "tokens": progress.tokens, "text_bytes": progress.bytes, **lengths}
    output.finish(encoder.dtype, {**about, "inputs": {**inputs, "sources": hashes.sources()}})
    say(f"{progress.rows} rows, {progress.documents} documents, {progress.tokens} tokens; a document has {lengths['shortest_document']} to "
        f"{lengths['longest_document']} tokens, median {lengths['median_document']}; {seconds:.1f} s, "
        f"{progress.tokens / seconds:.0f} tokens/s, {progress.bytes / 1e6 / seconds:.1f} MB/s, {max(args.used, 1)} at work")
    say(f"wrote {output.bin}: {progress.documents} documents, {about['skipped']} empty rows skipped, {progress.tokens} tokens")


@without_pandas()
def prepare(args: argparse.Namespace) -> None:
    """Make the dataset of every key that is not made yet."""
    folder, prefix = Path(args.tokenizer_name_or_path), Path(args.output_prefix)
    files = source_files(args.input)
    tokenizer_hash = tokenizer_sha256(folder)
    prefix.parent.mkdir(parents=True, exist_ok=True)
    with alone_in(prefix.parent) as lock:
        hashes = Hashes(files)
        todo = []
        for key in args.json_keys:
            output = Output(f"{prefix}_{key}_document")
            inputs = {"tokenizer_sha256": tokenizer_hash, "tokenizer_type": args.tokenizer_type, "json_key": key,
                      "append_eod": args.append_eod}
            output.discard_partial()
            if output.is_made_from(inputs, hashes):
                say(f"{output.bin} is up to date")
            else:
                todo.append((key, output, inputs))
        if not todo:
            return
        with contextlib.ExitStack() as workers:
            companion = Companion(functools.partial(load_apart, folder), [lock]) if (folder / "tokenizer.json").is_file() else None
            if companion is not None:
                workers.callback(companion.close)
            need("pyarrow.compute")
            encoder = load_encoder(folder, args.append_eod, companion)
            gc.freeze()  # what there is now stays, and need not be gone through
            gc.enable()
            # More workers than chunks would have nothing to do.
            args.used = min(args.workers, int(sum(hashes.sizes()) / (args.chunk_mib * (1 << 20))))
            pool = None
            if encoder.pieces is None:
                workers.close()
                if args.used > 1:
                    pool = Pool(encoder, args.used, [lock])
                    workers.callback(pool.close)
            hashes.start()  # after the fork: threads and forks do not go together
            pieces = encoder.pieces, encoder.why_whole
            for key, output, inputs in todo:
                encoder.pieces, encoder.why_whole = pieces
                try:
                    make(key, files, encoder, pool, output, inputs, hashes, args)
                except BaseException:
                    output.discard_partial()
                    raise


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line: upstream's names."""
    first, *more = str(__doc__).split("\n\n")
    parser = argparse.ArgumentParser(description=first, epilog="\n\n".join(more[5:-1]), allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, nargs="+", help=f"files, globs or folders, a document a row; by the name: {', '.join(KINDS)}")
    parser.add_argument("--json-keys", nargs="+", default=["text"], help="columns to encode, each into files of its own (default: text)")
    parser.add_argument("--tokenizer-type", choices=["PretrainedFromHF"], default="PretrainedFromHF")
    parser.add_argument("--tokenizer-name-or-path", required=True, help="folder of the tokenizer")
    parser.add_argument("--output-prefix", required=True, help="files are PREFIX_<key>_document.bin and .idx")
    parser.add_argument("--append-eod", action="store_true", help="end each document with the tokenizer's eos token")
    parser.add_argument("--workers", type=int, default=0, help="threads or processes that encode (default: 0, as many as CPUs may be used)")
    parser.add_argument("--chunk-mib", type=float, default=4, help="MiB of text that a worker gets at a time (default: 4)")
    parser.add_argument("--log-interval", type=int, default=10000, help="rows between two lines of progress, at least a chunk (default: 10000)")
    parser.add_argument("--log-file", help="write there as well what is printed, for those who do not see it")
    args = parser.parse_args(argv)
    if args.workers < 0 or args.log_interval < 1:
        parser.error("--workers must be at least 0, --log-interval at least 1")
    if not 0 < args.chunk_mib <= 1024:
        parser.error("--chunk-mib must be more than 0 and at most 1024")
    args.workers = args.workers or len(os.sched_getaffinity(0))
    args.json_keys = list(dict.fromkeys(args.json_keys))
    args.used = 1
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program. Returns its exit status."""
    args = arguments(argv)
    # Read by the tokenizers library when it first encodes, and by numpy's linear algebra, whose threads are not needed.
    os.environ["RAYON_NUM_THREADS"] = str(args.workers)
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with contextlib.suppress(OSError, AttributeError):
        for option in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD: keep freed memory, for it costs more to get it anew for each chunk
            ctypes.CDLL(None).mallopt(option, 1 << 28)
    STOPPED.clear()
    with contextlib.ExitStack() as logs:
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) != signal.SIG_IGN:  # as a shell has it for what runs in the background
                logs.callback(signal.signal, number, signal.signal(number, stop))
        try:
            LOGS[:] = [logs.enter_context(open(args.log_file, "w", encoding="utf-8"))] if args.log_file else []
            prepare(args)
        except PreprocessError as error:
            say(f"error: {error}", sys.stderr)
            return 1
        except MemoryError:
            say("error: there is no memory left. Use fewer --workers (dataset_workers) or a smaller --chunk-mib.", sys.stderr)
            return 1
        except OSError as error:
            say(f"error: {error}. Nothing was left behind; make room or mend the path, and run again.", sys.stderr)
            return 1
        finally:
            LOGS.clear()
    return 0


if __name__ == "__main__":
    gc.disable()  # until the tokenizer is loaded: a collection goes through all that imports and parsers make, and finds nothing
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # all is on disk, no thread is at work; to free each object takes a while
