"""Which files a training reads, and whether a node has those of the master.

Runs on the nodes: Python 3.8 is all it needs.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, Iterable, Iterator, Mapping, NamedTuple, Union

from ansible_collections.ascend.cluster.plugins.module_utils._hashing import sha256_of
from ansible_collections.ascend.cluster.plugins.module_utils._index_cache import Record, tell

# Seconds after a file's last change from which its times tell it from any later content: file systems count in ticks,
# some in whole seconds.
SETTLED = 2.0

#: Path to reason, for files that cannot be read, and path to what was found for the others.
Found = Dict[str, Union["Proof", OSError]]


class ManifestError(Exception):
    """The files cannot be listed or compared; the message says why."""


class Proof(NamedTuple):
    """What a file's content is, and by what it is known to be still the same without reading it."""

    sha256: str
    #: size in bytes, times of modification and of change in ns, inode
    identity: tuple[int, int, int, int]


def identity(found: os.stat_result) -> tuple[int, int, int, int]:
    """Return what tells a file's content from any earlier one. Of the times, that of change cannot be set by a program."""
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def proofs(stored: Any) -> dict[str, Proof]:
    """Read ``{path: [sha256, [size, mtime, ctime, inode]]}`` as it comes from JSON.

    Raises:
        ManifestError: it is something else.
    """
    try:
        read = {str(path): Proof(str(digest), tuple(map(int, numbers))) for path, (digest, numbers) in stored.items()}  # type: ignore[arg-type]
    except (AttributeError, TypeError, ValueError) as error:
        raise ManifestError(f"expected paths with sha256 and identity, found {str(stored)[:80]}") from error
    for path, proof in read.items():
        if not re.fullmatch("[0-9a-f]{64}", proof.sha256) or len(proof.identity) != 4:
            raise ManifestError(f"expected a sha256 and four numbers for {path}, found {proof.sha256[:80]} and {proof.identity}")
    return read


class Hashes:
    """SHA-256 of files, remembered from run to run by what ``stat`` says of them, so that an unchanged file is read once.

    What changes a file's content and not its inode's time of change is not seen: a failing disk, or a write to the block device
    below. Without the file of `path` everything is read again.

    Args:
        path: where they are kept; None keeps nothing. A damaged file counts as empty.
        others: proofs of another node. On storage that nodes share a file has the same identity on each of them, and need
            not be read by each; a copy never has.
    """

    def __init__(self, path: str | None, others: Mapping[str, Proof] | None = None) -> None:
        self._path = path
        self._others = others or {}
        self._kept: dict[str, Proof] = {}
        if path is not None:
            with contextlib.suppress(OSError, ValueError, ManifestError), open(path, encoding="utf-8") as file:
                self._kept = proofs(json.load(file))
        self._known = dict(self._kept)

    def of(self, path: str) -> Proof:
        """Return a file's proof, reading it unless it is known.

        Raises:
            OSError: it cannot be read.
            ManifestError: it changes while it is read.
        """
        # Opened even when nothing is read: on NFS that is what asks the server whether the file has changed.
        with open(path, "rb", buffering=0) as file:
            before = identity(os.fstat(file.fileno()))
            for known in (self._known.get(path), self._others.get(path)):
                if known is not None and known.identity == before:
                    self._known[path] = known
                    return known
            # Negative where the clock of a file server is ahead: then nothing is waited for, and nothing remembered.
            age = time.time() - max(before[1], before[2]) / 1e9
            if 0 <= age < SETTLED:
                time.sleep(SETTLED - age)
                before, age = identity(os.fstat(file.fileno())), SETTLED
            digest = sha256_of(file)
            if identity(os.fstat(file.fileno())) != before:
                raise ManifestError(f"{path} changed while it was read: something writes to it")
        proof = Proof(digest, before)
        self._known.pop(path, None)
        if age >= SETTLED:
            self._known[path] = proof
        return proof

    def all(self, paths: Iterable[str]) -> Found:
        """Return the proofs of files, or why they cannot be read; several at once, as hashing lets other threads run."""
        def one(path: str) -> Proof | OSError:
            try:
                return self.of(path)
            except OSError as error:
                return error

        listed = list(paths)
        with ThreadPoolExecutor(max_workers=max(2, min(8, os.cpu_count() or 1))) as pool:
            return dict(zip(listed, pool.map(one, listed)))

    def known(self) -> dict[str, Proof]:
        """Return what is known of the files that are still there. Another process than the one that saves may ask."""
        return {path: proof for path, proof in self._known.items() if os.path.exists(path)}

    def save(self, known: dict[str, Proof] | None = None) -> None:
        """Keep what is known (to this object, or as given) for the next run, whole or not at all; files that are gone are forgotten.

        Raises:
            OSError: it cannot be written.
        """
        known = self.known() if known is None else known
        if self._path is None or known == self._kept:
            return
        folder = os.path.dirname(self._path)
        handle, temporary = tempfile.mkstemp(prefix=".data_hashes-", dir=folder)
        try:
            with open(handle, "w", encoding="utf-8") as file:
                json.dump(known, file, indent=1, sort_keys=True)
            os.replace(temporary, self._path)
        except BaseException:
            os.unlink(temporary)
            raise
        self._kept = known


