"""What keeps the machines of one cluster from hearing those of another: their wire, and their addresses on it."""
from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from rehearsal.nodes import FIRST_HOST, cluster_name

NAME = "ascend-machines"
# Between QEMU and the machine alone, for ssh: the machine's address, and the network.
USER_NETWORK = ("10.0.2.15/24", "10.0.2.0/24")


@dataclass(frozen=True)
class Cluster:
    """What tells the machines of one folder from those of others."""

    name: str
    #: group and port of the wire between the machines
    group: str
    port: int
    #: first three bytes of their addresses on it
    network: str

    def address(self, index: int) -> str:
        """Return the address of a machine, 0 for the first."""
        return f"{self.network}.{FIRST_HOST + index + 1}"

    def mac(self, index: int, interface: int) -> str:
        """Return the hardware address of an interface (0 to the controller, 1 to the others) of a machine."""
        third, fourth = hashlib.sha256(self.name.encode()).digest()[:2]
        return f"52:54:{third:02x}:{fourth:02x}:{interface:02x}:{index + 1:02x}"


def cluster(folder: Path) -> Cluster:
    """Derive from a folder what keeps its machines from hearing those of another."""
    one, two, three, four, five = hashlib.sha256(str(folder).encode()).digest()[:5]
    return Cluster(name=cluster_name(NAME, folder), group=f"239.{one}.{two}.{three or 1}",
                   port=20000 + (four << 4) + (five & 15), network=f"10.214.{five}")
