"""Small files whose text the controller knows: which of them differ, and how they come into place whole."""
from __future__ import annotations

import contextlib
import os
import shlex
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from ansible_collections.ascend.cluster.plugins.module_utils._walk import walk


class TextFileError(Exception):
    """A file cannot be made as asked; the message says why, and the way out."""


class Wanted(NamedTuple):
    """A file as it should be; ``validate`` is a command with ``%s`` for the path of the draft, or empty."""

    path: str
    content: str
    mode: int
    validate: str = ""


def prepare_as_root(folder: str, make: bool) -> None:
    """Make a folder for root's files where it is not there, and refuse one that somebody else than root could change or exchange."""
    with walk(folder) as way:
        if way.unsafe:
            raise TextFileError(f"Root writes no files in {folder}: {way.unsafe}. A folder that this project made for root is taken back by "
                                "playbooks/node_base.yml; give another one to root alone (chown root, chmod go-w), or set the variable of that path.")
        missing = way.rest
    if make and missing:
        os.makedirs(folder, mode=0o755, exist_ok=True)


def found(path: str) -> str | None:
    """The text of a file; None where there is none. TextFileError for anything else, a link too."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISREG(status.st_mode):
        return Path(path).read_bytes().decode("utf-8", "surrogateescape")
    what = "a link" if stat.S_ISLNK(status.st_mode) else "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
    raise TextFileError(f"{path} is {what}, and was left as it is: expected a file of this project, or nothing. Move it away and run this again.")


def same(wanted: Wanted, text: str | None) -> bool:
    """Whether the file is there as asked, and belongs to who asks."""
    if text != wanted.content:
        return False
    status = os.lstat(wanted.path)
    return stat.S_IMODE(status.st_mode) == wanted.mode and status.st_uid == os.geteuid()


def write(wanted: Wanted) -> None:
    """Put a file into place: a draft beside it, checked by its command, takes the place of what was there, which keeps neither owner nor mode."""
    folder = os.path.dirname(wanted.path)
    draft = ""
    try:
        handle, draft = tempfile.mkstemp(prefix=".ascend-", dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(wanted.content.encode("utf-8", "surrogateescape"))
            os.fchmod(file.fileno(), wanted.mode)
        _check(wanted, draft)
        os.replace(draft, wanted.path)
    except OSError as error:
        raise TextFileError(f"{wanted.path} could not be written: {error.strerror or error}.") from error
    finally:
        if draft:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(draft)


def _check(wanted: Wanted, draft: str) -> None:
    if not wanted.validate:
        return
    words = [draft if word == "%s" else word for word in shlex.split(wanted.validate)]
    answer = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if answer.returncode != 0:
        raise TextFileError(f"{wanted.path} was not written: `{wanted.validate}` refuses it: {answer.stdout.replace(draft, wanted.path).strip()}")
