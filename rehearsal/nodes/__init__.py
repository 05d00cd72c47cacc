"""What the two kinds of nodes share, containers (``rehearsal.containers``) and virtual machines (``rehearsal.machines``).

A cluster is known by its folder: two folders are two clusters, which share the image and nothing else, each with its own network,
addresses and ports. The folder holds ``config`` (for ``ssh -F``), ``known_hosts``, ``id_ed25519`` and ``nodes.json`` (name, address,
port, instance).

Here: what a node is. ``ssh``: those files. ``rootfs``: the root file system that both kinds of images begin with, its sources in
``image/``. ``furnish``: what a running node is given. ``commands``: their command lines.
"""
from __future__ import annotations

import contextlib
import fcntl
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

PROJECT = Path(__file__).resolve().parent.parent.parent
STATE = PROJECT / ".rehearsal"
FIRST_HOST = 10  # node1 is .11 of its network

Log = Callable[[str], None]


class NodesError(Exception):
    """The nodes could not be made; the message says what was found and what to do."""


@dataclass(frozen=True)
class Node:
    """One node: its inventory name, address on the cluster's network, ssh port on 127.0.0.1, and what runs it."""

    name: str
    address: str
    port: int
    #: name of its container, or of its virtual machine
    instance: str


def cluster_name(name: str, folder: Path) -> str:
    """Return the prefix of a cluster's containers, unique for its folder."""
    return f"{name}-{hashlib.sha256(str(folder).encode()).hexdigest()[:6]}"


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep others that build or start the same thing waiting."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
