"""Sets of ports in the kernel's notation."""
from __future__ import annotations

from typing import Iterable


def port_ranges(texts: str | Iterable[str]) -> str:
    """Unite sets of ports: ``["60000-60031,16666", "16667"]`` gives ``16666-16667,60000-60031``.

    The result is as the kernel prints ``net.ipv4.ip_local_reserved_ports``: ascending, neighbours joined.

    Raises:
        ValueError: for anything but numbers and ranges of 0 to 65535.
    """
    words = " ".join([texts] if isinstance(texts, str) else texts).replace(",", " ").split()
    ports: set[int] = set()
    for word in words:
        low, dash, high = word.partition("-")
        high = high if dash else low
        if not low.isdigit() or not high.isdigit() or not int(low) <= int(high) <= 65535:
            raise ValueError(f"{word!r} is no port or range of ports: expected numbers like 16666 or 60000-60031")
        ports.update(range(int(low), int(high) + 1))
    ranges: list[tuple[int, int]] = []
    for port in sorted(ports):
        if ranges and ranges[-1][1] == port - 1:
            ranges[-1] = (ranges[-1][0], port)
        else:
            ranges.append((port, port))
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)
