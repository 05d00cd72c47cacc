"""The hash of a file, for modules and actions alike.

The programs that a role brings to a node have their own: they run alone. Runs on the controller and on the nodes: Python 3.8 is all it needs.
"""
from __future__ import annotations

import hashlib
from typing import IO

# Bytes read at once.
BLOCK = 8 << 20


def sha256_of(file: IO[bytes]) -> str:
    """Return the SHA-256 of what an open file still holds, in hex digits."""
    digest = hashlib.sha256()
    for block in iter(lambda: file.read(BLOCK), b""):
        digest.update(block)
    return digest.hexdigest()
