"""The files by which a cluster is reached: ssh configuration, known hosts, keys, and nodes.json."""
from __future__ import annotations

import json
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Iterable, Sequence

from rehearsal.nodes import Node


def ssh_config(nodes: Sequence[Node], folder: Path, control: Path, prefix: str) -> str:
    """Render the ssh configuration of a cluster.

    The multiplexing socket is set here rather than by Ansible, which would name it after host and user
    alone: node1 of another cluster has the same.
    """
    def quoted(path: Path) -> str:
        return f'"{path}"'

    lines: list[str] = []
    for node in nodes:
        lines += [
            f"Host {node.name}",
            "  HostName 127.0.0.1",
            f"  Port {node.port}",
            f"  HostKeyAlias {node.name}",
        ]
    lines += [
        "Host *",
        "  User ops",
        f"  IdentityFile {quoted(folder / 'id_ed25519')}",
        "  IdentitiesOnly yes",
        "  IdentityAgent none",
        "  PreferredAuthentications publickey",
        "  StrictHostKeyChecking yes",
        f"  UserKnownHostsFile {quoted(folder / 'known_hosts')}",
        "  GlobalKnownHostsFile /dev/null",
        "  UpdateHostKeys no",
        "  ControlMaster auto",
        "  ControlPersist 60s",
        f"  ControlPath {quoted(control / (prefix + '-%n-%p'))}",
        "  ServerAliveInterval 30",
        "  LogLevel ERROR",
    ]
    return "\n".join(lines) + "\n"


def known_hosts(keys: Iterable[tuple[str, str]]) -> str:
    """Render a known_hosts file from pairs of node name and public host key (``type key comment``)."""
    return "".join(f"{name} {' '.join(key.split()[:2])}\n" for name, key in keys)


def ssh_ready(folder: Path, node: str) -> bool:
    """Say whether a node lets `ops` in by ssh, and become root there."""
    done = subprocess.run(["ssh", "-F", str(folder / "config"), "-o", "BatchMode=yes", "-o", "ConnectTimeout=5",
                           "-o", "ControlPath=none", node, "sudo -n true"],
                          stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=30)
    return done.returncode == 0


def write_private(path: Path, text: str) -> None:
    """Write a file for its owner alone."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    path.chmod(0o600)


def make_key(path: Path, comment: str) -> str:
    """Make an ed25519 key pair, in place of an old one; returns the public key."""
    for old in (path, path.with_suffix(".pub")):
        old.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)],
                   check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return path.with_suffix(".pub").read_text()


def write_access(folder: Path, prefix: str, nodes: Sequence[Node], host_keys: Iterable[tuple[str, str]]) -> None:
    """Write what others reach a cluster by: ssh configuration, known hosts, and nodes.json."""
    control = Path.home() / ".ansible" / "cp"
    control.mkdir(parents=True, exist_ok=True)
    write_private(folder / "known_hosts", known_hosts(host_keys))
    write_private(folder / "config", ssh_config(nodes, folder, control, prefix))
    write_private(folder / "nodes.json", json.dumps({node.name: asdict(node) for node in nodes}, indent=2) + "\n")
