"""Whether a git bundle is a whole one.

git itself does not look. Of a bundle that was made in a shallow clone `git bundle verify` says that it "records a
complete history", `git bundle unbundle` takes it with status 0, and only a clone of the result breaks, with words about
a corrupt remote (git 2.39). So the header is read here, and the history is walked before anything is made of it.

Runs on the nodes: Python 3.8 and git are all it needs.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from typing import BinaryIO

from ansible_collections.ascend.cluster.plugins.module_utils._source_tree import SourceTree

#: a line of the header is a hash and a name; anything longer is no header
_LINE = 64 * 1024


class BundleError(Exception):
    """What is wrong with the bundle, as the second half of a sentence that begins with its name, and the way out."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(found)
        self.found = found
        self.remedy = remedy


@dataclass
class Header:
    """What a bundle says of itself (https://git-scm.com/docs/gitformat-bundle)."""

    version: str = ""
    capabilities: list[str] = field(default_factory=list)
    prerequisites: list[str] = field(default_factory=list)
    references: list[str] = field(default_factory=list)


def read_header(file: BinaryIO) -> Header:
    """Read the header; the file stands at the pack behind it then.

    Raises:
        BundleError: this is no bundle, or it ends within the header.
    """
    first = file.readline(_LINE)
    header = Header(version={b"# v2 git bundle\n": "2", b"# v3 git bundle\n": "3"}.get(first, ""))
    if not header.version:
        begins = f"begins with {first[:40].decode('utf-8', 'replace').rstrip()!r}" if first else "is empty"
        raise BundleError(f"is no git bundle: it {begins}", "make")
    while True:
        line = file.readline(_LINE)
        if line == b"\n":
            return header
        if not line.endswith(b"\n"):
            raise BundleError("is cut off: it ends within the list of its branches", "copy")
        text = line.decode("utf-8", "replace").rstrip("\n")
        if text.startswith("@"):
            header.capabilities.append(text[1:])
        elif text.startswith("-"):
            header.prerequisites.append(text[1:].split(" ")[0])
        else:
            header.references.append(text.partition(" ")[2])


def refuse_parts(header: Header) -> None:
    """Refuse a bundle that says itself that it holds a part of a repository.

    Raises:
        BundleError: it was made with a basis, or with a filter.
    """
    filters = [one for one in header.capabilities if one.startswith("filter=")]
    if filters:
        raise BundleError(f"leaves files out: it was made with --{filters[0]}", "make")
    if header.prerequisites:
        more = f" and {len(header.prerequisites) - 1} more" if len(header.prerequisites) > 1 else ""
        raise BundleError(f"holds only what came after commit {header.prerequisites[0]}{more}: it was made of a range "
                          "(A..B, --since, -n), not of a whole history", "make")


def prove(bundle: Path, commit: str) -> None:
    """Unpack the bundle in a repository of nothing but itself, beside it, and walk the history of the commit.

    In a work tree that is there already, what the bundle lacks might be lent by what an earlier one brought: such a node would accept
    what a fresh one refuses. Nothing is left behind.

    Raises:
        BundleError: the bundle is none, is damaged, or does not hold the whole history of the commit.
        TreeError: git cannot be run.
        OSError: the bundle cannot be read, or its folder not be written.
    """
    with bundle.open("rb") as file:
        header = read_header(file)
    refuse_parts(header)
    with tempfile.TemporaryDirectory(prefix=bundle.name + ".", dir=str(bundle.parent)) as scratch:
        tree = SourceTree(scratch)
        tree.git("init", "--quiet", "--bare")
        _fill(tree, bundle, header, commit)


def _fill(tree: SourceTree, bundle: Path, header: Header, commit: str) -> None:
    """Unpack the bundle and prove that everything the commit needs came out of it."""
    done = tree.git("bundle", "unbundle", str(bundle), check=False)
    if done.returncode != 0:
        raise BundleError(f"cannot be unpacked: {_words(done)}", "newer" if header.version == "3" else "copy")
    if tree.git("cat-file", "-e", commit + "^{commit}", check=False).returncode != 0:
        shown = ", ".join(header.references[:8]) + (", …" if len(header.references) > 8 else "")
        raise BundleError(f"does not hold commit {commit}; it was made of {shown or 'no branch at all'}", "commit")
    done = tree.git("rev-list", "--quiet", commit, check=False)
    if done.returncode != 0:
        raise BundleError(f"lacks commits that {commit} builds on: it was made in a shallow clone (--depth), "
                          f"which git does not notice ({_words(done)})", "make")
    done = tree.git("rev-list", "--quiet", "--objects", commit, check=False)
    if done.returncode != 0:
        raise BundleError(f"lacks files in the history of {commit}: it was made in a partial clone (--filter) ({_words(done)})", "make")


def _words(done: CompletedProcess[bytes]) -> str:
    return " / ".join(done.stderr.decode("utf-8", "replace").splitlines()) or f"status {done.returncode}"


def explain(error: BundleError, source: str, commit: str, variables: str) -> str:
    """The message for a person: the bundle `source`, whose variables begin with `variables`, is refused."""
    make = (f"`git branch --force pinned {commit}` and `git bundle create FILE.bundle pinned`, in a clone without --depth and "
            "--filter (`git fetch --unshallow` completes a shallow one)")
    copy = (f"Unless the node's disk is full, it is damaged or cut off: copy it again, and set {variables}_bundle_sha256 to the SHA-256 "
            f"of the original; or make it anew: {make}.")
    remedy = {
        "copy": copy,
        "newer": f"It has format 3, which an older git cannot read (add --version=2 to `git bundle create`). {copy}",
        "commit": f"Correct {variables}_version, or make a bundle with that commit: {make}.",
        "make": f"Make one of the whole history: {make}.",
    }[error.remedy]
    return f"{source} ({variables}_url) {error.found}. {remedy} The checkout was left as it was."
