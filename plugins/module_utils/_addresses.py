"""IP addresses in the one form that the system prints them in. Runs on the nodes: Python 3.8."""
from __future__ import annotations

import ipaddress
import socket


def canonical(text: str) -> str:
    """Return an address as `ip` and mountd print it, whatever form it is written in; "" for what is none.

    By inet_ntop, since Python's own short form of some IPv6 addresses is another one than that of the C library.
    """
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return ""
    return socket.inet_ntop(socket.AF_INET if address.version == 4 else socket.AF_INET6, address.packed)


def in_source(address: str) -> str:
    """Return an address as it stands before the colon of host:path."""
    return f"[{address}]" if ":" in address else address


def split_source(source: str) -> tuple[str, str]:
    """Return the address, in its one form where it is one, and the path of host:path."""
    host, _, path = source.rpartition(":/")
    return canonical(host.strip("[]")) or host, f"/{path}"
