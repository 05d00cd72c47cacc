"""The checkpoints on this node's disk: which are whole, room for more, pruning, and the tracker that says which one is loaded."""
from __future__ import annotations

import contextlib
import os
import re
import shutil
import struct
import zipfile
from typing import NamedTuple

from supervise.config import Checkpoints

TRACKER = "latest_checkpointed_iteration.txt"
_FOLDER = re.compile(r"iter_(\d{7,})$")
#: of these the shards are looked at, or of more where more are kept
NEWEST = 4
#: how torch's format before 1.6 begins: a pickle of its magic number
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_LOCAL_HEADER = b"PK\x03\x04"


class Found(NamedTuple):
    """What a look found: iterations that are whole (None: this node needs no file of any), and why others are not."""

    whole: list[int] | None
    lacking: dict[str, str]
    #: bytes that the newest whole one takes here
    size: int
    #: bytes of the files of iterations that are not whole: they grow while one is saved
    saved: int


def damage(path: str) -> str:
    """What speaks against a file that torch.save wrote; "" for nothing. ``legacy`` for one of the old format, of which only the size can tell."""
    try:
        with open(path, "rb") as file:
            if file.read(len(_LEGACY)) == _LEGACY:
                return "legacy"
            # A disk that lost pages keeps the directory at the end and has zeros before it.
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                for member in members:
                    file.seek(member.header_offset)
                    header = file.read(30)
                    if header[:4] != _LOCAL_HEADER or member.compress_type != zipfile.ZIP_STORED:
                        return f"{member.filename} in it is damaged"
                    name, extra = struct.unpack("<HH", header[26:30])
                    if member.header_offset + 30 + name + extra + member.file_size > archive.start_dir:
                        return f"{member.filename} in it is cut off"
                pickled = [member for member in members if member.filename.endswith("/data.pkl")]
                if not pickled:
                    return "it is no file of torch.save"
                archive.read(pickled[0])  # compares its checksum
    except FileNotFoundError:
        return "it is missing"
    except (zipfile.BadZipFile, struct.error, EOFError, RuntimeError, ValueError) as error:  # a flipped bit of the directory may say anything
        return f"it is cut off or damaged ({error})"
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return ""


class Disk:
    """The folder of a run's checkpoints, as this node sees it."""

    def __init__(self, settings: Checkpoints, resume: int = 0) -> None:
        self.settings, self.resume = settings, resume
        #: of a file: size and time of change when it was looked at, and what was found
        self._known: dict[str, tuple[tuple[int, int], str]] = {}

    def iterations(self) -> list[int]:
        """Of all folders, whole or not, ascending."""
        try:
            names = os.listdir(self.settings.folder) if self.settings.folder else []
        except OSError:
            return []
        return sorted(int(match.group(1)) for match in map(_FOLDER.match, names) if match)

    def _path(self, iteration: int, shard: str) -> str:
        return os.path.join(self.settings.folder, f"iter_{iteration:07d}", shard)

    def _look(self, path: str) -> tuple[int, str]:
        """Size of a file, and what speaks against it; looked at again when it has changed."""
        try:
            there = os.stat(path)
        except OSError:
            return 0, damage(path)
        stamp = there.st_size, there.st_mtime_ns
        if self._known.get(path, ((0, 0), ""))[0] != stamp:
            self._known[path] = stamp, damage(path)
        return there.st_size, self._known[path][1]

    def _newest(self) -> dict[int, dict[str, tuple[int, str]]]:
        """The files of the newest ones, and of older ones until some are sound that this run may go on from."""
        seen: dict[int, dict[str, tuple[int, str]]] = {}
        sound, enough = 0, max(NEWEST, self.settings.keep + 2)
        for iteration in reversed(self.iterations()):
            usable = not self.resume or iteration <= self.resume
            if len(seen) >= enough and (sound or not self.settings.shards):
                break
            seen[iteration] = {shard: self._look(self._path(iteration, shard)) for shard in self.settings.shards}
            sound += usable and all(fault in ("", "legacy") for _, fault in seen[iteration].values())
        return dict(sorted(seen.items()))

    def look(self) -> Found:
        """Look at the newest ones."""
        shards, seen = self.settings.shards, self._newest()
        newest = list(seen)
        whole, lacking, size, saved = [], {}, 0, 0
        for iteration, found in seen.items():
            faults = []
            for shard, (length, fault) in found.items():
                if fault == "legacy":
                    others = [seen[other][shard] for other in newest if other != iteration and seen[other][shard][1] == "legacy"]
                    largest = max((other for other, _ in others), default=0)
                    fault = "" if largest and length >= largest * 0.99 else (
                        "it is smaller than that of another checkpoint" if largest
                        else "it has torch's old format, and there is nothing to compare its size with")
                if fault:
                    faults.append(f"{shard}: {fault}")
            if faults:
                lacking[str(iteration)] = "; ".join(faults[:2])
                saved += sum(length for length, _ in found.values())
            elif shards:
                whole.append(iteration)
                size = sum(length for length, _ in found.values())
        self._known = {path: one for path, one in self._known.items() if any(f"iter_{iteration:07d}" in path for iteration in newest)}
        return Found(whole if shards else None, lacking, size, saved)

    def free(self) -> int | None:
        """Bytes that an ordinary user may still write; None without a folder."""
        folder = self.settings.folder
        while folder and not os.path.isdir(folder):
            folder = os.path.dirname(folder) if os.path.dirname(folder) != folder else ""
        if not folder:
            return None
        there = os.statvfs(folder)
        return there.f_bavail * there.f_frsize

    def no_room(self, found: Found) -> str:
        """Words, when there is no room for two checkpoints, a whole one that is there counted as one; else ""."""
        size, free = self.settings.bytes or found.size, self.free()
        needed = size * (1 if found.whole else 2)
        if free is None or free >= needed:
            return ""
        return (f"{self.settings.folder} has {free / 1e9:.1f} GB free, expected {needed / 1e9:.1f} GB for "
                f"{'one checkpoint more' if found.whole else 'two checkpoints'}: make room, or let fewer be kept (pretrain_keep_checkpoints)")

    def track(self, iteration: int) -> None:
        """Let Megatron-LM load this one."""
        path = os.path.join(self.settings.folder, TRACKER)
        with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
            if file.read().strip() == str(iteration):
                return
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write(str(iteration))
            file.flush()
            os.fsync(file.fileno())
        os.replace(path + ".new", path)

    def prune(self, keep_from: int, whole: list[int] | None) -> list[int]:
        """Remove what is older than an iteration which is whole here; returns what went."""
        if keep_from <= 0 or (whole is not None and keep_from not in whole):
            return []
        gone = [iteration for iteration in self.iterations() if iteration < keep_from]
        for iteration in gone:
            # Out of the way first: half a checkpoint must not look like one.
            old = os.path.join(self.settings.folder, f"iter_{iteration:07d}")
            with contextlib.suppress(OSError):
                os.replace(old, old + ".old")
            shutil.rmtree(old + ".old", ignore_errors=True)
        return gone
