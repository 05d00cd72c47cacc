"""The way to a folder, as root goes it: by file descriptors, and knowing at each step whether somebody else could have laid it.

Runs on the nodes: Python 3.8.
"""
from __future__ import annotations

import contextlib
import os
import pwd
import stat
from typing import Iterator

#: links on the way to a folder, as the kernel counts them
_LINKS = 40
#: a folder itself, never what a link in its place names
OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class FolderError(Exception):
    """A folder that cannot be used or made; the message says why and what to do."""


class Way:
    """How far a walk came: `fd` is the folder `at`, `rest` what is missing below it, `unsafe` why root must not write there, or ""."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.at = "/"
        self.rest: list[str] = []
        self.unsafe = ""
        self.owner = 0

    def step(self, fd: int, name: str) -> None:
        """Go down to a folder, which is open as `fd`."""
        os.close(self.fd)
        self.fd, self.at = fd, os.path.join(self.at, name)
        self.judge()

    def judge(self) -> None:
        """Keep the first reason why somebody other than root could have changed what lies at or below this folder."""
        found = os.fstat(self.fd)
        self.owner = found.st_uid
        if self.unsafe:
            return
        if found.st_uid != 0:
            try:
                owner = pwd.getpwuid(found.st_uid).pw_name
            except KeyError:
                owner = f"uid {found.st_uid}"
            self.unsafe = f"{self.at} belongs to {owner}"
        elif found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:  # where that is set, what is root's stays where it is
            self.unsafe = f"{self.at} has mode {stat.S_IMODE(found.st_mode):04o}, so others than root can write in it"


@contextlib.contextmanager
def walk(path: str) -> Iterator[Way]:
    """Go as far down an absolute path as it exists, by file descriptors.

    A link is followed only where root alone could have put it: else nobody knows where it leads a moment later. It raises OSError where
    a folder cannot be entered, and FolderError for a link that is not to be followed and for what is no folder.
    """
    way = Way(os.open("/", OPEN))
    try:
        way.judge()
        names = [name for name in path.split("/") if name]
        links = 0
        while names:
            name = names[0]
            try:
                found = os.stat(name, dir_fd=way.fd, follow_symlinks=False)
            except FileNotFoundError:
                way.rest = names
                break
            if stat.S_ISLNK(found.st_mode):
                links += 1
                why = way.unsafe or ("it is not root's" if found.st_uid != 0 else "there are too many of them" if links > _LINKS else "")
                if why:
                    raise FolderError(f"{os.path.join(way.at, name)} is a link, and {why}: root does not follow it. Name the folder itself instead of {path}.")
                target = os.readlink(name, dir_fd=way.fd)
                names = [part for part in target.split("/") if part] + names[1:]
                if target.startswith("/"):
                    os.close(way.fd)
                    way.fd, way.at = os.open("/", OPEN), "/"
                continue
            if not stat.S_ISDIR(found.st_mode):
                raise FolderError(f"{os.path.join(way.at, name)} is no folder, expected one (for {path}): move it away, or set another path.")
            names = names[1:]
            way.step(os.open(name, OPEN, dir_fd=way.fd), name)
        yield way
    finally:
        os.close(way.fd)
