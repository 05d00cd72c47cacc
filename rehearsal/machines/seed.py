"""What one machine has of its own, given to it on a second disk, which it unpacks when it first boots."""
from __future__ import annotations

import io
import tarfile
import time

from rehearsal.machines.network import USER_NETWORK, Cluster


def seed_files(owner: Cluster, index: int, public_key: str, host_keys: tuple[str, str]) -> dict[str, tuple[int, str]]:
    """Return the files of one machine's own, name to mode and text, which it unpacks when it first boots."""
    name, address = f"node{index + 1}", owner.address(index)

    def network(interface: int, cidr: str) -> str:
        return f"[Match]\nMACAddress={owner.mac(index, interface)}\n[Network]\nAddress={cidr}\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"

    return {
        "etc/hostname": (0o644, f"{name}\n"),
        "etc/hosts": (0o644, f"127.0.0.1 localhost\n{address} {name}\n"),
        "etc/systemd/network/10-outside.network": (0o644, network(0, USER_NETWORK[0])),
        "etc/systemd/network/20-inside.network": (0o644, network(1, f"{address}/24")),
        "etc/ssh/ssh_host_ed25519_key": (0o600, host_keys[0]),
        "etc/ssh/ssh_host_ed25519_key.pub": (0o644, host_keys[1]),
        "home/ops/.ssh/authorized_keys": (0o644, public_key),  # of root; `furnish` makes it the user's
        "etc/rehearsal/seeded": (0o644, ""),
    }


def seed_tar(files: dict[str, tuple[int, str]]) -> bytes:
    """Pack files as a tar, owned by root; its length is a multiple of a disk's sector."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, (mode, text) in files.items():
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size, entry.mtime = mode, len(text.encode()), int(time.time())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()
