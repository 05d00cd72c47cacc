"""The exports of a data host that are this project's, in files of its own. Runs on the nodes: Python 3.8."""
from __future__ import annotations

import os
import re
from typing import Callable, Iterable, Mapping, Sequence, Tuple

from ansible_collections.ascend.cluster.plugins.module_utils._addresses import canonical

EXPORTS = "/etc/exports.d/ascend-cluster.exports"
SETTINGS = "/etc/nfs.conf.d/ascend-cluster.conf"
DROP_IN = "/etc/systemd/system/nfs-server.service.d/ascend-cluster.conf"
UNIT = "nfs-server.service"
_ETAB = "/var/lib/nfs/etab"
_HEAD = "# Ansible managed: role nfs_server\n"

#: exit status, stdout and stderr of a command
Answer = Tuple[int, str, str]
Run = Callable[[Sequence[str]], Answer]


def path() -> str:
    """Where programs are found: an ordinary user's PATH lacks those of the system."""
    return f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"


def read(name: str) -> str:
    """Read a file; "" where there is none."""
    try:
        with open(name, encoding="utf-8", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def exports(folders: Sequence[Mapping[str, str]], clients: Iterable[str]) -> str:
    """The file of exports: each folder, to each address by itself. Root of a node is nobody there."""
    addresses = list(clients)
    lines = ["".join([folder["path"], *(f" {address}({folder['access']},root_squash,sync,no_subtree_check,sec=sys)" for address in addresses)])
             for folder in folders]
    return _HEAD + "# The addresses of the cluster's nodes, one by one. Root of a node is nobody here.\n" + "".join(f"{line}\n" for line in lines)


def settings(address: str, threads: int) -> str:
    """The server's settings: version 4 alone, which needs no rpcbind, on one address."""
    return (_HEAD + "# Version 4 alone, which needs no rpcbind, on the cluster's network alone.\n"
            f"[nfsd]\nvers2=n\nvers3=n\nthreads={threads}\nhost={address}\n")


def drop_in(address: str) -> str:
    """What makes the unit wait for the address."""
    return (_HEAD + "# The server listens on one address: it has to be there first.\n"
            "[Unit]\nWants=network-online.target\nAfter=network-online.target\n\n[Service]\n"
            f"ExecStartPre=/bin/sh -c 'for try in $(seq 60); do ip -o addr show | grep -qF \" {address}/\" && exit 0; sleep 1; done; "
            f"echo \"{address} is no address of this host\" >&2; exit 1'\n")


def entries(text: str, own: Iterable[str] | None = None) -> set[tuple[str, str, str]]:
    """Read folder, address and access from a file of exports, or from what mountd was told (etab), where `own` says which folders count."""
    found = set()
    wanted = None if own is None else set(own)
    for line in text.splitlines():
        words = line.split()
        if not words or not words[0].startswith("/") or (wanted is not None and words[0] not in wanted):
            continue
        for word in words[1:]:
            match = re.fullmatch(r"([^(]*)\((r[ow])\b.*", word)
            found.add((words[0], canonical(match[1]) or match[1], match[2]) if match else (words[0], word, ""))
    return found


def others(files: Mapping[str, str]) -> int:
    """Count the exports of the site in files of exports."""
    return sum(1 for name, text in files.items() if name != EXPORTS for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))


class Server:
    """Serves folders, or ends that.

    Args:
        run: runs a command.
        check: whether to change nothing, and say what would be.
        read: reads a file, "" where there is none.
        write: replaces a file, in a folder that it makes.
        remove: removes a file.
    """

    def __init__(self, run: Run, check: bool, read: Callable[[str], str], write: Callable[[str, str], None], remove: Callable[[str], None]) -> None:
        self._run, self._check, self._read, self._write, self._remove = run, check, read, write, remove
        self.changes: list[str] = []
        self.errors: list[str] = []

    def _have(self, name: str, text: str) -> bool:
        """Whether a file had to be written."""
        if self._read(name) == text:
            return False
        self.changes.append(f"{name} written")
        if not self._check:
            self._write(name, text)
        return True

    def _service(self, *words: str) -> None:
        if self._check:
            return
        status, output, said = self._run(["systemctl", *words])
        if status != 0:
            _, shown, _ = self._run(["systemctl", "status", UNIT])
            self.errors.append(f"systemctl {' '.join(words)} failed: {' '.join((said or output).split())} {' '.join(shown.split()[-40:])}".rstrip())

    def serve(self, folders: Sequence[Mapping[str, str]], clients: Sequence[str], address: str, threads: int, alone: bool) -> None:
        """Have exactly these folders exported to these addresses, and the server run at every boot.

        Args:
            folders: ``path`` and ``access`` (ro or rw) of each.
            clients: addresses of the nodes that mount them.
            address: where alone the server listens.
            threads: of the server.
            alone: whether nobody else uses the server; else its settings are left.
        """
        changed = False
        if alone:
            changed = self._have(SETTINGS, settings(address, threads))
            changed = self._have(DROP_IN, drop_in(address)) or changed
        told = self._have(EXPORTS, exports(folders, clients))
        if changed:
            self._service("daemon-reload")
        if self._run(["systemctl", "is-enabled", "--quiet", UNIT])[0] != 0:
            self.changes.append(f"{UNIT} enabled")
            self._service("enable", UNIT)
        if self._run(["systemctl", "is-active", "--quiet", UNIT])[0] != 0:
            self.changes.append(f"{UNIT} started")
            self._service("start", UNIT)
        elif changed:
            self.changes.append(f"{UNIT} restarted")
            self._service("restart", UNIT)
        wanted = entries(exports(folders, clients))

        def running() -> set[tuple[str, str, str]]:
            return entries(self._read(_ETAB), [folder["path"] for folder in folders])

        # Not every time: it ends exports that the site made by hand.
        if told or running() != wanted:
            if not told:
                self.changes.append("exports read again")
            if not self._check:
                status, output, said = self._run(["exportfs", "-ra"])
                words = " ".join((said or output).split())
                if status != 0:
                    self.errors.append(f"exportfs -ra: {words}")
                now = running()
                if now != wanted:
                    listed = "; ".join(" ".join(entry) for entry in sorted(now)[:3])
                    self.errors.append(f"the running exports differ from {EXPORTS}: found {len(now)}, expected {len(wanted)} "
                                       f"({listed or 'none'}) {words}".rstrip())

    def leave(self) -> None:
        """End what this project serves, and take its settings away."""
        if self._read(EXPORTS):
            self.changes.append(f"{EXPORTS} removed")
            if not self._check:
                self._remove(EXPORTS)
                status, output, said = self._run(["exportfs", "-ra"])
                if status != 0:
                    self.errors.append(f"exportfs -ra failed: {' '.join((said or output).split())}")
        gone = [name for name in (SETTINGS, DROP_IN) if self._read(name)]
        self.changes += [f"{name} removed" for name in gone]
        if not gone or self._check:
            return
        for name in gone:
            self._remove(name)
        self._service("daemon-reload")
        # Without exports there is nothing to serve; with those of the site, its own settings hold again.
        if self._run(["exportfs", "-s"])[1].strip():
            self._service("restart", UNIT)
        else:
            self._run(["systemctl", "disable", "--now", UNIT])
