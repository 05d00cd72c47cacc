"""The root file system of a node, made by mmdebstrap from a Debian mirror; its sources are in ``image/``."""
from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Iterable, Iterator, Sequence

from rehearsal.nodes import STATE, Log, NodesError

SOURCES = Path(__file__).parent / "image"

SUITE = "bookworm"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# In the image: what a freshly installed server has, and Python's headers (a stand-in for a conda distribution,
# which brings its own). Nothing of what the roles install.
IMAGE_PACKAGES = ("systemd", "systemd-sysv", "dbus", "openssh-server", "sudo", "iproute2", "procps",
                  "iputils-ping", "python3", "python3-apt", "python3-venv", "python3-dev", "bzip2", "xz-utils")
# In the image's own package repository, for the roles to install.
REPOSITORY_PACKAGES = ("acl", "g++", "make", "rsync", "git", "pciutils", "numactl", "net-tools", "curl", "unzip")


def debian_sources(texts: Iterable[tuple[str, str]], suite: str) -> list[str]:
    """Read the machine's own Debian mirrors from its apt sources.

    Args:
        texts: file name and content of each sources file, one-line (``.list``) or deb822 (``.sources``).
        suite: the Debian release wanted. A mirror of another release serves this one as well.

    Returns:
        ``deb URI SUITE main`` lines: the release, and its security updates where a mirror of those is known.
    """
    found: list[tuple[str, str]] = []
    for name, text in texts:
        if name.endswith(".sources"):
            for stanza in text.split("\n\n"):
                fields = {key.strip().lower(): value.split() for key, _, value in
                          (line.partition(":") for line in stanza.splitlines() if not line.startswith(("#", " ")))}
                if "main" in fields.get("components", []) and fields.get("enabled") != ["no"]:
                    found += [(uri, one) for uri in fields.get("uris", []) for one in fields.get("suites", [])]
        else:
            for line in text.splitlines():
                words = line.partition("]")[2].split() if "[" in line else line.split()[1:]
                if line.startswith("deb ") and "main" in words[2:]:
                    found.append((words[0], words[1]))
    lines: dict[str, str] = {}
    for uri, one in found:
        path = uri.rstrip("/").rsplit("/", 1)[-1]
        if path == "debian" and "-" not in one:
            lines.setdefault("main", f"deb {uri} {suite} main")
        elif path == "debian-security" and one.endswith("-security"):
            lines.setdefault("security", f"deb {uri} {suite}-security main")
    return [lines[key] for key in ("main", "security") if key in lines]


def _mirrors() -> list[str]:
    mirror = os.environ.get("DEBIAN_MIRROR", "").rstrip("/")
    if mirror:
        return [f"deb {mirror} {SUITE} main"]
    base = Path("/etc/apt")
    files = [base / "sources.list", *sorted((base / "sources.list.d").glob("*"))]
    lines = debian_sources(((path.name, path.read_text()) for path in files
                            if path.is_file() and path.suffix in (".list", ".sources")), SUITE)
    if not any(f" {SUITE} " in line for line in lines):
        raise NodesError("No Debian mirror is known: /etc/apt/sources.list and sources.list.d name none. "
                         f"Set DEBIAN_MIRROR to the url of one that has {SUITE} (the folder above dists/).")
    return lines


def make_rootfs(tar: Path, packages: Sequence[str], repository: Sequence[str], options: Sequence[str], log: Log) -> None:
    """Make the root file system of a node with mmdebstrap, as a tar.

    Args:
        tar: where it goes; it appears whole or not at all.
        packages: what is installed.
        repository: what lies in the node's own package repository, with all it depends on.
        options: more of mmdebstrap's own.
        log: is given one line for each step.

    Raises:
        NodesError: with the end of mmdebstrap's output.
    """
    partial = tar.with_suffix(".partial.tar")
    logfile = STATE / "logs" / f"{tar.stem}.log"
    logfile.parent.mkdir(parents=True, exist_ok=True)
    excluded = [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("man", "info", "locale", "doc")]
    command = ["mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}", f"--keyring={KEYRING}",
               *excluded, "--dpkgopt=force-unsafe-io", f"--customize-hook={SOURCES / 'local-repository.sh'}",
               *options, SUITE, str(partial), *_mirrors()]
    log(f"making the root file system of the nodes, a minute or two (log: {logfile})")
    with logfile.open("wb") as output:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False,
                              env={**os.environ, "NODE_REPOSITORY": " ".join(repository)}, timeout=1800)
    if done.returncode != 0:
        partial.unlink(missing_ok=True)
        tail = "\n".join(logfile.read_text(errors="replace").splitlines()[-15:])
        raise NodesError(f"mmdebstrap failed with status {done.returncode} (whole log: {logfile}):\n{tail}\n"
                         "When the mirror cannot be reached, set DEBIAN_MIRROR to another.")
    partial.rename(tar)


def digest(parts: Iterable[bytes]) -> str:
    """Return a short key of some inputs, in their order."""
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()[:16]


def tree(folder: Path) -> Iterator[bytes]:
    """Yield names, modes and contents of the files below a folder, in a fixed order."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield f"{path.relative_to(folder)} {path.stat().st_mode & 0o100}".encode()
        yield path.read_bytes()
