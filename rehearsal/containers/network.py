"""A private network for the containers of a cluster, where nothing else of the machine is."""
from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Iterable, Sequence

from rehearsal.containers import podman
from rehearsal.nodes import PROJECT, NodesError

LABEL_PROJECT = "ascend-rehearsal.project"
LABEL_FOLDER = "ascend-rehearsal.folder"
# Private networks to choose from, the first that nothing else on the machine overlaps.
SUBNETS = tuple(f"10.213.{third}.0/24" for third in range(64, 128))


def routed_networks(table: str) -> list[ipaddress.IPv4Network]:
    """Read the networks that the machine has routes to from the text of /proc/net/route (default route excluded)."""
    networks = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        destination, mask = (int.from_bytes(bytes.fromhex(fields[index]), "little") for index in (1, 7))
        if mask:
            networks.append(ipaddress.IPv4Network((destination, mask.bit_count()), strict=False))
    return networks


def free_subnets(candidates: Iterable[str], taken: Sequence[ipaddress.IPv4Network]) -> list[str]:
    """Return those candidates that overlap nothing."""
    return [text for text in candidates if not any(ipaddress.IPv4Network(text).overlaps(used) for used in taken)]


def make_network(prefix: str, folder: Path) -> ipaddress.IPv4Network:
    """Make the cluster's network unless it is there, and return its subnet."""
    if podman.run("network", "ls", "--quiet", "--filter", f"label={LABEL_FOLDER}={folder}"):
        found = json.loads(podman.run("network", "inspect", prefix))[0]
        return ipaddress.IPv4Network(found["subnets"][0]["subnet"])
    taken = routed_networks(Path("/proc/net/route").read_text())
    for name in podman.run("network", "ls", "--format", "{{.Name}}").splitlines():
        for other in json.loads(podman.run("network", "inspect", name, check=False) or "[]"):
            taken += [ipaddress.IPv4Network(one["subnet"]) for one in other.get("subnets") or []
                      if ":" not in one["subnet"]]
    failure: NodesError | None = None
    for subnet in free_subnets(SUBNETS, taken)[:3]:
        try:
            podman.run("network", "create", "--disable-dns", "--subnet", subnet, "--label", f"{LABEL_FOLDER}={folder}",
                       "--label", f"{LABEL_PROJECT}={PROJECT}", prefix)
            return ipaddress.IPv4Network(subnet)
        except NodesError as error:  # somebody else took it in between
            failure = error
    raise failure or NodesError(f"No private network is free for the nodes: all of {SUBNETS[0]} … {SUBNETS[-1]} overlap "
                                "a route or podman network of this machine (`ip route`, `podman network ls`).")
