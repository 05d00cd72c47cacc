"""What the artifact action needs to know without a connection: kinds of source, hashes, messages.

Runs on the controller.
"""
from __future__ import annotations

import fcntl
import hashlib
import re
from pathlib import Path

from ansible import constants

_URL = re.compile(r"(?i)(https?|ftp|file)://.")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ArtifactError(ValueError):
    """A source that cannot be used; the message says why and what to do."""


def is_url(src: str) -> bool:
    """Tell a url that the node fetches (http, https, ftp, file) from a path on the controller."""
    return _URL.match(src) is not None


def sha256_variable(variable: str) -> str:
    """Name the variable with the hash that goes with a source variable.

    `x_src`, `x_url` and `x_path` go with `x_sha256`, as everywhere in this collection.
    """
    for suffix in ("_src", "_url", "_path"):
        if variable.endswith(suffix):
            return variable[: -len(suffix)] + "_sha256"
    return variable + "_sha256"


def normal_sha256(text: str | None, variable: str) -> str:
    """Lower-case hex digits of a hash, with or without `sha256:` before them; '' for none.

    Raises ArtifactError, naming the variable, when it is something else.
    """
    digest = (text or "").strip().lower()
    if digest.startswith("sha256:"):
        digest = digest[len("sha256:"):]
    if digest and not _SHA256.fullmatch(digest):
        raise ArtifactError(
            f"{variable} is {text!r}, which is no SHA-256: "
            "expected 64 hexadecimal digits (`sha256sum FILE` prints them)."
        )
    return digest


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hex digits, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for piece in iter(lambda: stream.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def sha256_once(path: Path) -> str:
    """SHA-256 of a file on the controller, worked out once a run for all nodes.

    Each task of each node is a process of its own, so what one found is noted in the run's temporary folder, which ansible makes and
    removes. The others wait for it meanwhile. A file that was changed or replaced since is another one.
    """
    found = path.stat()
    which = hashlib.sha256(f"{path}\0{found.st_dev}\0{found.st_ino}\0{found.st_size}\0{found.st_mtime_ns}".encode()).hexdigest()
    with (Path(constants.DEFAULT_LOCAL_TMP) / f"sha256-{which}").open("a+", encoding="utf-8") as note:
        fcntl.flock(note, fcntl.LOCK_EX)
        note.seek(0)
        known = note.read()
        if known:
            return known
        digest = sha256_of(path)
        note.write(digest)
        return digest


def check_local(src: str, expected: str, variable: str, hash_variable: str) -> tuple[Path, str]:
    """Path and SHA-256 of a source file on the controller.

    expected: hex digits, or '' to accept any content.
    Raises ArtifactError when the path is relative, missing, no file, unreadable or has another hash.
    """
    path = Path(src).expanduser()
    if not path.is_absolute():
        raise ArtifactError(f"{variable} is {src!r}: expected an absolute path on the controller, or a url.")
    if not path.exists():
        raise ArtifactError(
            f"{path} does not exist on the controller: put the file there, or set {variable} to its path or url."
        )
    if not path.is_file():
        raise ArtifactError(f"{path} ({variable}) is not a file: set {variable} to the path or url of a file.")
    try:
        found = sha256_once(path)
    except OSError as error:
        raise ArtifactError(f"{path} ({variable}) cannot be read on the controller: {error.strerror}.") from error
    if expected and found != expected:
        raise ArtifactError(mismatch(str(path), expected, found, variable, hash_variable))
    return path, found


def check_url(src: str, expected: str, variable: str, hash_variable: str) -> None:
    """Refuse a url that comes without a hash to prove it with."""
    if not expected:
        raise ArtifactError(
            f"{variable} is the url {src}, and a url needs a SHA-256 to be proved with: "
            f"set {hash_variable} to what `sha256sum` prints for the file."
        )


def mismatch(src: str, expected: str, found: str, variable: str, hash_variable: str) -> str:
    """Say that a file is not the one that was named."""
    return (
        f"{src} has the SHA-256 {found}, expected {expected}: it is damaged or another file. "
        f"Get it again (or set {variable} to the right one), or correct {hash_variable}."
    )


def found_by_get_url(message: str) -> str:
    """SHA-256 that get_url found, from its message about a wrong one; '' when it failed for another reason."""
    match = re.search(r"did not match [0-9a-f]{64}; it was ([0-9a-f]{64})", message)
    return match.group(1) if match else ""
