"""What survives a restart: files that appear whole, and are on the disk before anybody is told."""
from __future__ import annotations

import contextlib
import json
import os
from typing import Any, Iterable, Mapping


def write(path: str, data: Mapping[str, Any]) -> None:
    """Write a file of JSON in one piece, and wait until it is on the disk."""
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(data, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read(path: str) -> dict[str, Any]:
    """What `write` wrote; {} where there is nothing, or nothing that can be read."""
    with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
        data = json.load(file)
        return data if isinstance(data, dict) else {}
    return {}


def append(path: str, entries: Iterable[Mapping[str, Any]]) -> None:
    """Add lines to a journal."""
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(json.dumps(entry) + "\n" for entry in entries)