def files_below(folder: str) -> Iterator[str]:
    """Yield the files below a folder, links followed. Hidden ones are leftovers of an interrupted write, and left out.

    Raises:
        OSError: the folder or one below it cannot be read.
    """
    def walk(path: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
        found = os.stat(path)
        here = (found.st_dev, found.st_ino)
        if here in above:  # a link to a folder that it lies in
            return
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    yield from walk(entry.path, (*above, here))
                elif entry.is_file():
                    yield entry.path

    yield from walk(folder.rstrip("/") or "/", ())


def inputs(tokenizer: str, data: str, index_cache: str) -> tuple[list[str], list[str]]:
    """List the files that a training reads.

    Args:
        tokenizer: folder of the tokenizer.
        data: the dataset without its ending: ``.bin``, ``.idx`` and, where it is, ``.manifest.json``.
        index_cache: folder of Megatron's index cache.

    Returns:
        The paths, sorted, and what is missing, with the playbook that makes it.

    Raises:
        ManifestError: a name has a line break or a backslash, which a list of sha256sum cannot name plainly.
        OSError: a folder cannot be read.
    """
    missing, paths = [], set()
    for folder, playbook in ((tokenizer, "tokenizer"), (index_cache, "dataset")):
        found = list(files_below(folder)) if os.path.isdir(folder) else []
        paths.update(found)
        if not found:
            missing.append(f"{'files in ' if os.path.isdir(folder) else ''}{folder} (made by playbooks/{playbook}.yml)")
    for ending in (".bin", ".idx", ".manifest.json"):
        if os.path.isfile(data + ending):
            paths.add(data + ending)
        elif ending != ".manifest.json":
            missing.append(f"{data}{ending} (made by playbooks/dataset.yml)")
    for path in paths:
        if re.search("[\n\r\\\\]", path):
            raise ManifestError(f"the name {path!r} has a line break or a backslash: rename it")
    return sorted(paths), missing


def parse(text: str) -> dict[str, str]:
    """Read a list as sha256sum writes it: path to SHA-256.

    Raises:
        ManifestError: a line is none of sha256sum's, or there is none at all.
    """
    listed = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = re.fullmatch(r"([0-9a-f]{64}) [ *](/.*)", line)
        if match is None:
            raise ManifestError(f"line {number} is {line[:80]!r}, expected a SHA-256 and an absolute path")
        listed[match[2]] = match[1]
    if not listed:
        raise ManifestError("it is empty")
    return listed


def compare(expected: Mapping[str, str], index_cache: str, hashes: Hashes, record: Record, shared_now: bool) -> dict[str, Any]:
    """Compare this node's files with a list of path to SHA-256; `record` and `shared_now` as for :func:`_index_cache.tell`.

    Returns:
        Path to proof of the files on the list that could be read, under ``files``. Sorted paths under ``missing`` (not
        there), ``differing`` (other content), ``unreadable`` (with the reason), ``extra`` (files of the index cache that the
        list lacks: Megatron takes one whose name fits, whatever data it was made of) and ``foreign`` (others there, which it does not).

    Raises:
        ManifestError: a file changes while it is read.
    """
    differences: dict[str, Any] = {"files": {}, "missing": [], "differing": [], "unreadable": [], "extra": [], "foreign": []}
    for path, found in sorted(hashes.all(expected).items()):
        if isinstance(found, (FileNotFoundError, NotADirectoryError)):
            differences["missing"].append(path)
        elif isinstance(found, OSError):
            differences["unreadable"].append(f"{path} ({found.strerror})")
        else:
            differences["files"][path] = found
            if found.sha256 != expected[path]:
                differences["differing"].append(path)
    # A folder that cannot be listed shows by its files.
    with contextlib.suppress(OSError):
        differences["extra"], differences["foreign"] = tell(files_below(index_cache), expected, record, shared_now)
    return differences


def in_words(result: Mapping[str, Any], most: int = 3) -> str:
    """Describe what `compare` found, naming at most `most` paths of each kind; empty when nothing differs."""
    def named(paths: list[str]) -> str:
        return ", ".join(paths) if len(paths) <= most else f"{len(paths)} files, of them {', '.join(paths[:most])}"

    words = {"missing": "missing", "differing": "other content", "unreadable": "unreadable", "extra": "not on the list"}
    return "; ".join(f"{word}: {named(result[kind])}" for kind, word in words.items() if result.get(kind))
