"""Whose the files in an index cache are: those whose names Megatron-LM gives, and that this project brought. Runs on the nodes: Python 3.8."""
from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from typing import Iterable, NamedTuple

# <MD5 of what it was made for>-<class>[-<split>]-<what it holds>: megatron/core/datasets/gpt_dataset.py, blended_dataset.py.
_NAME = re.compile(r"[0-9a-f]{32}-[A-Za-z0-9]+(?:-[a-z]+)?-(?:description\.txt|(?:document|sample|shuffle|dataset|dataset_sample)_index\.npy)")


def is_index_file(path: str) -> bool:
    """Whether a file's name is one that Megatron-LM gives to a file of its index cache."""
    return _NAME.fullmatch(os.path.basename(path)) is not None


class Record(NamedTuple):
    """What a node remembers of its index cache."""

    #: paths that the master's index cache ever had: this project made them there, and brings and removes them
    shared: tuple[str, ...] = ()
    #: paths that were found here when the data was shared last, and are none of those: nobody's business
    left: tuple[str, ...] = ()


def read_record(path: str) -> Record:
    """Read a record. One that is missing or damaged is empty: then nothing is known to be ours, and nothing removed."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError), open(path, encoding="utf-8") as file:
        stored = json.load(file)
        return Record(tuple(map(str, stored["shared"])), tuple(map(str, stored["left"])))
    return Record()


def tell(found: Iterable[str], listed: Iterable[str], record: Record, shared_now: bool) -> tuple[list[str], list[str]]:
    """Tell the files that are not on the list apart.

    Args:
        found: paths in the index cache.
        listed: paths that the master has.
        record: what is remembered.
        shared_now: whether the list is the master's of this moment, which may remove what is on it no longer; else it is what
            was shared, and what has come since is a difference, whoever made it.

    Returns:
        Paths of Megatron-LM's form that are not as they should be, and the others, which stay.
    """
    known = set(listed)
    more = sorted(path for path in found if path not in known)
    extra = [path for path in more if is_index_file(path) and (path in record.shared if shared_now else path not in record.left)]
    return extra, [path for path in more if path not in extra]


def write_record(path: str, before: Record, listed: Iterable[str], left: Iterable[str]) -> None:
    """Remember what is the master's, beside all that was, and what is not. Nothing is written where nothing changed.

    Raises:
        OSError: it cannot be written.
    """
    record = Record(tuple(sorted({*before.shared, *(name for name in listed if is_index_file(name))})), tuple(sorted(left)))
    if record == before:
        return
    handle, temporary = tempfile.mkstemp(prefix=".index_cache-", dir=os.path.dirname(path))
    try:
        with open(handle, "w", encoding="utf-8") as file:
            json.dump(record._asdict(), file, indent=1)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
