"""Folders that root writes in and runs programs from: root's own, and so is all above them.

Earlier versions made them for the training user. They are taken back: the folder first, so that nobody else can change an entry of it any
more, then its files, each of which is replaced by a copy of its own. A copy, since a file that was the user's may still be open for
writing in one of the user's programs, or have another name elsewhere. What a copy holds is no more trusted than before: archives are
proved by their SHA-256 each time they are used, and programs and records are written anew where they differ. A folder of the user's among
them is removed: it was unpacked from an archive, or brought file by file, and is so again.

Runs on the nodes: Python 3.8.
"""
from __future__ import annotations

import os
import pwd
import shutil
import stat

from ansible_collections.ascend.cluster.plugins.module_utils._walk import OPEN, FolderError, Way, walk

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def own(paths: list[str], files: list[str], user: str, check: bool) -> list[str]:
    """Make the folders, or take them back from `user`; say what was (in check mode: would be) changed.

    Args:
        paths: absolute paths of the folders, in this order: one may lie in another.
        files: paths of files in them that root writes, FOLDER/* for all that lie directly in a folder. They need not be there.
        user: whom earlier versions gave them to.
        check: change nothing.

    Raises:
        FolderError: somebody else than root or `user` owns a folder, or could change what lies above it.
    """
    changed = []
    for path in paths:
        changed += [f"folder {path}"] if _folder(path, user, check) else []
    for path in files:
        folder, name = os.path.split(path)
        changed += [f"file {folder}/{one}" for one in _files(folder, name, _uid(user), check)]
    return changed


def _folder(path: str, user: str, check: bool) -> bool:
    if not path.startswith("/") or ".." in path.split("/"):
        raise FolderError(f"{path!r} is no absolute path without `..`.")
    parent, name = os.path.split(os.path.normpath(path))
    try:
        with walk(parent) as way:
            above = way.unsafe and not (check and way.owner == _uid(user))  # in check mode the folder above was not taken back either
            if above:
                raise FolderError(f"Root writes and runs programs in {path}, but {way.unsafe}: that user could put others in their place. Give "
                                  f"{way.at} to root (`chown root: {way.at}; chmod go-w {way.at}`), or set cluster_workspace to a folder below "
                                  "those of root alone, like /opt/ascend-cluster.")
            for missing in [*way.rest, name] if way.rest else []:
                if check:
                    return True
                _make(way, missing)
            if way.rest:
                return True
            return _take(way, name, path, user, check)
    except OSError as error:
        raise FolderError(f"Root cannot make or own {path} ({error.strerror}): expected a folder on a disk of the node itself, on which root may do "
                          "everything. Set cluster_workspace (or the variable of that path) to one.") from error


def _make(way: Way, name: str) -> None:
    os.mkdir(name, 0o755, dir_fd=way.fd)
    fd = os.open(name, OPEN, dir_fd=way.fd)
    os.fchmod(fd, 0o755)  # whatever the umask is
    way.step(fd, name)


def _uid(user: str) -> int:
    """The user's number; -1 while there is no such user."""
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return -1


def _take(way: Way, name: str, path: str, user: str, check: bool) -> bool:
    """Make the last folder of a path, or take it back; False when it is root's."""
    try:
        found = os.stat(name, dir_fd=way.fd, follow_symlinks=False)
    except FileNotFoundError:
        if not check:
            _make(way, name)
        return True
    if stat.S_ISLNK(found.st_mode) and found.st_uid == 0 and not way.unsafe:
        with walk(path) as there:
            if there.rest:
                raise FolderError(f"{path} is a link that leads nowhere, expected a folder: remove it, or make what it names.")
            target = there.at
        return _folder(target, user, check)
    if not stat.S_ISDIR(found.st_mode):
        raise FolderError(f"{path} is {'a link' if stat.S_ISLNK(found.st_mode) else 'no folder'}, expected a folder of root's: move it away.")
    if found.st_uid not in (0, _uid(user)):
        raise FolderError(f"{path} belongs to {_name(found.st_uid)}, expected root, who brings programs and archives there and runs them. Give it to root "
                          f"(`chown -R root: {path}; chmod -R go-w {path}`) if all that lies there is to be trusted, or set the variable of that "
                          "path (cluster_workspace, cluster_artifact_dir) to another folder.")
    if found.st_uid == 0 and found.st_mode & 0o022:
        raise FolderError(f"{path} has mode {stat.S_IMODE(found.st_mode):04o}, so others than root can write in it, and root brings programs and archives "
                          f"there and runs them: `chmod go-w {path}`, or set the variable of that path to another folder.")
    if found.st_uid == 0:
        return False
    if not check:
        fd = os.open(name, OPEN, dir_fd=way.fd)
        try:
            os.fchown(fd, 0, 0)
            os.fchmod(fd, stat.S_IMODE(found.st_mode) & ~0o022)
        finally:
            os.close(fd)
    return True


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _files(folder: str, name: str, user: int, check: bool) -> list[str]:
    """Replace what is not root's alone among the files of a folder, and remove the folders of `user` in it; return their names."""
    with walk(folder) as way:
        if way.rest or (way.unsafe and not check):
            return []
        changed = []
        for one in sorted(os.listdir(way.fd)) if name == "*" else [name]:
            try:
                found = os.stat(one, dir_fd=way.fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(found.st_mode):
                if user == 0 or found.st_uid != user:
                    continue
            elif stat.S_ISLNK(found.st_mode):
                if found.st_uid == 0:
                    continue
            elif found.st_uid == 0 and not found.st_mode & 0o022 and found.st_nlink == 1:
                continue
            changed.append(one)
            if check:
                continue
            if stat.S_ISREG(found.st_mode):
                _replace(way.fd, one)
            elif stat.S_ISDIR(found.st_mode):
                shutil.rmtree(os.path.join(way.at, one))  # it follows no link, and nobody else can change what lies above
            else:
                os.unlink(one, dir_fd=way.fd)  # a link, a socket: none of ours
        return changed


def _replace(folder: int, name: str) -> None:
    """Put a copy that is root's in the place of a file."""
    new = f".{name}.root"
    with os.fdopen(os.open(name, _FILE, dir_fd=folder), "rb") as source:
        mode = stat.S_IMODE(os.fstat(source.fileno()).st_mode) & 0o755
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
        try:
            with os.fdopen(fd, "wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
                os.fchmod(copy.fileno(), mode)
            os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            os.unlink(new, dir_fd=folder)
            raise
