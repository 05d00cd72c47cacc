"""What a running node is given: its user's key, and the stand-ins of its hardware."""
from __future__ import annotations

import subprocess
from typing import Callable, Sequence

from rehearsal.nodes import PROJECT

HARDWARE_ROOT = PROJECT / "rehearsal" / "hardware" / "root"


def furnish(index: int, npus: int, public_key: str, execute: Callable[[Sequence[str], bytes], object]) -> None:
    """Give a running node its user's key, its hardware stand-ins and what those need to know.

    Args:
        index: 0 for the first node.
        npus: how many NPUs its stand-ins show.
        public_key: whom ``ops`` lets in.
        execute: runs a command as root on the node, with an input.
    """
    script = ("set -e; install -o ops -g ops -m 0600 /dev/stdin /home/ops/.ssh/authorized_keys; "
              "mkdir -p /etc/rehearsal; "
              f"printf 'NODE_INDEX=%s\\nNPU_COUNT=%s\\n' {index} {npus} > /etc/rehearsal/node.env")
    execute(["sh", "-c", script], public_key.encode())
    if HARDWARE_ROOT.is_dir():
        # Files alone: of a folder that is packed tar makes the node's own one, / and /usr too, root's for the time that it unpacks.
        files = sorted(str(path.relative_to(HARDWARE_ROOT)) for path in HARDWARE_ROOT.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        packed = subprocess.run(["tar", "--owner=0", "--group=0", "--numeric-owner", "--mode=u+rwX,go=rX", "-C", str(HARDWARE_ROOT), "-c", *files],
                                capture_output=True, check=True).stdout
        execute(["tar", "-x", "-C", "/"], packed)
        # A stand-in may need more than files (devices, a group): its tree may bring this program.
        execute(["sh", "-c", "if [ -x /usr/libexec/rehearsal/hardware ]; then /usr/libexec/rehearsal/hardware; fi"], b"")
