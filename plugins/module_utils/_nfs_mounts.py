"""The NFS mounts of one node that are this project's: its block in fstab says which. Runs on the nodes: Python 3.8.

Every call that a dead server could hold is under timeout(1).
"""
from __future__ import annotations

import os
import re
from typing import Callable, Iterable, Iterator, Mapping, NamedTuple, Sequence, Tuple

from ansible_collections.ascend.cluster.plugins.module_utils._addresses import in_source, split_source

BEGIN, END = "# BEGIN ascend-cluster nfs", "# END ascend-cluster nfs"

#: exit status, stdout and stderr of a command
Answer = Tuple[int, str, str]
Run = Callable[[Sequence[str]], Answer]


class Mounted(NamedTuple):
    """What is mounted at a path."""

    kind: str
    source: str
    access: str

    def is_nfs_of(self, source: str) -> bool:
        """Whether it is version 4 of that source, in whatever form its address is written."""
        return self.kind == "nfs4" and split_source(self.source) == split_source(source)


class Line(NamedTuple):
    """A mount as it stands in fstab."""

    source: str
    path: str
    options: str


def mounts(mountinfo: str) -> Iterator[tuple[str, Mounted]]:
    """Read /proc/self/mountinfo: each path with what is mounted there, the last one last. Asks the kernel, never the server."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        words, more = before.split(), after.split()
        if len(words) >= 6 and len(more) >= 2:
            yield words[4], Mounted(more[0], more[1], words[5].split(",")[0])


def mounted(mountinfo: str, path: str) -> Mounted | None:
    """What was mounted last at a path."""
    return dict(mounts(mountinfo)).get(path)


def own_lines(fstab: str) -> list[Line]:
    """Read the lines of our block."""
    lines, ours = [], False
    for text in fstab.splitlines():
        if text in (BEGIN, END):
            ours = text == BEGIN
        elif ours and len(text.split()) >= 4 and not text.startswith("#"):
            source, path, _, options = text.split()[:4]
            lines.append(Line(source, path, options))
    return lines


def with_lines(fstab: str, lines: Iterable[Line]) -> str:
    """Return fstab with these lines in our block, where it is or at the end; without the block where there are none."""
    block = [f"{line.source} {line.path} nfs4 {line.options} 0 0" for line in sorted(lines, key=lambda line: line.path)]
    if block:
        block = [BEGIN, *block, END]
    kept: list[str] = []
    ours, placed = False, False
    for text in fstab.splitlines():
        if text == BEGIN:
            ours = True
            if not placed:
                kept += block
                placed = True
        elif text == END:
            ours = False
        elif not ours:
            kept.append(text)
    if not placed:
        kept += block
    return "".join(f"{text}\n" for text in kept)


class Client:
    """Mounts and unmounts, and keeps fstab the record of it.

    Args:
        run: runs a command.
        user: whose folders are mounted.
        seconds: how long one call to the server may take.
        check: whether to change nothing, and say what would be.
        reach: whether a server's port of NFS takes a connection.
        make: makes a folder of the user.
        write: replaces fstab.
        read: reads a file, "" where there is none.
        users: names the processes that use a folder.
    """

    def __init__(self, run: Run, seconds: int, check: bool, reach: Callable[[str], bool], make: Callable[[str], None],
                 write: Callable[[str], None], read: Callable[[str], str], users: Callable[[str], str]) -> None:
        self._run, self._seconds, self._check = run, seconds, check
        self._reach, self._make, self._write, self._read, self._users = reach, make, write, read, users
        self.changes: list[str] = []
        self.errors: list[str] = []
        self.hidden: list[str] = []
        self._lines = {line.path: line for line in own_lines(self._read("/etc/fstab"))}

    def _limited(self, *words: str) -> Answer:
        status, output, errors = self._run(["timeout", "-k", "5", str(self._seconds), *words])
        return status, output, " ".join((errors or output).split())

    def _at(self, path: str) -> Mounted | None:
        return mounted(self._read("/proc/self/mountinfo"), path)

    def _record(self) -> None:
        fstab = self._read("/etc/fstab")
        wanted = with_lines(fstab, self._lines.values())
        if wanted == fstab:
            return
        if not self._check:
            self._write(wanted)
        if not self.changes:
            self.changes.append("/etc/fstab written")

    def _unmount(self, path: str) -> bool:
        status, _, said = self._limited("umount", path)
        if status == 0 or ("tale file handle" in said and self._limited("umount", "-l", path)[0] == 0):
            return True
        if "busy" in said:
            self.errors.append(f"{path} is in use and cannot be mounted anew, by: {self._users(path)}; end these, then run this again")
        else:
            self.errors.append(f"{path} cannot be unmounted within {self._seconds} s: {said or 'no answer from the server'}")
        return False

    def leave(self, keep: Iterable[str]) -> None:
        """Take away what this project mounted, but for the paths named. What others mounted in its place stays."""
        kept = set(keep)
        for path, line in sorted(self._lines.items()):
            if path in kept:
                continue
            now = self._at(path)
            if now is not None and now.is_nfs_of(line.source):
                if not self._check and not self._unmount(path):
                    continue
                self.changes.append(f"{path} unmounted")
            del self._lines[path]
        self._record()

    def mount(self, folders: Sequence[Mapping[str, str]], server: str, address: str, options: str) -> None:
        """Have exactly these folders of a server mounted at the same paths.

        Args:
            folders: ``path`` and ``access`` (ro or rw) of each.
            server: the name of the server, for messages.
            address: its address.
            options: of the mount; the access is added.
        """
        self.leave([folder["path"] for folder in folders])
        reached = False
        for folder in folders:
            path, access = folder["path"], folder["access"]
            wanted = Line(f"{in_source(address)}:{path}", path, f"{options},{access}")
            now, old = self._at(path), self._lines.get(path)
            fits = now is not None and now.is_nfs_of(wanted.source) and now.access == access
            if fits and old is not None and split_source(old.source) == split_source(wanted.source) and old.options == wanted.options:
                status, _, said = self._limited("stat", path)
                if status == 0:
                    continue
                if "tale file handle" not in said:
                    self.errors.append(f"{path}: {server} does not answer within {self._seconds} s: {said}")
                    continue
            elif now is not None and not (old is not None and now.is_nfs_of(old.source)):
                self.errors.append(f"{path}: found {' '.join(now)} mounted there, which this project did not make; expected nothing, or "
                                   f"nfs4 {wanted.source}. Unmount it, or set other paths")
                continue
            if self._leads_elsewhere(path):
                continue
            if now is None and os.path.isdir(path) and os.listdir(path):
                self.hidden.append(path)
            if self._check:
                self.changes.append(f"{path} would be mounted")
                continue
            if not reached and not self._reach(address):
                self.errors.append(f"port 2049/tcp of {server} ({address}) cannot be reached: a firewall on the way, or its NFS server listens elsewhere")
                break
            reached = True
            if now is not None and not self._unmount(path):
                continue
            try:
                self._make(path)
            except Exception as error:  # whatever kept it from being made, the other folders are looked at all the same
                self.errors.append(f"{path} cannot be made: {error}")
                continue
            # Once more: it may lie in a folder of the user's, and the server was waited for.
            if not self._leads_elsewhere(path):
                self._mount_one(wanted)
        self._record()

    def _leads_elsewhere(self, path: str) -> bool:
        place = os.path.realpath(path)
        if place != path:
            self.errors.append(f"{path} leads through a link to {place}; expected a path without links, since a mount would follow "
                               "one that another user made. Set the variable of that path to the place itself")
        return place != path

    def _strayed(self, wanted: Line) -> bool:
        """Whether what was mounted lies elsewhere, since a link was put there in the same moment; it is taken away from there."""
        now = self._at(wanted.path)
        if now is not None and now.is_nfs_of(wanted.source):
            return False
        ours = {line.path for line in self._lines.values()}
        strayed = [path for path, one in mounts(self._read("/proc/self/mountinfo")) if one.is_nfs_of(wanted.source) and path not in ours]
        undone = [self._limited("umount", path)[0] == 0 for path in strayed]
        self.errors.append(f"{wanted.path} was made a link while {wanted.source} was mounted there, so that the mount came to lie at "
                           f"{', '.join(strayed) or 'a place that cannot be told'}; it was {'undone' if strayed and all(undone) else 'NOT undone'}. "
                           "Look who did that: only the training user and root can")
        return True

    def _mount_one(self, wanted: Line) -> None:
        # bg and its endless retries are for the boot; here an answer is wanted.
        status, _, said = self._limited("mount", "-t", "nfs4", "-o", f"{wanted.options},fg,retry=0", wanted.source, wanted.path)
        if status == 0:
            if not self._strayed(wanted):
                self._lines[wanted.path] = wanted
                self.changes.append(f"{wanted.path} mounted")
            return
        if "access denied" in said:
            said += " (its exports name the cluster_address of each node: does this node reach it from another address?)"
        self.errors.append(f"{wanted.source} cannot be mounted: {said or f'no answer within {self._seconds} s'}")

    def prove(self, folders: Sequence[Mapping[str, str]], server: str, address: str, user: str, probe: str) -> None:
        """Read and write in the mounts as a user; what is written stays, for the server to find."""
        for folder in folders:
            path, access = folder["path"], folder["access"]
            now = self._at(path)
            if now is None or not now.is_nfs_of(f"{in_source(address)}:{path}") or now.access != access:
                self.errors.append(f"{path}: expected nfs4 {in_source(address)}:{path} {access}, found {' '.join(now) if now else 'nothing'} mounted")
                continue
            status, _, said = self._limited("runuser", "-u", user, "--", "ls", path)
            if status != 0:
                self.errors.append(f"{path} cannot be read by {user}: {said}")
                continue
            file = f"{path}/{probe}"
            if access == "rw":
                status, _, said = self._limited("runuser", "-u", user, "--", "sh", "-c", 'rm -f "$1" && echo probe >"$1"', "-", file)
                if status != 0:
                    self.errors.append(f"{path} cannot be written by {user}: {said}; compare its owner on {server} with that user's uid and gid")
            elif self._limited("runuser", "-u", user, "--", "touch", file)[0] == 0:
                self._limited("runuser", "-u", user, "--", "rm", "-f", file)
                self.errors.append(f"{path} can be written, expected it read-only")


def users_of(path: str, proc: str = "/proc") -> str:
    """Name the processes whose folder or files lie at or below a path, by links alone: the server is not asked."""
    found = []
    inside = re.compile(rf"{re.escape(path)}(/.*)?")
    for process in sorted((name for name in os.listdir(proc) if name.isdigit()), key=int):
        try:
            links = [f"{proc}/{process}/cwd", *(f"{proc}/{process}/fd/{name}" for name in os.listdir(f"{proc}/{process}/fd"))]
            if any(inside.fullmatch(os.readlink(link)) for link in links):
                with open(f"{proc}/{process}/comm", encoding="utf-8", errors="replace") as file:
                    found.append(f"{process} ({file.read().strip()})")
        except OSError:  # it ended meanwhile
            continue
    return " ".join(found) or "a process that cannot be told, or a mount below it"
