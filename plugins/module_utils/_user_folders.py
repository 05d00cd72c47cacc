"""Folders of the training user, made without root ever writing where that user, or anybody else, could put a link in its way.

The user's way comes first: it also serves storage on which root can do nothing (root_squash). Only where the user may not write does
root make one folder, and only in one that root alone can write, which it goes to by file descriptors; it is given away by its
descriptor, and what lies below is the user's own work again.

Runs on the nodes: Python 3.8.
"""
from __future__ import annotations

import contextlib
import errno
import os
import pwd
import stat
from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils._as_user import UserError, account, as_user
from ansible_collections.ascend.cluster.plugins.module_utils._walk import OPEN, FolderError, walk


def make(paths: list[str], user: str, mode: int, check: bool) -> list[str]:
    """Make what is missing of each path, and return what was made (in check mode: what would be), in order.

    Existing folders are never changed.

    Raises:
        FolderError: a path is none, something else lies there, or neither way is open.
        UserError: the user is not there, or cannot be become.
    """
    for path in paths:
        if not path.startswith("/") or ".." in path.split("/"):
            raise FolderError(f"{path!r} is no absolute path without `..`.")
    paths = list(dict.fromkeys(os.path.normpath(path) for path in paths))
    try:
        entry = account(user)
    except UserError:
        if not check:
            raise
        # Before the first run nobody can be asked.
        return sorted({folder for path in paths for folder in _look(path)[0]})
    made, stuck = _as_the_user(user, paths, mode, check)
    for path, parent, reason in stuck:
        first = _by_root(path, parent, reason, entry, mode, check)
        made += [folder for folder in ([first] if not check else _look(path)[0]) if folder]
    if stuck and not check:
        more, stuck = _as_the_user(user, paths, mode, check)
        made += more
        for path, parent, reason in stuck:
            raise FolderError(_words(path, parent, reason, user, ""))
    return sorted(set(made))


def _as_the_user(user: str, paths: list[str], mode: int, check: bool) -> tuple[list[str], list[list[str]]]:
    """What the user made, and [path, deepest folder found, why not] of the rest."""
    answer = as_user(user, _try, paths, mode, check)
    if answer["refused"]:
        raise FolderError(answer["refused"])
    return answer["made"], answer["stuck"]


def _try(paths: list[str], mode: int, check: bool) -> dict[str, Any]:
    """Run as the user. Links are followed as for any program of the user's: they lead no further than the user's rights."""
    os.umask(0)
    made: list[str] = []
    stuck: list[list[str]] = []
    for path in paths:
        at = path
        try:
            missing, at = _look(path)
            if check and missing and not os.access(at, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            for folder in missing:
                if not check:
                    with contextlib.suppress(FileExistsError):  # another node, on shared storage
                        os.mkdir(folder, mode)
                made.append(folder)
                at = folder
        except FolderError as error:
            return {"made": made, "stuck": [], "refused": str(error)}
        except OSError as error:
            stuck.append([path, at, os.strerror(error.errno or 0)])
    return {"made": made, "stuck": stuck, "refused": ""}


def _look(path: str) -> tuple[list[str], str]:
    """The folders of a path that are not there, the highest first, and the one that is there above them.

    Raises FolderError where something else lies, and OSError where nobody can look.
    """
    missing: list[str] = []
    at = path
    while True:
        try:
            found = os.stat(at)
        except FileNotFoundError:
            if os.path.islink(at):
                raise FolderError(f"{at} is a link that leads nowhere, expected a folder: remove it, or make what it names.") from None
            missing.insert(0, at)
            at = os.path.dirname(at)
            continue
        except NotADirectoryError:
            at = os.path.dirname(at)
            continue
        if not stat.S_ISDIR(found.st_mode):
            raise FolderError(f"{at} is no folder, expected one (for {path}): move it away, or set another path.")
        return missing, at


def _by_root(path: str, parent: str, reason: str, entry: pwd.struct_passwd, mode: int, check: bool) -> str:
    """Make the first missing folder of a path as root, for the user; "" when it has come into being since.

    Raises FolderError where that would not be safe, or fails.
    """
    user = entry.pw_name
    if os.geteuid() != 0:
        raise FolderError(_words(path, parent, reason, user, ""))
    try:
        with walk(path) as way:
            if way.unsafe and way.owner == entry.pw_uid:
                return ""  # made a moment ago for another path: the user goes on alone
            if way.unsafe:
                raise FolderError(_words(path, parent, reason, user, way.unsafe))
            if not way.rest:
                raise FolderError(f"{path} is there, but {user} (cluster_user) cannot reach it ({parent}: {reason}): let that user search the "
                                  "folders above it (chmod o+x), or set the variable of that path to another place.")
            if not check:
                _give(way.fd, way.rest[0], entry, mode)
            return os.path.join(way.at, way.rest[0])
    except OSError as error:
        raise FolderError(_words(path, parent, reason, user, f"it cannot either ({os.strerror(error.errno or 0)})")) from error


def _give(parent: int, name: str, entry: pwd.struct_passwd, mode: int) -> None:
    """Make a folder in the folder `parent`, which root alone can write, and give it away when it is as it should be."""
    os.mkdir(name, 0o700, dir_fd=parent)
    try:
        made = os.open(name, OPEN, dir_fd=parent)
        try:
            os.fchmod(made, mode)
            os.fchown(made, entry.pw_uid, entry.pw_gid)
        finally:
            os.close(made)
    except OSError:
        os.rmdir(name, dir_fd=parent)
        raise


def _words(path: str, parent: str, reason: str, user: str, why_not_root: str) -> str:
    more = f", and root makes no folders there: {why_not_root}" if why_not_root else ""
    return (f"{path} is not there, and {user} (cluster_user) cannot make it in {parent} ({reason}){more}. Make it by hand, on the server where "
            f"the storage is shared: `mkdir -p {path}`, then `chown {user}: {path}`; or set the variable of that path to a place where {user} may write.")
