"""Files and folders: which are read, what they hold, who may write. Needs nothing but Python."""
from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import os
from pathlib import Path
from typing import Callable, Iterator, Sequence

from preprocess_data.messages import PreprocessError

# Kinds of input by the end of the name.
KINDS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".jsonl.gz": "json", ".json.gz": "json", ".csv": "csv", ".csv.gz": "csv"}


class InUseError(Exception):
    """Another process holds the folder."""


def sha256_of(path: Path, heed: Callable[[], None] = lambda: None) -> str:
    """SHA-256 of a file, in hex; `heed` is called between two reads, and may raise."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            heed()
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def alone_in(folder: Path, say: Callable[[str], None]) -> Iterator[int]:
    """Hold a folder, or raise InUseError, so that two runs never write the same files. Gives the descriptor that holds it."""
    descriptor = os.open(str(folder), os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InUseError(str(folder)) from error
        except OSError as error:  # some network file systems have no locks
            say(f"{folder} cannot be locked ({error}); going on without")
        yield descriptor
    finally:
        os.close(descriptor)


def kind_of(path: Path) -> str | None:
    """How a file is read, by the end of its name: parquet, json or csv; None for others."""
    return next((kind for end, kind in KINDS.items() if path.name.lower().endswith(end)), None)


def source_files(words: Sequence[str]) -> list[Path]:
    """The files that the words of --input stand for: files, globs and folders; each once, in their order."""
    known, files = ", ".join(KINDS), []
    for word in words:
        path = Path(word)
        if path.is_dir():
            found = sorted(item for item in path.rglob("*") if item.is_file() and kind_of(item)
                           and not any(part.startswith(".") for part in item.relative_to(path).parts))
            if not found:
                raise PreprocessError(f"Folder {path} holds no file whose name ends in {known}. Set --input (dataset_input).")
        else:
            found = [path] if path.is_file() else sorted(Path(item) for item in glob.glob(word, recursive=True) if Path(item).is_file())
            if not found:
                raise PreprocessError(f"There is no file {word}. Set --input to files, globs or folders (dataset_src, dataset_input).")
        files += found
    for path in files:
        if kind_of(path) is None:
            raise PreprocessError(f"{path} is of no known kind: expected a name that ends in {known}. Rename it, or set --input.")
    return list(dict.fromkeys(files))
