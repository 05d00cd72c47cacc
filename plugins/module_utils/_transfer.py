"""Files go from one node to another by rsync over ssh, by a key that lives for one transfer. Runs on the nodes: Python 3.8."""
from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import tempfile
import time
from typing import Any, Iterable, Mapping, Sequence

BEGIN, END = "# BEGIN of a transfer between the cluster's nodes", "# END of a transfer between the cluster's nodes"
# For so long a key opens anything where a run was killed before it could withdraw it: the last of many nodes that wait for their turn still begins in it.
HOURS = 24
_FOLDER = "ascend-transfer-"


def key_line(key: str, address: str, files: Sequence[str], program: str, now: float) -> str:
    """A line of authorized_keys: from one address, until a time, to read these files, and nothing else.

    The time is in the clock and zone of this machine, whose sshd reads it.
    """
    until = time.strftime("%Y%m%d%H%M", time.localtime(now + HOURS * 3600))
    return f'restrict,from="{address}",expiry-time="{until}",command="{program} {" ".join(files)}" {key}'


def with_block(text: str, lines: Sequence[str]) -> str:
    """Return the text of authorized_keys with these lines in our block; without it where there are none. All else stays as it is."""
    kept, ours = [], False
    for line in text.splitlines():
        if line in (BEGIN, END):
            ours = line == BEGIN
        elif not ours:
            kept.append(line)
    added = [BEGIN, *lines, END] if lines else []
    if not added and BEGIN not in text.splitlines():
        return text
    return "".join(f"{line}\n" for line in [*kept, *added])


def authorise(home: str, lines: Sequence[str]) -> bool:
    """Have these lines, and none of an earlier transfer, in the authorised keys. Runs as the user of that home; returns whether it changed any.

    Links are followed with that user's rights alone.
    """
    path = os.path.realpath(os.path.join(home, ".ssh", "authorized_keys"))
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text, mode = file.read(), os.fstat(file.fileno()).st_mode & 0o777
    except FileNotFoundError:
        text, mode = "", 0o600
    wanted = with_block(text, lines)
    if wanted == text:
        return False
    with contextlib.suppress(FileExistsError):
        os.mkdir(os.path.dirname(path), 0o700)
    handle, temporary = tempfile.mkstemp(prefix=".authorized_keys-", dir=os.path.dirname(path))
    try:
        with open(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(wanted)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return True


def server_port(process: int, proc: str = "/proc") -> int:
    """Find the port of this machine's ssh server at which the connection came in that a process is a descendant of; 0 where there is none.

    That is the port that other nodes reach it at, whatever stands between the controller and here (a bastion, a forwarded port).
    """
    while process > 1:
        with contextlib.suppress(OSError), open(f"{proc}/{process}/environ", "rb") as file:
            found = re.search(rb"(?:^|\0)SSH_CONNECTION=\S+ \d+ \S+ (\d+)", file.read())
            if found:
                return int(found[1])
        try:
            with open(f"{proc}/{process}/stat", encoding="utf-8", errors="replace") as stat:
                process = int(stat.read().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return 0
    return 0


def host_keys(folder: str = "/etc/ssh") -> list[str]:
    """Read the public host keys of this machine's ssh server."""
    keys = []
    for path in sorted(glob.glob(f"{folder}/ssh_host_*_key.pub")):
        with open(path, encoding="utf-8", errors="replace") as file:
            keys += [line.strip() for line in file if line.strip()]
    return keys


def new_folder(base: str) -> str:
    """Make a folder for the key of a transfer, and remove those that killed ones of this user left."""
    for old in glob.glob(f"{base}/{_FOLDER}*"):
        found = os.lstat(old)
        if found.st_uid == os.geteuid() and os.path.isdir(old) and not os.path.islink(old):
            shutil.rmtree(old, ignore_errors=True)
    return tempfile.mkdtemp(prefix=_FOLDER, dir=base)


def ssh_config(folder: str, sources: Sequence[Mapping[str, Any]], address: str, user: str) -> str:
    """How ssh reaches the sources from an address: by the key in the folder, each known by its own host keys."""
    lines = []
    for number, source in enumerate(sources):
        lines += [f"Host source{number}", f"  HostName {source['address']}", f"  HostKeyAlias source{number}", f"  Port {source['port']}"]
    return "\n".join([
        *lines, "Host *", f"  User {user}", f"  BindAddress {address}", f"  IdentityFile {folder}/key", "  IdentitiesOnly yes",
        f"  UserKnownHostsFile {folder}/known_hosts", "  GlobalKnownHostsFile /dev/null", "  StrictHostKeyChecking yes",
        "  PreferredAuthentications publickey", "  BatchMode yes", "  ConnectTimeout 30", "  ServerAliveInterval 30", ""])


def known_hosts(sources: Sequence[Mapping[str, Any]]) -> str:
    """The host keys of the sources."""
    return "".join(f"source{number} {key}\n" for number, source in enumerate(sources) for key in source["host_keys"])


def take_up(files: Iterable[str]) -> None:
    """Make what a killed rsync left of a file (.<name>.<6 characters>) the part that the next one goes on with."""
    for file in files:
        folder, name = os.path.split(file)
        for left in glob.glob(f"{glob.escape(folder)}/.{glob.escape(name)}.??????"):
            if os.path.isfile(left) and not os.path.islink(left):
                os.makedirs(f"{folder}/.rsync-partial", exist_ok=True)
                os.replace(left, f"{folder}/.rsync-partial/{name}")


def rsync(folder: str, number: int, files: Sequence[str]) -> list[str]:
    """The words that fetch files from a source. Each has a name of its own until it is whole."""
    return ["rsync", "--relative", "--no-implied-dirs", "--ignore-times", "--times", "--copy-links", "--chmod=F0644", "--partial-dir=.rsync-partial",
            "--timeout=300", "--stats", "--rsh", f"ssh -F {folder}/ssh_config", "--", *(f"source{number}:{file}" for file in files), "/"]


def travelled(output: str) -> str:
    """What rsync says of the bytes that travelled, and of those that were there already."""
    return ", ".join(line for line in output.splitlines() if line.startswith(("Literal data", "Matched data")))
